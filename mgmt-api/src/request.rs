//! What an agent sends.

use crate::{HexBytes, Prefix, Secret};
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Software on a host (GES).
    Host,
    /// A router in front of ordinary machines (GEN).
    Router,
}

impl Kind {
    /// `host` or `router`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Router => "router",
        }
    }
}

/// What a member does with traffic of machines that share no group with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Lets it pass in clear.
    Open,
    /// Refuses it.
    Closed,
    /// Lets it pass in clear, and reports what would be refused.
    Observe,
}

impl Mode {
    /// `open` or `closed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Observe => "observe",
        }
    }
}

/// What a closed router asks of a protected flow that only passes it: neither end is a machine it
/// stands for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Transit {
    /// Nothing passes.
    Strict,
    /// It passes if an end proves membership of one of the router's groups.
    #[default]
    Vouched,
    /// It passes.
    Any,
}

impl Transit {
    /// `strict`, `vouched` or `any`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Vouched => "vouched",
            Self::Any => "any",
        }
    }
}

macro_rules! words {
    ($name:ident, $what:literal, $($variant:ident),+) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                [$(Self::$variant),+]
                    .into_iter()
                    .find(|word| word.as_str() == text)
                    .ok_or_else(|| format!(concat!("{:?} is not a ", $what), text))
            }
        }
    };
}
words!(Kind, "kind; write host or router", Host, Router);
words!(Mode, "mode; write open, closed or observe", Open, Closed, Observe);
words!(Transit, "transit setting; write strict, vouched or any", Strict, Vouched, Any);

/// Body of `POST /v1/enrol`. The identity key is not in it: it is the TLS client certificate's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// Which token, 8 bytes.
    pub token: HexBytes<8>,
    /// Proof of holding it.
    pub secret: Secret,
    /// X25519 public key for Noise.
    pub noise_key: HexBytes<32>,
    /// Name for people, usually the host name. The server makes it unique.
    pub name: String,
    /// What the agent is; must be what the token is for.
    pub kind: Kind,
    /// The machine has AES and carry-less multiplication in hardware (PROTOCOL.md 1.2).
    pub aes: bool,
    /// Subnets a router offers to stand for. Those that the token allows are certified; an
    /// administrator certifies the others, or does not.
    #[serde(default)]
    pub subnets: Vec<Prefix>,
}

/// Body of `POST /v1/renew`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest {
    /// X25519 public key for Noise, from now on.
    pub noise_key: HexBytes<32>,
    /// See [`EnrolRequest::aes`].
    pub aes: bool,
}
