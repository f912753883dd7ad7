//! Token buckets by source in fixed memory.
//!
//! A source's bucket is the slot its keyed hash names; several sources may share one. Nothing is
//! looked for, nothing is thrown out: there is no state whose loss could be forced, and none that
//! grows. To keep an honest source's slot empty, an attacker who cannot compute the hash has to keep
//! all slots empty, which takes [`BUCKETS`] times the rate of one. Of the limiter bugs in
//! THREATS.md rows 58 and 59, one for all sources and one map entry per source, neither can be
//! written with this.
//!
//! A slot is the "theoretical arrival time" of the generic cell rate algorithm (ITU-T I.371): the
//! microsecond at which its bucket is full again.

use crate::limits::{BUCKETS, Rate};
use crate::now::Instant;
use crate::origin::Source;
use ahash::RandomState;

/// One bucket per source.
pub(crate) struct Buckets {
    full_at: Vec<u64>,
    hash: RandomState,
    rate: Rate,
}

impl Buckets {
    /// Full buckets, hashed with a key from `seed`. Their memory is asked for when the first token
    /// is.
    pub(crate) fn new(rate: Rate, seed: [u64; 4]) -> Self {
        let hash = RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        Self { full_at: Vec::new(), hash, rate }
    }

    /// Takes a token of this source. False if there is none.
    pub(crate) fn take(&mut self, source: Source, now: Instant) -> bool {
        if self.full_at.is_empty() {
            self.full_at = vec![0; BUCKETS];
        }
        let slot = self.hash.hash_one(source) as usize % BUCKETS;
        take(&mut self.full_at[slot], self.rate, now)
    }
}

/// One bucket for everything: a measure, not a limit.
pub(crate) struct Meter {
    full_at: u64,
    rate: Rate,
}

impl Meter {
    pub(crate) const fn new(rate: Rate) -> Self {
        Self { full_at: 0, rate }
    }

    /// Counts one. False if that is more than the rate.
    pub(crate) fn count(&mut self, now: Instant) -> bool {
        take(&mut self.full_at, self.rate, now)
    }
}

fn take(full_at: &mut u64, Rate { per_second, burst }: Rate, now: Instant) -> bool {
    let one = 1_000_000 / u64::from(per_second);
    let now = now.as_micros();
    let after = (*full_at).max(now) + one;
    let fits = after - now <= one * u64::from(burst);
    if fits {
        *full_at = after;
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv4Addr};

    const RATE: Rate = Rate { per_second: 50, burst: 100 };

    fn source(n: u32) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::from(n)))
    }

    fn takes(buckets: &mut Buckets, n: u32, tries: usize, micros: u64) -> usize {
        let now = Instant::from_micros(micros);
        (0..tries).filter(|_| buckets.take(source(n), now)).count()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut buckets = Buckets::new(RATE, [1, 2, 3, 4]);
        assert_eq!(takes(&mut buckets, 1, 1000, 0), 100);
        assert_eq!(takes(&mut buckets, 1, 1000, 1_000_000), 50);
        assert_eq!(takes(&mut buckets, 1, 1000, 3_600_000_000), 100, "no more than the burst");
    }

    #[test]
    fn one_source_takes_nothing_from_another() {
        let mut buckets = Buckets::new(RATE, [1, 2, 3, 4]);
        takes(&mut buckets, 1, 100_000, 0);
        let honest = (2..1002).filter(|n| takes(&mut buckets, *n, 10, 0) == 10).count();
        assert!(honest >= 999, "{honest} of 1000 have all they asked for");
    }

    #[test]
    fn ten_million_sources_take_no_more_memory_and_punish_nobody() {
        let mut buckets = Buckets::new(RATE, [1, 2, 3, 4]);
        let memory = |buckets: &Buckets| (buckets.full_at.len(), buckets.full_at.capacity());
        buckets.take(source(0), Instant::default());
        let before = memory(&buckets);
        let mut honest = 0;
        // A million a second for ten seconds: below the rate of all slots together.
        for n in 0..10_000_000_u32 {
            let now = Instant::from_micros(u64::from(n));
            buckets.take(source(n), now);
            if n % 100_000 == 0 && buckets.take(source(u32::MAX), now) {
                honest += 1;
            }
        }
        assert_eq!(memory(&buckets), before);
        assert_eq!(honest, 100);
    }

    #[test]
    fn a_meter_says_when_it_is_more_than_the_rate() {
        let mut meter = Meter::new(Rate { per_second: 100, burst: 10 });
        let fit = |meter: &mut Meter, every: u64| {
            (0..1000).filter(|n| meter.count(Instant::from_micros(5_000_000 + n * every))).count()
        };
        assert_eq!(fit(&mut meter, 10_000), 1000);
        let mut meter = Meter::new(Rate { per_second: 100, burst: 10 });
        assert_eq!(fit(&mut meter, 5_000), 509);
    }
}
