//! Exit codes: what a script learns from `ges` without reading its text.
//!
//! One table for every command. The numbers are a promise: they are printed by `ges --help`, they
//! appear in error objects on the control socket and in `--json`, and they never change meaning.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// As asked.
    Success = 0,
    /// Any error without a code of its own.
    Failure = 1,
    /// Wrong usage or bad configuration.
    Usage = 2,
    /// No agent is running on this host.
    NotRunning = 3,
    /// The agent has no membership: not enrolled, or the server refused the token.
    NotEnrolled = 4,
    /// Up, but with a health problem of severity warning or above (`status --check`).
    Unhealthy = 5,
    /// The verdict for the peer is *dropped*.
    Dropped = 6,
    /// Reached, but in clear, and `--require-protected` was given.
    Clear = 7,
    /// Timed out.
    TimedOut = 8,
    /// Refused: needs root, the capability, or the group.
    Refused = 9,
}

impl Exit {
    /// All codes in ascending order.
    pub const ALL: [Self; 10] = [
        Self::Success,
        Self::Failure,
        Self::Usage,
        Self::NotRunning,
        Self::NotEnrolled,
        Self::Unhealthy,
        Self::Dropped,
        Self::Clear,
        Self::TimedOut,
        Self::Refused,
    ];

    /// The number handed to the shell.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The code with this number; a number from a newer agent reads as [`Exit::Failure`].
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        Self::ALL.into_iter().find(|exit| exit.code() == code).unwrap_or(Self::Failure)
    }

    /// One line of the table in `--help`.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "as asked",
            Self::Failure => "other error",
            Self::Usage => "wrong usage or bad configuration",
            Self::NotRunning => "agent not running",
            Self::NotEnrolled => "not enrolled",
            Self::Unhealthy => "up, but a health problem of severity warning or above (--check)",
            Self::Dropped => "the verdict for the peer is dropped",
            Self::Clear => "reached, but in clear, and --require-protected was given",
            Self::TimedOut => "timed out",
            Self::Refused => "refused: needs root or the agent's group",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of PEERS.md 3.7, written out: changing a number must break a test.
    #[test]
    fn the_numbers_are_a_promise() {
        let table = [
            (0, Exit::Success),
            (1, Exit::Failure),
            (2, Exit::Usage),
            (3, Exit::NotRunning),
            (4, Exit::NotEnrolled),
            (5, Exit::Unhealthy),
            (6, Exit::Dropped),
            (7, Exit::Clear),
            (8, Exit::TimedOut),
            (9, Exit::Refused),
        ];
        assert_eq!(table.len(), Exit::ALL.len());
        for (code, exit) in table {
            assert_eq!(exit.code(), code);
            assert_eq!(Exit::from_code(code), exit);
        }
        assert_eq!(Exit::from_code(200), Exit::Failure);
    }
}
