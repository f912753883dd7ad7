//! Answers that wait. An agent nearer to the source asked, and somebody further on gave it a NOMATCH:
//! it will let its packets go in clear, or give up. This router stands for the source as well, so that
//! it is the next to ask. It does so at once, and lets the answer pass when it knows its own verdict:
//! whoever asked before must discard too if the flow is refused to this router.
//!
//! ```text
//! inner agent -- DDE --------------------------------->
//!             |        router <-- NOMATCH open --------
//!             |           |------ DDE (its own) ------>
//!             |           |<----- RGI ... CDN, or a refusal
//!             <- NOMATCH -|      open: go on, I protect the rest; or: refused for good
//! ```
//! Source: DESIGN.md section 5, rules 2 and 4.

use super::Engine;
use super::incoming::Arrival;
use super::passing::Passage;
use super::row::{Row, RowState};
use crate::dprp::{Answered, Binding, SeenDde, Word, consume_dde};
use crate::flow::{HostPair, Ports};
use crate::io::NegotiationResult;
use crate::limits::PASSING;
use crate::wire::dprp::Place;
use crate::{DropReason, Mode, Now};

/// A NOMATCH on its way to an inner agent.
pub(super) struct Withheld {
    message: Vec<u8>,
    dde: SeenDde,
    /// Said by an open agent: the inner one may let its packets go.
    open: bool,
    /// Said by another router of the source's side: it stands unless this one finds an end.
    stands: bool,
    arrival: Arrival,
}

/// The question of an inner agent, which may be told this router's verdict if nobody else answers.
pub(super) struct Question {
    dde: SeenDde,
    /// Where an answer to it goes.
    back: Arrival,
    closed: bool,
    /// Somebody agreed to be its other end.
    answered: bool,
}

/// What this router knows of its own part.
enum Known {
    Protected,
    Clear,
    Dropped,
    Asking,
    Others,
    Nothing,
}

impl Engine {
    /// A NOMATCH for an agent behind this router, which stands for the source as well. `None`: it is
    /// none of this router's business.
    pub(super) fn withhold(
        &mut self,
        message: &[u8],
        answered: &Answered,
        arrival: Arrival,
        now: Now,
    ) -> Result<Option<Passage>, DropReason> {
        let open = answered.mode == Mode::Open;
        // A closed agent that is no end gives up, and so nobody after it is to protect anything.
        let (pair, remote) = (arrival.pair, arrival.pair.remote.0);
        if arrival.leaving || !self.in_scope(remote) {
            return Ok(None);
        }
        // The flow is the other side's, which this router protects it with: that a machine inside
        // could not be protected itself is no news to it, but it need not wait for an answer.
        if !open && self.pit.get(pair).and_then(Row::protected).is_some_and(|own| own.theirs) {
            return self.keep_from(answered, arrival, now).map(Some);
        }
        if answered.is_final && !answered.shares {
            return Ok(None);
        }
        // A closed agent that this router shares a group with is its end, and no reason to give up.
        let pass = if open { Passage::On } else { Passage::Stop };
        let waits = self.passing.withheld.get(&pair);
        if waits.is_some_and(|withheld| withheld.dde.id == answered.dde.id) {
            return Ok(Some(Passage::Stop));
        }
        // Only an answer to a question heard lately makes this router ask.
        let question = self.passing.questions.get(&pair, now.mono);
        let Some(question) = question.filter(|asked| asked.dde.id == answered.dde.id) else {
            return Ok(answered.shares.then_some(pass));
        };
        // A closed agent that is no end gives up, and so nobody after it is to protect anything.
        if question.closed {
            self.unfounded(pair, now);
            return Ok(None);
        }
        self.passing.questions.take(&pair, now.mono);
        match self.known(pair) {
            Known::Protected if !open => {
                return self
                    .refuse_passing(&answered.dde, Place::Source, Word::AsOpen, arrival, now)
                    .map(Some);
            }
            Known::Clear if answered.is_source_side => return Ok(None),
            Known::Protected | Known::Clear => return Ok(Some(pass)),
            Known::Others => return Ok(answered.shares.then_some(pass)),
            Known::Dropped => {
                return self
                    .refuse_passing(&answered.dde, Place::Source, Word::ForGood, arrival, now)
                    .map(Some);
            }
            Known::Asking => {}
            Known::Nothing => {
                self.forget_row(pair); // a survey's
                if !self.start_pending(pair, Ports::default(), arrival.interface, now) {
                    return Ok(answered.shares.then_some(pass));
                }
            }
        }
        self.keep_until_known(message, answered, arrival)?;
        Ok(Some(Passage::Stop))
    }

