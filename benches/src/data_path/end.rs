//! Whoever seals at one end, and whoever opens at the other.

use crate::scene::{ETH0, MTU};
use ge_core::Now;
use ge_core::addr::WireAddr;
use ge_core::batch::SealedBatch;
use ge_core::engine::Engine;
use ge_core::fast_path::FastPath;
use ge_core::flow::Direction;
use ge_core::io::{DatagramMeta, Frame, Gather, Received};
use ge_core::limits::DATA_PORT;
use ge_core::now::Instant;
use std::hint::black_box;
use std::net::IpAddr;

/// A way from one agent to the other.
pub(super) trait Path {
    /// Seals a captured frame; if it does not, nothing arrives.
    fn seal(&mut self, frame: &mut [u8], batch: &mut SealedBatch);

    /// Opens what arrived: how many packets they were before any were merged.
    fn open(&mut self, buffer: &mut [u8], received: &[Received]) -> usize;
}

/// By the engines of both.
pub(super) struct Engines<'a> {
    pub(super) sealing: &'a mut Engine,
    pub(super) opening: &'a mut Engine,
    pub(super) now: Now,
}

/// By a thread beside the engine of each.
pub(super) struct Beside {
    pub(super) sealing: FastPath,
    pub(super) opening: FastPath,
    pub(super) now: Instant,
}

impl Path for Engines<'_> {
    fn seal(&mut self, frame: &mut [u8], batch: &mut SealedBatch) {
        self.sealing.outgoing(&mut leaving(frame), batch, self.now);
    }

    fn open(&mut self, buffer: &mut [u8], received: &[Received]) -> usize {
        let mut packets = 0;
        self.opening.datagrams(buffer, received, self.now, &mut |gather| packets += count(&gather));
        packets
    }
}

impl Path for Beside {
    fn seal(&mut self, frame: &mut [u8], batch: &mut SealedBatch) {
        self.sealing.outgoing(&mut leaving(frame), MTU, batch, self.now);
    }

    fn open(&mut self, buffer: &mut [u8], received: &[Received]) -> usize {
        let mut packets = 0;
        let mut sink = |gather: Gather<'_>| packets += count(&gather);
        let mut others = |_: u8, _: &[u8], _: &DatagramMeta| {};
        self.opening.datagrams(buffer, received, self.now, &mut sink, &mut others);
        packets
    }
}

fn leaving(bytes: &mut [u8]) -> Frame<'_> {
    Frame { direction: Direction::Outgoing(ETH0), bytes }
}

fn count(gather: &Gather<'_>) -> usize {
    black_box(gather).payload.len()
}

/// A datagram between the agents.
pub(super) const fn meta(from: IpAddr, to: IpAddr) -> DatagramMeta {
    let (from, to) = (WireAddr(from), WireAddr(to));
    DatagramMeta { from, from_port: DATA_PORT, to, tos: 0, interface: ETH0 }
}
