//! What leaves an agent's machine, and what crosses a router: I1, I3, I9.

use super::{Checker, Invariant, PerNode};
use crate::packet::{Class, NodeId, class, message, shows_plaintext};
use ge_core::flow::HostPair;
use ge_core::limits::OPEN_HOLD;
use ge_core::wire::dprp::{HEADER_LEN, Kind, peek};
use ge_core::wire::ip;
use ge_core::{Lane, Mode, NegotiationId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

#[derive(Default)]
pub(super) struct Books {
    /// Pairs each agent has once protected, since it started.
    secured: PerNode<BTreeSet<HostPair>>,
    /// Machines whose agent once stopped in open mode: whoever hears their goodbye, however late,
    /// was told by themselves that they go on in clear.
    released: BTreeSet<IpAddr>,
    /// Last counter of each stream of sealed datagrams.
    counters: HashMap<Stream, u32>,
    /// Which negotiation each ephemeral key was made for.
    ephemerals: HashMap<[u8; 32], (u32, NegotiationId, Kind)>,
    /// Since when a pair without a row is being asked about.
    asked: BTreeMap<(NodeId, HostPair), u64>,
    /// Which pair a negotiation is about, as its initiator sees it.
    questions: HashMap<NegotiationId, HostPair>,
    /// When a NOMATCH about a pair last arrived.
    refused: BTreeMap<(NodeId, HostPair), u64>,
    /// Pairs whose first packet came in clear from outside to a machine behind an open router.
    invited: BTreeSet<(NodeId, HostPair)>,
}

/// Sealed datagrams that must all have different nonces: those one running agent sends under one
/// of the receiver's indices, in one lane. The receiver draws an index at random for every session and both
/// number from zero, so a counter that does not grow means a nonce used twice, unless the receiver
/// drew the same 24-bit index for the same sender again: once in 2^24 pairs of sessions.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Stream {
    instance: u32,
    to: IpAddr,
    index: u32,
    lane: Lane,
}

/// A packet an agent's machine puts on its link.
pub struct Emission<'a> {
    /// The machine.
    pub node: NodeId,
    /// Which run of its agent, unique in the simulation.
    pub instance: u32,
    /// Mode of the agent at this moment.
    pub mode: Mode,
    /// The machine is a router: what it sends may be others' answers to its own question inwards.
    pub router: bool,
    /// It stands for the packet's source: it must ask before it lets a first packet out.
    pub asks: bool,
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
    /// Somebody's packet, passed by the engine.
    Passed,
    /// Somebody's packet, passed by the kernel on the engine's word.
    Offloaded,
}

impl Books {
    pub(super) fn forget(&mut self, node: NodeId) {
        self.secured.remove(&node);
        self.asked.retain(|(asker, _), _| *asker != node);
        self.refused.retain(|(asker, _), _| *asker != node);
        self.invited.retain(|(router, _)| *router != node);
    }
}

impl Checker {
    /// A pair became protected.
    pub fn secured(&mut self, node: NodeId, pair: HostPair) {
        self.wire.secured.entry(node).or_default().insert(pair);
    }

    /// The agent of a machine, or in front of it, stops in open mode.
    pub fn released(&mut self, addr: IpAddr) {
        self.wire.released.insert(addr);
    }

    /// An agent heard a goodbye.
    pub fn heard_goodbye(&mut self, node: NodeId, pair: HostPair) {
        if self.wire.released.contains(&pair.remote.0)
            && let Some(pairs) = self.wire.secured.get_mut(&node)
        {
            pairs.remove(&pair);
        }
    }

    /// True if the pair was protected once and nothing has said since that it need not be.
    #[must_use]
    pub fn is_secured(&self, node: NodeId, pair: HostPair) -> bool {
        self.wire.secured.get(&node).is_some_and(|pairs| pairs.contains(&pair))
    }

    /// A packet that leaves makes an engine ask.
    pub fn asks(&mut self, node: NodeId, pair: HostPair) {
        self.wire.asked.insert((node, pair), self.now);
    }

    /// A NOMATCH reaches `node`, in a packet of this pair: about what was asked under its number,
    /// whoever changed the addresses of the packet.
    pub fn refused(&mut self, node: NodeId, id: NegotiationId, pair: HostPair) {
        let pair = self.wire.questions.get(&id).copied().unwrap_or(pair);
        self.wire.refused.insert((node, pair), self.now);
    }

