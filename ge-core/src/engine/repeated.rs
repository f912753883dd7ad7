//! Questions that a router repeated inwards itself. Each repeat may be answered; who asked gets no more
//! answers than it sent questions, or a router would make more of one than it is (THREATS row 19).

use crate::id::NegotiationId;
use crate::limits::{PASSING, TENTATIVE_LIFETIME};
use crate::now::Instant;
use std::collections::BTreeMap;

/// By the number of the negotiation; for as long as its question may be answered. Two generations, each
/// one such time long.
#[derive(Default)]
pub(super) struct Repeated {
    young: BTreeMap<NegotiationId, Due>,
    old: BTreeMap<NegotiationId, Due>,
    since: Instant,
}

/// Answers that who asked has not had yet.
#[derive(Clone, Copy)]
struct Due(u32);

impl Repeated {
    /// A question goes inwards once more, and nobody outside asked for that.
    pub(super) fn note(&mut self, id: NegotiationId, now: Instant) {
        if self.due(id).is_some() {
            return;
        }
        if now.since(self.since) >= TENTATIVE_LIFETIME || self.young.len() >= PASSING {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
        self.young.insert(id, Due(1));
    }

    /// This router answered itself, in place of those further in: what they say late is one answer more.
    pub(super) fn answered(&mut self, id: NegotiationId, now: Instant) {
        self.note(id, now);
        if let Some(due) = self.due(id) {
            due.0 = due.0.saturating_sub(1);
        }
    }

    /// The question came from outside again.
    pub(super) fn asked_again(&mut self, id: NegotiationId) {
        if let Some(due) = self.due(id) {
            due.0 = due.0.saturating_add(1);
        }
    }

    /// Whether an authentic answer is one more than was asked for; counts it if it is not.
    pub(super) fn is_surplus(&mut self, id: NegotiationId) -> bool {
        let Some(due) = self.due(id) else { return false };
        let surplus = due.0 == 0;
        due.0 = due.0.saturating_sub(1);
        surplus
    }

    fn due(&mut self, id: NegotiationId) -> Option<&mut Due> {
        self.young.get_mut(&id).or_else(|| self.old.get_mut(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn answers_are_as_many_as_questions() {
        let (mut repeated, now) = (Repeated::default(), Instant::default());
        let (one, other) = (NegotiationId([1; 8]), NegotiationId([2; 8]));
        assert!(!repeated.is_surplus(one), "never repeated here");
        repeated.note(one, now);
        repeated.note(one, now);
        assert!(!repeated.is_surplus(one));
        assert!(repeated.is_surplus(one));
        repeated.asked_again(one);
        assert!(!repeated.is_surplus(one));
        assert!(repeated.is_surplus(one));
        assert!(!repeated.is_surplus(other));
    }

    #[test]
    fn memory_is_bounded() {
        let mut repeated = Repeated::default();
        let start = Instant::default() + Duration::from_secs(10);
        for n in 0..3 * PASSING as u64 {
            repeated.note(NegotiationId(n.to_be_bytes()), start);
        }
        assert!(repeated.young.len() + repeated.old.len() <= 2 * PASSING);
    }
}
