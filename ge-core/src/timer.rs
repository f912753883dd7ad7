//! One timer table; every deadline has a name.
//!
//! Deadlines are never cancelled: whoever set one checks, when it fires, whether it still means
//! anything. That keeps setting a timer cheap enough to do per row. Whoever sets one again each
//! time it fires remembers for when, so that a second one set meanwhile does not go on for ever.

use crate::flow::HostPair;
use crate::id::{NegotiationId, SessionIndex};
use crate::now::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Next attempt of the negotiation of this pair, or its end.
    Retransmit(HostPair),
    /// Open mode has held this pair's first packet long enough.
    HoldOver(HostPair),
    /// A row may be idle, or its verdict may have aged out.
    RowAge(HostPair),
    /// A plaintext flow is to be asked about again in the background.
    AskAgain(HostPair),
    /// A session must be rekeyed, kept alive, checked for a silent peer, or dropped.
    Session(SessionIndex),
    /// A negotiation as responder, or a stored answer, may be forgotten.
    Answer(NegotiationId),
    /// Nobody behind this router answered a question that passed.
    Unanswered(NegotiationId),
    /// Another agent may have taken over a flow that this router protects.
    Handover(HostPair),
    /// A session of others whose second signature has not passed may be forgotten.
    Tentative(NegotiationId),
    /// A CDN has let packets go first and is to be sent.
    Confirm(NegotiationId),
    /// The pair's question is to go out in the other carrier as well.
    OtherCarrier(HostPair),
}

impl Timer {
    const fn name(self) -> &'static str {
        match self {
            Self::Retransmit(_) => "retransmit",
            Self::HoldOver(_) => "hold-over",
            Self::RowAge(_) => "row-age",
            Self::AskAgain(_) => "ask-again",
            Self::Session(_) => "session",
            Self::Answer(_) => "answer",
            Self::Unanswered(_) => "unanswered",
            Self::Handover(_) => "handover",
            Self::Tentative(_) => "tentative",
            Self::Confirm(_) => "confirm",
            Self::OtherCarrier(_) => "other-carrier",
        }
    }
}

/// Deadlines, earliest first.
#[derive(Default)]
pub struct TimerTable {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
}

impl TimerTable {
    /// Adds a deadline.
    pub fn set(&mut self, at: Instant, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    /// Takes the earliest deadline that has passed: for when it was set, and what it is for.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, Timer)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| due)
    }

    /// The earliest deadline and its name.
    #[must_use]
    pub fn next(&self) -> Option<(Instant, &'static str)> {
        self.heap.peek().map(|Reverse((at, timer))| (*at, timer.name()))
    }

    /// Number of deadlines set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// True if no deadline is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}
