//! PIT, the Process Information Table: from a flow to its row. The hot look-up.
//!
//! The default scope of a row is a host pair, so that the next connection between the same two
//! hosts costs nothing. The key is packed into two 128-bit words (IPv4 mapped into IPv6) and
//! hashed with a key from the engine's seed, so that nobody can aim collisions at it.

use crate::flow::{FlowKey, HostPair};
use ahash::RandomState;
use core::net::IpAddr;
use std::collections::HashMap;

/// A row's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(usize);

/// The flow table. `R` is the row.
pub struct Pit<R> {
    index: HashMap<PackedPair, RowId, RandomState>,
    rows: Vec<Option<(FlowKey, R)>>,
    free: Vec<usize>,
    capacity: usize,
    /// Where the next sample begins.
    hand: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PackedPair(u128, u128);

impl PackedPair {
    fn new(pair: HostPair) -> Self {
        Self(pack(pair.local.0), pack(pair.remote.0))
    }
}

fn pack(addr: IpAddr) -> u128 {
    match addr {
        // ::ffff:a.b.c.d; the parser refuses IPv6 packets with mapped addresses.
        IpAddr::V4(v4) => 0xffff_0000_0000 | u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

impl<R> Pit<R> {
    /// An empty table of at most `capacity` rows, hashed with a key from `seed`.
    #[must_use]
    pub fn new(capacity: usize, seed: [u64; 4]) -> Self {
        let state = RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        let index = HashMap::with_hasher(state);
        Self { index, rows: Vec::new(), free: Vec::new(), capacity, hand: 0 }
    }

    /// Changes the most rows it takes. Rows beyond a smaller number stay until they are removed.
    pub const fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// The row of a host pair.
    #[must_use]
    pub fn find(&self, pair: HostPair) -> Option<RowId> {
        self.index.get(&PackedPair::new(pair)).copied()
    }

    /// The row of a host pair, to read.
    #[must_use]
    pub fn get(&self, pair: HostPair) -> Option<&R> {
        self.at(self.find(pair)?)
    }

    /// The row of a host pair, to change.
    pub fn get_mut(&mut self, pair: HostPair) -> Option<&mut R> {
        self.at_mut(self.find(pair)?)
    }

    /// The row at a place, to read. It stays there until it is removed, and then the place is another's.
    #[must_use]
    pub fn at(&self, id: RowId) -> Option<&R> {
        self.rows.get(id.0)?.as_ref().map(|(_, row)| row)
    }

    /// The same, to change.
    pub fn at_mut(&mut self, id: RowId) -> Option<&mut R> {
        self.rows.get_mut(id.0)?.as_mut().map(|(_, row)| row)
    }

    /// Adds or replaces a row. Gives it back when the table is full.
    ///
    /// # Errors
    /// The row, when the table is at its capacity and the pair is new.
    pub fn insert(&mut self, key: FlowKey, row: R) -> Result<(), R> {
        if let Some(id) = self.find(key.pair) {
            self.rows[id.0] = Some((key, row));
            return Ok(());
        }
        if self.is_full() {
            return Err(row);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.rows.push(None);
            self.rows.len() - 1
        });
        self.rows[slot] = Some((key, row));
        self.index.insert(PackedPair::new(key.pair), RowId(slot));
        Ok(())
    }

    /// Takes a row out.
    pub fn remove(&mut self, pair: HostPair) -> Option<R> {
        let id = self.index.remove(&PackedPair::new(pair))?;
        self.free.push(id.0);
        self.rows[id.0].take().map(|(_, row)| row)
    }

    /// All rows, in the order of their slots, so that two equal engines list them equally.
    pub fn iter(&self) -> impl Iterator<Item = (&FlowKey, &R)> {
        self.rows.iter().flatten().map(|(key, row)| (key, row))
    }

    /// The same, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&FlowKey, &mut R)> {
        self.rows.iter_mut().flatten().map(|(key, row)| (&*key, row))
    }

    /// Up to `count` rows, other ones each time, as a clock's hand goes round.
    pub fn sample(&mut self, count: usize) -> impl Iterator<Item = (&FlowKey, &R)> {
        let (slots, start) = (self.rows.len().max(1), self.hand);
        self.hand = (start + count) % slots;
        let around = (0..count.min(slots)).map(move |step| (start + step) % slots);
        around.filter_map(|slot| self.rows.get(slot)?.as_ref()).map(|(key, row)| (key, row))
    }

    /// True if no new row fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.index.len() >= self.capacity
    }

    /// True if three quarters of the table are in use: the rest is for rows that must be.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.index.len() >= self.capacity / 4 * 3
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// True if there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn key(n: u32) -> FlowKey {
        let remote = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n));
        FlowKey::host_pair(HostPair::new("10.9.9.9".parse().unwrap(), remote))
    }

    #[test]
    fn rows_are_found_replaced_and_removed() {
        let mut pit = Pit::new(10, [1, 2, 3, 4]);
        for n in 0..10 {
            assert!(pit.insert(key(n), n).is_ok());
        }
        assert_eq!(pit.insert(key(10), 10), Err(10));
        assert_eq!(pit.insert(key(3), 33), Ok(()));
        assert_eq!(pit.get(key(3).pair), Some(&33));
        assert_eq!(pit.remove(key(4).pair), Some(4));
        assert_eq!(pit.remove(key(4).pair), None);
        assert_eq!(pit.insert(key(10), 10), Ok(()));
        assert_eq!(pit.len(), 10);
        assert_eq!(pit.iter().count(), 10);
    }

    #[test]
    fn samples_go_round_the_table() {
        let mut pit = Pit::new(10, [1, 2, 3, 4]);
        assert_eq!(pit.sample(4).count(), 0);
        for n in 0..10 {
            assert!(pit.insert(key(n), n).is_ok());
        }
        pit.remove(key(5).pair);
        let mut seen = |count| pit.sample(count).map(|(_, n)| *n).collect::<Vec<_>>();
        assert_eq!(seen(4), [0, 1, 2, 3]);
        assert_eq!(seen(4), [4, 6, 7]);
        assert_eq!(seen(4), [8, 9, 0, 1]);
        assert_eq!(seen(99).len(), 9, "none twice");
    }

    #[test]
    fn direction_and_ip_version_are_part_of_the_key() {
        let mut pit = Pit::new(10, [0; 4]);
        let v4 = HostPair::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        assert!(pit.insert(FlowKey::host_pair(v4), ()).is_ok());
        assert!(pit.get(v4.reversed()).is_none());
        let v6 = HostPair::new("::a00:1".parse().unwrap(), "::a00:2".parse().unwrap());
        assert!(pit.get(v6).is_none());
    }
}
