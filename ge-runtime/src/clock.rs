//! The only reader of clocks. Timers run on `CLOCK_BOOTTIME`, so that time in suspend counts: a
//! session whose time ran out while the lid was closed is not used when it opens.

use ge_core::{Instant, Now, UnixTime};
use nix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// Reads both clocks.
///
/// A clock set before 1970 reads as 1970: every certificate is then "not yet valid", which fails
/// closed.
#[must_use]
pub fn now() -> Now {
    Now { mono: mono(), unix: unix() }
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

/// Wall time in whole seconds since 1970.
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
