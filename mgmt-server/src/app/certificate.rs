//! Issuing membership certificates.

use super::{Error, issuer};
use crate::random;
use crate::store::{Certificate, Member, Transaction};
use ge_core::cert::{self, CertRole, Certificate as Content};
use ge_core::id::{DomainId, Serial};
use ge_core::membership::Secret32;
use ge_core::mode::Prefix;
use ge_core::{GeId, UnixTime};
use mgmt_api::{ErrorCode, HexBytes, Kind, Lease};
use sha2::{Digest, Sha256};

/// Life of a certificate in seconds: a server may be away for the 16 h after the first renewal is
/// due. PROTOCOL.md 2.5.
const CERTIFICATE_LIFE: u64 = 24 * 3600;
/// Age at which it is to be renewed.
const RENEW_AFTER: u64 = 8 * 3600;

/// Signs a fresh certificate for `member` as it is described now.
pub(super) fn issue(
    tx: &mut dyn Transaction,
    member: &Member,
    now: u64,
) -> Result<Certificate, Error> {
    let domain = tx.domain()?;
    let issuers = tx.issuers()?;
    let issuer = issuer::choose(&issuers, now, now.saturating_add(CERTIFICATE_LIFE));
    let issuer = issuer.ok_or_else(|| {
        Error::refused(
            ErrorCode::Internal,
            "the server has no issuing key in force; its administrator must run \
             `mgmt-server key issue --root-key FILE`",
        )
    })?;
    let serial = HexBytes(random::bytes()?);
    let expires = now.saturating_add(CERTIFICATE_LIFE).min(issuer.statement.not_after);
    let groups = tx.groups()?;
    let commits = groups
        .iter()
        .filter(|group| member.groups.contains(&group.id))
        .map(|group| cert::commit(&Secret32(*group.commit_key.expose()), &Serial(serial.0)))
        .collect();
    let content = Content {
        domain: DomainId(domain.id.0),
        serial: Serial(serial.0),
        agent: GeId(member.id.0),
        role: match member.kind {
            Kind::Host => CertRole::Host,
            Kind::Router => CertRole::Router,
        },
        identity_key: member.identity_key.0,
        noise_key: member.noise_key.0,
        not_before: UnixTime(now),
        not_after: UnixTime(expires),
        issuer: first_8(&Sha256::digest(issuer.statement.key.0).into()),
        aes: member.aes,
        commits,
        prefixes: member
            .prefixes
            .iter()
            .map(|prefix| Prefix { address: prefix.address(), length: prefix.length() })
            .collect(),
        name_hashes: vec![first_8(&Sha256::digest(member.name.as_bytes()).into())],
    };
    content.check().map_err(|err| Error::refused(ErrorCode::BadRequest, err.to_string()))?;
    Ok(Certificate { serial, issued: now, expires, bytes: content.sign(issuer.seed.expose()) })
}

/// When to renew, and how long there is.
pub(super) fn lease(certificate: &Certificate) -> Lease {
    let life = certificate.expires.saturating_sub(certificate.issued);
    Lease {
        issued: certificate.issued,
        // A third of its life also where the issuing key's end cut it short.
        renew_after: certificate.issued.saturating_add(RENEW_AFTER.min(life / 3)),
        expires: certificate.expires,
    }
}

fn first_8(hash: &[u8; 32]) -> [u8; 8] {
    let mut id = [0; 8];
    id.copy_from_slice(&hash[..8]);
    id
}
