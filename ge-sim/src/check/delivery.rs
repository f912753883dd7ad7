//! What stacks are handed: I4, I5, I10.

use super::{Checker, Invariant, PerNode, Streams};
use crate::packet::{NodeId, Parcel, stream_bytes};
use ge_core::Mode;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

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

struct Sent {
    at: u64,
    sealed: u32,
    clear: u32,
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
        let sent = Sent { at: self.now, sealed: 0, clear: 0 };
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

    /// A datagram came out of a session at `at`, whose session says it is from `peer`.
    pub fn parcel_opened(&mut self, at: NodeId, peer: NodeId, parcel: Parcel) {
        self.heard(at, peer);
        if parcel.from != peer || parcel.to != at {
            let detail = format!("{at:?} was handed {parcel:?} in a session with {peer:?}");
            return self.fail(Invariant::I4SentOnce, detail);
        }
        let Some(sent) = self.delivery.parcels.get_mut(&parcel) else {
            return self.fail(Invariant::I4SentOnce, format!("{parcel:?} was never sent"));
        };
        sent.sealed += 1;
        if sent.sealed > 1 {
            self.fail(Invariant::I4SentOnce, format!("{parcel:?} was delivered twice"));
        }
        *self.delivery.received.entry((peer, at)).or_default() += 1;
    }

    /// Something that is neither a datagram nor a stream as sent came out of a session.
    pub fn forged_opened(&mut self, at: NodeId, peer: NodeId, why: &str) {
        self.fail(Invariant::I4SentOnce, format!("{at:?} was handed a packet of {peer:?}: {why}"));
    }

    /// Stream bytes came out of a session.
    pub fn segment_opened(
        &mut self,
        at: NodeId,
        peer: NodeId,
        ends: (NodeId, NodeId),
        offset: u32,
        bytes: &[u8],
    ) {
        self.heard(at, peer);
        if ends != (peer, at) {
            return self.forged_opened(at, peer, "stream of another pair");
        }
        let end = offset + bytes.len() as u32;
        let as_sent = stream_bytes(peer, at, offset, bytes.len()) == bytes;
        let stream = self.delivery.streams.entry(ends).or_default();
        if !as_sent || end > stream.sent {
            return self.forged_opened(at, peer, "stream bytes that were not sent");
        }
        let before = stream.delivered.range(..end).next_back().map(|(_, end)| *end);
        if !bytes.is_empty() && before.is_some_and(|end| end > offset) {
            let detail = format!("stream {peer:?} to {at:?}: bytes from {offset} delivered twice");
            return self.fail(Invariant::I4SentOnce, detail);
        }
        stream.delivered.insert(offset, end);
        *self.delivery.received.entry(ends).or_default() += 1;
    }

    fn heard(&mut self, at: NodeId, peer: NodeId) {
        let known = self.delivery.removals.get(&at).and_then(|members| members.get(&peer));
        if known.is_some_and(|since| self.now > since + REMOVAL_FELT) {
            self.fail(
                Invariant::I5Removed,
                format!("{at:?} still hears {peer:?}, which was removed"),
            );
        }
    }

    /// A plaintext packet is handed to the stack of a machine with an agent.
    pub fn plaintext_accepted(
        &mut self,
        at: NodeId,
        from: IpAddr,
        mode: Mode,
        verdict: Option<&str>,
    ) {
        let refused = if mode == Mode::Closed {
            "a closed agent"
        } else if verdict == Some("protected") {
            "a protected flow"
        } else if self.is_secured(at, from) {
            "a flow once protected"
        } else {
            return;
        };
        self.fail(
            Invariant::I4SentOnce,
            format!("{refused} of {at:?} accepted plaintext from {from}"),
        );
    }

    /// A datagram arrived in clear.
    pub fn parcel_in_clear(&mut self, parcel: Parcel) {
        if let Some(sent) = self.delivery.parcels.get_mut(&parcel) {
            sent.clear += 1;
        }
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
            match (sent.sealed, sent.clear) {
                (0, 0) => tally.lost += 1,
                (0, _) => tally.clear += 1,
                (_, _) => tally.sealed += 1,
            }
        }
        tally
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
