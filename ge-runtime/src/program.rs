//! Which agent a process is: that of a host or that of a router. Everything that is called after
//! the program is named here, once.

use mgmt_api::Kind;
use std::path::PathBuf;

/// The program around this runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// Host agent.
    Ges,
    /// Router agent.
    Gen,
}

impl Program {
    /// `ges` or `gen`: name of the program, its systemd unit, its system group, its TUNs, and the
    /// beginning of its metrics and JSON schemas.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ges => "ges",
            Self::Gen => "gen",
        }
    }

    /// What it is to the management server.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Ges => Kind::Host,
            Self::Gen => Kind::Router,
        }
    }

    /// What it runs on, in a sentence.
    #[must_use]
    pub const fn machine(self) -> &'static str {
        match self {
            Self::Ges => "host",
            Self::Gen => "router",
        }
    }

    /// Configuration file where none is named; it need not exist.
    #[must_use]
    pub fn config(self) -> PathBuf {
        format!("/etc/{0}/{0}.toml", self.name()).into()
    }

    /// Control socket where none is named.
    #[must_use]
    pub fn socket(self) -> PathBuf {
        format!("/run/{0}/{0}.sock", self.name()).into()
    }

    /// State directory where none is named.
    #[must_use]
    pub fn state(self) -> PathBuf {
        format!("/var/lib/{}", self.name()).into()
    }
}
