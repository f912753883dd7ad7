//! What to do with a packet of a flow: the three words of RFC 4301.

/// The action of a PIT row. GSCIP: encrypt, pass through, discard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Seal it for the peer agent.
    Protect,
    /// Pass it as plaintext.
    Bypass,
    /// Drop it.
    Discard,
}

impl Action {
    /// The verdict as people read it: `protected`, `clear`, `dropped`.
    #[must_use]
    pub const fn verdict(self) -> &'static str {
        match self {
            Self::Protect => "protected",
            Self::Bypass => "clear",
            Self::Discard => "dropped",
        }
    }
}
