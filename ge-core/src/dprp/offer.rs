//! What an initiator offered, and what it makes of the answer.

use super::noise::{Keys, Noise, Split};
use super::path::{self, Sids, Use};
use super::peer::{self, Claim, must_equal};
use super::transcript::{self, Decision};
use super::{Agreement, Proposal, Purpose, Reject, SessionParameters, tags};
use crate::cert::{CertRole, Certificate};
use crate::crypto::x25519::{self, KeyPair};
use crate::crypto::{self, Rng, kdf};
use crate::id::{Epoch, GroupId, NegotiationId};
use crate::keyring::{DomainKeys, Keyring};
use crate::mode::Mode;
use crate::now::UnixTime;
use crate::traffic::AeadKind;
use crate::wire::dprp::Malformed;
use crate::wire::dprp::Place;
use crate::wire::dprp::dde::Tags;
use crate::wire::dprp::mpit::{MpitPath, MpitPayload};
use crate::wire::dprp::nomatch::NoMatchFacts;
use crate::wire::dprp::read_address;
use crate::wire::dprp::rgi::{Record, RgiParts, RgiPath, RgiPayload};
use crate::wire::dprp::{FLOW_LEN, Header, Kind, MAC_LEN, Standing, TableRow, assemble};
use core::net::IpAddr;

/// What was sent in the DDE, and what is needed to build the handshake again.
pub(super) struct Offer {
    pub(super) id: NegotiationId,
    pub(super) proposal: Proposal,
    pub(super) parameters: SessionParameters,
    pub(super) prologue: Vec<u8>,
    pub(super) ephemeral: KeyPair,
    pub(super) e_i: [u8; 32],
    pub(super) domain_epoch: Epoch,
    pub(super) groups: Vec<(GroupId, Epoch)>,
    pub(super) timestamp: UnixTime,
    pub(super) flow: [u8; FLOW_LEN],
    pub(super) digest: [u8; 32],
    pub(super) tags: Tags,
    /// Plaintext of the Noise payload.
    pub(super) payload: Vec<u8>,
}

impl Offer {
    /// The handshake after its first message, and that message.
    pub(super) fn handshake(&self, keyring: &Keyring, keys: &DomainKeys) -> (Noise, Vec<u8>) {
        let local_static = keyring.noise_static();
        let keys = Keys { local_static, prologue: &self.prologue, psk0: &keys.psk0 };
        let mut noise = Noise::initiator(&keys);
        noise.set_ephemeral(&self.ephemeral);
        let message =
            noise.write(&self.payload).expect("invariant: the first message needs no peer's key");
        (noise, message)
    }

