//! Who is who: what the server tells one member of others, so that people read names.

use crate::{HexBytes, Kind, Mode, Transit};
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/who`: agents as a negotiation shows them. At most
/// [`WHO_AGENTS`](crate::limits::WHO_AGENTS) of both together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoRequest {
    /// First 8 bytes of SHA-256 of certificates, as agents between two ends name themselves.
    #[serde(default)]
    pub certificates: Vec<HexBytes<8>>,
    /// Ids, as ends name themselves.
    #[serde(default)]
    pub agents: Vec<HexBytes<16>>,
}

/// Answer to [`WhoRequest`]: those that are members now. A certificate that was renewed since is
/// not found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoAnswer {
    /// In no order.
    pub agents: Vec<AgentInfo>,
}

/// What a member is told of another, or of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentInfo {
    /// Its id.
    pub agent: HexBytes<16>,
    /// First 8 bytes of SHA-256 of its present certificate.
    pub certificate: HexBytes<8>,
    /// Its name for people.
    pub name: String,
    /// Host or router.
    pub kind: Kind,
    /// Its mode.
    pub mode: Mode,
    /// What it asks of sessions that pass, if it is a router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transit: Option<Transit>,
    /// Names of its groups: those that who asks is in too, or all of them if the policy says so.
    pub groups: Vec<String>,
    /// How many more it is in.
    pub other_groups: u32,
}

/// What members are told of each other's groups.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Explain {
    /// The names of groups both are in, and how many more there are.
    #[default]
    Shared,
    /// The names of all groups.
    All,
}

impl Explain {
    /// `shared` or `all`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::All => "all",
        }
    }
}
