//! What is sent to who has shown nothing: I8.

use super::{Checker, Invariant};
use crate::packet::{Class, NodeId, class};
use ge_core::wire::dprp::Kind;
use ge_core::wire::{ip, protocol};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Bytes answered for bytes received, at most (PROTOCOL.md 2.5, RFC 9000 8).
const FACTOR: u64 = 3;

#[derive(Default)]
pub(super) struct Books {
    /// ICMP bytes that came to an agent from an address or, past a router, to it; and bytes of the
    /// answers it sent there.
    exchanged: BTreeMap<(NodeId, IpAddr), (u64, u64)>,
}

impl Books {
    pub(super) fn forget(&mut self, node: NodeId) {
        self.exchanged.retain(|(agent, _), _| *agent != node);
    }
}

impl Checker {
    /// A packet comes to an agent's hook from outside, or past a router from inside.
    pub fn shown_to(&mut self, node: NodeId, packet: &[u8]) {
        let Ok(view) = ip::parse(packet) else { return };
        if !matches!(view.protocol, protocol::ICMP | protocol::ICMPV6) {
            return;
        }
        let bytes = (view.total_len - view.header_len) as u64;
        for end in [view.source, view.destination] {
            self.answer.exchanged.entry((node, end)).or_default().0 += bytes;
        }
    }

    /// An agent's own packet leaves its machine.
    pub(super) fn answered(&mut self, node: NodeId, packet: &[u8]) {
        let Ok(view) = ip::parse(packet) else { return };
        let Class::Message(kind, true) = class(packet) else { return };
        if matches!(kind, Kind::Dde | Kind::Mpit) {
            return;
        }
        let (to, bytes) = (view.destination, (view.total_len - view.header_len) as u64);
        let (received, sent) = self.answer.exchanged.entry((node, to)).or_default();
        *sent += bytes;
        if *sent > FACTOR * *received {
            let detail = format!("{node:?} sent {sent} B to {to}, which sent {received} B");
            self.fail(Invariant::I8Amplified, detail);
        }
    }
}
