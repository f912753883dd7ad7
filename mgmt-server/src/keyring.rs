//! Epochs of one key: what is in force, what comes next, and how they follow each other.
//!
//! ```text
//! epoch 1  |=========== 24 h ===========|-600 s-|
//! epoch 2  (announced)                  |=========== 24 h ===========|-600 s-|
//! epoch 3                               (announced when 2 begins)    |==== …
//! ```
//!
//! Members hold the next epoch a day before it begins, so a soft change needs no push to arrive in
//! time. A hard change (somebody was removed who may hold the next key too) throws the announced
//! key away and begins with fresh material at once. Numbers only ever grow.

use crate::random::{self, EntropyError};
use mgmt_api::{KeyEpoch, Secret};

/// Life of an epoch as the one to send with. PROTOCOL.md 2.5.
pub const EPOCH_LIFE: u64 = 24 * 3600;
/// How much longer the old epoch is accepted after a soft change: clocks and delivery.
pub const SOFT_OVERLAP: u64 = 600;
/// And after a hard one.
pub const HARD_OVERLAP: u64 = 5;

/// How an epoch ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The announced epoch begins now; nobody is cut off.
    Soft,
    /// A fresh epoch begins now; who holds only the old ones is out after 5 s.
    Hard,
}

/// The epochs of one key, by number, the last one in the future.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Vec<KeyEpoch>);

impl Keyring {
    /// A ring whose first epoch begins at `now`.
    ///
    /// # Errors
    /// No randomness to be had.
    pub fn start(now: u64) -> Result<Self, EntropyError> {
        let mut ring = Self(Vec::new());
        ring.push(now)?;
        ring.push(now.saturating_add(EPOCH_LIFE))?;
        Ok(ring)
    }

    /// A ring as it was stored.
    #[must_use]
    pub fn from_epochs(mut epochs: Vec<KeyEpoch>) -> Self {
        epochs.sort_by_key(|epoch| epoch.epoch);
        Self(epochs)
    }

    /// The epochs, by number.
    #[must_use]
    pub fn epochs(&self) -> &[KeyEpoch] {
        &self.0
    }

    /// The epoch to send with.
    #[must_use]
    pub fn current(&self, now: u64) -> Option<&KeyEpoch> {
        self.0.iter().rev().find(|epoch| epoch.not_before <= now)
    }

    /// Lets time pass: announces the next epoch once the last has begun, forgets what is past.
    /// True if anything changed.
    ///
    /// # Errors
    /// No randomness to be had.
    pub fn advance(&mut self, now: u64) -> Result<bool, EntropyError> {
        let mut changed = false;
        // After a long silence the first new epoch begins now and gets a successor: two at most.
        for _ in 0..2 {
            if self.0.last().is_some_and(|last| last.not_before > now) {
                break;
            }
            let after_last =
                self.0.last().map_or(now, |last| last.not_before.saturating_add(EPOCH_LIFE));
            self.push(after_last.max(now))?;
            changed = true;
        }
        let before = self.0.len();
        self.0.retain(|epoch| epoch.not_after > now);
        Ok(changed || self.0.len() != before)
    }

    /// Begins a new epoch now.
    ///
    /// # Errors
    /// No randomness to be had.
    pub fn change(&mut self, now: u64, change: Change) -> Result<(), EntropyError> {
        self.advance(now)?;
        match change {
            Change::Soft => {
                self.end_all_by(now.saturating_add(SOFT_OVERLAP), now);
                if let Some(announced) = self.0.last_mut() {
                    announced.not_before = now;
                    announced.not_after = end_of(now);
                }
            }
            Change::Hard => {
                self.end_all_by(now.saturating_add(HARD_OVERLAP), now);
                // Its number is used up although it never began: members have seen it.
                self.push(now)?;
                self.0.retain(|epoch| epoch.not_before <= now);
            }
        }
        self.push(now.saturating_add(EPOCH_LIFE))
    }

