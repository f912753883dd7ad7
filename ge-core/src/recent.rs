//! A bounded table that forgets by age: two generations, of which the older is dropped as a whole.
//!
//! ```text
//! put ──> young ──── full, or one lifetime old ────> old ──── the same again ────> dropped
//! ```
//! | operation | costs |
//! |---|---|
//! | `get`, `get_mut`, `take` | two look-ups |
//! | `put` | three; and once in `most / 2` new keys, or in a lifetime, a generation is freed |
//!
//! No operation walks the table, full or not, so that who fills it makes nothing slower. A new entry
//! is always kept: in a table that is full of living ones the oldest half makes room. Who floods it
//! must bring `most / 2` further keys to have one forgotten, and at the least the latest `most / 2` are
//! always there.

use crate::now::Instant;
use core::time::Duration;
use std::collections::BTreeMap;

/// At most `most` entries, each for `lifetime` from when it was last put.
pub(crate) struct Recent<K, V> {
    young: BTreeMap<K, Entry<V>>,
    old: BTreeMap<K, Entry<V>>,
    /// When the young generation began.
    since: Instant,
    most: usize,
    lifetime: Duration,
}

struct Entry<V> {
    value: V,
    until: Instant,
}

impl<V> Entry<V> {
    fn living(&self, now: Instant) -> bool {
        now < self.until
    }
}

impl<K: Ord, V> Recent<K, V> {
    pub(crate) const fn new(most: usize, lifetime: Duration) -> Self {
        let since = Instant::from_micros(0);
        Self { young: BTreeMap::new(), old: BTreeMap::new(), since, most, lifetime }
    }

    pub(crate) fn get(&self, key: &K, now: Instant) -> Option<&V> {
        let entry = self.young.get(key).or_else(|| self.old.get(key));
        entry.filter(|entry| entry.living(now)).map(|entry| &entry.value)
    }

    pub(crate) fn get_mut(&mut self, key: &K, now: Instant) -> Option<&mut V> {
        let entry = self.young.get_mut(key).or_else(|| self.old.get_mut(key));
        entry.filter(|entry| entry.living(now)).map(|entry| &mut entry.value)
    }

    pub(crate) fn has(&self, key: &K, now: Instant) -> bool {
        self.get(key, now).is_some()
    }

    /// Keeps `value` in place of what was there, for a whole lifetime.
    pub(crate) fn put(&mut self, key: K, value: V, now: Instant) {
        // One copy of each, so that what is replaced does not come back when its successor is taken.
        self.old.remove(&key);
        let full = self.young.len() >= self.most / 2 && !self.young.contains_key(&key);
        if full || now.since(self.since) >= self.lifetime {
            self.old = std::mem::take(&mut self.young);
            self.old.remove(&key);
            self.since = now;
        }
        self.young.insert(key, Entry { value, until: now + self.lifetime });
    }

    /// Removes an entry and gives what it held, if it is still living.
    pub(crate) fn take(&mut self, key: &K, now: Instant) -> Option<V> {
        let entry = self.young.remove(key).or_else(|| self.old.remove(key))?;
        entry.living(now).then_some(entry.value)
    }

    /// Entries that have a place, living or not: at most `most`.
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 8;
    const LIFETIME: Duration = Duration::from_secs(10);

    fn table() -> Recent<u32, u32> {
        Recent::new(MOST, LIFETIME)
    }

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn an_entry_lives_exactly_one_lifetime_from_when_it_was_put() {
        let mut table = table();
        table.put(1, 10, at(0));
        assert_eq!(table.get(&1, at(9)), Some(&10));
        assert_eq!(table.get(&1, at(10)), None, "the first moment after");
        table.put(1, 11, at(9));
        assert_eq!(table.get(&1, at(18)), Some(&11));
        assert_eq!(table.get_mut(&1, at(19)), None);
        assert_eq!(table.take(&1, at(19)), None);
    }

    #[test]
    fn a_generation_that_grew_old_does_not_take_the_living_with_it() {
        let mut table = table();
        table.put(1, 10, at(0));
        table.put(2, 20, at(9));
        table.put(3, 30, at(10)); // the first generation is old
        assert_eq!(table.get(&2, at(18)), Some(&20));
        table.put(4, 40, at(20)); // and gone
        assert_eq!(table.len(), 2);
        assert!(table.has(&3, at(19)) && table.has(&4, at(20)));
    }

    #[test]
    fn it_never_holds_more_than_its_most_and_always_the_latest_half() {
        let mut table = table();
        for n in 0..100 * MOST as u32 {
            table.put(n, n, at(1));
            assert!(table.len() <= MOST, "{} entries", table.len());
            for kept in n.saturating_sub(MOST as u32 / 2 - 1)..=n {
                assert_eq!(table.get(&kept, at(1)), Some(&kept));
            }
        }
    }

    #[test]
    fn one_key_put_again_and_again_pushes_nobody_out() {
        let mut table = table();
        for n in 0..MOST as u32 / 2 {
            table.put(n, 0, at(1));
        }
        for _ in 0..100 {
            table.put(0, 1, at(1));
        }
        assert_eq!(table.len(), MOST / 2);
        assert!((0..MOST as u32 / 2).all(|n| table.has(&n, at(1))));
    }

    #[test]
    fn what_was_replaced_or_taken_does_not_come_back() {
        let mut table = table();
        table.put(0, 1, at(1));
        for n in 1..=MOST as u32 / 2 {
            table.put(n, 0, at(1));
        }
        table.put(0, 2, at(1)); // 0 was in the old generation
        assert_eq!(table.take(&0, at(1)), Some(2));
        assert_eq!(table.get(&0, at(1)), None);
        assert_eq!(table.take(&0, at(1)), None);
    }
}
