//! The end that starts a negotiation.

use super::noise::{Keys, Noise, Split};
use super::path::{self, Sids, Use};
use super::peer::{self, Claim, decide, must_equal};
use super::transcript::{self, Decision};
use super::{Agreement, Binding, CreateError, Proposal, Reject, SessionParameters, tags};
use crate::cert::Certificate;
use crate::crypto::seal::open_once;
use crate::crypto::{self, Rng, kdf, sign, x25519};
use crate::id::{Epoch, GroupId, NegotiationId};
use crate::keyring::{DomainKeys, Keyring};
use crate::membership::Secret32;
use crate::mode::Mode;
use crate::now::UnixTime;
use crate::traffic::AeadKind;
use crate::wire::dprp::cdn::{CdnParts, CdnPath};
use crate::wire::dprp::dde::{DDE_LEN, DdeFacts, Tags};
use crate::wire::dprp::mpit::{MpitPath, MpitPayload};
use crate::wire::dprp::nomatch::{self, NoMatchFacts};
use crate::wire::dprp::rgi::{Record, RgiParts, RgiPath, RgiPayload};
use crate::wire::dprp::{FLOW_LEN, Header, Kind, MAC_LEN, Standing, TableRow, assemble, emit_flow};

/// The answer of an agent that shares no group with us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoMatch {
    /// The agent, verified.
    pub peer: Certificate,
    /// Its mode.
    pub mode: Mode,
}

/// One negotiation at the end that started it.
pub struct Initiator {
    offer: Offer,
    state: State,
}

enum State {
    /// `None`: a refused RGI used the handshake up; the next one builds it again.
    Offered(Option<Box<Noise>>),
    Agreed(Box<Expected>),
}

/// What was sent in the DDE, and what is needed to build the handshake again.
struct Offer {
    id: NegotiationId,
    proposal: Proposal,
    parameters: SessionParameters,
    prologue: Vec<u8>,
    ephemeral: Secret32,
    e_i: [u8; 32],
    domain_epoch: Epoch,
    groups: Vec<(GroupId, Epoch)>,
    timestamp: UnixTime,
    flow: [u8; FLOW_LEN],
    digest: [u8; 32],
    tags: Tags,
    /// Plaintext of the Noise payload.
    payload: Vec<u8>,
}

/// What the CDN must say.
struct Expected {
    sids: Sids,
    cdn_key: Secret32,
    decision: Vec<u8>,
    mpit_hash: [u8; 32],
    peer_certificate: Vec<u8>,
    peer_identity: [u8; 32],
}

impl Initiator {
    /// Starts a negotiation: the state, and the DDE to send (and to repeat, unchanged).
    ///
    /// # Errors
    /// [`CreateError`] if this agent cannot negotiate now.
    pub fn create_dde(
        keyring: &Keyring,
        proposal: &Proposal,
        binding: Binding,
        parameters: SessionParameters,
        rng: &mut Rng,
        unix: UnixTime,
    ) -> Result<(Self, Vec<u8>), CreateError> {
        let (domain_epoch, keys) = keyring.sending_domain(unix).ok_or(CreateError::NoDomainKey)?;
        let flow = emit_flow(proposal.pair, proposal.ports).ok_or(CreateError::MixedFamilies)?;
        if !keyring.own_is_valid(unix) {
            return Err(CreateError::Certificate);
        }
        if !peer::parameters_are_sound(parameters) {
            return Err(CreateError::Parameters);
        }
        let ephemeral = crypto::random_secret(rng);
        let e_i = x25519::public_key(&ephemeral);
        let digest = tags::dde_digest(&e_i, unix, &flow);
        let groups: Vec<_> = keyring.sending_groups(unix).collect();
        if groups.is_empty() {
            return Err(CreateError::NoGroupKey);
        }
        let own_tags = groups.iter().map(|(_, _, keys)| tags::dde_tag(&keys.tag, &digest));
        let tags = tags::fill_slots(own_tags, rng);
        let id = NegotiationId(crypto::random(rng));
        let header = dde_header(id);
        let offer = Offer {
            id,
            proposal: *proposal,
            parameters,
            prologue: peer::prologue(keyring.domain(), &header, &binding),
            ephemeral,
            e_i,
            domain_epoch,
            groups: groups.iter().map(|(group, epoch, _)| (*group, *epoch)).collect(),
            timestamp: unix,
            payload: facts(proposal, unix, tags).emit(&flow),
            flow,
            digest,
            tags,
        };
        let (noise, message) = offer.handshake(keyring, keys);
        let mut dde = assemble(Kind::Dde, 0, sids(id), &[&message], 2 * MAC_LEN);
        tags::append_mac1(&mut dde, &keys.mac1);
        dde.extend_from_slice(&[0; MAC_LEN]);
        Ok((Self { offer, state: State::Offered(Some(Box::new(noise))) }, dde))
    }

