//! The threads beside an agent's engine, and what the kernel does for them: a queue of the TUN for each,
//! and data sockets that get datagrams by their lane.
//!
//! ```text
//!   frame ----> queue its stream was last written by, or by its hash -+-> thread 0: the engine
//!   datagram -> socket of the thread that opens its lane -------------+-> thread 1 ... n - 1: lanes
//! ```
//! What one thread hands to another waits in a [`Pipe`] until that one gets to it: a thread decides by
//! what it has heard, which the engine may have changed since.

use ge_core::engine::Engine;
use ge_core::fast_path::{FastPath, Update};
use ge_core::io::DatagramMeta;
use ge_core::wire::ip::{self, IpView};
use ge_core::{Lane, SessionIndex};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use crate::adversary::Origin;

/// The kernel forgets by which queue a stream was written after so many microseconds.
const WRITTEN_FOR: u64 = 3_000_000;

/// What waits for another thread, in order.
pub struct Pipe<T> {
    items: VecDeque<(u64, T)>,
    /// When the last of them is due.
    last: u64,
}

/// A frame that a thread read.
pub struct Captured {
    /// As it was read.
    pub bytes: Vec<u8>,
    /// It leaves the machine.
    pub outgoing: bool,
    /// Who made it.
    pub origin: Origin,
}

/// What a data socket received in one call.
pub struct Arrival {
    /// The datagrams, one after the other.
    pub bytes: Vec<u8>,
    /// Length of each but the last.
    pub segment: usize,
    /// Where they came from.
    pub meta: DatagramMeta,
    /// Who made them.
    pub origin: Origin,
}

/// What waits for a thread beside the engine.
pub enum Task {
    /// The engine says something.
    Update(Update),
    /// Datagrams are to be opened.
    Open(Arrival),
}

/// What waits for the engine's own thread.
pub enum Handed {
    /// A frame that it must decide about.
    Frame(Captured),
    /// Datagrams of its lanes, and messages.
    Datagrams(Arrival),
    /// This session is in use again.
    Woken(SessionIndex),
}

/// A thread beside the engine.
pub struct Thread {
    /// Its share of the data path.
    pub fast: FastPath,
    /// What waits for it.
    pub tasks: Pipe<Task>,
}

/// Addresses and ports of a stream, the same for both directions.
type Stream = ([(IpAddr, u16); 2], u8);

/// All threads of one agent but the engine's.
pub struct Threads {
    beside: Vec<Thread>,
    /// What waits for the engine's own.
    pub handed: Pipe<Handed>,
    /// By which queue a stream was last written, and when.
    written: BTreeMap<Stream, (u8, u64)>,
}

impl<T> Pipe<T> {
    const EMPTY: Self = Self { items: VecDeque::new(), last: 0 };

    /// Something that its thread gets to at `due`, or later if it is behind. When that is.
    pub fn push(&mut self, due: u64, item: T) -> u64 {
        self.last = self.last.max(due);
        self.items.push_back((self.last, item));
        self.last
    }

    /// The first, if its thread gets to it by `now`.
    pub fn pop(&mut self, now: u64) -> Option<T> {
        let (due, _) = self.items.front()?;
        if *due > now {
            return None;
        }
        self.items.pop_front().map(|(_, item)| item)
    }

    /// True if nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl Threads {
    /// Spreads the data path of an engine that starts over so many threads. `None`: it has one only.
    pub fn spread(engine: &mut Engine, workers: u8) -> Option<Self> {
        let beside: Vec<Thread> = engine
            .spread(workers)
            .into_iter()
            .map(|fast| Thread { fast, tasks: Pipe::EMPTY })
            .collect();
        let threads = Self { beside, handed: Pipe::EMPTY, written: BTreeMap::new() };
        (!threads.beside.is_empty()).then_some(threads)
    }

    /// Threads, the engine's among them.
    #[must_use]
    pub fn workers(&self) -> u8 {
        1 + self.beside.len() as u8
    }

    /// Those beside the engine, the first of them first.
    #[must_use]
    pub fn beside(&self) -> &[Thread] {
        &self.beside
    }