    /// That the RGI answers this DDE.
    pub(super) fn check(&self, rgi: &Rgi<'_>) -> Result<(), Reject> {
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

    /// Which of the offered groups the responder chose: it must be the most preferred one of those
    /// both ends hold, or whoever answers could pick a weaker group for both.
    pub(super) fn chosen_group(
        &self,
        keyring: &Keyring,
        rgi: &Rgi<'_>,
        unix: UnixTime,
    ) -> Result<(GroupId, Epoch), Reject> {
        let keys = |(group, epoch)| keyring.group_epoch(group, epoch, unix);
        let e_r = rgi.parts.ephemeral;
        let is_chosen = |offered: &(GroupId, Epoch)| {
            keys(*offered).is_some_and(|keys| {
                kdf::same(&tags::rgi_tag(&keys.tag, &self.digest, e_r), rgi.parts.rtag)
            })
        };
        let holds = |offered: &(GroupId, Epoch)| {
            keys(*offered).is_some_and(|keys| {
                let tag = tags::path_tag(&keys.tag, &self.digest, e_r);
                tags::holds(&rgi.path.responder_tags, &tag)
            })
        };
        let at = self.groups.iter().position(is_chosen).ok_or(Reject::NoCommonGroup)?;
        if self.groups[..at].iter().any(holds) {
            return Err(Reject::Misbehaved("the RGI has not the most preferred common group"));
        }
        Ok(self.groups[at])
    }

    /// Proves the responder: key exchange, certificate, path part.
    pub(super) fn prove(
        &self,
        keyring: &Keyring,
        rgi: &Rgi<'_>,
        noise: &mut Noise,
        group: GroupId,
        unix: UnixTime,
    ) -> Result<(Certificate, RgiPayload), Reject> {
        let message = [rgi.parts.ephemeral.as_slice(), rgi.parts.noise].concat();
        let payload = noise.read(&message).map_err(|_| Reject::BadSeal("RGI"))?;
        let payload = RgiPayload::parse(&payload)?;
        let path_hash = crypto::sha256(&[rgi.parts.path]);
        must_equal(&payload.path_hash, &path_hash, "the path part is not the one that was sent")?;
        if payload.standing != rgi.path.standing {
            return Err(Reject::Misbehaved("the RGI has two standings"));
        }
        let claim = self.claim(&payload.certificate, payload.standing);
        peer::check_wire(payload.parameters, claim.standing, claim.address)?;
        let certificate = peer::verify_peer(keyring, &claim, unix)?;
        peer::verify_member(keyring, &certificate, noise.remote_static(), group)?;
        Ok((certificate, payload))
    }

    /// Whether a NAT stands between: the responder saw another source than the flow's.
    pub(super) fn seen_as(&self, payload: &RgiPayload) -> Result<Option<IpAddr>, Reject> {
        let own = self.proposal.pair.local.0;
        let seen = read_address(&payload.observed, own.is_ipv4())
            .ok_or(Malformed::new("RGI", "observed address"))?;
        Ok((seen != own).then_some(seen))
    }

    /// Believes who sent a NOMATCH: whoever stands for the destination in any case; somebody else on
    /// the path only if it refuses, since an agent that is not at the destination cannot know that
    /// nobody is there; a router of the source's side also that it protects the flow itself.
    pub(super) fn believe(
        &self,
        keyring: &Keyring,
        facts: &NoMatchFacts,
        unix: UnixTime,
    ) -> Result<Certificate, Reject> {
        match (facts.place, facts.word()) {
            (Place::Destination, _) => {
                peer::verify_peer(keyring, &self.claim(&facts.certificate, facts.standing), unix)
            }
            (Place::Source | Place::Between, Mode::Closed) => {
                peer::verify_witness(keyring, &facts.certificate, unix)
            }
            (Place::Source, Mode::Open) if facts.standing.router => {
                let witness = peer::verify_witness(keyring, &facts.certificate, unix)?;
                let router = witness.role == CertRole::Router;
                router.then_some(witness).ok_or(Reject::Misbehaved("it speaks for no machine"))
            }
            (Place::Source | Place::Between, Mode::Open) => {
                Err(Reject::Misbehaved("it is not at the destination"))
            }
        }
    }

    /// Whether who sent a NOMATCH, and is certified for one of our groups, was asked for protection
    /// and merely lacks the key it was asked under, whatever other epochs it holds. One that holds it
    /// may still refuse: a closed agent behind it does.
    pub(super) fn needs_key(
        &self,
        keyring: &Keyring,
        facts: &NoMatchFacts,
        unix: UnixTime,
    ) -> bool {
        let offered = self.groups.iter();
        let offered =
            offered.filter_map(|(group, epoch)| keyring.group_epoch(*group, *epoch, unix));
        let offered = offered.map(|keys| tags::nomatch_tag(&keys.tag, &self.e_i));
        let refuses = facts.refuses
            || facts.standing.mode == Mode::Closed && tags::matching(&facts.tags, offered) != 0;
        let asked = self.proposal.purpose == Purpose::Protect;
        asked && facts.place == Place::Destination && !refuses
    }

    pub(super) fn claim<'a>(&self, certificate: &'a [u8], standing: Standing) -> Claim<'a> {
        Claim { certificate, standing, address: self.proposal.pair.remote.0 }
    }

    pub(super) fn create_mpit(
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
            initiator: self.parameters,
            responder: peer.payload.parameters,
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
            initiator: self.parameters,
            responder: peer.payload.parameters,
            certificate: certificate.to_vec(),
            records: rgi.records.clone(),
            table: peer.table.clone(),
            signature: keyring.identity().sign(&transcript::mpit_text(&decision)),
        };
        let path = path::seal(&keys.record, Use::Mpit, rgi.sids, &path.emit(), rng);
        let hash = crypto::sha256(&[&path]);
        let payload = MpitPayload { path_hash: hash };
        let sealed = noise.write(&payload.emit()).map_err(|_| Reject::BadSeal("RGI"))?;
        let parts = [sealed.as_slice(), &path];
        let mut message = assemble(Kind::Mpit, rgi.records.len(), rgi.sids, &parts, MAC_LEN);
        tags::append_mac1(&mut message, &keys.mac1);
        Ok(Mpit { message, decision, hash })
    }

    pub(super) fn agreement(
        &self,
        keyring: &Keyring,
        (group, epoch): (GroupId, Epoch),
        peer: &Peer,
        path: Vec<Record>,
        split: &Split,
    ) -> Agreement {
        Agreement {
            group,
            epoch,
            peer: peer.certificate.clone(),
            peer_mode: peer.payload.standing.mode,
            peer_parameters: peer.payload.parameters,
            seen_as: peer.seen_as,
            path,
            aead: AeadKind::of(keyring.has_aes(), peer.certificate.aes),
            send: kdf::session_prk(&split.hash, &split.forward).expand("traffic", &[]),
            receive: kdf::session_prk(&split.hash, &split.backward).expand("traffic", &[]),
            handshake_hash: split.hash,
        }
    }
}

/// The responder, proven.
pub(super) struct Peer {
    pub(super) certificate: Certificate,
    pub(super) payload: RgiPayload,
    /// The address it sees us under, if that is not the flow's.
    pub(super) seen_as: Option<IpAddr>,
    pub(super) table: Vec<TableRow>,
}

pub(super) struct Mpit {
    pub(super) message: Vec<u8>,
    pub(super) decision: Vec<u8>,
    /// SHA-256 of the path part as sent.
    pub(super) hash: [u8; 32],
}

/// An RGI whose path part and records were opened.
pub(super) struct Rgi<'a> {
    pub(super) sids: Sids,
    pub(super) parts: RgiParts<'a>,
    pub(super) path: RgiPath,
    pub(super) records: Vec<Record>,
}

impl<'a> Rgi<'a> {
    pub(super) fn open(
        header: &Header,
        message: &'a [u8],
        keys: &DomainKeys,
    ) -> Result<Self, Reject> {
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