    /// The negotiation as this end numbers it (`sid_i`).
    #[must_use]
    pub const fn id(&self) -> NegotiationId {
        self.offer.id
    }

    /// This end's ephemeral public key.
    #[must_use]
    pub const fn ephemeral(&self) -> [u8; 32] {
        self.offer.e_i
    }

    /// What is negotiated.
    #[must_use]
    pub const fn proposal(&self) -> &Proposal {
        &self.offer.proposal
    }

    /// Reads the RGI. Gives what was agreed and the MPIT to send (and to repeat, unchanged).
    ///
    /// # Errors
    /// [`Reject`]; the right RGI is still accepted later. After success every further RGI is
    /// [`Reject::Unexpected`].
    pub fn consume_rgi(
        &mut self,
        keyring: &Keyring,
        message: &[u8],
        rng: &mut Rng,
        unix: UnixTime,
    ) -> Result<(Agreement, Vec<u8>), Reject> {
        let State::Offered(noise) = &mut self.state else { return Err(Reject::Unexpected) };
        let offer = &self.offer;
        let keys = keyring.domain_epoch(offer.domain_epoch, unix).ok_or(Reject::Stale)?;
        let header = peer::expect(message, Kind::Rgi, keys, |header| header.sid_i == offer.id)?;
        let rgi = Rgi::open(&header, message, keys)?;
        offer.check(&rgi)?;
        let (group, epoch) = offer.chosen_group(keyring, &rgi, unix)?;
        let group_keys = keyring.group_epoch(group, epoch, unix).ok_or(Reject::Stale)?;
        let kept = noise.take();
        let mut noise = kept.map_or_else(|| offer.handshake(keyring, keys).0, |noise| *noise);
        noise.set_group_key(&group_keys.psk2);
        let peer = offer.prove(keyring, &rgi, &mut noise, group, unix)?;
        let mpit = offer.create_mpit(keyring, keys, &rgi, &peer, &mut noise, rng)?;
        let split = noise.split().ok_or(Reject::Unexpected)?;
        let agreement = offer.agreement(keyring, (group, epoch), &peer, &split);
        self.state = State::Agreed(Box::new(Expected {
            sids: rgi.sids,
            cdn_key: kdf::session_prk(&split.hash, &split.backward).expand("cdn", &[]),
            decision: mpit.decision,
            mpit_hash: mpit.hash,
            peer_certificate: peer.payload.certificate,
            peer_identity: peer.certificate.identity_key,
        }));
        Ok((agreement, mpit.message))
    }

    /// Reads the CDN: the responder holds the same keys and signed the same decision.
    ///
    /// # Errors
    /// [`Reject`]; the right CDN is still accepted later.
    pub fn consume_cdn(
        &self,
        keyring: &Keyring,
        message: &[u8],
        unix: UnixTime,
    ) -> Result<(), Reject> {
        let State::Agreed(expected) = &self.state else { return Err(Reject::Unexpected) };
        let epoch = self.offer.domain_epoch;
        let keys = keyring.domain_epoch(epoch, unix).ok_or(Reject::Stale)?;
        peer::expect(message, Kind::Cdn, keys, |header| path::sids(header) == expected.sids)?;
        let parts = CdnParts::parse(message)?;
        let confirmed = open_once(&expected.cdn_key, parts.header, parts.confirmation)
            .ok_or(Reject::BadSeal("CDN"))?;
        must_equal(&confirmed, &expected.mpit_hash, "the CDN is for another MPIT")?;
        let path = path::open(&keys.record, Use::Cdn, expected.sids, parts.path)
            .ok_or(Reject::BadSeal("CDN path part"))?;
        let path = CdnPath::parse(&path)?;
        must_equal(&path.mpit_hash, &expected.mpit_hash, "the CDN is for another MPIT")?;
        must_equal(&path.certificate, &expected.peer_certificate, "another certificate")?;
        let text = transcript::cdn_text(&expected.decision, &expected.mpit_hash);
        if !sign::verify(&expected.peer_identity, &text, &path.signature) {
            return Err(Reject::BadSignature);
        }
        Ok(())
    }

