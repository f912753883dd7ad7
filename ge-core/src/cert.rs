//! Membership certificates: what the management server says about one agent, for one day.
//!
//! A fixed binary form with exactly one encoding per content; anything else is refused before a
//! signature is looked at. All numbers are big-endian.
//!
//! ```text
//! version 1 | domain 8 | serial 16 | agent 16 | role 1 | flags 1 | IK 32 | SK 32 |
//! not_before 8 | not_after 8 | issuer 8 |
//! n 1, commits n x 6 (n <= 8) | n 1, prefixes n x 18 (n <= 3) | n 1, name hashes n x 8 (n <= 2) |
//! signature 64                                                              198 to 316 bytes
//!
//! prefix: family 1 (4 or 6) | length 1 | address 16 (IPv4 in the first 4, the rest zero)
//! flags:  bit 0 = the machine has AES and carry-less multiplication in hardware
//! ```
//!
//! The signature is Ed25519 by the issuing key over `"gscip/1 cert" |` all bytes before it.
//! A commitment (`commit`) says "is a member of g" to those who hold the group's commit key, and
//! nothing to others. Source: PROTOCOL.md 2.1.

use crate::GeId;
use crate::crypto::sign::{self, SIGNATURE_LEN};
use crate::crypto::{kdf, x25519};
use crate::id::{DomainId, Serial};
use crate::limits::CERTIFICATE_SKEW;
use crate::membership::{Issuer, Secret32};
use crate::mode::Prefix;
use crate::now::UnixTime;
use crate::wire::dprp::cursor::Reader;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A certificate is never larger (in messages it travels in a field of this size).
pub const CERTIFICATE_MAX: usize = 320;
/// Groups one certificate can prove.
pub const COMMITS_MAX: usize = 8;
/// Prefixes of a router.
pub const PREFIXES_MAX: usize = 3;
/// Names of a host.
pub const NAME_HASHES_MAX: usize = 2;

const VERSION: u8 = 1;
const FLAG_AES: u8 = 1;
const LABEL: &[u8] = b"gscip/1 cert";

/// Commitment of a certificate to one group.
pub type Commit = [u8; 6];

/// What the holder of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertRole {
    /// Software on a host (GES).
    Host,
    /// A router in front of ordinary machines (GEN).
    Router,
    /// The management server.
    Ms,
    /// A relay.
    Relay,
}

/// Why a certificate was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertError {
    /// Too short, too long, or not the one encoding of its content.
    #[error("certificate is malformed: {0}")]
    Malformed(&'static str),
    /// A version this program does not know.
    #[error("certificate has unknown version {0}")]
    Version(u8),
    /// Of another domain.
    #[error("certificate belongs to another domain")]
    Domain,
    /// Signed by a key that is not in force.
    #[error("certificate was signed by an unknown issuing key")]
    Issuer,
    /// The signature is wrong.
    #[error("certificate signature is wrong")]
    Signature,
    /// Not valid yet.
    #[error("certificate is not valid yet")]
    NotYetValid,
    /// No longer valid.
    #[error("certificate has expired")]
    Expired,
}

/// The content of a certificate. Only [`verify`](Self::verify) makes one that can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The domain.
    pub domain: DomainId,
    /// Serial number, unique in the domain.
    pub serial: Serial,
    /// The agent.
    pub agent: GeId,
    /// What it is.
    pub role: CertRole,
    /// Ed25519 public key IK.
    pub identity_key: [u8; 32],
    /// X25519 public key SK.
    pub noise_key: [u8; 32],
    /// Valid from here on.
    pub not_before: UnixTime,
    /// No longer valid from here on.
    pub not_after: UnixTime,
    /// Id of the issuing key: first 8 bytes of its SHA-256.
    pub issuer: [u8; 8],
    /// The machine has AES and carry-less multiplication in hardware.
    pub aes: bool,
    /// Commitments to the agent's groups.
    pub commits: Vec<Commit>,
    /// Address ranges a router stands for. A host has none.
    pub prefixes: Vec<Prefix>,
    /// First 8 bytes of SHA-256 of each name.
    pub name_hashes: Vec<[u8; 8]>,
}

/// Commitment of the certificate `serial` to the group whose commit key this is:
/// `HMAC(CK_g, serial)[0..6]`.
#[must_use]
pub fn commit(commit_key: &Secret32, serial: &Serial) -> Commit {
    kdf::short_hmac(commit_key, &[&serial.0])
}

