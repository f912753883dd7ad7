//! The responder after its RGI: waits for the MPIT, answers with the CDN.

use super::decide::decide;
use super::noise::{Noise, Split};
use super::path::{self, Sids, Use};
use super::peer::{self, Claim, must_equal};
use super::received::responder_noise;
use super::transcript::{self, Decision};
use super::{Agreement, Proposal, Reject, SessionParameters, tags};
use crate::cert::Certificate;
use crate::crypto::seal::seal_once;
use crate::crypto::x25519::KeyPair;
use crate::crypto::{self, Rng, kdf, sign};
use crate::id::{Epoch, GroupId, NegotiationId};
use crate::keyring::{DomainKeys, Keyring};
use crate::now::UnixTime;
use crate::traffic::AeadKind;
use crate::wire::dprp::cdn::{CONFIRMATION_LEN, CdnPath};
use crate::wire::dprp::mpit::{MpitParts, MpitPath, MpitPayload};
use crate::wire::dprp::{FLOW_LEN, HEADER_LEN, Header, Kind, MAC_LEN, Standing, assemble};

/// What was answered to a DDE.
pub(super) struct Answer {
    pub(super) group: GroupId,
    pub(super) epoch: Epoch,
    pub(super) sids: Sids,
    pub(super) e_r: [u8; 32],
    pub(super) ephemeral: KeyPair,
    pub(super) parameters: SessionParameters,
    /// Plaintext of the Noise payload, to build the state again.
    pub(super) payload: Vec<u8>,
}

/// One negotiation at the end that answers.
pub struct Responder {
    request: Request,
    answer: Answer,
    state: State,
}

/// What stays of the DDE for the whole negotiation.
pub(super) struct Request {
    pub(super) proposal: Proposal,
    pub(super) e_i: [u8; 32],
    pub(super) timestamp: UnixTime,
    pub(super) domain_epoch: Epoch,
    pub(super) flow: [u8; FLOW_LEN],
    pub(super) prologue: Vec<u8>,
    /// Its Noise message, to build the state again.
    pub(super) message: Vec<u8>,
}

enum State {
    /// `None`: an MPIT that was refused, or whose agreement was given back, used the handshake up; the
    /// next one builds it again.
    Answered(Option<Box<Noise>>),
    Agreed,
}

impl Responder {
    pub(super) fn new(request: Request, answer: Answer, noise: Noise) -> Self {
        Self { request, answer, state: State::Answered(Some(Box::new(noise))) }
    }

    /// The negotiation as this end numbers it (`sid_r`).
    #[must_use]
    pub const fn id(&self) -> NegotiationId {
        self.answer.sids.1
    }

    /// The initiator's ephemeral key, which it answers.
    #[must_use]
    pub const fn ephemeral(&self) -> [u8; 32] {
        self.request.e_i
    }

    /// What is negotiated, as the initiator sees it.
    #[must_use]
    pub const fn proposal(&self) -> &Proposal {
        &self.request.proposal
    }

    /// The group that was chosen, and its epoch.
    #[must_use]
    pub const fn group(&self) -> (GroupId, Epoch) {
        (self.answer.group, self.answer.epoch)
    }

    /// Reads the MPIT. Gives what was agreed and the CDN to send.
    ///
    /// # Errors
    /// [`Reject`]; the right MPIT is still accepted later. After success every further MPIT is
    /// [`Reject::Unexpected`]: repeat the CDN for a repeated MPIT, unless the agreement was given back
    /// ([`Self::give_back`]).
    pub fn consume_mpit(
        &mut self,
        keyring: &Keyring,
        message: &[u8],
        rng: &mut Rng,
        unix: UnixTime,
    ) -> Result<(Agreement, Vec<u8>), Reject> {
        let State::Answered(noise) = &mut self.state else { return Err(Reject::Unexpected) };
        let keys = keyring.domain_epoch(self.request.domain_epoch, unix).ok_or(Reject::Stale)?;
        let header = peer::expect(message, Kind::Mpit, keys, |header| {
            path::sids(header) == self.answer.sids
        })?;
        let mpit = Mpit::open(&header, message, keys)?;
        self.request.check(&self.answer, &mpit.path, keyring)?;
        let kept = noise.take();
        let noise = match kept {
            Some(noise) => *noise,
            None => self.request.rebuild(&self.answer, keyring, keys, unix)?,
        };
        let (agreement, split) = self.agree(keyring, &mpit, noise, unix)?;
        let cdn = self.create_cdn(keyring, keys, &mpit, &split, rng);
        self.state = State::Agreed;
        Ok((agreement, cdn))
    }

    /// Takes an agreement back that cannot be used now: the MPIT counts as not read, and the same one
    /// may come again. The CDN of the agreement must not have left.
    pub fn give_back(&mut self) {
        self.state = State::Answered(None);
    }

    /// Proves the initiator: key exchange, certificate, signature over the decision.
    fn agree(
        &self,
        keyring: &Keyring,
        mpit: &Mpit<'_>,
        mut noise: Noise,
        unix: UnixTime,
    ) -> Result<(Agreement, Split), Reject> {
        let payload = noise.read(mpit.noise).map_err(|_| Reject::BadSeal("MPIT"))?;
        let payload = MpitPayload::parse(&payload)?;
        must_equal(&payload.path_hash, &mpit.hash, "the path part is not the one that was sent")?;
        let group = self.answer.group;
        if !keyring.accepts(group, self.answer.epoch, unix) {
            return Err(Reject::Stale);
        }
        let claim = self.claim(&mpit.path);
        peer::check_wire(mpit.path.initiator, claim.standing, claim.address)?;
        let peer = peer::verify_peer(keyring, &claim, unix)?;
        peer::verify_member(keyring, &peer, noise.remote_static(), group)?;
        let text = transcript::mpit_text(&self.decision(keyring, &mpit.path));
        if !sign::verify(&peer.identity_key, &text, &mpit.path.signature) {
            return Err(Reject::BadSignature);
        }
        let split = noise.split().ok_or(Reject::Unexpected)?;
        let agreement = self.agreement(keyring, peer, &mpit.path, &split);
        Ok((agreement, split))
    }

