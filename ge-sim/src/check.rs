//! The invariants, checked after every event. THREATS.md 3.4.
//!
//! The checker sees what an observer of the whole world sees: what applications sent, every packet
//! on every link, every packet handed to a host's stack, and the engines' public tables. It keeps
//! its own books and never asks an engine whether the engine did right.
//!
//! | invariant | file |
//! |---|---|
//! | I1 no plaintext where there must be none, I3 no nonce twice, I9 nothing held leaves early | `check/wire.rs` |
//! | I2 a row of a session where both its ends signed, and the router is content | `check/between.rs` |
//! | I8 answers no more than three times what was received | `check/answers.rs` |
//! | I4 delivered is what was sent, once; I5 removed members are left alone; I10 flows come up | `check/delivery.rs` |
//! | I6 tables in bounds, I7 strangers change nothing, I11 no going back, I12 no answer to strangers | `check/state.rs` |

mod answers;
mod between;
mod delivery;
mod state;
mod wire;

pub use between::Conduct;
pub use delivery::{Opening, Tally, Track};
pub use state::{Fingerprint, fingerprint};
pub use wire::{Emission, LinkUse};

use crate::packet::NodeId;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// What must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// No plaintext of a closed agent's flow, nor of a pair once protected, outside a session.
    I1NoPlaintext,
    /// A row of a session: both its ends spoke for this pair; at a router between them both signed,
    /// and it is content with them.
    I2BothSigned,
    /// A (key, nonce) pair never repeats; no ephemeral key serves two negotiations.
    I3NonceOnce,
    /// What a stack is handed from a session was sent exactly once by that session's peer.
    I4SentOnce,
    /// A removed member is neither heard nor sent anything after the removal has arrived.
    I5Removed,
    /// Tables stay within their limits.
    I6Bounded,
    /// Unauthenticated input changes only counters.
    I7OnlyCounters,
    /// To an address that has proven nothing, at most three times as many bytes as came from it.
    I8Modest,
    /// Held packets leave only after a verdict.
    I9Verdict,
    /// When faults are over, every wanted flow is up in time.
    I10Liveness,
    /// Policy versions and epochs used for sending never go back; ended epochs are not used.
    I11NoGoingBack,
    /// Nothing is sent in answer to unauthenticated input.
    I12Silence,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// When, in microseconds of virtual time.
    pub at: u64,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at as f64 / 1e6;
        write!(f, "{:?} violated at {seconds:.6} s: {}", self.invariant, self.detail)
    }
}

/// Books of the whole world, and the first violation.
#[derive(Default)]
pub struct Checker {
    /// Virtual time, set before every event.
    pub now: u64,
    violation: Option<Violation>,
    answers: answers::Books,
    between: between::Books,
    delivery: delivery::Books,
    wire: wire::Books,
    state: state::Books,
}

impl Checker {
    /// The first violation, if there was one.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Notes a violation; the first one counts.
    pub fn fail(&mut self, invariant: Invariant, detail: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, at: self.now, detail });
        }
    }

    /// An agent started with nothing in its memory but, perhaps, its membership.
    pub fn started(&mut self, node: NodeId) {
        self.answers.forget(node);
        self.between.forget(node);
        self.wire.forget(node);
        self.state.forget(node);
    }
}

type PerNode<T> = BTreeMap<NodeId, T>;
type Streams<T> = HashMap<(NodeId, NodeId), T>;
