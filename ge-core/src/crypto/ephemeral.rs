//! Ephemeral keys made ahead, while no packet waits for them.

use super::Rng;
use super::x25519::KeyPair;
use crate::limits::EPHEMERALS_AHEAD;

/// Fresh key pairs, each handed out once. Wiped on drop, like every pair.
#[derive(Default)]
pub(crate) struct Ephemerals(Vec<KeyPair>);

impl Ephemerals {
    /// A pair that nobody else has: one made ahead, or a new one.
    pub(crate) fn take(&mut self, rng: &mut Rng) -> KeyPair {
        self.0.pop().unwrap_or_else(|| KeyPair::generate(rng))
    }

    /// Makes one pair ahead, unless there are enough.
    pub(crate) fn refill(&mut self, rng: &mut Rng) {
        if self.0.len() < EPHEMERALS_AHEAD {
            self.0.push(KeyPair::generate(rng));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng as _;
    use std::collections::BTreeSet;

    #[test]
    fn every_pair_is_handed_out_once_and_few_are_kept() {
        let (mut ephemerals, mut rng) = (Ephemerals::default(), Rng::seed_from_u64(1));
        for _ in 0..3 * EPHEMERALS_AHEAD {
            ephemerals.refill(&mut rng);
        }
        assert_eq!(ephemerals.0.len(), EPHEMERALS_AHEAD);
        let taken = 2 * EPHEMERALS_AHEAD;
        let publics: BTreeSet<_> = (0..taken).map(|_| ephemerals.take(&mut rng).public()).collect();
        assert_eq!(publics.len(), taken);
    }
}