    fn agreement(
        &self,
        keyring: &Keyring,
        peer: Certificate,
        path: &MpitPath,
        split: &Split,
    ) -> Agreement {
        Agreement {
            group: self.answer.group,
            epoch: self.answer.epoch,
            peer_mode: self.request.proposal.mode,
            peer_parameters: path.initiator,
            seen_as: None,
            path: path.records.clone(),
            aead: AeadKind::of(keyring.has_aes(), peer.aes),
            peer,
            send: kdf::session_prk(&split.hash, &split.backward).expand("traffic", &[]),
            receive: kdf::session_prk(&split.hash, &split.forward).expand("traffic", &[]),
            handshake_hash: split.hash,
        }
    }

    fn create_cdn(
        &self,
        keyring: &Keyring,
        keys: &DomainKeys,
        mpit: &Mpit<'_>,
        split: &Split,
        rng: &mut Rng,
    ) -> Vec<u8> {
        let sids = self.answer.sids;
        let text = transcript::cdn_text(&self.decision(keyring, &mpit.path), &mpit.hash);
        let path = CdnPath {
            mpit_hash: mpit.hash,
            certificate: keyring.certificate().to_vec(),
            signature: keyring.identity().sign(&text),
        };
        let path = path::seal(&keys.record, Use::Cdn, sids, &path.emit(), rng);
        let cdn_key = kdf::session_prk(&split.hash, &split.backward).expand("cdn", &[]);
        let space = [0; CONFIRMATION_LEN];
        let mut message = assemble(Kind::Cdn, 0, sids, &[&space, &path], MAC_LEN);
        let (header, rest) = message.split_at_mut(HEADER_LEN);
        rest[..CONFIRMATION_LEN].copy_from_slice(&seal_once(&cdn_key, header, &mpit.hash));
        tags::append_mac1(&mut message, &keys.mac1);
        message
    }

    fn claim<'a>(&self, path: &'a MpitPath) -> Claim<'a> {
        let Proposal { pair, mode, router, .. } = self.request.proposal;
        Claim {
            certificate: &path.certificate,
            standing: Standing { mode, router },
            address: pair.local.0,
        }
    }

    fn decision(&self, keyring: &Keyring, path: &MpitPath) -> Vec<u8> {
        Decision {
            domain: keyring.domain(),
            sids: self.answer.sids,
            e_i: &self.request.e_i,
            e_r: &self.answer.e_r,
            flow: &self.request.flow,
            timestamp: self.request.timestamp,
            records: &path.records,
            table: &path.table,
            initiator: path.initiator,
            responder: path.responder,
            cert_i_hash: &crypto::sha256(&[&path.certificate]),
            cert_r_hash: &crypto::sha256(&[keyring.certificate()]),
        }
        .emit()
    }
}

impl Request {
    /// That the path part says what this end knows, and decides what this end decides.
    fn check(&self, answer: &Answer, path: &MpitPath, keyring: &Keyring) -> Result<(), Reject> {
        must_equal(&path.e_i, &self.e_i, "the MPIT has another initiator's key")?;
        must_equal(&path.e_r, &answer.e_r, "the MPIT has another responder's key")?;
        must_equal(&path.flow, &self.flow, "the MPIT has another flow")?;
        let own = crypto::sha256(&[keyring.certificate()]);
        must_equal(&path.responder_certificate_hash, &own, "the MPIT is for another agent")?;
        if path.timestamp != self.timestamp {
            return Err(Reject::Misbehaved("the MPIT has another time stamp"));
        }
        if path.responder != answer.parameters {
            return Err(Reject::Misbehaved("the MPIT has other parameters of ours"));
        }
        if decide(&path.records).map_err(Reject::NotContent)? != path.table {
            return Err(Reject::Misbehaved("the action table is not what the records say"));
        }
        Ok(())
    }

    /// The handshake as it was when the RGI left.
    fn rebuild(
        &self,
        answer: &Answer,
        keyring: &Keyring,
        keys: &DomainKeys,
        unix: UnixTime,
    ) -> Result<Noise, Reject> {
        let group = keyring.group_epoch(answer.group, answer.epoch, unix).ok_or(Reject::Stale)?;
        let mut noise = responder_noise(keyring, &self.prologue, keys);
        noise.set_ephemeral(&answer.ephemeral);
        noise.set_group_key(&group.psk2);
        noise
            .read(&self.message)
            .and_then(|_| noise.write(&answer.payload))
            .map_err(|_| Reject::Stale)?;
        Ok(noise)
    }
}

/// An MPIT whose path part was opened.
struct Mpit<'a> {
    noise: &'a [u8],
    path: MpitPath,
    /// SHA-256 of the path part as sent.
    hash: [u8; 32],
}

impl<'a> Mpit<'a> {
    fn open(header: &Header, message: &'a [u8], keys: &DomainKeys) -> Result<Self, Reject> {
        let parts = MpitParts::parse(message)?;
        let path = path::open(&keys.record, Use::Mpit, path::sids(header), parts.path)
            .ok_or(Reject::BadSeal("MPIT path part"))?;
        let path = MpitPath::parse(header, &path)?;
        Ok(Self { noise: parts.noise, path, hash: crypto::sha256(&[parts.path]) })
    }
}
