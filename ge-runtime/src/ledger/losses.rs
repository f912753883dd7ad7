//! Packets that the kernel did not take, by where and why.

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// A line per place and cause is written this often at most. The log's own filter of repeats would not
/// do: to it all of them are one line of the code, so that a frequent cause would hide a rare one, and
/// lines below a warning pass it, one per packet.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What was to be done with the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A sealed datagram was to be sent.
    Send,
    /// A packet was to be handed to the local stack.
    Deliver,
    /// A captured frame was to be put back on its interface.
    PutBack,
    /// A negotiation message was to be sent.
    Message,
    /// A sealed datagram was to be received.
    Receive,
}

impl Place {
    /// All, in the order they are shown.
    pub const ALL: [Self; 5] =
        [Self::Send, Self::Deliver, Self::PutBack, Self::Message, Self::Receive];

    /// Spelling in status and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Deliver => "deliver",
            Self::PutBack => "put-back",
            Self::Message => "message",
            Self::Receive => "receive",
        }
    }
}

/// Why it was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A queue was full, and stayed so while we waited (`EAGAIN`), or the queueing discipline
    /// dropped it (`ENOBUFS`).
    QueueFull,
    /// Larger than the interface's MTU (`EMSGSIZE`).
    TooBig,
    /// No route, or nobody there (`ENETUNREACH`, `EHOSTUNREACH`, …).
    Unreachable,
    /// The interface is down or gone, or we have none (`ENETDOWN`, `EIO`, `ENXIO`, …).
    Down,
    /// A firewall rule of this machine (`EPERM`, `EACCES`).
    Forbidden,
    /// It does not fit its headers, or its addresses no socket of ours (`EINVAL`).
    Invalid,
    /// The kernel had no memory (`ENOMEM`).
    NoMemory,
    /// Another error.
    Other,
}

impl Cause {
    /// All, in the order they are shown.
    pub const ALL: [Self; 8] = [
        Self::QueueFull,
        Self::TooBig,
        Self::Unreachable,
        Self::Down,
        Self::Forbidden,
        Self::Invalid,
        Self::NoMemory,
        Self::Other,
    ];

    /// What an error means, wherever it came from.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS) => Self::QueueFull,
            Some(libc::EMSGSIZE) => Self::TooBig,
            Some(
                libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EHOSTDOWN | libc::EADDRNOTAVAIL,
            ) => Self::Unreachable,
            Some(libc::ENETDOWN | libc::EIO | libc::ENXIO | libc::ENODEV | libc::EBADFD) => {
                Self::Down
            }
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden,
            Some(libc::EINVAL) => Self::Invalid,
            Some(libc::ENOMEM) => Self::NoMemory,
            _ if error.kind() == io::ErrorKind::WouldBlock => Self::QueueFull,
            _ => Self::Other,
        }
    }

    /// Spelling in status and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::TooBig => "too-big",
            Self::Unreachable => "unreachable",
            Self::Down => "down",
            Self::Forbidden => "forbidden",
            Self::Invalid => "invalid",
            Self::NoMemory => "no-memory",
            Self::Other => "other",
        }
    }

    /// An everyday event of a network, which says nothing about this machine.
    const fn is_everyday(self) -> bool {
        matches!(self, Self::TooBig | Self::Unreachable)
    }
}

const CAUSES: usize = Cause::ALL.len();

/// Counters by place and cause.
#[derive(Debug, Default)]
pub struct Losses {
    cells: [[AtomicU64; CAUSES]; Place::ALL.len()],
    logged: Mutex<[[Option<Instant>; CAUSES]; Place::ALL.len()]>,
}

impl Losses {
    /// Counts `packets` that `error` cost, and says so in the log if that was not said lately.
    pub fn add(&self, place: Place, packets: u64, error: &io::Error) {
        let cause = Cause::of(error);
        let before =
            self.cells[place as usize][cause as usize].fetch_add(packets, Ordering::Relaxed);
        if !self.is_due(place, cause, Instant::now()) {
            return;
        }
        let (place, total) = (place.as_str(), before + packets);
        if cause.is_everyday() {
            debug!(%error, place, total, "packets were not taken by the kernel");
        } else {
            warn!(%error, place, total, "packets were not taken by the kernel");
        }
    }

    /// Packets lost there for that cause.
    #[must_use]
    pub fn get(&self, place: Place, cause: Cause) -> u64 {
        self.cells[place as usize][cause as usize].load(Ordering::Relaxed)
    }

    /// Every cell, zeros too.
    pub fn all(&self) -> impl Iterator<Item = (Place, Cause, u64)> + '_ {
        Place::ALL.into_iter().flat_map(move |place| {
            Cause::ALL.into_iter().map(move |cause| (place, cause, self.get(place, cause)))
        })
    }

    fn is_due(&self, place: Place, cause: Cause, now: Instant) -> bool {
        // A holder that panicked left whole values.
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let last = &mut logged[place as usize][cause as usize];
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= LOG_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_at_its_place() {
        for (index, place) in Place::ALL.into_iter().enumerate() {
            assert_eq!(place as usize, index);
        }
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, index);
        }
    }

    #[test]
    fn errors_truth_table() {
        let cases = [
            (libc::EAGAIN, Cause::QueueFull),
            (libc::ENOBUFS, Cause::QueueFull),
            (libc::EMSGSIZE, Cause::TooBig),
            (libc::ENETUNREACH, Cause::Unreachable),
            (libc::EHOSTUNREACH, Cause::Unreachable),
            (libc::EADDRNOTAVAIL, Cause::Unreachable),
            (libc::ENETDOWN, Cause::Down),
            (libc::EIO, Cause::Down),
            (libc::EBADFD, Cause::Down),
            (libc::EPERM, Cause::Forbidden),
            (libc::EINVAL, Cause::Invalid),
            (libc::ENOMEM, Cause::NoMemory),
            (libc::EPIPE, Cause::Other),
        ];
        for (number, cause) in cases {
            assert_eq!(Cause::of(&io::Error::from_raw_os_error(number)), cause, "{number}");
        }
        assert_eq!(Cause::of(&io::ErrorKind::WouldBlock.into()), Cause::QueueFull);
        assert_eq!(Cause::of(&io::ErrorKind::Unsupported.into()), Cause::Other);
    }

    #[test]
    fn every_packet_is_counted_and_a_line_written_once_a_minute() {
        let losses = Losses::default();
        let full = io::Error::from_raw_os_error(libc::EAGAIN);
        for _ in 0..3 {
            losses.add(Place::Send, 44, &full);
        }
        assert_eq!(losses.get(Place::Send, Cause::QueueFull), 132);
        assert_eq!(losses.all().map(|(_, _, count)| count).sum::<u64>(), 132);
        let now = Instant::now();
        assert!(!losses.is_due(Place::Send, Cause::QueueFull, now));
        assert!(losses.is_due(Place::Send, Cause::TooBig, now), "another cause");
        assert!(losses.is_due(Place::Deliver, Cause::QueueFull, now), "another place");
        assert!(losses.is_due(Place::Send, Cause::QueueFull, now + LOG_EVERY));
    }
}