impl Certificate {
    /// Reads a certificate without believing it: form only, no signature, no time.
    ///
    /// # Errors
    /// [`CertError::Malformed`] or [`CertError::Version`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CertError> {
        if bytes.len() > CERTIFICATE_MAX {
            return Err(CertError::Malformed("too long"));
        }
        let mut reader = Reader::new(bytes);
        let certificate = Self::read(&mut reader)?;
        let _signature: [u8; SIGNATURE_LEN] = reader.array().ok_or(SHORT)?;
        if !reader.is_empty() {
            return Err(CertError::Malformed("trailing bytes"));
        }
        certificate.check()?;
        Ok(certificate)
    }

    /// Encodes and signs with the issuing key's Ed25519 seed. Content that [`check`](Self::check)
    /// refuses is encoded as it is and refused by every reader.
    #[must_use]
    pub fn sign(&self, issuer_seed: &[u8; 32]) -> Vec<u8> {
        let mut bytes = self.emit();
        let signature = sign::sign(&Secret32(*issuer_seed), &signed_text(&bytes));
        bytes.extend_from_slice(&signature);
        bytes
    }

    /// Reads a certificate and believes it: form, domain, issuer, signature, time.
    ///
    /// # Errors
    /// The first [`CertError`] that applies.
    pub fn verify(
        bytes: &[u8],
        issuers: &[Issuer],
        domain: DomainId,
        unix: UnixTime,
    ) -> Result<Self, CertError> {
        Self::verify_with(bytes, issuers, domain, unix, verify_signature)
    }

    /// The same, with somebody else's word on the signature.
    ///
    /// # Errors
    /// The first [`CertError`] that applies.
    pub(crate) fn verify_with(
        bytes: &[u8],
        issuers: &[Issuer],
        domain: DomainId,
        unix: UnixTime,
        verify_signature: impl FnOnce(&[u8], &Issuer) -> Result<(), CertError>,
    ) -> Result<Self, CertError> {
        let certificate = Self::parse(bytes)?;
        let issuer = certificate.find_issuer(issuers, domain)?;
        in_force(issuer.not_before, issuer.not_after, unix).map_err(|_| CertError::Issuer)?;
        certificate.verify_time(unix)?;
        verify_signature(bytes, issuer)?;
        Ok(certificate)
    }

    /// Reads a certificate and verifies everything but the time: for the agent's own, which is
    /// installed before it begins to count.
    ///
    /// # Errors
    /// The first [`CertError`] that applies.
    pub fn verify_timeless(
        bytes: &[u8],
        issuers: &[Issuer],
        domain: DomainId,
    ) -> Result<Self, CertError> {
        let certificate = Self::parse(bytes)?;
        let issuer = certificate.find_issuer(issuers, domain)?;
        verify_signature(bytes, issuer)?;
        Ok(certificate)
    }

    /// Whether the certificate is valid at this time, give or take [`CERTIFICATE_SKEW`].
    ///
    /// # Errors
    /// [`CertError::NotYetValid`] or [`CertError::Expired`].
    pub fn verify_time(&self, unix: UnixTime) -> Result<(), CertError> {
        in_force(self.not_before, self.not_after, unix)
    }

    /// True if the certificate proves membership of the group with this commit key.
    #[must_use]
    pub fn is_member(&self, commit_key: &Secret32) -> bool {
        let own = commit(commit_key, &self.serial);
        self.commits.iter().any(|commit| kdf::same(commit, &own))
    }

    /// True if the holder may stand for `addr` as far as the certificate can say: a router inside
    /// its prefixes; a host for any address, since its addresses are not certified.
    #[must_use]
    pub fn may_stand_for(&self, addr: IpAddr) -> bool {
        match self.role {
            CertRole::Host => true,
            CertRole::Router => self.prefixes.iter().any(|prefix| prefix.contains(addr)),
            CertRole::Ms | CertRole::Relay => false,
        }
    }

    /// The rules beyond the layout.
    ///
    /// # Errors
    /// [`CertError::Malformed`] with the rule that is broken.
    pub fn check(&self) -> Result<(), CertError> {
        let broken = if self.commits.len() > COMMITS_MAX {
            "too many groups"
        } else if self.prefixes.len() > PREFIXES_MAX {
            "too many prefixes"
        } else if self.name_hashes.len() > NAME_HASHES_MAX {
            "too many names"
        } else if self.role != CertRole::Router && !self.prefixes.is_empty() {
            "prefixes without the role of a router"
        } else if !self.prefixes.iter().all(is_canonical) {
            "prefix is empty, everything, or has bits outside its length"
        } else if x25519::is_low_order(&self.noise_key) {
            "low-order Noise key"
        } else if self.not_before >= self.not_after {
            "never valid"
        } else {
            return Ok(());
        };
        Err(CertError::Malformed(broken))
    }

    fn find_issuer<'a>(
        &self,
        issuers: &'a [Issuer],
        domain: DomainId,
    ) -> Result<&'a Issuer, CertError> {
        if self.domain != domain {
            return Err(CertError::Domain);
        }
        issuers.iter().find(|issuer| issuer.id == self.issuer).ok_or(CertError::Issuer)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CertError> {
        let version = reader.u8().ok_or(SHORT)?;
        if version != VERSION {
            return Err(CertError::Version(version));
        }
        Self::read_body(reader).ok_or(SHORT)?
    }

    /// `None`: too short. The inner error: readable, but not allowed.
    fn read_body(reader: &mut Reader<'_>) -> Option<Result<Self, CertError>> {
        let (domain, serial, agent) = (reader.array()?, reader.array()?, reader.array()?);
        let role = match reader.u8()? {
            1 => CertRole::Host,
            2 => CertRole::Router,
            3 => CertRole::Ms,
            4 => CertRole::Relay,
            _ => return Some(Err(CertError::Malformed("unknown role"))),
        };
        let flags = reader.u8()?;
        if flags & !FLAG_AES != 0 {
            return Some(Err(CertError::Malformed("unknown flag")));
        }
        let mut certificate = Self {
            domain: DomainId(domain),
            serial: Serial(serial),
            agent: GeId(agent),
            role,
            aes: flags & FLAG_AES != 0,
            identity_key: reader.array()?,
            noise_key: reader.array()?,
            not_before: UnixTime(reader.u64()?),
            not_after: UnixTime(reader.u64()?),
            issuer: reader.array()?,
            commits: Vec::new(),
            prefixes: Vec::new(),
            name_hashes: Vec::new(),
        };
        for _ in 0..reader.u8()? {
            certificate.commits.push(reader.array()?);
        }
        for _ in 0..reader.u8()? {
            match parse_prefix(reader.array()?) {
                Some(prefix) => certificate.prefixes.push(prefix),
                None => return Some(Err(CertError::Malformed("unreadable prefix"))),
            }
        }
        for _ in 0..reader.u8()? {
            certificate.name_hashes.push(reader.array()?);
        }
        Some(Ok(certificate))
    }

    fn emit(&self) -> Vec<u8> {
        let role = match self.role {
            CertRole::Host => 1,
            CertRole::Router => 2,
            CertRole::Ms => 3,
            CertRole::Relay => 4,
        };
        let mut bytes = Vec::with_capacity(CERTIFICATE_MAX);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.domain.0);
        bytes.extend_from_slice(&self.serial.0);
        bytes.extend_from_slice(&self.agent.0);
        bytes.extend_from_slice(&[role, if self.aes { FLAG_AES } else { 0 }]);
        bytes.extend_from_slice(&self.identity_key);
        bytes.extend_from_slice(&self.noise_key);
        bytes.extend_from_slice(&self.not_before.0.to_be_bytes());
        bytes.extend_from_slice(&self.not_after.0.to_be_bytes());
        bytes.extend_from_slice(&self.issuer);
        emit_list(&mut bytes, &self.commits);
        let prefixes: Vec<_> = self.prefixes.iter().map(emit_prefix).collect();
        emit_list(&mut bytes, &prefixes);
        emit_list(&mut bytes, &self.name_hashes);
        bytes
    }
}

