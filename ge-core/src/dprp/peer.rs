//! Believing the other end, and the steps both ends share.

use super::path::Sids;
use super::{Binding, Reject, SessionParameters, tags};
use crate::cert::{CertRole, Certificate};
use crate::crypto::kdf;
use crate::id::{DomainId, GroupId};
use crate::keyring::{DomainKeys, Keyring};
use crate::now::UnixTime;
use crate::shim::INDEX_MAX;
use crate::wire::dprp::{Header, Kind, Malformed, Standing, peek, split_mac};
use core::net::IpAddr;

/// Certificate and claims of the other end.
pub(super) struct Claim<'a> {
    pub(super) certificate: &'a [u8],
    /// Its role as it says.
    pub(super) standing: Standing,
    /// The address it must be allowed to stand for.
    pub(super) address: IpAddr,
}

/// Believes the certificate of the other end, or says why not.
pub(super) fn verify_peer(
    keyring: &Keyring,
    claim: &Claim<'_>,
    unix: UnixTime,
) -> Result<Certificate, Reject> {
    let peer = keyring.verify(claim.certificate, unix)?;
    if keyring.is_revoked(&peer) {
        return Err(Reject::Revoked);
    }
    if peer.agent == keyring.agent() {
        return Err(Reject::Misbehaved("the certificate is our own"));
    }
    match (claim.standing.router, peer.role) {
        (true, CertRole::Router) if peer.may_stand_for(claim.address) => Ok(peer),
        (true, CertRole::Router) => {
            Err(Reject::Misbehaved("it may not stand for the flow's address"))
        }
        // A router's own traffic is a host's.
        (false, CertRole::Host | CertRole::Router) => Ok(peer),
        _ => Err(Reject::Misbehaved("its role is not the certified one")),
    }
}

/// Believes the certificate of an agent on the path that is neither end.
pub(super) fn verify_witness(
    keyring: &Keyring,
    certificate: &[u8],
    unix: UnixTime,
) -> Result<Certificate, Reject> {
    let witness = keyring.verify(certificate, unix)?;
    if keyring.is_revoked(&witness) {
        return Err(Reject::Revoked);
    }
    match witness.role {
        CertRole::Host | CertRole::Router => Ok(witness),
        CertRole::Ms | CertRole::Relay => Err(Reject::Misbehaved("it is no agent on a path")),
    }
}

/// That a believed certificate belongs to the key exchange and proves the agreed group.
pub(super) fn verify_member(
    keyring: &Keyring,
    peer: &Certificate,
    noise_static: Option<[u8; 32]>,
    group: GroupId,
) -> Result<(), Reject> {
    if noise_static != Some(peer.noise_key) {
        return Err(Reject::Misbehaved("the certificate is not for its Noise key"));
    }
    if !keyring.commit_key(group).is_some_and(|key| peer.is_member(key)) {
        return Err(Reject::Misbehaved("the certificate does not prove the agreed group"));
    }
    Ok(())
}

/// A host receives at its flow's address; only a router, which speaks for another machine, may name
/// another one. Otherwise a member could aim our traffic at a third party.
pub(super) fn check_wire(
    parameters: SessionParameters,
    standing: Standing,
    address: IpAddr,
) -> Result<(), Reject> {
    if standing.router || parameters.wire.0 == address {
        return Ok(());
    }
    Err(Reject::Misbehaved("a host receives at another address than its flow's"))
}

/// Checks kind, numbers and `mac1` of a message inside a negotiation.
pub(super) fn expect(
    message: &[u8],
    kind: Kind,
    keys: &DomainKeys,
    accept_sids: impl FnOnce(&Header) -> bool,
) -> Result<Header, Reject> {
    let header = peek(message).ok_or(Malformed::new("message", "header"))?;
    if header.kind != kind || !accept_sids(&header) {
        return Err(Reject::Unexpected);
    }
    let (covered, mac1) = split_mac(message).ok_or(Malformed::new("message", "too short"))?;
    if !tags::mac1_is_right(&keys.mac1, covered, mac1) {
        return Err(Reject::BadMac);
    }
    Ok(header)
}

/// What Noise binds before the first message.
pub(super) fn prologue(domain: DomainId, header: &Header, binding: &Binding) -> Vec<u8> {
    let mut prologue = [b"gscip/1".as_slice(), &domain.0, &header.emit()].concat();
    if let Binding::Rekey { previous } = binding {
        prologue.extend_from_slice(previous);
    }
    prologue
}

/// The header under which a negotiation starts.
pub(super) fn dde_sids(header: &Header) -> Option<Sids> {
    let fresh = header.sid_i.0 != [0; 8] && header.sid_r.0 == [0; 8];
    fresh.then_some((header.sid_i, header.sid_r))
}

/// What an agent says of itself in its messages; `router`: it speaks for another machine.
pub(super) fn own_standing(keyring: &Keyring, router: bool) -> Standing {
    Standing { mode: keyring.mode(), router }
}

pub(super) fn parameters_are_sound(parameters: SessionParameters) -> bool {
    (1..=INDEX_MAX).contains(&parameters.index.0) && parameters.data_port != 0
}

/// Constant-time comparison as a rule.
pub(super) fn must_equal(a: &[u8], b: &[u8], rule: &'static str) -> Result<(), Reject> {
    if kdf::same(a, b) { Ok(()) } else { Err(Reject::Misbehaved(rule)) }
}
