//! An agent between the two ends: it reads what passes, adds its record, and learns what both ends
//! signed. It keeps nothing between DDE, RGI and MPIT: what it said comes back to it inside the
//! MPIT, under a MAC that only it can make.
//!
//! ```text
//! DDE   passes untouched
//! RGI   Witness::add_record     this agent's record is appended
//! MPIT  Witness::consume_mpit   own record, decision and the initiator's signature -> Tentative
//! CDN   Tentative::consume_cdn  the responder's signature over the same         -> Committed
//! ```
//!
//! A router believes no one's action: it computes the decision again and commits only what both
//! ends signed. Sharing a group with them is not needed for that. Source: PROTOCOL.md 2.3, 2.4.

use super::decide::{decide, is_content};
use super::offer::Rgi;
use super::path::{self, Sids, Use};
use super::peer::{self, must_equal, verify_witness};
use super::received::{SeenDde, Word, create_nomatch};
use super::transcript::{self, Decision};
use super::{Reject, SessionParameters, tags};
use crate::GeId;
use crate::addr::FlowAddr;
use crate::cert::{CertRole, Certificate};
use crate::crypto::{self, Rng, kdf, sign};
use crate::flow::HostPair;
use crate::id::{Epoch, NegotiationId};
use crate::keyring::{DomainKeys, EpochKeys, Keyring};
use crate::limits::PATH_RECORDS;
use crate::limits::RECORD_LIFETIME;
use crate::membership::Secret32;
use crate::mode::{Mode, Transit};
use crate::now::UnixTime;
use crate::wire::dprp::cdn::{CdnParts, CdnPath};
use crate::wire::dprp::cursor::Reader;
use crate::wire::dprp::mpit::{MpitParts, MpitPath};
use crate::wire::dprp::nomatch::{self, NoMatchFacts};
use crate::wire::dprp::rgi::Record;
use crate::wire::dprp::{
    Consent, HEADER_LEN, Header, Kind, MAC_LEN, Malformed, Place, Standing, peek, read_flow,
    split_mac,
};
use core::net::IpAddr;

/// An agent between two others, for the length of one message.
pub struct Witness<'a> {
    /// Its keys.
    pub keyring: &'a Keyring,
    /// Its private secret, by which it knows its own records again.
    pub secret: &'a Secret32,
    /// Whose side of the flow it is on.
    pub place: Place,
}

/// A session that the initiator signed and the responder has not yet.
pub struct Tentative {
    sids: Sids,
    domain_epoch: Epoch,
    decision: Vec<u8>,
    mpit_hash: [u8; 32],
    responder_certificate_hash: [u8; 32],
    consent: Consent,
    vouched: bool,
    pair: HostPair,
    translated: bool,
    initiator: GeId,
    parameters: [SessionParameters; 2],
    path: Vec<Record>,
}

/// A session both ends signed, as an agent between them knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The two hosts as they are on this agent's side of the path; `local` is the initiator's.
    pub pair: HostPair,
    /// The initiator knows itself by another address: a NAT stands between it and this agent.
    pub translated: bool,
    /// The initiator.
    pub initiator: GeId,
    /// The responder.
    pub responder: GeId,
    /// Where the initiator receives.
    pub initiator_parameters: SessionParameters,
    /// Where the responder receives.
    pub responder_parameters: SessionParameters,
    /// Agents between the two ends, this one among them.
    pub path: Vec<Record>,
}

/// An RGI that passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// With this agent's record; as it came if that is there already, or if no further one fits.
    pub message: Vec<u8>,
    /// This agent lets a session of the two ends pass.
    pub content: bool,
    /// Another agent said a moment ago that it does not.
    pub refused: bool,
}

/// A NOMATCH that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Mode of the agent that sent it.
    pub mode: Mode,
    /// It refuses whoever nearer to the source asks: it says so, or is itself the last agent of the
    /// path and closed. A router need not be the last, and may still be content with other ends.
    pub is_final: bool,
    /// A router of the source's side refuses what it could not protect itself. Whoever is nearer to the
    /// source comes first, and may still find an end of its own.
    pub is_source_side: bool,
    /// It stands for the destination and holds a group of ours: we could protect the rest of the
    /// path with it.
    pub shares: bool,
    /// It does, but by a key that is not in force any more: it may be asked for what it will be able to
    /// do, and refuses nobody.
    pub lacks_key: bool,
    /// Reference of its sender's certificate.
    pub from: [u8; 8],
    /// The DDE it answers.
    pub dde: SeenDde,
}

