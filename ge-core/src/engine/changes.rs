//! Rows whose verdict changed, for whoever follows them. Nothing is kept while nobody does.

use super::Engine;
use crate::Now;
use crate::flow::HostPair;
use crate::io::Change;
use crate::limits::CHANGES_PER_TURN;
use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct Changes {
    watched: bool,
    pairs: BTreeSet<HostPair>,
    lost: u64,
}

impl Engine {
    /// From now on changes are kept until they are taken, or are not.
    pub fn watch(&mut self, watched: bool) {
        self.changes = Changes { watched, ..Changes::default() };
    }

    /// What changed since the last call, and how many changes there was no room for.
    pub fn take_changes(&mut self, now: Now) -> (Vec<Change>, u64) {
        let lost = core::mem::take(&mut self.changes.lost);
        let pairs = core::mem::take(&mut self.changes.pairs);
        let change = |pair| Change { pair, flow: self.flow_snapshot(pair, now) };
        (pairs.into_iter().map(change).collect(), lost)
    }

    /// The verdict of a pair changed, or its row is gone.
    pub(super) fn changed(&mut self, pair: HostPair) {
        let changes = &mut self.changes;
        if !changes.watched {
            return;
        }
        if changes.pairs.len() < CHANGES_PER_TURN || changes.pairs.contains(&pair) {
            changes.pairs.insert(pair);
        } else {
            changes.lost += 1;
        }
    }
}
