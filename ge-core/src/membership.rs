//! What the management server hands an agent: its place in the domain, and the keys.
//!
//! The runtime turns the server's JSON into this; the engine installs it with
//! `Engine::install`. Nothing here has a `Debug` that shows key material, and secrets are wiped
//! when dropped.

use crate::id::{DomainId, Epoch, GroupId, Serial};
use crate::mode::{Mode, Prefix, Transit};
use crate::now::UnixTime;
use crate::{GeId, Role};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 secret bytes: no `Debug`, no `PartialEq`, wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret32(pub [u8; 32]);

/// The agent's own long-lived keys. Made on the machine; the private halves never leave it.
#[derive(Clone)]
pub struct Identity {
    /// Ed25519 seed of the identity key IK (signatures, TLS client authentication).
    pub identity: Secret32,
    /// X25519 private key SK (Noise static key only).
    pub noise_static: Secret32,
}

/// One version of a key and when it is in force.
#[derive(Clone)]
pub struct KeyEpoch {
    /// Version number; the highest that has started is used for sending.
    pub epoch: Epoch,
    /// The key itself.
    pub key: Secret32,
    /// Used for sending from here on.
    pub not_before: UnixTime,
    /// No longer accepted from here on.
    pub not_after: UnixTime,
}

/// A group this agent is a member of.
#[derive(Clone)]
pub struct Group {
    /// Number, unique in the domain.
    pub id: GroupId,
    /// Name for people.
    pub name: String,
    /// Where two agents share several groups, the lowest number wins, then the lowest id.
    pub priority: u16,
    /// Group keys in force and next.
    pub keys: Vec<KeyEpoch>,
    /// Slowly changing key by which co-members recognise each other's certificates
    /// (`commit_g = HMAC(CK_g, serial)[0..6]`).
    pub commit_key: Secret32,
}

/// A member that was removed. Refused by any of the three names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Certificate serial.
    pub serial: Serial,
    /// Agent.
    pub agent: GeId,
    /// Identity public key.
    pub identity_key: [u8; 32],
    /// Noise static public key.
    pub noise_key: [u8; 32],
}

/// A key by which certificates are signed. The runtime verified the root's signature over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// First 8 bytes of SHA-256 of the key.
    pub id: [u8; 8],
    /// Ed25519 public key.
    pub key: [u8; 32],
    /// Certificates it signed count from here on.
    pub not_before: UnixTime,
    /// And until here.
    pub not_after: UnixTime,
}

/// Everything an agent needs to negotiate, for one version of the domain's policy.
#[derive(Clone)]
pub struct Membership {
    /// Version of the domain's policy. Never goes back.
    pub version: u64,
    /// The domain.
    pub domain: DomainId,
    /// This agent.
    pub agent: GeId,
    /// Host, or router with its certified prefixes.
    pub role: Role,
    /// Open or closed.
    pub mode: Mode,
    /// In open mode: report what closed mode would drop. On the wire and to packets it is open mode.
    pub observe: bool,
    /// What a closed agent asks of other agents' sessions that pass it.
    pub transit: Transit,
    /// This agent's certificate (at most 320 bytes; `cert.rs` has the layout).
    pub certificate: Vec<u8>,
    /// Keys that sign certificates.
    pub issuers: Vec<Issuer>,
    /// Domain keys TK in force and next.
    pub domain_keys: Vec<KeyEpoch>,
    /// Groups of this agent.
    pub groups: Vec<Group>,
    /// Removed members whose certificates have not expired yet.
    pub revocations: Vec<Revocation>,
    /// Destinations worth asking; outside them open mode passes and closed mode discards at once.
    pub search_scope: Vec<Prefix>,
    /// Destinations that are never talked to in clear, whatever the mode.
    pub must_protect: Vec<Prefix>,
    /// Names of hosts for whose addresses the same holds. The runtime looks them up and hands the
    /// addresses to `Engine::set_named`.
    pub must_protect_names: Vec<String>,
}
