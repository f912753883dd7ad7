//! What stacks are handed: I4, I5, I10.

use super::{Checker, Invariant, PerNode, Streams};
use crate::packet::{NodeId, Parcel, stream_bytes};
use ge_core::Mode;
use ge_core::flow::HostPair;
use std::collections::{BTreeMap, HashMap};

/// How long a removal may take to be felt once it has arrived. PROTOCOL.md 2.5, hard epochs.
const REMOVAL_FELT: u64 = 5_000_000;

#[derive(Default)]
pub(super) struct Books {
    parcels: HashMap<Parcel, Sent>,
    streams: Streams<Stream>,
    received: Streams<u32>,
    /// When each agent installed the removal of each removed member.
    removals: PerNode<BTreeMap<NodeId, u64>>,
}

#[derive(Default)]
struct Sent {
    at: u64,
    opened: u32,
    arrived: u32,
    track: Track,
}

/// Where a datagram came by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// Links on which it could be read.
    pub readable: Vec<(NodeId, NodeId)>,
    /// Agents whose hook it came to in clear.
    pub shown: Vec<NodeId>,
    /// Agents that opened it.
    pub opened: Vec<NodeId>,
    /// How often it arrived at its program.
    pub arrived: u32,
}

/// A packet came out of a session.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Where.
    pub at: NodeId,
    /// The agent at the other end of the session. `None` where it is not shown: one that has its RGI and
    /// waits for the CDN opens what comes.
    pub agent: Option<NodeId>,
    /// Sender and receiver of the packet.
    pub ends: (NodeId, NodeId),
    /// The agent is on the sender's own machine: nothing can have happened to the packet before it
    /// was sealed.
    pub whole_way: bool,
}

/// Bytes handed to the sender's stack, and ranges delivered: start to end, not overlapping.
#[derive(Default)]
struct Stream {
    sent: u32,
    delivered: BTreeMap<u32, u32>,
}

impl Checker {
    /// An application sent a datagram.
    pub fn sent_parcel(&mut self, parcel: Parcel) {
        let sent = Sent { at: self.now, ..Sent::default() };
        self.delivery.parcels.insert(parcel, sent);
    }

    /// An application's stream has reached this offset.
    pub fn sent_stream(&mut self, from: NodeId, to: NodeId, end: u32) {
        self.delivery.streams.entry((from, to)).or_default().sent = end;
    }

    /// The agent of `node` knows from this moment on that `member` was removed.
    pub fn removal_arrived(&mut self, node: NodeId, member: NodeId) {
        let now = self.now;
        self.delivery.removals.entry(node).or_default().entry(member).or_insert(now);
    }

    /// A datagram came out of a session.
    pub fn parcel_opened(&mut self, opening: &Opening, parcel: Parcel) {
        self.heard(opening);
        if (parcel.from, parcel.to) != opening.ends {
            let detail = format!("{parcel:?} came as a packet of another pair: {opening:?}");
            return self.fail(Invariant::I4SentOnce, detail);
        }
        let Some(sent) = self.delivery.parcels.get_mut(&parcel) else {
            return self.fail(Invariant::I4SentOnce, format!("{parcel:?} was never sent"));
        };
        sent.opened += 1;
        note(&mut sent.track.opened, opening.at);
        if opening.at == parcel.to {
            sent.arrived += 1;
        }
        // What was in clear on a link may have been doubled there, and sealed by a router behind it.
        if sent.opened > 1 && opening.whole_way && sent.track.readable.is_empty() {
            self.fail(Invariant::I4SentOnce, format!("{parcel:?} was delivered twice"));
        }
        *self.delivery.received.entry(opening.ends).or_default() += 1;
    }

    /// Something that is neither a datagram nor a stream as sent came out of a session.
    pub fn forged_opened(&mut self, opening: &Opening, why: &str) {
        if opening.whole_way {
            self.fail(Invariant::I4SentOnce, format!("{why}: {opening:?}"));
        }
    }

    /// Stream bytes came out of a session.
    pub fn segment_opened(
        &mut self,
        opening: &Opening,
        ends: (NodeId, NodeId),
        offset: u32,
        bytes: &[u8],
    ) {
        self.heard(opening);
        if ends != opening.ends {
            return self.forged_opened(opening, "stream of another pair");
        }
        let end = offset + bytes.len() as u32;
        let as_sent = stream_bytes(ends.0, ends.1, offset, bytes.len()) == bytes;
        let stream = self.delivery.streams.entry(ends).or_default();
        if !as_sent || end > stream.sent {
            return self.forged_opened(opening, "stream bytes that were not sent");
        }
        let before = stream.delivered.range(..end).next_back().map(|(_, end)| *end);
        if !bytes.is_empty() && before.is_some_and(|end| end > offset) {
            return self.forged_opened(opening, "stream bytes delivered twice");
        }
        stream.delivered.insert(offset, end);
        *self.delivery.received.entry(ends).or_default() += 1;
    }

