//! What a thread beside the engine has done, for the engine to read when it looks.
//!
//! Each tally has one writer. It writes without read-modify-write instructions, and no other thread's
//! tally lies in the same lines of the cache, so that counting costs what it costs one thread alone.

use crate::DropReason;
use crate::now::Instant;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter that one thread writes and another reads.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Time as a counter: zero is never.
    fn set_time(&self, at: Option<Instant>) {
        self.set(at.map_or(0, |at| at.as_micros() + 1));
    }

    fn time(&self) -> Option<Instant> {
        self.get().checked_sub(1).map(Instant::from_micros)
    }
}

/// Words of an inner packet's head that are kept: an IPv6 header and a TCP header without options.
const HEAD_WORDS: usize = 8;

/// One thread's part in one session. Aligned to two cache lines, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct SessionTally {
    packets_out: Count,
    bytes_out: Count,
    packets_in: Count,
    bytes_in: Count,
    /// The lane's counter.
    sealed: Count,
    failed_openings: Count,
    last_sent: Count,
    last_received: Count,
    /// First packet sent since something was last received in this lane.
    unanswered_since: Count,
    /// Start of the last inner packet sealed.
    head: [Count; HEAD_WORDS],
    head_len: Count,
}

/// What a [`SessionTally`] says at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) packets_out: u64,
    pub(crate) bytes_out: u64,
    pub(crate) packets_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) last_sent: Option<Instant>,
    pub(crate) last_received: Option<Instant>,
    pub(crate) unanswered_since: Option<Instant>,
}

impl SessionTally {
    /// A packet was sealed; the lane's counter stands at `sealed`.
    pub(super) fn sent(&self, packet: &[u8], sealed: u64, now: Instant) {
        self.packets_out.add(1);
        self.bytes_out.add(packet.len() as u64);
        self.sealed.set(sealed);
        self.last_sent.set_time(Some(now));
        if self.unanswered_since.get() == 0 {
            self.unanswered_since.set_time(Some(now));
        }
        let (words, rest) = packet.as_chunks::<8>();
        for (count, word) in self.head.iter().zip(words) {
            count.set(u64::from_be_bytes(*word));
        }
        if let Some(count) = self.head.get(words.len()) {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            count.set(u64::from_be_bytes(last));
        }
        self.head_len.set(packet.len().min(HEAD_WORDS * 8) as u64);
    }

    /// A datagram was opened.
    pub(super) fn received(&self, bytes: usize, now: Instant) {
        self.packets_in.add(1);
        self.bytes_in.add(bytes as u64);
        self.last_received.set_time(Some(now));
        self.unanswered_since.set_time(None);
    }

    /// So many tags of this thread's lanes were wrong.
    pub(super) fn failed(&self, openings: u64) {
        self.failed_openings.set(openings);
    }

    pub(crate) fn seen(&self) -> Seen {
        Seen {
            packets_out: self.packets_out.get(),
            bytes_out: self.bytes_out.get(),
            packets_in: self.packets_in.get(),
            bytes_in: self.bytes_in.get(),
            last_sent: self.last_sent.time(),
            last_received: self.last_received.time(),
            unanswered_since: self.unanswered_since.time(),
        }
    }

    /// Packets sealed in the thread's lane.
    pub(crate) fn sealed(&self) -> u64 {
        self.sealed.get()
    }

    pub(crate) fn failed_openings(&self) -> u64 {
        self.failed_openings.get()
    }

    /// Start of the last inner packet sealed. While the thread writes another it may be of both: an
    /// error made of it is then about no packet, and the local stack drops it.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head: Vec<u8> =
            self.head.iter().flat_map(|word| word.get().to_be_bytes()).collect();
        head.truncate(self.head_len.get() as usize);
        head
    }
}

/// What one thread did in all.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct ThreadTally {
    sealed: [Count; 2],
    opened: [Count; 2],
    dropped_out: Vec<Count>,
    dropped_in: Vec<Count>,
}

impl Default for ThreadTally {
    fn default() -> Self {
        let none = || DropReason::ALL.iter().map(|_| Count::default()).collect();
        let (sealed, opened) = Default::default();
        Self { sealed, opened, dropped_out: none(), dropped_in: none() }
    }
}

impl ThreadTally {
    pub(super) fn sealed(&self, datagrams: u64, bytes: u64) {
        self.sealed[0].add(datagrams);
        self.sealed[1].add(bytes);
    }

    pub(super) fn opened(&self, bytes: u64) {
        self.opened[0].add(1);
        self.opened[1].add(bytes);
    }

    pub(super) fn dropped_out(&self, reason: DropReason) {
        self.dropped_out[reason as usize].add(1);
    }

    pub(super) fn dropped_in(&self, reason: DropReason) {
        self.dropped_in[reason as usize].add(1);
    }

    /// Adds what the thread did to the engine's own counters.
    pub(crate) fn add_to(&self, counters: &mut crate::io::Counters) {
        let add = |to: &mut (u64, u64), counts: &[Count; 2]| {
            to.0 += counts[0].get();
            to.1 += counts[1].get();
        };
        add(&mut counters.sealed, &self.sealed);
        add(&mut counters.opened, &self.opened);
        let drops = [
            (&mut counters.dropped_out, &self.dropped_out),
            (&mut counters.dropped_in, &self.dropped_in),
        ];
        for (to, counts) in drops {
            to.iter_mut().zip(counts).for_each(|(to, count)| *to += count.get());
        }
    }

    /// Packets sealed and opened.
    pub(crate) fn packets(&self) -> (u64, u64) {
        (self.sealed[0].get(), self.opened[0].get())
    }
}
