//! The words a flow's fate has, everywhere the same.

use ge_core::io::FlowSnapshot;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What happens to the packets of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Sealed under a key both ends proved.
    Protected,
    /// Passed as plaintext.
    Clear,
    /// Protected by two other agents, and let pass.
    Transit,
    /// Refused.
    Dropped,
    /// Being negotiated; packets wait.
    Pending,
}

/// A word that is no verdict.
#[derive(Debug, thiserror::Error)]
#[error("no such verdict: {0} (one of protected, clear, transit, dropped, pending)")]
pub struct UnknownVerdict(String);

impl Verdict {
    /// All of them, in the order they are listed.
    pub const ALL: [Self; 5] =
        [Self::Protected, Self::Clear, Self::Transit, Self::Dropped, Self::Pending];

    /// The verdict of a row. The engine uses the same words; one this version does not know is
    /// undecided to it.
    #[must_use]
    pub fn of(row: &FlowSnapshot) -> Self {
        row.verdict.parse().unwrap_or(Self::Pending)
    }

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Protected => "protected",
            Self::Clear => "clear",
            Self::Transit => "transit",
            Self::Dropped => "dropped",
            Self::Pending => "pending",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Verdict {
    type Err = UnknownVerdict;

    fn from_str(word: &str) -> Result<Self, UnknownVerdict> {
        Self::ALL
            .into_iter()
            .find(|verdict| verdict.as_str() == word)
            .ok_or_else(|| UnknownVerdict(word.to_owned()))
    }
}

/// PIT rows by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCounts {
    /// Rows sealed.
    pub protected: u64,
    /// Rows passed as plaintext.
    pub clear: u64,
    /// Rows that others protect (routers).
    #[serde(default)]
    pub transit: u64,
    /// Rows refused.
    pub dropped: u64,
    /// Rows under negotiation.
    pub pending: u64,
}

impl VerdictCounts {
    /// Counts `rows`.
    #[must_use]
    pub fn of(rows: &[FlowSnapshot]) -> Self {
        let mut counts = Self::default();
        for row in rows {
            let slot = match Verdict::of(row) {
                Verdict::Protected => &mut counts.protected,
                Verdict::Clear => &mut counts.clear,
                Verdict::Transit => &mut counts.transit,
                Verdict::Dropped => &mut counts.dropped,
                Verdict::Pending => &mut counts.pending,
            };
            *slot = slot.saturating_add(1);
        }
        counts
    }

    /// The count of one verdict.
    #[must_use]
    pub const fn get(&self, verdict: Verdict) -> u64 {
        match verdict {
            Verdict::Protected => self.protected,
            Verdict::Clear => self.clear,
            Verdict::Transit => self.transit,
            Verdict::Dropped => self.dropped,
            Verdict::Pending => self.pending,
        }
    }
}
