//! What became of the packet path's offloads, and of packets that the kernel did not take.
//!
//! One ledger per agent. The packet path writes it, only when something goes wrong, so that its
//! numbers cost nothing while all is well; status and metrics read it at any time.

mod losses;

pub use losses::{Cause, Losses, Place};

use crate::offload::{Offload, Switches};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use tracing::{info, warn};

/// `UDP_MAX_SEGMENTS` before Linux 6.9: what every kernel with `UDP_SEGMENT` takes.
pub const SEGMENTS_MIN: u32 = 64;

/// What one offload does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is used.
    On,
    /// Off by setting.
    Off,
    /// The kernel refused it at the start, with this error number.
    Refused(i32),
    /// It was used and then refused, with this error number at first; off since.
    FellBack(i32),
}

/// How one offload fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffloadRecord {
    /// Which.
    pub offload: Offload,
    /// What it does.
    pub state: State,
    /// Calls that the kernel refused while it was used. A socket gives it up at its first.
    pub refusals: u64,
    /// Packets of those calls that went one by one instead.
    pub replayed: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    switches: Switches,
    entries: [Entry; Offload::ALL.len()],
    /// Zero: not tried.
    segments: AtomicU32,
    /// Packets that were lost.
    pub losses: Losses,
    seal_times: OnceLock<Vec<SealTime>>,
}

/// What sealing one full packet takes on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealTime {
    /// Spelling of the algorithm.
    pub aead: &'static str,
    /// Nanoseconds for one packet of [`PACKET_LEN`](crate::seal_time::PACKET_LEN) bytes.
    pub nanoseconds: u64,
}

#[derive(Debug, Default)]
struct Entry {
    /// Refused at the start with this error number; zero: it was not.
    refused: AtomicU32,
    /// The same while it was used.
    fell_back: AtomicU32,
    refusals: AtomicU64,
    replayed: AtomicU64,
}

impl Ledger {
    /// Of an agent that was started with these switches.
    #[must_use]
    pub fn new(switches: Switches) -> Self {
        Self { switches, ..Self::default() }
    }

    /// Whether it is used: not switched off, not refused.
    #[must_use]
    pub fn is_on(&self, offload: Offload) -> bool {
        self.state(offload) == State::On
    }

    /// Whether it is off by setting.
    #[must_use]
    pub const fn is_off(&self, offload: Offload) -> bool {
        self.switches.is_off(offload)
    }

    /// What it does.
    #[must_use]
    pub fn state(&self, offload: Offload) -> State {
        let entry = &self.entries[offload as usize];
        let number = |errno: &AtomicU32| errno.load(Ordering::Relaxed).cast_signed();
        match (number(&entry.fell_back), number(&entry.refused)) {
            _ if self.switches.is_off(offload) => State::Off,
            (0, 0) => State::On,
            (0, errno) => State::Refused(errno),
            (errno, _) => State::FellBack(errno),
        }
    }

    /// The kernel refused it when it was tried.
    pub fn refused(&self, offload: Offload, error: &io::Error) {
        let before = self.entries[offload as usize].refused.swap(errno(error), Ordering::Relaxed);
        if before == 0 && !self.switches.is_off(offload) {
            info!(offload = offload.as_str(), %error, "the kernel has no such offload");
        }
    }

    /// The kernel refused a call that used it; `packets` of it went one by one.
    pub fn fell_back(&self, offload: Offload, error: &io::Error, packets: u64) {
        let entry = &self.entries[offload as usize];
        entry.refusals.fetch_add(1, Ordering::Relaxed);
        entry.replayed.fetch_add(packets, Ordering::Relaxed);
        let (new, ordering) = (errno(error), Ordering::Relaxed);
        if entry.fell_back.compare_exchange(0, new, ordering, ordering).is_ok() {
            warn!(
                offload = offload.as_str(), %error, packets,
                "the kernel refused what it had said it takes; packets go one by one from now on"
            );
        }
    }

    /// Every offload, in the order of [`Offload::ALL`].
    #[must_use]
    pub fn offloads(&self) -> Vec<OffloadRecord> {
        let record = |offload: Offload| {
            let entry = &self.entries[offload as usize];
            let (refusals, replayed) = (&entry.refusals, &entry.replayed);
            OffloadRecord {
                offload,
                state: self.state(offload),
                refusals: refusals.load(Ordering::Relaxed),
                replayed: replayed.load(Ordering::Relaxed),
            }
        };
        Offload::ALL.into_iter().map(record).collect()
    }

    /// Datagrams the kernel takes in one call.
    #[must_use]
    pub fn segments(&self) -> u32 {
        self.segments.load(Ordering::Relaxed).max(SEGMENTS_MIN)
    }

    /// That many were taken in one call when it was tried.
    pub fn set_segments(&self, segments: u32) {
        self.segments.store(segments, Ordering::Relaxed);
    }

    /// What sealing takes, as measured at the start; empty if it was not.
    #[must_use]
    pub fn seal_times(&self) -> &[SealTime] {
        self.seal_times.get().map_or(&[], Vec::as_slice)
    }

    /// Sealing was measured. The first time counts.
    pub fn set_seal_times(&self, times: Vec<SealTime>) {
        self.seal_times.get_or_init(|| times);
    }
}

/// Its number; never zero.
fn errno(error: &io::Error) -> u32 {
    error.raw_os_error().filter(|number| *number > 0).unwrap_or(libc::EIO).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    #[test]
    fn states_truth_table() {
        type Step<'a> = &'a dyn Fn(&Ledger);
        let refused: Step<'_> = &|ledger| ledger.refused(Offload::UdpSend, &error(libc::EINVAL));
        let fell: Step<'_> = &|ledger| ledger.fell_back(Offload::UdpSend, &error(libc::EIO), 44);
        let cases: [(&[&str], &[Step<'_>], State); 6] = [
            (&[], &[], State::On),
            (&[], &[refused], State::Refused(libc::EINVAL)),
            (&[], &[fell], State::FellBack(libc::EIO)),
            (&[], &[fell, refused], State::FellBack(libc::EIO)),
            (&["udp-send"], &[refused, fell], State::Off),
            (&["udp-receive"], &[], State::On),
        ];
        for (off, steps, expected) in cases {
            let ledger = Ledger::new(Switches::without(off.iter().copied()).unwrap());
            steps.iter().for_each(|step| step(&ledger));
            assert_eq!(ledger.state(Offload::UdpSend), expected);
            assert_eq!(ledger.is_on(Offload::UdpSend), expected == State::On);
        }
    }

    #[test]
    fn fallbacks_are_counted_and_the_first_error_stays() {
        let ledger = Ledger::default();
        ledger.fell_back(Offload::MergeTcp, &error(libc::EINVAL), 40);
        ledger.fell_back(Offload::MergeTcp, &error(libc::EIO), 2);
        let records = ledger.offloads();
        let record = records[Offload::MergeTcp as usize];
        assert_eq!(record.state, State::FellBack(libc::EINVAL));
        assert_eq!((record.refusals, record.replayed), (2, 42));
        assert!(records.iter().all(|r| r.offload == Offload::MergeTcp || r.refusals == 0));
    }

    #[test]
    fn untried_segments_are_what_every_kernel_takes() {
        let ledger = Ledger::default();
        assert_eq!(ledger.segments(), 64);
        ledger.set_segments(128);
        assert_eq!(ledger.segments(), 128);
    }
}
