//! Anti-replay window (RFC 6479): a ring of bits that slides in whole words.
//!
//! ```text
//! counters   ... | too old | word | word | ... | word | not seen yet ...
//!                          ^ window: 8,192 bits     ^ limit = highest counter + 1
//! ```
//!
//! The word that is being filled still holds bits of the past, so one word less than the ring can
//! be used: 8,128 counters behind the highest are told apart. [`ReplayWindow::check`] is asked
//! before the packet is opened, [`ReplayWindow::commit`] after it proved authentic; a forged packet
//! therefore never moves the window.

use crate::limits::{REJECT_AFTER_MESSAGES, REPLAY_WINDOW};

/// Bits per word of the ring.
const WORD: u64 = 64;
/// Words of the ring; a power of two so that a counter finds its word by masking.
const WORDS: u64 = (REPLAY_WINDOW as u64) / WORD;
/// How far behind the highest counter a packet may be.
const USABLE: u64 = (WORDS - 1) * WORD;

const _: () = assert!(WORDS.is_power_of_two());

/// Which counters were seen, for one direction of one session. 1 KiB.
#[derive(Clone)]
pub struct ReplayWindow {
    /// Highest committed counter plus one; zero before the first packet.
    limit: u64,
    ring: [u64; WORDS as usize],
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

impl ReplayWindow {
    /// A window that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { limit: 0, ring: [0; WORDS as usize] }
    }

    /// Highest committed counter plus one; zero before the first packet.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// True if `counter` is new: neither seen, nor too old to tell, nor past the limit of the key.
    #[must_use]
    pub fn check(&self, counter: u64) -> bool {
        if counter >= REJECT_AFTER_MESSAGES {
            return false;
        }
        if counter >= self.limit {
            return true;
        }
        self.limit - 1 - counter < USABLE && self.ring[slot(counter)] & bit(counter) == 0
    }

    /// Marks `counter` as seen. Call it only after the packet proved authentic, with a counter
    /// for which [`check`](Self::check) said yes; any other counter changes nothing.
    pub fn commit(&mut self, counter: u64) {
        if !self.check(counter) {
            return;
        }
        if counter >= self.limit {
            self.slide(counter);
        }
        self.ring[slot(counter)] |= bit(counter);
    }

    /// Clears the words between the old highest counter and the new one.
    fn slide(&mut self, counter: u64) {
        let (old, new) = (self.limit.saturating_sub(1) / WORD, counter / WORD);
        let cleared = (new - old).min(WORDS);
        for word in 1..=cleared {
            self.ring[((old + word) % WORDS) as usize] = 0;
        }
        self.limit = counter + 1;
    }
}

const fn slot(counter: u64) -> usize {
    ((counter / WORD) % WORDS) as usize
}

const fn bit(counter: u64) -> u64 {
    1 << (counter % WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: u64 = USABLE;
    const LAST: u64 = REJECT_AFTER_MESSAGES - 1;

    /// Each row is one packet in order of arrival: counter, and whether it is accepted. A row that
    /// starts with `None` starts a new window.
    #[test]
    fn truth_table() {
        let rows: &[(u32, Option<u64>, bool)] = &[
            (1, Some(0), true),
            (2, Some(0), false),
            (3, Some(1), true),
            (4, Some(1), false),
            (5, Some(9), true),
            (6, Some(8), true),
            (7, Some(7), true),
            (8, Some(7), false),
            (9, Some(10), true),
            (10, Some(2), true),
            (11, Some(2), false),
            // The edge of a word.
            (12, Some(63), true),
            (13, Some(64), true),
            (14, Some(65), true),
            (15, Some(64), false),
            (16, Some(63), false),
            // The edge of the window: W - 1 behind the highest is the last that can be told.
            (17, Some(W), true),
            (18, Some(0), false),
            (19, Some(3), true),
            (20, Some(W + 100), true),
            (21, Some(100), false),
            (22, Some(101), true),
            (23, Some(101), false),
            (24, Some(W + 99), true),
            // Jumps: by exactly one ring, by more than one, by half the number space.
            (25, Some(W + 100 + REPLAY_WINDOW as u64), true),
            (26, Some(W + 100), false),
            (27, Some(W + 101 + 64), true),
            (28, Some(10 * W), true),
            (29, Some(9 * W), false),
            (30, Some(9 * W + 1), true),
            (31, Some(1 << 63), true),
            (32, Some((1 << 63) - W), false),
            (33, Some((1 << 63) - W + 1), true),
            (34, Some((1 << 63) - 1), true),
            (35, Some((1 << 63) - 1), false),
            (36, Some(10 * W + 1), false),
            // The end of the key: limit - 1 is used, limit and limit + 1 never.
            (37, Some(LAST + 1), false),
            (38, Some(LAST + 2), false),
            (39, Some(u64::MAX), false),
            (40, Some(LAST), true),
            (41, Some(LAST), false),
            (42, Some(LAST - 1), true),
            (43, Some(LAST - W), false),
            (44, Some(LAST - W + 1), true),
            // A window whose first packet is not number zero.
            (45, None, true),
            (46, Some(5000), true),
            (47, Some(0), true),
            (48, Some(0), false),
            (49, Some(5000 + W), true),
            (50, Some(5001), true),
            (51, Some(5000), false),
        ];
        let mut window = ReplayWindow::new();
        for &(row, counter, accepted) in rows {
            let Some(counter) = counter else {
                window = ReplayWindow::new();
                continue;
            };
            assert_eq!(window.check(counter), accepted, "row {row}: check {counter}");
            window.commit(counter);
            assert!(!window.check(counter), "row {row}: {counter} is seen or refused for good");
        }
    }

    #[test]
    fn agrees_with_a_plain_set() {
        let mut window = ReplayWindow::new();
        let mut seen = std::collections::HashSet::new();
        let (mut top, mut state) = (0_u64, 0x2545_f491_4f6c_dd1d_u64);
        for _ in 0..200_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let counter = (top + state % 700).saturating_sub(state % 9000);
            let new = counter + W > top && !seen.contains(&counter);
            assert_eq!(window.check(counter), new, "counter {counter} top {top}");
            if new {
                window.commit(counter);
                seen.insert(counter);
                top = top.max(counter);
            }
        }
    }

    #[test]
    fn a_check_alone_changes_nothing() {
        let mut window = ReplayWindow::new();
        window.commit(70);
        for counter in [0, 71, 100_000, LAST] {
            assert!(window.check(counter));
            assert!(window.check(counter));
        }
        assert_eq!(window.limit(), 71);
    }
}