impl Witness<'_> {
    /// The RGI with this agent's record, and what is said of the two ends so far.
    ///
    /// # Errors
    /// [`Reject`] if the RGI is not of this domain; whether to pass it is the caller's choice.
    pub fn add_record(
        &self,
        message: &[u8],
        rng: &mut Rng,
        unix: UnixTime,
    ) -> Result<Recorded, Reject> {
        let (header, keys, _) = authentic(self.keyring, message, Kind::Rgi, unix)?;
        let rgi = Rgi::open(&header, message, keys)?;
        let said = Said { digest: rgi.path.digest, e_r: *rgi.parts.ephemeral, sids: rgi.sids };
        let (own, others): (Vec<_>, Vec<_>) =
            rgi.records.iter().partition(|record| self.is_own(record, &said));
        let refused = others.iter().any(|record| !is_content(record) && is_fresh(record, unix));
        if !own.is_empty() || rgi.records.len() >= PATH_RECORDS {
            return Ok(Recorded { message: message.to_vec(), content: true, refused });
        }
        let record = self.record(&rgi, &said, unix);
        let content = is_content(&record);
        let sealed = path::seal(&keys.record, Use::Record, rgi.sids, &record.emit(), rng);
        let (covered, _) = split_mac(message).ok_or(Malformed::new("RGI", "too short"))?;
        let length = message.len() + sealed.len();
        let header = Header { records: header.records + 1, length: length as u16, ..header };
        let mut longer = Vec::with_capacity(length);
        longer.extend_from_slice(&header.emit());
        longer.extend_from_slice(covered.get(HEADER_LEN..).unwrap_or_default());
        longer.extend_from_slice(&sealed);
        tags::append_mac1(&mut longer, &keys.mac1);
        Ok(Recorded { message: longer, content, refused })
    }

    /// The flow that an RGI is about, as its initiator sees it.
    #[must_use]
    pub fn flow_of_rgi(&self, message: &[u8], unix: UnixTime) -> Option<HostPair> {
        let (header, keys, _) = authentic(self.keyring, message, Kind::Rgi, unix).ok()?;
        Rgi::open(&header, message, keys).ok().map(|rgi| rgi.path.pair)
    }

    fn record(&self, rgi: &Rgi<'_>, said: &Said, unix: UnixTime) -> Record {
        let groups = || self.keyring.accepted_groups(unix).map(|(_, _, keys)| &keys.tag);
        let initiator = groups().map(|tag| tags::short(&tags::dde_tag(tag, &said.digest)));
        let responder = groups().map(|tag| tags::path_tag(tag, &said.digest, &said.e_r));
        let mut record = Record {
            certificate_ref: reference(self.keyring.certificate()),
            consent: self.keyring.consent(),
            place: self.place,
            matches: [
                tags::matching(&rgi.path.initiator_tags, initiator),
                tags::matching(&rgi.path.responder_tags, responder),
            ],
            time: unix.0 as u32,
            lmac: [0; MAC_LEN],
        };
        record.lmac = self.lmac(&record, said);
        record
    }

    fn lmac(&self, record: &Record, said: &Said) -> [u8; MAC_LEN] {
        let bytes = record.emit();
        let covered = &bytes[..bytes.len() - MAC_LEN];
        let (sid_i, sid_r) = said.sids;
        let text = [b"record".as_slice(), &sid_i.0, &sid_r.0, &said.digest, &said.e_r, covered];
        kdf::short_hmac(self.secret, &text)
    }

    fn is_own(&self, record: &Record, said: &Said) -> bool {
        kdf::same(&record.lmac, &self.lmac(record, said))
    }

    /// Reads an MPIT that passes. Its flow must be `pair`, the two hosts of the packet it came in, from
    /// the initiator's to the responder's, but for a source that a NAT rewrote.
    ///
    /// # Errors
    /// [`Reject`]: nothing must be kept then, and no sealed datagram of this session let through by
    /// a closed agent.
    pub fn consume_mpit(
        &self,
        message: &[u8],
        pair: HostPair,
        unix: UnixTime,
    ) -> Result<Tentative, Reject> {
        let (header, keys, domain_epoch) = authentic(self.keyring, message, Kind::Mpit, unix)?;
        let sids = path::sids(&header);
        let sealed = MpitParts::parse(message)?.path;
        let opened = path::open(&keys.record, Use::Mpit, sids, sealed)
            .ok_or(Reject::BadSeal("MPIT path part"))?;
        let path = MpitPath::parse(&header, &opened)?;
        let source = self.check_flow(&path, pair)?;
        let said = Said {
            digest: tags::dde_digest(&path.e_i, path.timestamp, &path.flow),
            e_r: path.e_r,
            sids,
        };
        self.check_own_record(&path.records, &said, unix)?;
        if decide(&path.records).map_err(Reject::NotContent)? != path.table {
            return Err(Reject::Misbehaved("the action table is not what the records say"));
        }
        let initiator = verify_witness(self.keyring, &path.certificate, unix)?;
        check_receives(&initiator, path.initiator, source.0)?;
        let decision = decision(self.keyring, sids, &path);
        let text = transcript::mpit_text(&decision);
        if !sign::verify(&initiator.identity_key, &text, &path.signature) {
            return Err(Reject::BadSignature);
        }
        Ok(Tentative {
            sids,
            domain_epoch,
            decision,
            mpit_hash: crypto::sha256(&[sealed]),
            responder_certificate_hash: path.responder_certificate_hash,
            consent: self.keyring.consent(),
            vouched: self.keyring.shared_group(&initiator).is_some(),
            pair,
            translated: source != pair.local,
            initiator: initiator.agent,
            parameters: [path.initiator, path.responder],
            path: path.records,
        })
    }

    /// That the packet and what is signed have one destination. Gives the source that is signed; if the
    /// packet's is another, a NAT before this agent rewrote it. Whoever rewrites it must be where the
    /// answers go.
    fn check_flow(&self, path: &MpitPath, pair: HostPair) -> Result<FlowAddr, Reject> {
        let flow = read_flow(&mut Reader::new(&path.flow)).ok_or(Malformed::new("MPIT", "flow"))?;
        if flow.0.remote != pair.remote {
            return Err(Reject::Misbehaved("the MPIT is about another flow than its packet"));
        }
        Ok(flow.0.local)
    }

    /// What this agent said must have come back, once, unchanged and fresh.
    fn check_own_record(
        &self,
        records: &[Record],
        said: &Said,
        unix: UnixTime,
    ) -> Result<(), Reject> {
        let mut own = records.iter().filter(|record| self.is_own(record, said));
        let record = own.next().ok_or(Reject::Misbehaved("our record is not in the MPIT"))?;
        if own.next().is_some() {
            return Err(Reject::Misbehaved("our record is in the MPIT twice"));
        }
        if !is_fresh(record, unix) {
            return Err(Reject::Stale);
        }
        // Policy may have changed since the RGI passed.
        if record.consent != self.keyring.consent() || record.place != self.place {
            return Err(Reject::Stale);
        }
        Ok(())
    }
}

