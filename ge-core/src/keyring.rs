//! Every key of this agent, derived once from its identity and its membership.
//!
//! The keyring is a value: a new membership makes a new keyring, and nothing in it changes with
//! time but its memory of signatures that were right. What is in force *now* is always asked with
//! the time as an argument. Of a key that is rotated, the newest epoch that has begun is used for
//! sending; that one, the one before it (until it ends) and the next one (for a peer whose clock is a
//! little ahead) are accepted. Nothing here can be printed.

use crate::GeId;
use crate::cert::{CertError, CertRole, Certificate};
use crate::crypto::kdf;
use crate::crypto::sign::{self, Signer};
use crate::crypto::x25519::{self, KeyPair};
use crate::id::{DomainId, Epoch, GroupId};
use crate::limits::{CERTIFICATE_SKEW, TAG_SLOTS};
use crate::membership::{Identity, Issuer, KeyEpoch, Membership, Revocation, Secret32};
use crate::mode::{Mode, Prefix, Role};
use crate::now::UnixTime;
use crate::verified::Verified;
use crate::wire::dprp::Consent;
use core::net::IpAddr;

/// Why a membership cannot be used. The agent keeps the keyring it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The agent's own certificate is wrong.
    #[error("own certificate: {0}")]
    Certificate(#[from] CertError),
    /// The certificate is not for this agent, its keys or its role.
    #[error("own certificate does not match this agent: {0}")]
    Mismatch(&'static str),
    /// There is no domain key.
    #[error("membership has no domain key")]
    NoDomainKey,
    /// More groups than one negotiation can offer.
    #[error("membership has {0} groups, at most {TAG_SLOTS} are possible")]
    TooManyGroups(usize),
}

/// The agent's keys and facts. See the module text.
pub struct Keyring {
    version: u64,
    domain: DomainId,
    agent: GeId,
    mode: Mode,
    consent: Consent,
    prefixes: Vec<Prefix>,
    aes: bool,
    certificate: Vec<u8>,
    not_before: UnixTime,
    not_after: UnixTime,
    identity: Signer,
    noise_static: KeyPair,
    issuers: Vec<Issuer>,
    verified: Verified,
    revocations: Vec<Revocation>,
    domain_keys: Vec<Timed<DomainKeys>>,
    /// In order of preference: priority, then the lowest id.
    groups: Vec<GroupKeys>,
}

impl Keyring {
    /// Derives everything.
    ///
    /// # Errors
    /// [`KeyringError`] if the membership is not this agent's or cannot be used. The certificate's
    /// time is not looked at here but when it is used.
    pub fn new(identity: &Identity, membership: &Membership) -> Result<Self, KeyringError> {
        let own = check_certificate(identity, membership)?;
        if membership.domain_keys.is_empty() {
            return Err(KeyringError::NoDomainKey);
        }
        if membership.groups.len() > TAG_SLOTS {
            return Err(KeyringError::TooManyGroups(membership.groups.len()));
        }
        Ok(Self {
            version: membership.version,
            domain: membership.domain,
            agent: membership.agent,
            mode: membership.mode,
            consent: Consent::of(membership.mode, membership.transit),
            prefixes: own.prefixes,
            aes: own.aes,
            certificate: membership.certificate.clone(),
            not_before: own.not_before,
            not_after: own.not_after,
            identity: Signer::new(&identity.identity),
            noise_static: KeyPair::new(&identity.noise_static),
            issuers: membership.issuers.clone(),
            verified: Verified::default(),
            revocations: membership.revocations.clone(),
            domain_keys: derive_domain(membership),
            groups: derive_groups(membership),
        })
    }

    /// Version of the domain's policy it was made from.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The domain.
    #[must_use]
    pub const fn domain(&self) -> DomainId {
        self.domain
    }

    /// This agent.
    #[must_use]
    pub const fn agent(&self) -> GeId {
        self.agent
    }

    /// Open or closed.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// This agent's certificate, as it is sent.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// When this agent's certificate ends.
    #[must_use]
    pub const fn certificate_not_after(&self) -> UnixTime {
        self.not_after
    }

    /// This agent's groups in order of preference: number, name, priority.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &str, u16)> {
        self.groups.iter().map(|group| (group.id, group.name.as_str(), group.priority))
    }

    /// The epoch used for sending under a group, and when it ends. `None` if no key is in force.
    #[must_use]
    pub fn sending_epoch(&self, group: GroupId, unix: UnixTime) -> Option<(Epoch, UnixTime)> {
        let group = self.groups.iter().find(|own| own.id == group)?;
        sending(&group.epochs, unix).map(|key| (key.epoch, key.not_after))
    }

    /// True if a key of this epoch is still (or already) accepted.
    #[must_use]
    pub fn accepts(&self, group: GroupId, epoch: Epoch, unix: UnixTime) -> bool {
        self.groups
            .iter()
            .filter(|own| own.id == group)
            .any(|own| accepted(&own.epochs, unix).any(|key| key.epoch == epoch))
    }

    /// When a key of this epoch ends. `None` if there is none.
    pub(crate) fn epoch_ends(&self, group: GroupId, epoch: Epoch) -> Option<UnixTime> {
        let group = self.groups.iter().find(|own| own.id == group)?;
        group.epochs.iter().find(|key| key.epoch == epoch).map(|key| key.not_after)
    }

    /// True if this agent can start a negotiation now.
    pub(crate) fn can_ask(&self, unix: UnixTime) -> bool {
        self.own_is_valid(unix)
            && self.sending_domain(unix).is_some()
            && self.sending_groups(unix).next().is_some()
    }

    /// True if the certificate, its agent or one of its keys was revoked.
    #[must_use]
    pub fn is_revoked(&self, certificate: &Certificate) -> bool {
        self.revocations.iter().any(|revoked| {
            revoked.serial == certificate.serial
                || revoked.agent == certificate.agent
                || revoked.identity_key == certificate.identity_key
                || revoked.noise_key == certificate.noise_key
        })
    }

    /// Believes a peer's certificate, or says why not.
    pub(crate) fn verify(&self, bytes: &[u8], unix: UnixTime) -> Result<Certificate, CertError> {
        Certificate::verify_with(bytes, &self.issuers, self.domain, unix, |bytes, issuer| {
            self.verified.verify_signature(bytes, issuer)
        })
    }

    /// Whether this agent's own certificate is valid now.
    pub(crate) fn own_is_valid(&self, unix: UnixTime) -> bool {
        unix.plus(CERTIFICATE_SKEW.as_secs()) >= self.not_before && unix < self.not_after
    }

    /// What this agent asks of other agents' sessions that pass it.
    pub(crate) const fn consent(&self) -> Consent {
        self.consent
    }

    /// True if this agent is a router whose certificate lets it stand for this machine.
    pub(crate) fn stands_for(&self, addr: IpAddr) -> bool {
        self.prefixes.iter().any(|prefix| prefix.contains(addr))
    }

    pub(crate) const fn has_aes(&self) -> bool {
        self.aes
    }

    pub(crate) const fn identity(&self) -> &Signer {
        &self.identity
    }

    pub(crate) const fn noise_static(&self) -> &KeyPair {
        &self.noise_static
    }

    /// The domain key used for sending.
    pub(crate) fn sending_domain(&self, unix: UnixTime) -> Option<(Epoch, &DomainKeys)> {
        sending(&self.domain_keys, unix).map(|key| (key.epoch, &key.keys))
    }

    /// The domain keys that are accepted, the one used for sending first.
    pub(crate) fn accepted_domain(
        &self,
        unix: UnixTime,
    ) -> impl Iterator<Item = (Epoch, &DomainKeys)> {
        accepted(&self.domain_keys, unix).map(|key| (key.epoch, &key.keys))
    }

    /// The domain key of one epoch, if it is still accepted.
    pub(crate) fn domain_epoch(&self, epoch: Epoch, unix: UnixTime) -> Option<&DomainKeys> {
        self.accepted_domain(unix).find(|(own, _)| *own == epoch).map(|(_, keys)| keys)
    }

    /// Group keys used for sending, in order of preference.
    pub(crate) fn sending_groups(
        &self,
        unix: UnixTime,
    ) -> impl Iterator<Item = (GroupId, Epoch, &EpochKeys)> {
        self.groups.iter().filter_map(move |group| {
            sending(&group.epochs, unix).map(|key| (group.id, key.epoch, &key.keys))
        })
    }

    /// Group keys that are accepted, in order of preference.
    pub(crate) fn accepted_groups(
        &self,
        unix: UnixTime,
    ) -> impl Iterator<Item = (GroupId, Epoch, &EpochKeys)> {
        self.groups.iter().flat_map(move |group| {
            accepted(&group.epochs, unix).map(|key| (group.id, key.epoch, &key.keys))
        })
    }

    /// Keys of one group and epoch, if they are still accepted.
    pub(crate) fn group_epoch(
        &self,
        group: GroupId,
        epoch: Epoch,
        unix: UnixTime,
    ) -> Option<&EpochKeys> {
        self.accepted_groups(unix)
            .find(|(id, own, _)| *id == group && *own == epoch)
            .map(|(_, _, keys)| keys)
    }

    /// The group's commit key.
    pub(crate) fn commit_key(&self, group: GroupId) -> Option<&Secret32> {
        self.groups.iter().find(|own| own.id == group).map(|own| &own.commit_key)
    }

    /// The first own group of which `certificate` proves membership.
    pub(crate) fn shared_group(&self, certificate: &Certificate) -> Option<GroupId> {
        self.groups.iter().find(|own| certificate.is_member(&own.commit_key)).map(|own| own.id)
    }
}