    /// A router let a machine outside talk in clear to one inside, `pair.local`, which may answer
    /// in clear without anybody being asked.
    pub fn invited(&mut self, node: NodeId, pair: HostPair) {
        self.wire.invited.insert((node, pair));
    }

    /// A packet leaves an agent's machine.
    pub fn emitted(&mut self, emission: &Emission<'_>) {
        let Ok(view) = ip::parse(emission.packet) else { return };
        if shows_plaintext(emission.packet) {
            self.plaintext_left(emission, HostPair::new(view.source, view.destination));
        }
        if emission.by != LinkUse::Engine {
            return; // of somebody else, who answers for its nonces
        }
        match class(emission.packet) {
            Class::Sealed(shim) => {
                let stream = Stream {
                    instance: emission.instance,
                    to: view.destination,
                    index: shim.index.0,
                    lane: shim.lane,
                };
                self.sealed_left(stream, shim.counter_low);
            }
            Class::Message(kind, _) => {
                if let Some((_, message)) = message(emission.packet, &view) {
                    let pair = HostPair::new(view.source, view.destination);
                    self.message_left(emission, kind, message, pair);
                }
            }
            Class::IcmpError | Class::Clear => {}
        }
    }

    fn plaintext_left(&mut self, emission: &Emission<'_>, pair: HostPair) {
        let (node, by, to) = (emission.node, emission.by, pair.remote.0);
        if emission.mode == Mode::Closed {
            self.fail(
                Invariant::I1NoPlaintext,
                format!("closed {node:?} sent plaintext to {to}, {by:?}"),
            );
        } else if self.is_secured(node, pair) {
            self.fail(
                Invariant::I1NoPlaintext,
                format!("{node:?} sent plaintext to {to}, once protected, {by:?}"),
            );
        }
        if emission.asks {
            self.verdict_is_due(node, pair);
        }
    }

    /// I9: open mode passes a first packet after the hold, or because the other end said that it
    /// shares no group, or because nobody is to be asked there, or because it answers a machine
    /// that talked in clear.
    fn verdict_is_due(&mut self, node: NodeId, pair: HostPair) {
        let to = pair.remote.0;
        if !in_scope(to) || self.wire.invited.contains(&(node, pair)) {
            return;
        }
        let Some(&since) = self.wire.asked.get(&(node, pair)) else {
            return self
                .fail(Invariant::I9Verdict, format!("{node:?} let a packet to {to} pass unasked"));
        };
        let waited = u128::from(self.now - since) >= OPEN_HOLD.as_micros();
        let refused = self.wire.refused.get(&(node, pair)).is_some_and(|at| *at >= since);
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
            let Stream { instance, to, index, lane } = stream;
            self.fail(
                Invariant::I3NonceOnce,
                format!("run {instance} sealed to {to} under index {index} in {lane:?} with counter {counter} after {last}"),
            );
        }
    }

    /// The ephemeral key stands right behind the header of DDE and RGI. It may travel again only
    /// within its own negotiation. An RGI with records is somebody else's, made longer.
    fn message_left(
        &mut self,
        emission: &Emission<'_>,
        kind: Kind,
        message: &[u8],
        pair: HostPair,
    ) {
        let (Some(header), Some(ephemeral)) = (peek(message), message[HEADER_LEN..].first_chunk())
        else {
            return;
        };
        match kind {
            Kind::Dde => {
                self.wire.questions.entry(header.sid_i).or_insert(pair);
            }
            Kind::Mpit => {
                self.requested(header.sid_i, emission.node, pair);
                self.spoke(emission.node, pair);
            }
            Kind::Cdn => self.agreed(header.sid_i, emission.node),
            Kind::Rgi if header.records == 0 => self.spoke(emission.node, pair),
            _ => {}
        }
        if !kind.is_request() && !emission.router {
            self.answers(emission.node, pair, emission.packet.len());
        }
        if !matches!(kind, Kind::Dde | Kind::Rgi) || header.records > 0 {
            return;
        }
        let owner = (emission.instance, header.sid_i, kind);
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