impl Tentative {
    /// The numbers of its negotiation.
    #[must_use]
    pub const fn id(&self) -> NegotiationId {
        self.sids.0
    }

    /// Reads the CDN that passes: the responder signed the same.
    ///
    /// # Errors
    /// [`Reject`]; the right CDN is still accepted later.
    pub fn consume_cdn(
        &self,
        keyring: &Keyring,
        message: &[u8],
        unix: UnixTime,
    ) -> Result<Committed, Reject> {
        let (header, keys, epoch) = authentic(keyring, message, Kind::Cdn, unix)?;
        if path::sids(&header) != self.sids || epoch != self.domain_epoch {
            return Err(Reject::Unexpected);
        }
        // Policy may have changed since the MPIT passed.
        if keyring.consent() != self.consent {
            return Err(Reject::Stale);
        }
        let opened = path::open(&keys.record, Use::Cdn, self.sids, CdnParts::parse(message)?.path)
            .ok_or(Reject::BadSeal("CDN path part"))?;
        let path = CdnPath::parse(&opened)?;
        must_equal(&path.mpit_hash, &self.mpit_hash, "the CDN is for another MPIT")?;
        let hash = crypto::sha256(&[&path.certificate]);
        must_equal(&hash, &self.responder_certificate_hash, "the CDN has another certificate")?;
        let responder = verify_witness(keyring, &path.certificate, unix)?;
        if responder.agent == self.initiator {
            return Err(Reject::Misbehaved("one agent signed for both ends"));
        }
        check_receives(&responder, self.parameters[1], self.pair.remote.0)?;
        let text = transcript::cdn_text(&self.decision, &self.mpit_hash);
        if !sign::verify(&responder.identity_key, &text, &path.signature) {
            return Err(Reject::BadSignature);
        }
        self.check_vouched(keyring, &responder)?;
        Ok(Committed {
            pair: self.pair,
            translated: self.translated,
            initiator: self.initiator,
            responder: responder.agent,
            initiator_parameters: self.parameters[0],
            responder_parameters: self.parameters[1],
            path: self.path.clone(),
        })
    }

    /// The tags said that an end is in a group of ours; only a certificate proves it.
    fn check_vouched(&self, keyring: &Keyring, responder: &Certificate) -> Result<(), Reject> {
        let asked = self.consent == Consent::Closed(Transit::Vouched);
        if asked && !self.vouched && keyring.shared_group(responder).is_none() {
            return Err(Reject::Misbehaved("neither end is a member of a group of ours"));
        }
        Ok(())
    }
}

