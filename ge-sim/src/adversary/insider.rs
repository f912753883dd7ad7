//! What the keys of an agent are good for in the wrong hands: every message of the domain that passes
//! can be opened, changed and made right again, as far as the domain key vouches for it; what only
//! the two ends' keys vouch for cannot.
//!
//! Written from the specification (3.4 to 3.9) and not with the agents' own code, so that a lie is
//! not stopped by the liar's good manners.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce};
use ge_core::crypto::sign::{self, SIGNATURE_LEN};
use ge_core::crypto::{Rng, kdf, sha256};
use ge_core::keyring::Keyring;
use ge_core::membership::{Identity, Membership, Secret32};
use ge_core::wire::dprp::cdn::{CdnParts, CdnPath};
use ge_core::wire::dprp::mpit::{MpitParts, MpitPath};
use ge_core::wire::dprp::nomatch::{NoMatchFacts, sealed_part};
use ge_core::wire::dprp::rgi::{Record, RgiParts, RgiPath, SEALED_PATH_LEN, SEALED_RECORD_LEN};
use ge_core::wire::dprp::{HEADER_LEN, Header, Kind, MAC_LEN, SALT_LEN, peek};
use rand_core::Rng as _;

/// Where the path part of an RGI begins: behind header, ephemeral key, tag, and Noise message.
const RGI_PATH_AT: usize = HEADER_LEN + 32 + MAC_LEN + 48 + 396;
/// The same of an MPIT: behind header and Noise message.
const MPIT_PATH_AT: usize = HEADER_LEN + 96;
/// The same of a CDN: behind header and confirmation.
const CDN_PATH_AT: usize = HEADER_LEN + 48;
/// Of an opened MPIT: what lies in front of the parameters, and how long these are.
const MPIT_PARAMETERS_AT: usize = 144;
const PARAMETERS_LEN: usize = 24;
/// Certificates in messages are padded to this.
const CERTIFICATE_FIELD: usize = 322;

/// An agent's keys.
pub struct Insider {
    identity: Identity,
    membership: Membership,
}

/// What stands in a message for all agents of the domain.
#[derive(Clone, Debug)]
pub enum Opened {
    /// RGI: path part, and the records of agents on the path, the one nearest the responder first.
    Rgi(RgiPath, Vec<Record>),
    /// MPIT.
    Mpit(Box<MpitPath>),
    /// CDN.
    Cdn(CdnPath),
    /// NOMATCH.
    NoMatch(NoMatchFacts),
}

#[derive(Clone, Copy)]
enum Use {
    Rgi = 1,
    Record = 2,
    Mpit = 3,
    Cdn = 4,
    NoMatch = 5,
}

impl Insider {
    /// With the keys of a member.
    #[must_use]
    pub const fn new(identity: Identity, membership: Membership) -> Self {
        Self { identity, membership }
    }

    /// A keyring of these keys, to negotiate as agents do.
    #[must_use]
    pub fn keyring(&self) -> Option<Keyring> {
        Keyring::new(&self.identity, &self.membership).ok()
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.membership.certificate
    }

    fn key(&self, label: &str) -> Option<Secret32> {
        let newest = self.membership.domain_keys.last()?;
        Some(kdf::domain_prk(self.membership.domain, newest.epoch, &newest.key).expand(label, &[]))
    }

    /// Makes `mac1` of a message right, and its length.
    pub fn vouch(&self, message: &mut [u8]) {
        let length = message.len() as u16;
        message[6..8].copy_from_slice(&length.to_be_bytes());
        let is_dde = peek(message).is_some_and(|header| header.kind == Kind::Dde);
        let behind = if is_dde { MAC_LEN } else { 0 };
        let at = message.len() - MAC_LEN - behind;
        let Some(key) = self.key("mac1") else { return };
        let mac1: [u8; MAC_LEN] = kdf::short_hmac(&key, &[&message[..at]]);
        message[at..at + MAC_LEN].copy_from_slice(&mac1);
    }

