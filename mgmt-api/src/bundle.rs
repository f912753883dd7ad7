//! What the server hands an agent: its place in the domain, and the keys.

use crate::{DnsName, HexBytes, HexVec, IssuerStatement, Kind, Mode, Prefix, Secret, Transit};
use serde::{Deserialize, Serialize};

/// Everything one member needs, as of one version. Times are Unix seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bundle {
    /// Version of what this member sees. Never goes back, also over server restarts.
    pub version: u64,
    /// The server's clock when it answered.
    pub server_time: u64,
    /// The domain: the first 8 bytes of SHA-256 of the root key.
    pub domain: HexBytes<8>,
    /// This agent.
    pub agent: HexBytes<16>,
    /// Its name for people.
    pub name: String,
    /// Host or router.
    pub kind: Kind,
    /// Prefixes certified for a router; empty for a host.
    pub prefixes: Vec<Prefix>,
    /// Open or closed; observe mode is written as open, so that agents that do not know it pass
    /// what it passes.
    pub mode: Mode,
    /// Observe mode: open, and what closed mode would drop is reported.
    #[serde(default)]
    pub observe: bool,
    /// What a closed router asks of protected flows between others.
    #[serde(default)]
    pub transit: Transit,
    /// Membership certificate, at most 320 bytes (PROTOCOL.md 2.1).
    pub certificate: HexVec,
    /// How long it holds.
    pub lease: Lease,
    /// Ed25519 public key of the root; the agent pins it when it enrols.
    pub root_key: HexBytes<32>,
    /// Keys that sign certificates, each with the root's signature.
    pub issuers: Vec<IssuerStatement>,
    /// Domain keys TK in force and next.
    pub domain_keys: Vec<KeyEpoch>,
    /// Groups of this agent.
    pub groups: Vec<Group>,
    /// Removed members whose certificates have not ended yet.
    pub revocations: Vec<Revocation>,
    /// Destinations worth asking for an agent.
    pub search_scope: Vec<Prefix>,
    /// Destinations that are never passed in clear, in open mode either.
    #[serde(default)]
    pub must_protect: Vec<Prefix>,
    /// Names of hosts for whose addresses the same holds.
    #[serde(default)]
    pub must_protect_names: Vec<DnsName>,
}

/// Life of the member's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// When it was issued.
    pub issued: u64,
    /// When to ask for the next.
    pub renew_after: u64,
    /// When it ends.
    pub expires: u64,
}

/// One version of a key and when it is in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyEpoch {
    /// Version number; only ever grows.
    pub epoch: u32,
    /// The key.
    pub key: Secret,
    /// Used for sending from here on.
    pub not_before: u64,
    /// No longer accepted from here on.
    pub not_after: u64,
}

/// A group of the member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    /// Number, unique in the domain.
    pub id: u32,
    /// Name for people.
    pub name: String,
    /// Where two members share several groups the lowest priority wins, then the lowest id.
    pub priority: u16,
    /// Group keys GK in force and next.
    pub keys: Vec<KeyEpoch>,
    /// Key CK by which members recognise each other's certificates.
    pub commit_key: Secret,
}

/// A removed member; refused by any of the names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Serial of its last certificate.
    pub serial: HexBytes<16>,
    /// Agent.
    pub agent: HexBytes<16>,
    /// Ed25519 identity key.
    pub identity_key: HexBytes<32>,
    /// X25519 Noise key.
    pub noise_key: HexBytes<32>,
}
