//! The responder's first step: reading a DDE, and answering or refusing it.

use super::noise::{Keys, Noise};
use super::path::{self, Use};
use super::peer::{dde_sids, own_standing, parameters_are_sound, prologue};
use super::responder::{Answer, Request, Responder};
use super::{Binding, CreateError, Proposal, Purpose, Reject, SessionParameters, tags, transcript};
use crate::crypto::sign::SIGNATURE_LEN;
use crate::crypto::x25519::{self, KeyPair};
use crate::crypto::{self, Rng};
use crate::id::{Epoch, GroupId, NegotiationId};
use crate::keyring::{DomainKeys, Keyring};
use crate::limits::TIMESTAMP_WINDOW;
use crate::mode::Mode;
use crate::now::UnixTime;
use crate::wire::dprp::dde::{DdeFacts, DdeParts, Tags};
use crate::wire::dprp::nomatch::NoMatchFacts;
use crate::wire::dprp::rgi::{RgiPath, RgiPayload};
use crate::wire::dprp::{
    FLOW_LEN, Kind, MAC_LEN, Malformed, Place, Standing, assemble, emit_address, emit_flow, peek,
    split_mac,
};
use core::net::IpAddr;

/// A DDE that is authentic and fresh. Nothing about its sender is proven but that it is of the
/// domain.
pub struct ReceivedDde {
    /// What is proposed, as the initiator sees it.
    pub proposal: Proposal,
    /// The negotiation, as the initiator numbers it.
    pub id: NegotiationId,
    /// The initiator's ephemeral key; never the same in two negotiations.
    pub ephemeral: [u8; 32],
    /// When it was sent.
    pub timestamp: UnixTime,
    /// Source of the packet that brought it: another than the proposal's if a NAT stands between.
    pub observed: IpAddr,
    common: Vec<(GroupId, Epoch)>,
    domain_epoch: Epoch,
    tags: Tags,
    flow: [u8; FLOW_LEN],
    digest: [u8; 32],
    prologue: Vec<u8>,
    message: Vec<u8>,
    noise: Noise,
}

/// Reads a DDE: `mac1` first (one HMAC per domain key in force, and nothing else for garbage), then
/// the sealed facts, then the time stamp, then the tags of our own groups. `mac2` is not looked at:
/// whether it is needed is a question of load ([`CookieSecret::proves`](super::CookieSecret)).
///
/// # Errors
/// [`Reject`]; nothing is ever answered then.
pub fn consume_dde(
    keyring: &Keyring,
    message: &[u8],
    binding: Binding,
    unix: UnixTime,
) -> Result<ReceivedDde, Reject> {
    let SeenDde { domain_epoch, .. } = read_clear(keyring, message, unix)?;
    let header = peek(message).ok_or(Malformed::new("message", "header"))?;
    let parts = DdeParts::parse(message)?;
    let keys = keyring.domain_epoch(domain_epoch, unix).ok_or(Reject::Stale)?;
    if x25519::is_low_order(parts.ephemeral) {
        return Err(Reject::Misbehaved("low-order ephemeral key"));
    }
    let prologue = prologue(keyring.domain(), &header, &binding);
    let mut noise = responder_noise(keyring, &prologue, keys);
    let plaintext = noise.read(parts.noise).map_err(|_| Reject::BadSeal("DDE"))?;
    let facts = DdeFacts::parse(&plaintext)?;
    if facts.timestamp.distance(unix) > TIMESTAMP_WINDOW.as_secs() {
        return Err(Reject::Stale);
    }
    let flow = emit_flow(facts.pair, facts.ports).ok_or(Malformed::new("DDE", "flow"))?;
    let digest = tags::dde_digest(parts.ephemeral, facts.timestamp, &flow);
    Ok(ReceivedDde {
        proposal: proposal(&facts),
        id: header.sid_i,
        ephemeral: *parts.ephemeral,
        timestamp: facts.timestamp,
        observed: facts.pair.local.0,
        common: common_groups(keyring, &facts.tags, &digest, unix),
        domain_epoch,
        tags: facts.tags,
        flow,
        digest,
        prologue,
        message: parts.noise.to_vec(),
        noise,
    })
}

