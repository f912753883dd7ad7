//! The end that starts a negotiation.

use super::between::reference;
use super::cookie;
use super::decide::decide;
use super::noise::Noise;
use super::offer::{Offer, Peer, Rgi};
use super::path::{self, Sids, Use};
use super::peer::{self, must_equal};
use super::{
    Agreement, Binding, Cookie, CreateError, Proposal, Purpose, Reject, SessionParameters, tags,
    transcript,
};
use crate::cert::Certificate;
use crate::crypto::seal::open_once;
use crate::crypto::x25519::KeyPair;
use crate::crypto::{self, Rng, kdf, sign};
use crate::id::NegotiationId;
use crate::keyring::Keyring;
use crate::membership::Secret32;
use crate::mode::Mode;
use crate::now::UnixTime;
use crate::wire::dprp::cdn::{CdnParts, CdnPath};
use crate::wire::dprp::dde::{DDE_LEN, DdeFacts, Tags};
use crate::wire::dprp::nomatch::{self, NoMatchFacts};
use crate::wire::dprp::rgi::Record;
use crate::wire::dprp::{Header, Kind, MAC_LEN, Place, Standing, assemble, emit_flow};

/// The answer of an agent that shares no group with us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoMatch {
    /// The agent, verified.
    pub peer: Certificate,
    /// First 8 bytes of SHA-256 of its certificate.
    pub certificate: [u8; 8],
    /// Its mode, or closed if it says that somebody further on refuses.
    pub mode: Mode,
    /// Its mode, and whether it speaks for another machine.
    pub standing: Standing,
    /// Whose side of the flow it is on.
    pub place: Place,
    /// It holds a group of ours.
    pub shares_group: bool,
}

impl NoMatch {
    /// A router of our own side says that it protects the flow from there on. It knows nothing of who
    /// is at the destination.
    #[must_use]
    pub fn protects_beyond(&self) -> bool {
        self.place == Place::Source && self.mode == Mode::Open
    }
}

/// An RGI that came to nothing, because an agent on the way is not content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedPath {
    /// Who answered, verified.
    pub peer: Certificate,
    /// First 8 bytes of SHA-256 of its certificate.
    pub certificate: [u8; 8],
    /// Its mode, and whether it speaks for another machine.
    pub standing: Standing,
    /// Certificate reference of the agent that is not content.
    pub by: [u8; 8],
    /// The agents between, the one nearest the responder first.
    pub records: Vec<Record>,
}

/// One negotiation at the end that started it.
pub struct Initiator {
    offer: Offer,
    state: State,
    refused: Option<RefusedPath>,
}

enum State {
    /// `None`: a refused RGI used the handshake up; the next one builds it again.
    Offered(Option<Box<Noise>>),
    Agreed(Box<Expected>),
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
    /// Starts a negotiation with a fresh `ephemeral` key: the state, and the DDE to send (and to
    /// repeat, unchanged).
    ///
    /// # Errors
    /// [`CreateError`] if this agent cannot negotiate now.
    pub fn create_dde(
        keyring: &Keyring,
        proposal: &Proposal,
        binding: Binding,
        parameters: SessionParameters,
        ephemeral: KeyPair,
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
        let e_i = ephemeral.public();
        let digest = tags::dde_digest(&e_i, unix, &flow);
        let groups: Vec<_> = match proposal.purpose {
            Purpose::Protect => keyring.sending_groups(unix).collect(),
            Purpose::Survey => Vec::new(),
        };
        if groups.is_empty() && proposal.purpose == Purpose::Protect {
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
        let state = State::Offered(Some(Box::new(noise)));
        Ok((Self { offer, state, refused: None }, dde))
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
        let (certificate, payload) = offer.prove(keyring, &rgi, &mut noise, group, unix)?;
        let table = match decide(&rgi.records) {
            Ok(table) => table,
            Err(by) => {
                self.refused = Some(RefusedPath {
                    certificate: reference(&payload.certificate),
                    standing: payload.standing,
                    peer: certificate,
                    by,
                    records: rgi.records,
                });
                return Err(Reject::NotContent(by));
            }
        };
        let seen_as = offer.seen_as(&payload)?;
        let peer = Peer { certificate, payload, seen_as, table };
        let mpit = offer.create_mpit(keyring, keys, &rgi, &peer, &mut noise, rng)?;
        let split = noise.split().ok_or(Reject::Unexpected)?;
        let agreement = offer.agreement(keyring, (group, epoch), &peer, rgi.records, &split);
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

    /// Who refused, and who was there, after [`Reject::NotContent`].
    pub fn take_refused(&mut self) -> Option<RefusedPath> {
        self.refused.take()
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
        must_equal(
            &path.certificate,
            &expected.peer_certificate,
            "the CDN has another certificate",
        )?;
        let text = transcript::cdn_text(&expected.decision, &expected.mpit_hash);
        if !sign::verify(&expected.peer_identity, &text, &path.signature) {
            return Err(Reject::BadSignature);
        }
        Ok(())
    }

    /// Reads a COOKIE that answers `dde`, our DDE as it was sent. Nothing changes: the same DDE goes
    /// out again with [`Cookie::sign`].
    ///
    /// # Errors
    /// [`Reject`]; the right COOKIE is still accepted later.
    pub fn consume_cookie(
        &self,
        keyring: &Keyring,
        message: &[u8],
        dde: &[u8],
        unix: UnixTime,
    ) -> Result<Cookie, Reject> {
        if !matches!(self.state, State::Offered(_)) {
            return Err(Reject::Unexpected);
        }
        let epoch = self.offer.domain_epoch;
        let keys = keyring.domain_epoch(epoch, unix).ok_or(Reject::Stale)?;
        cookie::open(keys, message, dde, self.offer.id)
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
        let peer = offer.believe(keyring, &facts, unix)?;
        let text = transcript::nomatch_text(keyring.domain(), offer.id, &facts);
        if !sign::verify(&peer.identity_key, &text, &facts.signature) {
            return Err(Reject::BadSignature);
        }
        let shared = keyring.shared_group(&peer);
        match shared {
            Some(group) if offer.needs_key(keyring, &facts, unix) => {
                Err(Reject::OtherEpoch(group, facts.standing.mode))
            }
            _ => Ok(NoMatch {
                peer,
                certificate: reference(&facts.certificate),
                mode: facts.word(),
                standing: facts.standing,
                place: facts.place,
                shares_group: shared.is_some(),
            }),
        }
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

#[cfg(test)]
mod impaired;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod witnessed;