    fn end_all_by(&mut self, end: u64, now: u64) {
        for epoch in self.0.iter_mut().filter(|epoch| epoch.not_before <= now) {
            epoch.not_after = epoch.not_after.min(end);
        }
    }

    fn push(&mut self, not_before: u64) -> Result<(), EntropyError> {
        let number = self.0.last().map_or(1, |last| last.epoch.saturating_add(1));
        let key = Secret::new(random::bytes()?);
        self.0.push(KeyEpoch { epoch: number, key, not_before, not_after: end_of(not_before) });
        Ok(())
    }
}

fn end_of(not_before: u64) -> u64 {
    not_before.saturating_add(EPOCH_LIFE).saturating_add(SOFT_OVERLAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000;

    fn shape(ring: &Keyring) -> Vec<(u32, i64, i64)> {
        let offset = |time: u64| time as i64 - START as i64;
        ring.epochs().iter().map(|e| (e.epoch, offset(e.not_before), offset(e.not_after))).collect()
    }

    #[test]
    fn epochs_follow_each_other_by_time() {
        let mut ring = Keyring::start(START).unwrap();
        assert_eq!(shape(&ring), [(1, 0, 87_000), (2, 86_400, 173_400)]);
        assert!(!ring.advance(START + 86_399).unwrap());
        assert!(ring.advance(START + 86_400).unwrap());
        assert_eq!(shape(&ring), [(1, 0, 87_000), (2, 86_400, 173_400), (3, 172_800, 259_800)]);
        assert!(ring.advance(START + 87_000).unwrap());
        assert_eq!(shape(&ring), [(2, 86_400, 173_400), (3, 172_800, 259_800)]);
    }

    #[test]
    fn a_server_that_was_away_for_days_begins_anew_with_higher_numbers() {
        let mut ring = Keyring::start(START).unwrap();
        assert!(ring.advance(START + 1_000_000).unwrap());
        assert_eq!(shape(&ring), [(3, 1_000_000, 1_087_000), (4, 1_086_400, 1_173_400)]);
    }

    #[test]
    fn soft_change_uses_the_key_members_already_hold() {
        let mut ring = Keyring::start(START).unwrap();
        let announced = *ring.epochs()[1].key.expose();
        ring.change(START + 100, Change::Soft).unwrap();
        assert_eq!(shape(&ring), [(1, 0, 700), (2, 100, 87_100), (3, 86_500, 173_500)]);
        assert_eq!(*ring.current(START + 100).unwrap().key.expose(), announced);
    }

    #[test]
    fn hard_change_throws_the_announced_key_away() {
        let mut ring = Keyring::start(START).unwrap();
        let known: Vec<_> = ring.epochs().iter().map(|epoch| *epoch.key.expose()).collect();
        ring.change(START + 100, Change::Hard).unwrap();
        assert_eq!(shape(&ring), [(1, 0, 105), (3, 100, 87_100), (4, 86_500, 173_500)]);
        assert!(ring.epochs()[1..].iter().all(|epoch| !known.contains(epoch.key.expose())));
    }

    #[test]
    fn numbers_never_go_back_whatever_is_done() {
        let mut ring = Keyring::start(START).unwrap();
        let mut now = START;
        let mut highest = 1;
        for step in 0..200u64 {
            now += step * 997 % 100_000;
            let change = if step % 3 == 0 { Change::Hard } else { Change::Soft };
            ring.change(now, change).unwrap();
            let current = ring.current(now).unwrap();
            assert!(current.epoch > highest && current.not_after > now);
            assert!(ring.epochs().last().unwrap().not_before > now);
            highest = current.epoch;
        }
    }

    #[test]
    fn a_clock_that_jumps_to_the_end_of_time_does_not_panic() {
        let mut ring = Keyring::start(START).unwrap();
        ring.change(u64::MAX - 1, Change::Hard).unwrap();
        ring.change(0, Change::Soft).unwrap();
    }
}