/// Form and `mac1` of any message but the COOKIE: all that is known before anything costs more than
/// one HMAC per domain key in force.
///
/// # Errors
/// [`Reject::Malformed`] or [`Reject::BadMac`].
pub fn authenticate(keyring: &Keyring, message: &[u8], unix: UnixTime) -> Result<(), Reject> {
    let header = peek(message).ok_or(Malformed::new("message", "header"))?;
    let (covered, mac1) = match header.kind {
        Kind::Dde => DdeParts::parse(message).map(|parts| (parts.covered, parts.mac1))?,
        _ => split_mac(message).ok_or(Malformed::new("message", "too short"))?,
    };
    let right = |keys: &DomainKeys| tags::mac1_is_right(&keys.mac1, covered, mac1);
    if keyring.accepted_domain(unix).any(|(_, keys)| right(keys)) {
        return Ok(());
    }
    Err(Reject::BadMac)
}

/// Form, numbers and `mac1` of a DDE, and nothing of what is sealed in it.
pub(super) fn read_clear(
    keyring: &Keyring,
    message: &[u8],
    unix: UnixTime,
) -> Result<SeenDde, Reject> {
    let header = peek(message).ok_or(Malformed::new("message", "header"))?;
    if header.kind != Kind::Dde {
        return Err(Reject::Unexpected);
    }
    dde_sids(&header).ok_or(Malformed::new("DDE", "numbers"))?;
    let parts = DdeParts::parse(message)?;
    keyring
        .accepted_domain(unix)
        .find(|(_, keys)| tags::mac1_is_right(&keys.mac1, parts.covered, parts.mac1))
        .map(|(domain_epoch, _)| SeenDde { id: header.sid_i, e_i: *parts.ephemeral, domain_epoch })
        .ok_or(Reject::BadMac)
}

impl ReceivedDde {
    /// Groups and epochs both ends hold, in our order of preference: priority, then lowest id.
    #[must_use]
    pub fn common_groups(&self) -> &[(GroupId, Epoch)] {
        &self.common
    }

    /// Answers with the first common group and a fresh `ephemeral` key: the RGI to send, and the
    /// state that waits for the MPIT.
    ///
    /// # Errors
    /// [`Reject::NoCommonGroup`], [`Reject::Stale`] if a key has ended meanwhile, or
    /// [`Reject::Own`].
    pub fn answer(
        mut self,
        keyring: &Keyring,
        router: bool,
        parameters: SessionParameters,
        ephemeral: KeyPair,
        rng: &mut Rng,
        unix: UnixTime,
    ) -> Result<(Responder, Vec<u8>), Reject> {
        let &(group, epoch) = self.common.first().ok_or(Reject::NoCommonGroup)?;
        let group_keys = keyring.group_epoch(group, epoch, unix).ok_or(Reject::Stale)?;
        let keys = keyring.domain_epoch(self.domain_epoch, unix).ok_or(Reject::Stale)?;
        if !keyring.own_is_valid(unix) {
            return Err(CreateError::Certificate.into());
        }
        if !parameters_are_sound(parameters) {
            return Err(CreateError::Parameters.into());
        }
        let e_r = ephemeral.public();
        let sids = (self.id, NegotiationId(crypto::random(rng)));
        let standing = own_standing(keyring, router);
        let path = self.seal_path(keyring, keys, sids, &e_r, standing, rng, unix)?;
        let payload = RgiPayload {
            standing,
            parameters,
            observed: emit_address(self.observed),
            path_hash: crypto::sha256(&[&path]),
            certificate: keyring.certificate().to_vec(),
        }
        .emit();
        self.noise.set_ephemeral(&ephemeral);
        self.noise.set_group_key(&group_keys.psk2);
        let noise = self.noise.write(&payload).map_err(|_| Reject::BadSeal("DDE"))?;
        let rtag = tags::rgi_tag(&group_keys.tag, &self.digest, &e_r);
        let parts = [e_r.as_slice(), &rtag, &noise[e_r.len()..], &path];
        let mut message = assemble(Kind::Rgi, 0, sids, &parts, MAC_LEN);
        tags::append_mac1(&mut message, &keys.mac1);
        let answer = Answer { group, epoch, sids, e_r, ephemeral, parameters, payload };
        Ok((self.into_responder(answer), message))
    }

    /// A signed NOMATCH: an agent is here, in this mode, and shares no group. `word`: what
    /// it says about the flow. `None` if a key or
    /// certificate has ended, so that nothing can be said.
    #[must_use]
    pub fn refuse(
        &self,
        keyring: &Keyring,
        router: bool,
        word: Word,
        rng: &mut Rng,
        unix: UnixTime,
    ) -> Option<Vec<u8>> {
        let dde = SeenDde { id: self.id, e_i: self.ephemeral, domain_epoch: self.domain_epoch };
        let place = Place::Destination;
        create_nomatch(keyring, &dde, (router, place, word), rng, unix)
    }

