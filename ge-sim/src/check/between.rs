//! Who agreed to what: I2. A row of a session exists where both its ends spoke for its pair, in their
//! own name, and nowhere else: at the ends themselves, and at routers between them.

use super::{Checker, Invariant};
use crate::packet::NodeId;
use ge_core::flow::HostPair;
use ge_core::limits::REJECT_AFTER_TIME;
use ge_core::{GroupId, Mode, NegotiationId, Transit};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A router's row is made at most so long after the responder signed: the message's way, with what
/// links and the adversary may add, and what a router remembers of a request. A record counts ten
/// seconds (PROTOCOL.md 2.5).
const SIGNED_WITHIN: u64 = 15_000_000;

/// What two others agreed on counts for a router this long, and a little.
const SESSION_LIFETIME: u64 = REJECT_AFTER_TIME.as_micros() as u64 + 5_000_000;

#[derive(Default)]
pub(super) struct Books {
    /// Who sent the MPIT of a negotiation in its own name.
    requested: HashMap<NegotiationId, Request>,
    /// When both ends had signed, by pair as the initiator names it.
    signed: BTreeMap<Agreement, Vec<u64>>,
    /// Who asked or answered about which pair, in its own name.
    spoke: BTreeSet<(NodeId, HostPair)>,
    /// When a router last had a row of a session with this end.
    ends: BTreeMap<(NodeId, NodeId), u64>,
}

impl Books {
    pub(super) fn forget(&mut self, node: NodeId) {
        self.ends.retain(|(router, _), _| *router != node);
    }
}

#[derive(Clone, Copy)]
struct Request {
    initiator: NodeId,
    pair: HostPair,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Agreement {
    initiator: NodeId,
    responder: NodeId,
    pair: HostPair,
}

/// What a router lets pass, in truth, as the server said.
pub struct Conduct<'a> {
    /// Its mode.
    pub mode: Mode,
    /// What it asks of others' sessions.
    pub transit: Transit,
    /// Whether it shares a group with one of the ends.
    pub vouched: bool,
    /// Groups, for people.
    pub groups: &'a [GroupId],
}

impl Checker {
    /// An agent speaks for a pair: its RGI or MPIT leaves.
    pub(super) fn spoke(&mut self, node: NodeId, pair: HostPair) {
        self.between.spoke.insert((node, unordered(pair)));
    }

    /// An agent has a session with `peer` for `pair` since `since`.
    pub fn protects(&mut self, node: NodeId, pair: HostPair, peer: Option<NodeId>, since: u64) {
        let (local, remote) = (pair.local.0, pair.remote.0);
        let Some(peer) = peer.filter(|peer| *peer != node) else {
            let detail = format!("{node:?} protects {local} and {remote} with no other agent");
            return self.fail(Invariant::I2BothSigned, detail);
        };
        if !self.between.spoke.contains(&(peer, unordered(pair))) {
            self.fail(
                Invariant::I2BothSigned,
                format!("{node:?} protects {local} and {remote} with {peer:?}, who did not speak"),
            );
        }
        self.agreed_with(node, peer, since);
    }

    /// A closed router must itself be content with what it lets pass, whatever others say of it.
    pub fn content(&mut self, node: NodeId, ends: [NodeId; 2], conduct: &Conduct<'_>) {
        let content = match (conduct.mode, conduct.transit) {
            (Mode::Open, _) | (Mode::Closed, Transit::Any) => true,
            (Mode::Closed, Transit::Vouched) => conduct.vouched,
            (Mode::Closed, Transit::Strict) => false,
        };
        if !content {
            let Conduct { transit, groups, .. } = conduct;
            self.fail(
                Invariant::I2BothSigned,
                format!(
                    "closed {node:?} ({}, groups {groups:?}) lets a session of {ends:?} pass",
                    transit.as_str()
                ),
            );
        }
    }

    /// An agent asks for a session in the name of `pair.local`: its MPIT leaves.
    pub(super) fn requested(&mut self, id: NegotiationId, initiator: NodeId, pair: HostPair) {
        self.between.requested.insert(id, Request { initiator, pair });
    }

    /// An agent agrees to a session: its CDN leaves.
    pub(super) fn agreed(&mut self, id: NegotiationId, responder: NodeId) {
        let Some(&Request { initiator, pair }) = self.between.requested.get(&id) else { return };
        let agreement = Agreement { initiator, responder, pair };
        self.between.signed.entry(agreement).or_default().push(self.now);
    }

    /// A sealed datagram for `to` passes a closed router. One of the session before the one in the
    /// router's row may still be under way.
    pub fn sealed_passed(&mut self, node: NodeId, to: Option<NodeId>) {
        let known = to.and_then(|to| self.between.ends.get(&(node, to)));
        if known.is_none_or(|last| self.now > last + SESSION_LIFETIME) {
            self.fail(
                Invariant::I2BothSigned,
                format!("closed {node:?} lets a sealed datagram for {to:?} pass, of no session"),
            );
        }
    }

    /// A router has had a row of a session between two others since `since`, by which the two
    /// `ends` signed for `pair`.
    pub fn between(&mut self, node: NodeId, pair: HostPair, ends: [Option<NodeId>; 2], since: u64) {
        for end in ends.into_iter().flatten() {
            self.between.ends.insert((node, end), self.now);
        }
        let [Some(initiator), Some(responder)] = ends else {
            let detail = format!("{node:?} has a row of a session between strangers: {ends:?}");
            return self.fail(Invariant::I2BothSigned, detail);
        };
        for end in [initiator, responder] {
            self.agreed_with(node, end, since);
        }
        // Beyond a NAT a router sees another source than the one that both signed for.
        let hosts = [pair.local, pair.remote];
        let signed = self.between.signed.iter().any(|(agreement, times)| {
            let Agreement { initiator: one, responder: other, pair } = agreement;
            (*one, *other) == (initiator, responder)
                && hosts.contains(&pair.remote)
                && times.iter().any(|at| *at + SIGNED_WITHIN >= since)
        });
        if !signed {
            let (local, remote) = (pair.local.0, pair.remote.0);
            self.fail(
                Invariant::I2BothSigned,
                format!(
                    "{node:?} lets a session between {initiator:?} and {responder:?} pass, \
                     who did not sign for {local} and {remote}"
                ),
            );
        }
    }
}

/// The same for both directions.
fn unordered(pair: HostPair) -> HostPair {
    if pair.local.0 <= pair.remote.0 { pair } else { pair.reversed() }
}