    /// Thread number `worker`, if it is beside the engine.
    pub fn get_mut(&mut self, worker: u8) -> Option<&mut Thread> {
        self.beside.get_mut(usize::from(worker.checked_sub(1)?))
    }

    /// Which of them reads a packet from the TUN.
    #[must_use]
    pub fn queue_of(&self, packet: &[u8], view: &IpView, now: u64) -> u8 {
        let stream = stream(packet, view);
        let written = self.written.get(&stream).filter(|(_, at)| now < at + WRITTEN_FOR);
        written.map_or_else(|| (hash(&stream) % u64::from(self.workers())) as u8, |(by, _)| *by)
    }

    /// A thread wrote a packet to the TUN: what the stream's other end is answered, it will read.
    pub fn written_by(&mut self, worker: u8, packet: &[u8], view: &IpView, now: u64) {
        self.written.insert(stream(packet, view), (worker, now));
    }

    /// Which of them receives what begins with this datagram.
    #[must_use]
    pub fn socket_of(&self, datagram: &[u8]) -> u8 {
        let first = datagram.first().copied().unwrap_or_default();
        Lane::of(first >> 1).worker(self.workers())
    }
}

fn stream(packet: &[u8], view: &IpView) -> Stream {
    let ports = ip::ports(packet, view);
    let mut ends = [(view.source, ports.local), (view.destination, ports.remote)];
    ends.sort();
    (ends, view.protocol)
}

/// Any hash will do that spreads.
fn hash((ends, protocol): &Stream) -> u64 {
    let mut hash = u64::from(*protocol);
    for (addr, port) in ends {
        let addr = match addr {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        for word in [addr as u64, (addr >> 64) as u64, u64::from(*port)] {
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 29;
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::udp_packet;

    #[test]
    fn what_waits_keeps_its_order_and_is_late_together() {
        let mut pipe = Pipe::EMPTY;
        assert_eq!([pipe.push(5, 'a'), pipe.push(3, 'b'), pipe.push(9, 'c')], [5, 5, 9]);
        assert_eq!(pipe.pop(4), None);
        assert_eq!([pipe.pop(5), pipe.pop(5), pipe.pop(5)], [Some('a'), Some('b'), None]);
        assert!(!pipe.is_empty());
        assert_eq!(pipe.pop(9), Some('c'));
        assert!(pipe.is_empty());
    }

    fn threads(workers: u8) -> Threads {
        let secret = ge_core::membership::Secret32;
        let identity = ge_core::membership::Identity {
            identity: secret([1; 32]),
            noise_static: secret([2; 32]),
        };
        Threads::spread(&mut Engine::new(identity, [3; 32]), workers).unwrap()
    }

    #[test]
    fn streams_are_spread_and_an_answer_follows_what_it_answers() {
        let mut threads = threads(4);
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let packet = |port| udp_packet((one, port), (other, 9), 0, &[]);
        let queue = |threads: &Threads, packet: &[u8], now| {
            threads.queue_of(packet, &ip::parse(packet).unwrap(), now)
        };
        let mut used: Vec<u8> = (0..64).map(|port| queue(&threads, &packet(port), 0)).collect();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used, [0, 1, 2, 3]);
        let answer = udp_packet((other, 9), (one, 7), 0, &[]);
        assert_eq!(queue(&threads, &answer, 0), queue(&threads, &packet(7), 0));
        let elsewhere = (queue(&threads, &answer, 0) + 1) % 4;
        threads.written_by(elsewhere, &answer, &ip::parse(&answer).unwrap(), 100);
        assert_eq!(queue(&threads, &packet(7), 100 + WRITTEN_FOR - 1), elsewhere);
        assert_ne!(queue(&threads, &packet(7), 100 + WRITTEN_FOR), elsewhere);
    }

    #[test]
    fn datagrams_come_to_the_thread_that_opens_their_lane() {
        let threads = threads(3);
        let socket = |lane: u8| threads.socket_of(&[lane << 1, 0, 0, 0]);
        assert_eq!([0, 1, 2, 3, 7].map(socket), [0, 1, 2, 0, 1]);
    }
}