    fn part_key(&self, part: Use, header: &Header, salt: &[u8]) -> Option<ChaCha20Poly1305> {
        let label: &[u8] = b"gscip/1 path";
        let (sid_i, sid_r) = (header.sid_i.0, header.sid_r.0);
        let text = [label, &[part as u8], &sid_i, &sid_r, salt];
        Some(ChaCha20Poly1305::new(&kdf::hmac(&self.key("rec")?, &text).into()))
    }

    fn open_part(&self, part: Use, header: &Header, sealed: &[u8]) -> Option<Vec<u8>> {
        let (salt, sealed) = sealed.split_at_checked(SALT_LEN)?;
        let payload = Payload { msg: sealed, aad: &[] };
        self.part_key(part, header, salt)?.decrypt(&Nonce::default(), payload).ok()
    }

    fn seal_part(&self, part: Use, header: &Header, text: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
        let mut salt = [0; SALT_LEN];
        rng.fill_bytes(&mut salt);
        let payload = Payload { msg: text, aad: &[] };
        let sealed =
            self.part_key(part, header, &salt)?.encrypt(&Nonce::default(), payload).ok()?;
        Some([&salt[..], &sealed].concat())
    }

    /// Reads a message of the domain. `None` for a DDE, and for what is not of the domain.
    #[must_use]
    pub fn open(&self, message: &[u8]) -> Option<Opened> {
        let header = peek(message)?;
        Some(match header.kind {
            Kind::Rgi => {
                let parts = RgiParts::parse(&header, message).ok()?;
                let path = self.open_part(Use::Rgi, &header, parts.path)?;
                let records = parts
                    .records
                    .iter()
                    .map(|sealed| {
                        Record::parse(&self.open_part(Use::Record, &header, sealed)?).ok()
                    })
                    .collect::<Option<_>>()?;
                Opened::Rgi(RgiPath::parse(&path).ok()?, records)
            }
            Kind::Mpit => {
                let sealed = MpitParts::parse(message).ok()?.path;
                let path = self.open_part(Use::Mpit, &header, sealed)?;
                Opened::Mpit(Box::new(MpitPath::parse(&header, &path).ok()?))
            }
            Kind::Cdn => {
                let sealed = CdnParts::parse(message).ok()?.path;
                Opened::Cdn(CdnPath::parse(&self.open_part(Use::Cdn, &header, sealed)?).ok()?)
            }
            Kind::NoMatch => {
                let sealed = sealed_part(message).ok()?;
                let facts = self.open_part(Use::NoMatch, &header, sealed)?;
                Opened::NoMatch(NoMatchFacts::parse(&facts).ok()?)
            }
            Kind::Dde | Kind::Cookie => return None,
        })
    }

    /// The message with another content for the agents on the path: sealed anew, vouched for. What
    /// is for the ends alone stays as it was.
    #[must_use]
    pub fn close(&self, message: &[u8], content: &Opened, rng: &mut Rng) -> Option<Vec<u8>> {
        let header = peek(message)?;
        let mut changed = match content {
            Opened::Rgi(path, records) => {
                let mut changed = message.get(..RGI_PATH_AT)?.to_vec();
                changed.extend(self.seal_part(Use::Rgi, &header, &path.emit()?, rng)?);
                self.append_records(&mut changed, &header, records, rng)?;
                changed
            }
            Opened::Mpit(path) => {
                let mut changed = message.get(..MPIT_PATH_AT)?.to_vec();
                changed.extend(self.seal_part(Use::Mpit, &header, &path.emit(), rng)?);
                changed[5] = path.records.len() as u8;
                changed
            }
            Opened::Cdn(path) => {
                let mut changed = message.get(..CDN_PATH_AT)?.to_vec();
                changed.extend(self.seal_part(Use::Cdn, &header, &path.emit(), rng)?);
                changed
            }
            Opened::NoMatch(facts) => {
                let mut changed = message.get(..HEADER_LEN)?.to_vec();
                changed.extend(self.seal_part(Use::NoMatch, &header, &facts.emit(), rng)?);
                changed
            }
        };
        changed.extend_from_slice(&[0; MAC_LEN]);
        self.vouch(&mut changed);
        Some(changed)
    }

