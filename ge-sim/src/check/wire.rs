//! What leaves an agent's machine: I1, I3, I9.

use super::{Checker, Invariant, PerNode, Remotes};
use crate::packet::{Class, NodeId, class, message, shows_plaintext};
use ge_core::limits::OPEN_HOLD;
use ge_core::wire::dprp::{HEADER_LEN, Kind, peek};
use ge_core::wire::ip;
use ge_core::{Mode, NegotiationId};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

#[derive(Default)]
pub(super) struct Books {
    /// Destinations each agent has once talked to protected, since it started.
    secured: PerNode<Remotes>,
    /// Machines whose agent once stopped in open mode: whoever hears their goodbye, however late,
    /// was told by themselves that they go on in clear.
    released: Remotes,
    /// Last counter of each stream of sealed datagrams.
    counters: HashMap<Stream, u32>,
    /// Which negotiation each ephemeral key was made for.
    ephemerals: HashMap<[u8; 32], (u32, NegotiationId, Kind)>,
    /// Since when a destination without a row is being asked.
    asked: BTreeMap<(NodeId, IpAddr), u64>,
    /// When a NOMATCH from a destination last arrived.
    refused: BTreeMap<(NodeId, IpAddr), u64>,
}

/// Sealed datagrams that must all have different nonces: those one running engine sends under one
/// of the receiver's indices. The receiver draws an index at random for every session and both
/// number from zero, so a counter that does not grow means a nonce used twice, unless the receiver
/// drew the same 24-bit index for the same sender again: once in 2^24 pairs of sessions.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Stream {
    instance: u32,
    to: IpAddr,
    index: u32,
}

/// A packet an agent's machine puts on its link.
pub struct Emission<'a> {
    /// The machine.
    pub node: NodeId,
    /// Which run of its agent, unique in the simulation.
    pub instance: u32,
    /// Mode of the agent at this moment.
    pub mode: Mode,
    /// The IP packet.
    pub packet: &'a [u8],
    /// Why it was let out.
    pub by: LinkUse,
}

/// Why a packet leaves a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkUse {
    /// The engine made it.
    Engine,
    /// A program's packet, passed by the engine.
    Passed,
    /// A program's packet, passed by the kernel on the engine's word.
    Offloaded,
}

impl Books {
    pub(super) fn forget(&mut self, node: NodeId) {
        self.secured.remove(&node);
        self.asked.retain(|(asker, _), _| *asker != node);
        self.refused.retain(|(asker, _), _| *asker != node);
    }
}

impl Checker {
    /// A pair became protected.
    pub fn secured(&mut self, node: NodeId, remote: IpAddr) {
        self.wire.secured.entry(node).or_default().insert(remote);
    }

    /// A machine's agent stops in open mode.
    pub fn released(&mut self, addr: IpAddr) {
        self.wire.released.insert(addr);
    }

    /// An agent heard a goodbye from `remote`.
    pub fn heard_goodbye(&mut self, node: NodeId, remote: IpAddr) {
        if self.wire.released.contains(&remote)
            && let Some(remotes) = self.wire.secured.get_mut(&node)
        {
            remotes.remove(&remote);
        }
    }

    /// True if the pair was protected once and nothing has said since that it need not be.
    #[must_use]
    pub fn is_secured(&self, node: NodeId, remote: IpAddr) -> bool {
        self.wire.secured.get(&node).is_some_and(|remotes| remotes.contains(&remote))
    }

    /// A program's packet reaches an engine that has no row for its destination.
    pub fn asks(&mut self, node: NodeId, remote: IpAddr) {
        self.wire.asked.insert((node, remote), self.now);
    }

    /// A NOMATCH from `remote` reaches `node`.
    pub fn refused(&mut self, node: NodeId, remote: IpAddr) {
        self.wire.refused.insert((node, remote), self.now);
    }

    /// A packet leaves an agent's machine.
    pub fn emitted(&mut self, emission: &Emission<'_>) {
        let Ok(view) = ip::parse(emission.packet) else { return };
        if shows_plaintext(emission.packet) {
            self.plaintext_left(emission, view.destination);
        }
        match class(emission.packet) {
            Class::Sealed(shim) => {
                let stream = Stream {
                    instance: emission.instance,
                    to: view.destination,
                    index: shim.index.0,
                };
                self.sealed_left(stream, shim.counter_low);
            }
            Class::Message(kind, _) => {
                if let Some((_, message)) = message(emission.packet, &view) {
                    self.message_left(emission.instance, kind, message);
                }
            }
            Class::IcmpError | Class::Clear => {}
        }
    }

    fn plaintext_left(&mut self, emission: &Emission<'_>, to: IpAddr) {
        let (node, by) = (emission.node, emission.by);
        if emission.mode == Mode::Closed {
            self.fail(
                Invariant::I1NoPlaintext,
                format!("closed {node:?} sent plaintext to {to}, {by:?}"),
            );
        } else if self.is_secured(node, to) {
            self.fail(
                Invariant::I1NoPlaintext,
                format!("{node:?} sent plaintext to {to}, once protected, {by:?}"),
            );
        }
        self.verdict_is_due(node, to);
    }

    /// I9: open mode passes a first packet after the hold, or because the other end said that it
    /// shares no group, or because nobody is to be asked there.
    fn verdict_is_due(&mut self, node: NodeId, to: IpAddr) {
        if !in_scope(to) {
            return;
        }
        let Some(&since) = self.wire.asked.get(&(node, to)) else {
            return self
                .fail(Invariant::I9Verdict, format!("{node:?} let a packet to {to} pass unasked"));
        };
        let waited = u128::from(self.now - since) >= OPEN_HOLD.as_micros();
        let refused = self.wire.refused.get(&(node, to)).is_some_and(|at| *at >= since);
        if !waited && !refused {
            let waited = self.now - since;
            self.fail(
                Invariant::I9Verdict,
                format!("{node:?} let a packet to {to} pass after {waited} µs without an answer"),
            );
        }
    }

    fn sealed_left(&mut self, stream: Stream, counter: u32) {
        if let Some(last) = self.wire.counters.insert(stream, counter)
            && counter <= last
        {
            let Stream { instance, to, index } = stream;
            self.fail(
                Invariant::I3NonceOnce,
                format!("run {instance} sealed to {to} under index {index} with counter {counter} after {last}"),
            );
        }
    }

    /// The ephemeral key stands right behind the header of DDE and RGI. It may travel again only
    /// within its own negotiation.
    fn message_left(&mut self, instance: u32, kind: Kind, message: &[u8]) {
        let (Some(header), Some(ephemeral)) = (peek(message), message[HEADER_LEN..].first_chunk())
        else {
            return;
        };
        if !matches!(kind, Kind::Dde | Kind::Rgi) {
            return;
        }
        let owner = (instance, header.sid_i, kind);
        let known = *self.wire.ephemerals.entry(*ephemeral).or_insert(owner);
        if known != owner {
            self.fail(
                Invariant::I3NonceOnce,
                format!("ephemeral key of {known:?} again in {owner:?}"),
            );
        }
    }
}

/// The simulated policy names these networks.
fn in_scope(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => v4.octets()[0] == 10,
        IpAddr::V6(v6) => v6.octets()[0] == 0xfd,
    }
}
