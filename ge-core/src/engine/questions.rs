//! Questions of agents further in that are on their way past a router of the source's side, by flow.
//! Several agents may ask about one flow one after the other, each as soon as the one behind it has its
//! answer; the router owes every one of them its own verdict.

use super::incoming::Arrival;
use crate::dprp::SeenDde;
use crate::flow::HostPair;
use crate::id::NegotiationId;
use crate::limits::{PASSING, QUESTIONS_PER_FLOW, TENTATIVE_LIFETIME};
use crate::now::Instant;
use crate::recent::Recent;

/// The question of an inner agent, which may be told this router's verdict if nobody else answers.
pub(super) struct Question {
    pub(super) dde: SeenDde,
    /// Where an answer to it goes.
    pub(super) back: Arrival,
    pub(super) closed: bool,
    /// Somebody agreed to be its other end.
    pub(super) answered: bool,
    pub(super) since: Instant,
}

impl Question {
    fn is_recent(&self, now: Instant) -> bool {
        now.since(self.since) < TENTATIVE_LIFETIME
    }
}

/// The youngest questions of each flow, for as long as each may be answered.
pub(super) struct Questions(Recent<HostPair, Vec<Question>>);

impl Questions {
    pub(super) const fn new() -> Self {
        Self(Recent::new(PASSING, TENTATIVE_LIFETIME))
    }

    /// Remembers a question. The oldest about its flow makes room.
    pub(super) fn put(&mut self, pair: HostPair, question: Question, now: Instant) {
        let mut all = self.take_all(pair, now);
        if all.len() >= QUESTIONS_PER_FLOW {
            all.remove(0);
        }
        all.push(question);
        self.0.put(pair, all, now);
    }

    pub(super) fn get(&self, pair: HostPair, id: NegotiationId, now: Instant) -> Option<&Question> {
        let all = self.0.get(&pair, now)?.iter();
        all.filter(|question| question.is_recent(now)).find(|question| question.dde.id == id)
    }

    /// Whether there is any about this flow.
    pub(super) fn has(&self, pair: HostPair, now: Instant) -> bool {
        let all = self.0.get(&pair, now);
        all.is_some_and(|all| all.iter().any(|question| question.is_recent(now)))
    }

    /// Somebody agreed to be the other end.
    pub(super) fn answered(&mut self, pair: HostPair, id: NegotiationId, now: Instant) {
        let all = self.0.get_mut(&pair, now).into_iter().flatten();
        all.filter(|question| question.dde.id == id).for_each(|question| question.answered = true);
    }

    pub(super) fn forget(&mut self, pair: HostPair, id: NegotiationId, now: Instant) {
        if let Some(all) = self.0.get_mut(&pair, now) {
            all.retain(|question| question.dde.id != id);
        }
    }

    /// All about this flow, the oldest first.
    pub(super) fn take_all(&mut self, pair: HostPair, now: Instant) -> Vec<Question> {
        let mut all = self.0.take(&pair, now).unwrap_or_default();
        all.retain(|question| question.is_recent(now));
        all
    }

    /// Flows that have a place.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