impl Answered {
    /// Reads a NOMATCH that passes. Its signature is for the initiator: here it can only make this
    /// agent stricter, or make it offer what it holds itself.
    ///
    /// # Errors
    /// [`Reject`] if it is not of this domain.
    pub fn read(keyring: &Keyring, message: &[u8], unix: UnixTime) -> Result<Self, Reject> {
        let (header, keys, domain_epoch) = authentic(keyring, message, Kind::NoMatch, unix)?;
        let sids = path::sids(&header);
        let opened = path::open(&keys.record, Use::NoMatch, sids, nomatch::sealed_part(message)?)
            .ok_or(Reject::BadSeal("NOMATCH"))?;
        let facts = NoMatchFacts::parse(&opened)?;
        let tag = |keys: &EpochKeys| tags::nomatch_tag(&keys.tag, &facts.e_i);
        let accepted = keyring.accepted_groups(unix).map(|(_, _, keys)| tag(keys));
        let in_force = keyring.sending_groups(unix).map(|(_, _, keys)| tag(keys));
        let shares = !facts.refuses
            && facts.place == Place::Destination
            && tags::matching(&facts.tags, accepted) != 0;
        let closed_host = facts.standing.mode == Mode::Closed && !facts.standing.router;
        Ok(Self {
            mode: facts.word(),
            is_source_side: facts.refuses && facts.place == Place::Source,
            is_final: facts.refuses && facts.place != Place::Source
                || facts.place == Place::Destination && closed_host,
            shares,
            lacks_key: shares && tags::matching(&facts.tags, in_force) == 0,
            from: reference(&facts.certificate),
            dde: SeenDde { id: sids.0, e_i: facts.e_i, domain_epoch },
        })
    }
}

impl SeenDde {
    /// Reads the clear part of a DDE that passes or was reflected.
    ///
    /// # Errors
    /// [`Reject::BadMac`] if it is not of this domain.
    pub fn read(keyring: &Keyring, message: &[u8], unix: UnixTime) -> Result<Self, Reject> {
        super::received::read_clear(keyring, message, unix)
    }

    /// A signed NOMATCH of this agent, which is not the destination's last. `word`: what it says
    /// about the flow.
    #[must_use]
    pub fn refuse(
        &self,
        witness: &Witness<'_>,
        word: Word,
        rng: &mut Rng,
        unix: UnixTime,
    ) -> Option<Vec<u8>> {
        create_nomatch(witness.keyring, self, (true, witness.place, word), rng, unix)
    }
}

/// Whether a record was made less than its lifetime ago. Of an agent whose clock is ahead none is.
fn is_fresh(record: &Record, unix: UnixTime) -> bool {
    let age = u64::from((unix.0 as u32).wrapping_sub(record.time));
    age < RECORD_LIFETIME.as_secs()
}

/// A host receives at its flow's address; only a router may name another. Otherwise two members could
/// open a closed agent for what they send to a third machine behind it.
fn check_receives(
    end: &Certificate,
    parameters: SessionParameters,
    address: IpAddr,
) -> Result<(), Reject> {
    let standing = Standing { mode: Mode::Open, router: end.role == CertRole::Router };
    peer::check_wire(parameters, standing, address)
}

/// What a record is about: the negotiation, named by what nobody can repeat.
struct Said {
    digest: [u8; 32],
    e_r: [u8; 32],
    sids: Sids,
}

/// First 8 bytes of SHA-256 of a certificate.
pub(crate) fn reference(certificate: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&crypto::sha256(&[certificate])[..8]);
    short
}

/// What both ends sign, as an MPIT says it.
pub(super) fn decision(keyring: &Keyring, sids: Sids, path: &MpitPath) -> Vec<u8> {
    Decision {
        domain: keyring.domain(),
        sids,
        e_i: &path.e_i,
        e_r: &path.e_r,
        flow: &path.flow,
        timestamp: path.timestamp,
        records: &path.records,
        table: &path.table,
        initiator: path.initiator,
        responder: path.responder,
        cert_i_hash: &crypto::sha256(&[&path.certificate]),
        cert_r_hash: &path.responder_certificate_hash,
    }
    .emit()
}

/// Kind and `mac1` of a message of a negotiation that is not ours.
fn authentic<'a>(
    keyring: &'a Keyring,
    message: &[u8],
    kind: Kind,
    unix: UnixTime,
) -> Result<(Header, &'a DomainKeys, Epoch), Reject> {
    let header = peek(message).ok_or(Malformed::new("message", "header"))?;
    if header.kind != kind {
        return Err(Reject::Unexpected);
    }
    let (covered, mac1) = split_mac(message).ok_or(Malformed::new("message", "too short"))?;
    keyring
        .accepted_domain(unix)
        .find(|(_, keys)| tags::mac1_is_right(&keys.mac1, covered, mac1))
        .map(|(epoch, keys)| (header, keys, epoch))
        .ok_or(Reject::BadMac)
}