    /// Reads a NOMATCH: who is there, and in which mode.
    ///
    /// # Errors
    /// [`Reject`]. [`Reject::OtherEpoch`] if its certificate proves that it is a member of one of
    /// our groups: then it is no outsider, whatever it says.
    pub fn consume_nomatch(
        &self,
        keyring: &Keyring,
        message: &[u8],
        unix: UnixTime,
    ) -> Result<NoMatch, Reject> {
        if !matches!(self.state, State::Offered(_)) {
            return Err(Reject::Unexpected);
        }
        let offer = &self.offer;
        let keys = keyring.domain_epoch(offer.domain_epoch, unix).ok_or(Reject::Stale)?;
        let own_sids = sids(offer.id);
        peer::expect(message, Kind::NoMatch, keys, |header| path::sids(header) == own_sids)?;
        let sealed = nomatch::sealed_part(message)?;
        let facts = path::open(&keys.record, Use::NoMatch, own_sids, sealed)
            .ok_or(Reject::BadSeal("NOMATCH"))?;
        let facts = NoMatchFacts::parse(&facts)?;
        must_equal(&facts.e_i, &offer.e_i, "the NOMATCH is for another DDE")?;
        let peer =
            peer::verify_peer(keyring, &offer.claim(&facts.certificate, facts.standing), unix)?;
        let (domain, standing) = (keyring.domain(), facts.standing);
        let text =
            transcript::nomatch_text(domain, offer.id, &offer.e_i, standing, &facts.certificate);
        if !sign::verify(&peer.identity_key, &text, &facts.signature) {
            return Err(Reject::BadSignature);
        }
        match keyring.shared_group(&peer) {
            Some(group) => Err(Reject::OtherEpoch(group)),
            None => Ok(NoMatch { peer, mode: facts.standing.mode }),
        }
    }
}

impl Offer {
    /// The handshake after its first message, and that message.
    fn handshake(&self, keyring: &Keyring, keys: &DomainKeys) -> (Noise, Vec<u8>) {
        let local_static = keyring.noise_static();
        let keys = Keys { local_static, prologue: &self.prologue, psk0: &keys.psk0 };
        let mut noise = Noise::initiator(&keys);
        noise.set_ephemeral(&self.ephemeral);
        let message =
            noise.write(&self.payload).expect("invariant: the first message needs no peer's key");
        (noise, message)
    }

    /// That the RGI answers this DDE.
    fn check(&self, rgi: &Rgi<'_>) -> Result<(), Reject> {
        if x25519::is_low_order(rgi.parts.ephemeral) {
            return Err(Reject::Misbehaved("low-order ephemeral key"));
        }
        if *rgi.parts.ephemeral == self.e_i {
            return Err(Reject::Misbehaved("our own ephemeral key"));
        }
        must_equal(&rgi.path.digest, &self.digest, "the RGI answers another DDE")?;
        if rgi.path.pair != self.proposal.pair || rgi.path.ports != self.proposal.ports {
            return Err(Reject::Misbehaved("the RGI has another flow"));
        }
        if rgi.path.initiator_tags != tags::shorten(&self.tags) {
            return Err(Reject::Misbehaved("the RGI has other tags than the DDE"));
        }
        Ok(())
    }

    /// Which of the offered groups the responder chose.
    fn chosen_group(
        &self,
        keyring: &Keyring,
        rgi: &Rgi<'_>,
        unix: UnixTime,
    ) -> Result<(GroupId, Epoch), Reject> {
        let chosen = self.groups.iter().find(|(group, epoch)| {
            keyring.group_epoch(*group, *epoch, unix).is_some_and(|keys| {
                let tag = tags::rgi_tag(&keys.tag, &self.digest, rgi.parts.ephemeral);
                kdf::same(&tag, rgi.parts.rtag)
            })
        });
        chosen.copied().ok_or(Reject::NoCommonGroup)
    }

    /// Proves the responder: key exchange, certificate, path part.
    fn prove(
        &self,
        keyring: &Keyring,
        rgi: &Rgi<'_>,
        noise: &mut Noise,
        group: GroupId,
        unix: UnixTime,
    ) -> Result<Peer, Reject> {
        let message = [rgi.parts.ephemeral.as_slice(), rgi.parts.noise].concat();
        let payload = noise.read(&message).map_err(|_| Reject::BadSeal("RGI"))?;
        let payload = RgiPayload::parse(&payload)?;
        let path_hash = crypto::sha256(&[rgi.parts.path]);
        must_equal(&payload.path_hash, &path_hash, "the path part is not the one that was sent")?;
        if payload.standing != rgi.path.standing {
            return Err(Reject::Misbehaved("the RGI has two standings"));
        }
        let claim = self.claim(&payload.certificate, payload.standing);
        let certificate = peer::verify_peer(keyring, &claim, unix)?;
        peer::verify_member(keyring, &certificate, noise.remote_static(), group)?;
        let table = decide(&rgi.records)
            .ok_or(Reject::Misbehaved("an agent on the path lets nobody through"))?;
        Ok(Peer { certificate, payload, table })
    }

