//! Requests that were answered, so that none is answered twice.

use crate::limits::{SEEN_EPHEMERALS, TIMESTAMP_WINDOW};
use crate::now::Instant;
use std::collections::BTreeSet;

/// Ephemeral keys of requests already answered: two generations, each one time-stamp window long.
#[derive(Default)]
pub(super) struct Seen {
    young: BTreeSet<[u8; 8]>,
    old: BTreeSet<[u8; 8]>,
    since: Instant,
}

impl Seen {
    pub(super) fn contains(&self, ephemeral: &[u8; 32]) -> bool {
        let short = Self::short(ephemeral);
        self.old.contains(&short) || self.young.contains(&short)
    }

    pub(super) fn insert(&mut self, ephemeral: &[u8; 32], now: Instant) {
        if now.since(self.since) >= TIMESTAMP_WINDOW || self.young.len() >= SEEN_EPHEMERALS {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
        self.young.insert(Self::short(ephemeral));
    }

    pub(super) fn forget(&mut self, ephemeral: &[u8; 32]) {
        let short = Self::short(ephemeral);
        self.young.remove(&short);
        self.old.remove(&short);
    }

    fn short(ephemeral: &[u8; 32]) -> [u8; 8] {
        let mut short = [0; 8];
        short.copy_from_slice(&ephemeral[..8]);
        short
    }
}