const SHORT: CertError = CertError::Malformed("too short");

fn signed_text(unsigned: &[u8]) -> Vec<u8> {
    [LABEL, unsigned].concat()
}

/// That the issuer signed these bytes.
pub(crate) fn verify_signature(bytes: &[u8], issuer: &Issuer) -> Result<(), CertError> {
    let (unsigned, signature) = bytes.split_last_chunk::<SIGNATURE_LEN>().ok_or(SHORT)?;
    if !sign::verify(&issuer.key, &signed_text(unsigned), signature) {
        return Err(CertError::Signature);
    }
    Ok(())
}

fn in_force(from: UnixTime, until: UnixTime, unix: UnixTime) -> Result<(), CertError> {
    let skew = CERTIFICATE_SKEW.as_secs();
    if unix.plus(skew) < from {
        return Err(CertError::NotYetValid);
    }
    if unix >= until.plus(skew) {
        return Err(CertError::Expired);
    }
    Ok(())
}

fn emit_list<const N: usize>(bytes: &mut Vec<u8>, items: &[[u8; N]]) {
    bytes.push(u8::try_from(items.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(items.as_flattened());
}

fn emit_prefix(prefix: &Prefix) -> [u8; 18] {
    let mut bytes = [0; 18];
    bytes[1] = prefix.length;
    match prefix.address {
        IpAddr::V4(address) => {
            bytes[0] = 4;
            bytes[2..6].copy_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            bytes[0] = 6;
            bytes[2..].copy_from_slice(&address.octets());
        }
    }
    bytes
}

fn parse_prefix(bytes: [u8; 18]) -> Option<Prefix> {
    let [family, length, address @ ..] = bytes;
    let address = match (family, address) {
        (4, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) => Ipv4Addr::new(a, b, c, d).into(),
        (6, address) => Ipv6Addr::from(address).into(),
        _ => return None,
    };
    Some(Prefix { address, length })
}

/// Not everything (length 0), not longer than an address, no bits outside the length.
fn is_canonical(prefix: &Prefix) -> bool {
    let (bits, width) = match prefix.address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let outside = u128::MAX.checked_shr(prefix.length.into()).unwrap_or(0);
    (1..=width).contains(&prefix.length) && bits & outside == 0
}
