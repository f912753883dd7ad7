//! What goes in clear and why, and in observe mode what closed mode would have dropped of it.
//!
//! Observe mode *is* open mode: rows, verdicts and messages are the same. Beside them stands a list
//! of the flows that closed mode would refuse, each counted once however many packets it has, also
//! if the kernel passes most of them by itself. A flow that is still being asked about is judged
//! when the whole ladder is over, as closed mode would.

use super::Engine;
use crate::flow::HostPair;
use crate::limits::{OBSERVED_FLOWS, PIT_IDLE};
use crate::now::Instant;
use crate::{ClearReason, Now};
use std::collections::BTreeMap;

/// Flows that closed mode would drop: two generations, so that the list forgets what is idle and
/// stays bounded without a look at every entry.
#[derive(Default)]
pub(super) struct Observed {
    young: BTreeMap<HostPair, Entry>,
    old: BTreeMap<HostPair, Entry>,
    since: Instant,
}

#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) reason: ClearReason,
    pub(super) first: Instant,
    pub(super) last: Instant,
}

impl Observed {
    /// Adds a flow, or says that it is in use. True if it is new.
    fn add(&mut self, pair: HostPair, reason: ClearReason, now: Instant) -> bool {
        if now.since(self.since) >= PIT_IDLE || self.young.len() >= OBSERVED_FLOWS {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
        let known = self.old.remove(&pair).or_else(|| self.young.get(&pair).copied());
        let first = known.map_or(now, |entry| entry.first);
        self.young.insert(pair, Entry { reason, first, last: now });
        known.is_none()
    }

    pub(super) fn get(&self, pair: HostPair) -> Option<Entry> {
        self.young.get(&pair).or_else(|| self.old.get(&pair)).copied()
    }

    pub(super) fn forget(&mut self, pair: HostPair) {
        self.young.remove(&pair);
        self.old.remove(&pair);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (HostPair, Entry)> {
        self.young.iter().chain(&self.old).map(|(pair, entry)| (*pair, *entry))
    }

    /// Flows of the fuller generation.
    pub(super) fn len(&self) -> usize {
        self.young.len().max(self.old.len())
    }
}

impl Engine {
    /// In observe mode: open, and told what closed mode would drop.
    #[must_use]
    pub fn observes(&self) -> bool {
        self.mode() == crate::Mode::Open && self.membership.as_ref().is_some_and(|own| own.observe)
    }

    /// Why closed mode would drop the flow, if it would: observe mode only.
    #[must_use]
    pub fn would_drop_reason(&self, pair: HostPair) -> Option<ClearReason> {
        self.observed.get(pair).map(|entry| entry.reason)
    }

    /// Plaintext passes: the start of a flow, or a packet that has no row to stand for it.
    pub(super) fn note_clear(&mut self, pair: HostPair, reason: ClearReason, now: Now) {
        self.counters.clear_fallbacks[reason as usize] += 1;
        self.would_drop(pair, reason, now);
    }

    /// Closed mode would have dropped the flow by now.
    pub(super) fn would_drop(&mut self, pair: HostPair, reason: ClearReason, now: Now) {
        if self.observes() && self.observed.add(pair, reason, now.mono) {
            self.counters.would_drop[reason as usize] += 1;
        }
    }

    /// A packet of a flow judged before: it is still in use.
    pub(super) fn still_observed(&mut self, pair: HostPair, now: Now) {
        if let Some(entry) = self.observed.get(pair) {
            self.observed.add(pair, entry.reason, now.mono);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn pair(n: u32) -> HostPair {
        HostPair::new([10, 0, 0, 1].into(), Ipv4Addr::from(0x0a01_0000 + n).into())
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_flow_in_use_counts_once_and_an_idle_one_is_forgotten() {
        let mut observed = Observed::default();
        let mut add = |n, seconds| observed.add(pair(n), ClearReason::NoAnswer, at(seconds));
        assert!(add(1, 1) && add(2, 1));
        assert!(!add(1, 2));
        assert!(!add(1, 310), "in use over a change of generations");
        assert!(!add(1, 620));
        assert!(add(2, 621), "idle for two generations");
        assert_eq!(observed.get(pair(1)).unwrap().first, at(1));
    }

    #[test]
    fn strangers_by_the_thousand_stay_within_the_limit() {
        let mut observed = Observed::default();
        for n in 0..3 * OBSERVED_FLOWS as u32 {
            observed.add(pair(n), ClearReason::Unasked, at(1));
            assert!(observed.len() <= OBSERVED_FLOWS);
        }
    }
}
