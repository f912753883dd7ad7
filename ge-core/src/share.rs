//! How many rows of a table each source has caused. As large as the table at most.

use crate::origin::Source;
use std::collections::BTreeMap;

/// Rows by source.
#[derive(Default)]
pub(crate) struct Shares(BTreeMap<Source, usize>);

impl Shares {
    /// True if the source has `limit` rows.
    pub(crate) fn is_full(&self, source: Source, limit: usize) -> bool {
        self.0.get(&source).is_some_and(|rows| *rows >= limit)
    }

    /// A row of this source is added.
    pub(crate) fn add(&mut self, source: Source) {
        *self.0.entry(source).or_default() += 1;
    }

    /// A row of this source is gone.
    pub(crate) fn remove(&mut self, source: Source) {
        if let Some(rows) = self.0.get_mut(&source) {
            *rows -= 1;
            if *rows == 0 {
                self.0.remove(&source);
            }
        }
    }
}