    /// The RGI with other records: its path part stays as its responder sealed it, so that the
    /// initiator finds nothing wrong with that.
    #[must_use]
    pub fn with_records(&self, rgi: &[u8], records: &[Record], rng: &mut Rng) -> Option<Vec<u8>> {
        let header = peek(rgi).filter(|header| header.kind == Kind::Rgi)?;
        let mut changed = rgi.get(..RGI_PATH_AT + SEALED_PATH_LEN)?.to_vec();
        self.append_records(&mut changed, &header, records, rng)?;
        changed.extend_from_slice(&[0; MAC_LEN]);
        self.vouch(&mut changed);
        Some(changed)
    }

    fn append_records(
        &self,
        rgi: &mut Vec<u8>,
        header: &Header,
        records: &[Record],
        rng: &mut Rng,
    ) -> Option<()> {
        for record in records {
            let sealed = self.seal_part(Use::Record, header, &record.emit(), rng)?;
            debug_assert_eq!(sealed.len(), SEALED_RECORD_LEN);
            rgi.extend(sealed);
        }
        rgi[5] = records.len() as u8;
        Some(())
    }

    /// Signs an MPIT as if this agent had sent it: own certificate, own signature.
    pub fn sign_mpit(&self, header: &Header, path: &mut MpitPath) {
        path.certificate.clone_from(&self.membership.certificate);
        let text = self.decision(header, path);
        path.signature = self.sign(&[b"gscip/1 mpit", &text]);
    }

    /// Signs a CDN to an MPIT as if this agent had answered.
    #[must_use]
    pub fn sign_cdn(&self, mpit_header: &Header, mpit: &MpitPath, mpit_hash: [u8; 32]) -> CdnPath {
        let text = self.decision(mpit_header, mpit);
        CdnPath {
            mpit_hash,
            certificate: self.membership.certificate.clone(),
            signature: self.sign(&[b"gscip/1 cdn", &text, &mpit_hash]),
        }
    }

    /// Puts this agent's name on a NOMATCH.
    pub fn sign_nomatch(&self, header: &Header, facts: &mut NoMatchFacts) {
        facts.certificate.clone_from(&self.membership.certificate);
        let fields = facts.emit();
        // e_i 32 | standing 2 | place 1 | 0 | tags 64 | certificate ...
        let hash = sha256(&[&facts.certificate]);
        let text = [
            b"gscip/1 nomatch".as_slice(),
            &self.membership.domain.0,
            &header.sid_i.0,
            &fields[..35],
            &fields[36..100],
            &hash,
        ];
        facts.signature = self.sign(&text);
    }

    fn sign(&self, text: &[&[u8]]) -> [u8; SIGNATURE_LEN] {
        sign::sign(&self.identity.identity, &text.concat())
    }

    /// What both ends sign. Spec 3.7.
    fn decision(&self, header: &Header, path: &MpitPath) -> Vec<u8> {
        let fields = path.emit();
        let parameters = MPIT_PARAMETERS_AT..MPIT_PARAMETERS_AT + 2 * PARAMETERS_LEN;
        let records_at = parameters.end + CERTIFICATE_FIELD;
        let table_end = fields.len() - SIGNATURE_LEN;
        [
            self.membership.domain.0.as_slice(),
            &header.sid_i.0,
            &header.sid_r.0,
            &path.e_i,
            &path.e_r,
            &path.flow,
            &path.timestamp.0.to_be_bytes(),
            &[path.records.len() as u8],
            &fields[records_at..table_end],
            &fields[parameters],
            &sha256(&[&path.certificate]),
            &path.responder_certificate_hash,
        ]
        .concat()
    }
}

/// SHA-256 of an MPIT's path part as it is in the message.
#[must_use]
pub fn mpit_hash(message: &[u8]) -> Option<[u8; 32]> {
    Some(sha256(&[MpitParts::parse(message).ok()?.path]))
}
