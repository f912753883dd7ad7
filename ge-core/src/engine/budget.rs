//! What may happen so many times a second, whoever causes it.

use crate::now::Instant;
use core::time::Duration;

/// So many per second.
#[derive(Default)]
pub(super) struct Budget {
    second: Instant,
    used: u32,
}

impl Budget {
    pub(super) fn take(&mut self, limit: u32, now: Instant) -> bool {
        if now.since(self.second) >= Duration::from_secs(1) {
            *self = Self { second: now, used: 0 };
        }
        self.used += 1;
        self.used <= limit
    }
}