    #[expect(clippy::too_many_arguments, reason = "everything the path part says")]
    fn seal_path(
        &self,
        keyring: &Keyring,
        keys: &DomainKeys,
        sids: path::Sids,
        e_r: &[u8; 32],
        standing: Standing,
        rng: &mut Rng,
        unix: UnixTime,
    ) -> Result<Vec<u8>, Reject> {
        let own_tags = keyring
            .sending_groups(unix)
            .map(|(_, _, keys)| tags::path_tag(&keys.tag, &self.digest, e_r));
        let path = RgiPath {
            digest: self.digest,
            pair: self.proposal.pair,
            ports: self.proposal.ports,
            initiator_tags: tags::shorten(&self.tags),
            responder_tags: tags::fill_slots(own_tags, rng),
            standing,
        };
        let path = path.emit().ok_or(Malformed::new("DDE", "flow"))?;
        Ok(path::seal(&keys.record, Use::Rgi, sids, &path, rng))
    }

    fn into_responder(self, answer: Answer) -> Responder {
        let request = Request {
            proposal: self.proposal,
            e_i: self.ephemeral,
            timestamp: self.timestamp,
            domain_epoch: self.domain_epoch,
            flow: self.flow,
            prologue: self.prologue,
            message: self.message,
        };
        Responder::new(request, answer, self.noise)
    }
}

/// What the clear part of an authentic DDE says: all that a NOMATCH repeats of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenDde {
    /// The negotiation, as the initiator numbers it.
    pub id: NegotiationId,
    pub(super) e_i: [u8; 32],
    pub(super) domain_epoch: Epoch,
}

/// What a NOMATCH says about the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// What the agent's mode says.
    Own,
    /// An open agent takes nothing of this flow in clear, as a closed one: it was protected once, or
    /// must be. As the other end's partner it would be content.
    AsClosed,
    /// A closed agent protects the flow from here on with somebody who refused it to who asks: what is
    /// before it may be in clear, if everybody there is content.
    AsOpen,
    /// Somebody further on refuses the flow, whoever could protect it.
    ForGood,
}

/// A signed NOMATCH. `None` if a key or certificate has ended, so that nothing can be said.
pub(super) fn create_nomatch(
    keyring: &Keyring,
    dde: &SeenDde,
    (router, place, word): (bool, Place, Word),
    rng: &mut Rng,
    unix: UnixTime,
) -> Option<Vec<u8>> {
    let keys = keyring.domain_epoch(dde.domain_epoch, unix)?;
    if !keyring.own_is_valid(unix) {
        return None;
    }
    let own_tags =
        keyring.sending_groups(unix).map(|(_, _, keys)| tags::nomatch_tag(&keys.tag, &dde.e_i));
    let mut facts = NoMatchFacts {
        e_i: dde.e_i,
        standing: match word {
            Word::Own | Word::ForGood => own_standing(keyring, router),
            Word::AsClosed => Standing { mode: Mode::Closed, router },
            Word::AsOpen => Standing { mode: Mode::Open, router },
        },
        place,
        refuses: word == Word::ForGood,
        tags: tags::fill_slots(own_tags, rng),
        certificate: keyring.certificate().to_vec(),
        signature: [0; SIGNATURE_LEN],
    };
    let text = transcript::nomatch_text(keyring.domain(), dde.id, &facts);
    facts.signature = keyring.identity().sign(&text);
    let sids = (dde.id, NegotiationId::default());
    let sealed = path::seal(&keys.record, Use::NoMatch, sids, &facts.emit(), rng);
    let mut message = assemble(Kind::NoMatch, 0, sids, &[&sealed], MAC_LEN);
    tags::append_mac1(&mut message, &keys.mac1);
    Some(message)
}

/// A responder's handshake before the first message.
pub(super) fn responder_noise(keyring: &Keyring, prologue: &[u8], keys: &DomainKeys) -> Noise {
    let local_static = keyring.noise_static();
    Noise::responder(&Keys { local_static, prologue, psk0: &keys.psk0 })
}

fn proposal(facts: &DdeFacts) -> Proposal {
    Proposal {
        pair: facts.pair,
        ports: facts.ports,
        mode: facts.standing.mode,
        router: facts.standing.router,
        purpose: Purpose::Protect,
    }
}

/// One HMAC per own group and accepted epoch, whatever is in the slots.
fn common_groups(
    keyring: &Keyring,
    slots: &Tags,
    digest: &[u8; 32],
    unix: UnixTime,
) -> Vec<(GroupId, Epoch)> {
    keyring
        .accepted_groups(unix)
        .filter(|(_, _, keys)| tags::holds(slots, &tags::dde_tag(&keys.tag, digest)))
        .map(|(group, epoch, _)| (group, epoch))
        .collect()
}