    fn claim<'a>(&self, certificate: &'a [u8], standing: Standing) -> Claim<'a> {
        Claim { certificate, standing, address: self.proposal.pair.remote.0 }
    }

    fn create_mpit(
        &self,
        keyring: &Keyring,
        keys: &DomainKeys,
        rgi: &Rgi<'_>,
        peer: &Peer,
        noise: &mut Noise,
        rng: &mut Rng,
    ) -> Result<Mpit, Reject> {
        let certificate = keyring.certificate();
        let cert_r_hash = crypto::sha256(&[&peer.payload.certificate]);
        let decision = Decision {
            domain: keyring.domain(),
            sids: rgi.sids,
            e_i: &self.e_i,
            e_r: rgi.parts.ephemeral,
            flow: &self.flow,
            timestamp: self.timestamp,
            records: &rgi.records,
            table: &peer.table,
            cert_i_hash: &crypto::sha256(&[certificate]),
            cert_r_hash: &cert_r_hash,
        }
        .emit();
        let path = MpitPath {
            e_i: self.e_i,
            e_r: *rgi.parts.ephemeral,
            timestamp: self.timestamp,
            flow: self.flow,
            responder_certificate_hash: cert_r_hash,
            certificate: certificate.to_vec(),
            records: rgi.records.clone(),
            table: peer.table.clone(),
            signature: sign::sign(keyring.identity(), &transcript::mpit_text(&decision)),
        };
        let path = path::seal(&keys.record, Use::Mpit, rgi.sids, &path.emit(), rng);
        let hash = crypto::sha256(&[&path]);
        let payload = MpitPayload { parameters: self.parameters, path_hash: hash };
        let sealed = noise.write(&payload.emit()).map_err(|_| Reject::BadSeal("RGI"))?;
        let parts = [sealed.as_slice(), &path];
        let mut message = assemble(Kind::Mpit, rgi.records.len(), rgi.sids, &parts, MAC_LEN);
        tags::append_mac1(&mut message, &keys.mac1);
        Ok(Mpit { message, decision, hash })
    }

    fn agreement(
        &self,
        keyring: &Keyring,
        (group, epoch): (GroupId, Epoch),
        peer: &Peer,
        split: &Split,
    ) -> Agreement {
        Agreement {
            group,
            epoch,
            peer: peer.certificate.clone(),
            peer_mode: peer.payload.standing.mode,
            peer_parameters: peer.payload.parameters,
            aead: AeadKind::of(keyring.has_aes(), peer.certificate.aes),
            send: kdf::session_prk(&split.hash, &split.forward).expand("traffic", &[]),
            receive: kdf::session_prk(&split.hash, &split.backward).expand("traffic", &[]),
            handshake_hash: split.hash,
        }
    }
}

/// The responder, proven.
struct Peer {
    certificate: Certificate,
    payload: RgiPayload,
    table: Vec<TableRow>,
}

struct Mpit {
    message: Vec<u8>,
    decision: Vec<u8>,
    /// SHA-256 of the path part as sent.
    hash: [u8; 32],
}

/// An RGI whose path part and records were opened.
struct Rgi<'a> {
    sids: Sids,
    parts: RgiParts<'a>,
    path: RgiPath,
    records: Vec<Record>,
}

impl<'a> Rgi<'a> {
    fn open(header: &Header, message: &'a [u8], keys: &DomainKeys) -> Result<Self, Reject> {
        let parts = RgiParts::parse(header, message)?;
        let sids = path::sids(header);
        let open = |part, sealed| {
            path::open(&keys.record, part, sids, sealed).ok_or(Reject::BadSeal("RGI path part"))
        };
        let path = RgiPath::parse(&open(Use::Rgi, parts.path.as_slice())?)?;
        let records = parts
            .records
            .iter()
            .map(|sealed| Ok(Record::parse(&open(Use::Record, sealed.as_slice())?)?))
            .collect::<Result<_, Reject>>()?;
        Ok(Self { sids, parts, path, records })
    }
}

fn sids(id: NegotiationId) -> Sids {
    (id, NegotiationId::default())
}

fn dde_header(id: NegotiationId) -> Header {
    let (sid_i, sid_r) = sids(id);
    Header { kind: Kind::Dde, records: 0, length: DDE_LEN as u16, sid_i, sid_r }
}

fn facts(proposal: &Proposal, timestamp: UnixTime, tags: Tags) -> DdeFacts {
    DdeFacts {
        timestamp,
        pair: proposal.pair,
        ports: proposal.ports,
        standing: Standing { mode: proposal.mode, router: proposal.router },
        tags,
        options: DdeFacts::NO_OPTIONS,
    }
}
