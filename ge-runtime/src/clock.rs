//! The only reader of clocks. Timers run on `CLOCK_BOOTTIME`, so that time in suspend counts: a
//! session whose time ran out while the lid was closed is not used when it opens.

use ge_core::{Instant, Now, UnixTime};
use nix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds the management server's clock is ahead of this machine's.
static SERVER_AHEAD: AtomicI64 = AtomicI64::new(0);

/// Makes the server's clock the one that counts for certificates, epochs and time stamps: an epoch
/// ends for everybody at once, however wrong this machine's clock is.
pub fn follow_server(seconds_ahead: i64) {
    SERVER_AHEAD.store(seconds_ahead, Ordering::Relaxed);
}

/// Seconds the management server's clock is ahead of this machine's, as last heard.
#[must_use]
pub fn server_ahead() -> i64 {
    SERVER_AHEAD.load(Ordering::Relaxed)
}

/// Reads both clocks; wall time as the management server sees it.
///
/// A clock set before 1970 reads as 1970: every certificate is then "not yet valid", which fails
/// closed.
#[must_use]
pub fn now() -> Now {
    let ahead = SERVER_AHEAD.load(Ordering::Relaxed);
    Now { mono: mono(), unix: UnixTime(unix().0.saturating_add_signed(ahead)) }
}

/// Monotonic time since boot, suspend included, in microseconds.
#[must_use]
pub fn mono() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .expect("invariant: every kernel that has the egress hook has CLOCK_BOOTTIME");
    let secs = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u64::try_from(time.tv_nsec()).unwrap_or(0) / 1000;
    Instant::from_micros(secs.saturating_mul(1_000_000).saturating_add(micros))
}

/// This machine's wall time in whole seconds since 1970.
#[must_use]
pub fn unix() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_does_not_go_back() {
        let earlier = mono();
        assert!(mono() >= earlier);
        assert!(earlier.as_micros() > 0);
    }

    #[test]
    fn wall_time_is_after_this_was_written() {
        assert!(unix() > UnixTime(1_750_000_000));
    }
}