    /// The answer waits until this router's own question is answered.
    fn keep_until_known(
        &mut self,
        message: &[u8],
        answered: &Answered,
        arrival: Arrival,
    ) -> Result<(), DropReason> {
        let pair = arrival.pair;
        let open = answered.mode == Mode::Open;
        let full = self.passing.withheld.len() >= PASSING;
        if full && !self.passing.withheld.contains_key(&pair) {
            return Err(DropReason::TableFull);
        }
        let (message, dde, stands) = (message.to_vec(), answered.dde, answered.is_source_side);
        self.passing.withheld.insert(pair, Withheld { message, dde, open, stands, arrival });
        Ok(())
    }

    /// The refusal of a flow that this router protects: who asked need not hear it, nor wait for it.
    fn keep_from(
        &mut self,
        answered: &Answered,
        arrival: Arrival,
        now: Now,
    ) -> Result<Passage, DropReason> {
        let asked = self.passing.questions.get(&arrival.pair, now.mono);
        let waits = asked.is_some_and(|asked| asked.dde.id == answered.dde.id && !asked.closed);
        if waits {
            self.refuse_passing(&answered.dde, Place::Source, Word::AsOpen, arrival, now)
        } else {
            Ok(Passage::Stop)
        }
    }

    /// Remembers the question of an inner agent.
    pub(super) fn note_question(&mut self, message: &[u8], arrival: Arrival, now: Now) {
        let Some(keyring) = self.keyring.as_ref() else { return };
        let questions = &mut self.passing.questions;
        let Ok(seen) = SeenDde::read(keyring, message, now.unix) else { return };
        let known = questions.get(&arrival.pair, now.mono);
        if known.is_some_and(|asked| asked.dde.id == seen.id) {
            return;
        }
        let Ok(dde) = consume_dde(keyring, message, Binding::Fresh, now.unix) else { return };
        // Whoever heard it can send it again between any two others. The source may be another than it
        // says, by a NAT further in.
        if dde.proposal.pair.remote != arrival.flow().remote {
            return;
        }
        let back = Arrival { request: false, leaving: !arrival.leaving, ..arrival };
        let closed = dde.proposal.mode == Mode::Closed;
        let question = Question { dde: seen, back, closed, answered: false };
        questions.put(arrival.pair, question, now.mono);
    }

    /// An inner agent's question has an RGI.
    pub(super) fn question_answered(&mut self, pair: HostPair, now: Now) {
        if let Some(question) = self.passing.questions.get_mut(&pair, now.mono) {
            question.answered = true;
        }
    }

    /// This router protects a flow from now on. If an inner agent asked for it meanwhile, the other
    /// end must know that the flow may change hands.
    fn yield_to_question(&mut self, pair: HostPair, now: Now) {
        let recent = self.passing.questions.has(&pair, now.mono);
        let current = self.pit.get(pair).and_then(Row::protected).map(|own| own.current);
        if let (true, Some(index)) = (recent, current) {
            self.send_yield(index, now);
        }
    }

    /// This router drops the flow. An inner agent whose question nobody has answered hears of it.
    pub(super) fn tell_inner(&mut self, pair: HostPair, now: Now) {
        let Some(Question { dde, back, answered, .. }) =
            self.passing.questions.take(&pair, now.mono)
        else {
            return;
        };
        if !answered
            && let Err(reason) = self.refuse_passing(&dde, Place::Source, Word::ForGood, back, now)
        {
            self.dropped_in(reason);
        }
    }

    fn known(&self, pair: HostPair) -> Known {
        match self.pit.get(pair).map(|row| &row.state) {
            Some(RowState::Protected(_)) => Known::Protected,
            Some(RowState::Clear(plain)) if plain.reason == NegotiationResult::Unasked => {
                Known::Nothing
            }
            Some(RowState::Clear(_)) => Known::Clear,
            Some(RowState::Dropped(_)) => Known::Dropped,
            Some(RowState::Pending(_)) => Known::Asking,
            Some(RowState::Transit(_)) => Known::Others,
            None => Known::Nothing,
        }
    }

    /// This router's own question is answered: so is that of the inner agent.
    pub(super) fn release_withheld(&mut self, pair: HostPair, now: Now) {
        let Some(withheld) = self.passing.withheld.remove(&pair) else {
            match self.known(pair) {
                Known::Dropped => self.tell_inner(pair, now),
                Known::Protected => self.yield_to_question(pair, now),
                _ => {}
            }
            return;
        };
        let Withheld { message, dde, open, stands, arrival } = withheld;
        let word = match self.known(pair) {
            Known::Protected if open => return self.send_along(arrival, &message),
            Known::Clear if open || stands => {
                return self.send_along(arrival, &message);
            }
            Known::Protected => Word::AsOpen,
            Known::Dropped => Word::ForGood,
            _ => return,
        };
        if let Err(reason) = self.refuse_passing(&dde, Place::Source, word, arrival, now) {
            self.dropped_in(reason);
        }
    }
}
