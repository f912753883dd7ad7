//! Sealed datagrams that overtook the MPIT which makes their keys.
//!
//! The initiator sends data right behind its MPIT. Where the data arrives first (a network that
//! reorders, an MPIT that was cut or lost), dropping it would cost the program its own repeat: a
//! second for TCP. So the first few datagrams under an index that was given out wait for the MPIT,
//! unopened. Nobody vouches for them yet: they are few, from the address that asked, and change
//! nothing until they are opened like any other.

use super::Engine;
use crate::io::{DatagramMeta, Output, Received};
use crate::limits::{EARLY_BYTES, EARLY_PER_ANSWER};
use crate::wire::vnet::{VnetHeader, complete_checksum};
use crate::{DropReason, Now, SessionIndex};
use core::net::IpAddr;
use std::collections::BTreeMap;

/// What waits, by the index given out in an RGI whose MPIT has not come yet.
#[derive(Default)]
pub(super) struct Early {
    expected: BTreeMap<SessionIndex, Waiting>,
    bytes: usize,
}

struct Waiting {
    from: IpAddr,
    datagrams: Vec<EarlyDatagram>,
}

/// One datagram as it arrived.
pub(super) struct EarlyDatagram {
    meta: DatagramMeta,
    bytes: Vec<u8>,
}

impl Early {
    /// Answers whose MPIT is still to come.
    pub(super) fn waiting(&self) -> usize {
        self.expected.len()
    }

    /// An index was given to the agent at `from`.
    pub(super) fn expect(&mut self, index: SessionIndex, from: IpAddr) {
        self.expected.insert(index, Waiting { from, datagrams: Vec::new() });
    }

    /// Keeps a datagram, or refuses it: nobody expects it, or enough of them wait.
    fn keep(&mut self, index: SessionIndex, datagram: &[u8], meta: &DatagramMeta) -> bool {
        let Some(waiting) = self.expected.get_mut(&index) else { return false };
        if meta.from.0 != waiting.from
            || waiting.datagrams.len() >= EARLY_PER_ANSWER
            || self.bytes + datagram.len() > EARLY_BYTES
        {
            return false;
        }
        self.bytes += datagram.len();
        waiting.datagrams.push(EarlyDatagram { meta: *meta, bytes: datagram.to_vec() });
        true
    }

    /// Expects the index no longer, and gives what came, oldest first.
    pub(super) fn take(&mut self, index: SessionIndex) -> Vec<EarlyDatagram> {
        let datagrams = self.expected.remove(&index).map_or_else(Vec::new, |w| w.datagrams);
        self.bytes -= datagrams.iter().map(|datagram| datagram.bytes.len()).sum::<usize>();
        datagrams
    }
}

impl Engine {
    /// A datagram without a session waits if its MPIT is still to come.
    pub(super) fn keep_early(
        &mut self,
        index: SessionIndex,
        datagram: &[u8],
        meta: &DatagramMeta,
    ) -> Result<(), DropReason> {
        let kept = self.answers.early.keep(index, datagram, meta);
        if kept { Ok(()) } else { Err(DropReason::NoSession) }
    }

    /// The session is there: what came before it is opened now.
    pub(super) fn open_early(&mut self, index: SessionIndex, now: Now) {
        for EarlyDatagram { meta, mut bytes } in self.answers.early.take(index) {
            let received = Received::alone(&bytes, bytes.len(), meta);
            let mut packets = Vec::new();
            self.datagrams(&mut bytes, &[received], now, &mut |gather| {
                let mut packet = gather.header.to_vec();
                for range in gather.payload {
                    packet.extend_from_slice(&gather.buffer[range.clone()]);
                }
                packets.push((gather.vnet, packet));
            });
            for (vnet, mut packet) in packets {
                let whole =
                    VnetHeader::parse(&vnet).and_then(|vnet| complete_checksum(&vnet, &mut packet));
                match whole {
                    Ok(()) => self.emit(Output::Opened(packet)),
                    Err(_) => self.dropped_in(DropReason::Malformed),
                }
            }
        }
    }

    /// The MPIT did not come; what waited for it is dropped as any datagram without a session.
    pub(super) fn forget_early(&mut self, index: SessionIndex) {
        for _ in self.answers.early.take(index) {
            self.dropped_in(DropReason::NoSession);
        }
    }
}

#[cfg(test)]
mod tests;