    /// Who is not shown yet is looked at when the row shows it ([`Self::agreed_with`]).
    fn heard(&mut self, &Opening { at, agent, .. }: &Opening) {
        let Some(peer) = agent else { return };
        let known = self.delivery.removals.get(&at).and_then(|members| members.get(&peer));
        if known.is_some_and(|since| self.now > since + REMOVAL_FELT) {
            self.fail(
                Invariant::I5Removed,
                format!("{at:?} still hears {peer:?}, which was removed"),
            );
        }
    }

    /// A sealed datagram leaves for the machine of `peer`.
    pub fn sealed_for(&mut self, at: NodeId, peer: NodeId) {
        let known = self.delivery.removals.get(&at).and_then(|members| members.get(&peer));
        if known.is_some_and(|since| self.now > since + REMOVAL_FELT) {
            self.fail(
                Invariant::I5Removed,
                format!("{at:?} still seals for {peer:?}, which was removed"),
            );
        }
    }

    /// An agent took a session of `end` for good at `since`, by the certificate it has.
    pub(super) fn agreed_with(&mut self, at: NodeId, end: NodeId, since: u64) {
        let known = self.delivery.removals.get(&at).and_then(|members| members.get(&end));
        if known.is_some_and(|arrived| since > arrived + REMOVAL_FELT) {
            self.fail(
                Invariant::I5Removed,
                format!("{at:?} took a session of {end:?}, which was removed"),
            );
        }
    }

    /// A plaintext packet of a pair is handed to the stack of a machine with an agent.
    pub fn plaintext_accepted(
        &mut self,
        at: NodeId,
        pair: HostPair,
        mode: Mode,
        verdict: Option<&str>,
    ) {
        let from = pair.remote.0;
        let refused = if mode == Mode::Closed {
            "a closed agent"
        } else if verdict == Some("protected") {
            "a protected flow"
        } else if self.is_secured(at, pair) {
            "a flow once protected"
        } else {
            return;
        };
        self.fail(
            Invariant::I4SentOnce,
            format!("{refused} of {at:?} accepted plaintext from {from}"),
        );
    }

    /// A datagram came to its program without an agent's help on the last hop.
    pub fn parcel_arrived(&mut self, parcel: Parcel) {
        if let Some(sent) = self.delivery.parcels.get_mut(&parcel) {
            sent.arrived += 1;
        }
    }

    /// A datagram can be read on a link.
    pub fn parcel_readable(&mut self, link: (NodeId, NodeId), parcel: Parcel) {
        if let Some(sent) = self.delivery.parcels.get_mut(&parcel) {
            note(&mut sent.track.readable, link);
        }
    }

    /// A datagram comes to an agent's hook in clear.
    pub fn parcel_shown(&mut self, agent: NodeId, parcel: Parcel) {
        if let Some(sent) = self.delivery.parcels.get_mut(&parcel) {
            note(&mut sent.track.shown, agent);
        }
    }

    /// Where a datagram came by.
    #[must_use]
    pub fn track(&self, parcel: Parcel) -> Track {
        let sent = self.delivery.parcels.get(&parcel);
        sent.map_or_else(Track::default, |sent| Track {
            arrived: sent.arrived,
            ..sent.track.clone()
        })
    }

    /// Datagrams and segments that came out of sessions from one node at another.
    #[must_use]
    pub fn opened(&self, from: NodeId, to: NodeId) -> u32 {
        self.delivery.received.get(&(from, to)).copied().unwrap_or(0)
    }

    /// Numbers of the datagrams between two nodes that arrived sealed and in clear, and of those
    /// that did not arrive, among those sent from `since` on and before `until`.
    #[must_use]
    pub fn tally(&self, from: NodeId, to: NodeId, since: u64, until: u64) -> Tally {
        let mut tally = Tally::default();
        for (parcel, sent) in &self.delivery.parcels {
            if (parcel.from, parcel.to) != (from, to) || !(since..until).contains(&sent.at) {
                continue;
            }
            match (sent.arrived, sent.opened) {
                (0, _) => tally.lost += 1,
                (_, 0) => tally.clear += 1,
                (_, _) => tally.sealed += 1,
            }
        }
        tally
    }
}

fn note<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// What became of the datagrams of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Arrived in a session.
    pub sealed: u32,
    /// Arrived in clear.
    pub clear: u32,
    /// Did not arrive.
    pub lost: u32,
}
