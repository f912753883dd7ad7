//! How much an agent says to addresses that have proven nothing: I8. (RFC 9000 section 8.1 has the
//! factor and the reason: whoever forges a source address must not gain by our answers.)

use super::{Checker, Invariant};
use crate::packet::NodeId;
use ge_core::flow::HostPair;
use std::collections::BTreeMap;

/// Bytes out for each byte in.
const FACTOR: usize = 3;

#[derive(Default)]
pub(super) struct Books {
    exchanged: BTreeMap<(NodeId, HostPair), Exchanged>,
}

#[derive(Clone, Copy, Default)]
struct Exchanged {
    received: usize,
    sent: usize,
}

impl Books {
    pub(super) fn forget(&mut self, node: NodeId) {
        self.exchanged.retain(|(agent, _), _| *agent != node);
    }
}

impl Checker {
    /// A negotiation message of so many bytes comes to an agent, from `pair.remote`.
    pub fn asked_by(&mut self, node: NodeId, pair: HostPair, bytes: usize) {
        self.answers.exchanged.entry((node, pair)).or_default().received += bytes;
    }

    /// An answer of so many bytes leaves an agent, for `pair.remote`.
    pub(super) fn answers(&mut self, node: NodeId, pair: HostPair, bytes: usize) {
        if self.is_secured(node, pair) {
            return; // it has proven that it receives there
        }
        let exchanged = self.answers.exchanged.entry((node, pair)).or_default();
        exchanged.sent += bytes;
        let Exchanged { received, sent } = *exchanged;
        if sent > FACTOR * received {
            let to = pair.remote.0;
            self.fail(
                Invariant::I8Modest,
                format!("{node:?} answered {to} with {sent} bytes to {received}"),
            );
        }
    }
}