#[cfg(test)]
impl Keyring {
    /// A keyring that shows somebody else's certificate: what an impostor would build.
    pub(crate) fn impersonate(mut self, certificate: &[u8]) -> Self {
        self.certificate = certificate.to_vec();
        self
    }
}

/// Keys expanded from one domain key TK.
pub(crate) struct DomainKeys {
    pub(crate) psk0: Secret32,
    pub(crate) mac1: Secret32,
    pub(crate) record: Secret32,
    pub(crate) cookie: Secret32,
}

/// Keys expanded from one group key GK.
pub(crate) struct EpochKeys {
    pub(crate) psk2: Secret32,
    pub(crate) tag: Secret32,
}

struct GroupKeys {
    id: GroupId,
    name: String,
    priority: u16,
    commit_key: Secret32,
    epochs: Vec<Timed<EpochKeys>>,
}

/// Keys of one epoch and when they are in force.
struct Timed<K> {
    epoch: Epoch,
    not_before: UnixTime,
    not_after: UnixTime,
    keys: K,
}

/// The newest epoch that has begun and not ended.
fn sending<K>(epochs: &[Timed<K>], unix: UnixTime) -> Option<&Timed<K>> {
    epochs.iter().rev().find(|key| key.not_before <= unix && unix < key.not_after)
}

/// The sending epoch first, then the one before it and the one that is about to begin.
fn accepted<K>(epochs: &[Timed<K>], unix: UnixTime) -> impl Iterator<Item = &Timed<K>> {
    let sending = sending(epochs, unix);
    let oldest = sending.map_or(0, |key| key.epoch.0.saturating_sub(1));
    let soon = unix.plus(CERTIFICATE_SKEW.as_secs());
    let others = epochs.iter().rev().filter(move |key| {
        key.epoch.0 >= oldest
            && key.not_before <= soon
            && unix < key.not_after
            && sending.is_none_or(|sending| sending.epoch != key.epoch)
    });
    sending.into_iter().chain(others)
}

fn check_certificate(
    identity: &Identity,
    membership: &Membership,
) -> Result<Certificate, KeyringError> {
    let own = Certificate::verify_timeless(
        &membership.certificate,
        &membership.issuers,
        membership.domain,
    )?;
    let role_fits = match &membership.role {
        Role::Host => own.role == CertRole::Host,
        Role::Router { .. } => own.role == CertRole::Router,
    };
    let mismatch = if own.agent != membership.agent {
        "agent"
    } else if !role_fits {
        "role"
    } else if own.identity_key != sign::public_key(&identity.identity) {
        "identity key"
    } else if own.noise_key != x25519::public_key(&identity.noise_static) {
        "Noise key"
    } else {
        return Ok(own);
    };
    Err(KeyringError::Mismatch(mismatch))
}

fn derive_domain(membership: &Membership) -> Vec<Timed<DomainKeys>> {
    derive(&membership.domain_keys, |key| {
        let prk = kdf::domain_prk(membership.domain, key.epoch, &key.key);
        DomainKeys {
            psk0: prk.expand("psk", &[]),
            mac1: prk.expand("mac1", &[]),
            record: prk.expand("rec", &[]),
            cookie: prk.expand("cookie", &[]),
        }
    })
}

fn derive_groups(membership: &Membership) -> Vec<GroupKeys> {
    let mut groups: Vec<_> = membership
        .groups
        .iter()
        .map(|group| GroupKeys {
            id: group.id,
            name: group.name.clone(),
            priority: group.priority,
            commit_key: group.commit_key.clone(),
            epochs: derive(&group.keys, |key| {
                let prk = kdf::group_prk(membership.domain, group.id, key.epoch, &key.key);
                EpochKeys { psk2: prk.expand("psk", &[]), tag: prk.expand("tag", &[]) }
            }),
        })
        .collect();
    groups.sort_by_key(|group| (group.priority, group.id));
    groups
}

/// In order of epochs.
fn derive<K>(keys: &[KeyEpoch], expand: impl Fn(&KeyEpoch) -> K) -> Vec<Timed<K>> {
    let mut epochs: Vec<_> = keys
        .iter()
        .map(|key| Timed {
            epoch: key.epoch,
            not_before: key.not_before,
            not_after: key.not_after,
            keys: expand(key),
        })
        .collect();
    epochs.sort_by_key(|key| key.epoch);
    epochs
}
