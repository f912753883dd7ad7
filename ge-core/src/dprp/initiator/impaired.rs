//! Initiators that do wrong inside the seal, where nobody on the path could: what they say has the
//! right hash in the Noise payload, so that only the check meant for it can find it. THREATS.md 4.11:
//! skip-sig, wrong-table, lie-bitmap, omit-record, stale-epoch. What an agent's own keys can do from
//! outside is in `ge-sim/tests/it/impaired.rs`.

use super::tests::{Scene, keys};
use super::*;
use crate::addr::WireAddr;
use crate::crypto::sign;
use crate::dprp::between::{Tentative, Witness, decision};
use crate::dprp::consume_dde;
use crate::dprp::domain::{Domain, NOW, parameters, proposal, rng};
use crate::dprp::offer::Peer;
use crate::dprp::path::{Use, seal};
use crate::dprp::received::{SeenDde, Word, create_nomatch};
use crate::dprp::responder::Responder;
use crate::wire::dprp::mpit::{MpitPath, MpitPayload};
use crate::wire::dprp::{Place, peek};

/// The MPIT of an initiator that changes what it says before it signs, and signs or does not.
fn impaired(scene: &mut Scene, change: impl FnOnce(&mut MpitPath), signs: bool) -> Vec<u8> {
    let State::Offered(noise) = &mut scene.initiator.state else { panic!("nothing offered") };
    let (mut noise, offer) = (noise.take().unwrap(), &scene.initiator.offer);
    let keys = keys(&scene.i);
    let rgi = Rgi::open(&peek(&scene.rgi).unwrap(), &scene.rgi, keys).unwrap();
    let (group, epoch) = offer.chosen_group(&scene.i, &rgi, NOW).unwrap();
    noise.set_group_key(&scene.i.group_epoch(group, epoch, NOW).unwrap().psk2);
    let (certificate, payload) = offer.prove(&scene.i, &rgi, &mut noise, group, NOW).unwrap();
    let table = decide(&rgi.records).unwrap();
    let peer = Peer { certificate, payload, seen_as: None, table };
    let mut path = MpitPath {
        e_i: offer.e_i,
        e_r: *rgi.parts.ephemeral,
        timestamp: offer.timestamp,
        flow: offer.flow,
        responder_certificate_hash: crypto::sha256(&[&peer.payload.certificate]),
        initiator: offer.parameters,
        responder: peer.payload.parameters,
        certificate: scene.i.certificate().to_vec(),
        records: rgi.records.clone(),
        table: peer.table.clone(),
        signature: [0; sign::SIGNATURE_LEN],
    };
    change(&mut path);
    if signs {
        path.signature = scene.i.identity().sign(&text(&scene.i, rgi.sids, &path));
    }
    let sealed = seal(&keys.record, Use::Mpit, rgi.sids, &path.emit(), &mut scene.rng);
    let payload = MpitPayload { path_hash: crypto::sha256(&[&sealed]) };
    let noise = noise.write(&payload.emit()).unwrap();
    let mut mpit = assemble(Kind::Mpit, path.records.len(), rgi.sids, &[&noise, &sealed], MAC_LEN);
    tags::append_mac1(&mut mpit, &keys.mac1);
    mpit
}

fn text(own: &Keyring, sids: Sids, path: &MpitPath) -> Vec<u8> {
    transcript::mpit_text(&decision(own, sids, path))
}

/// The MPIT of [`impaired`], past router 7 that said something about the path.
pub(super) struct Passed {
    pub(super) scene: Scene,
    pub(super) router: Keyring,
    pub(super) mpit: Vec<u8>,
    /// What the router makes of it.
    pub(super) read: Result<Tentative, Reject>,
}

impl Passed {
    pub(super) fn new(change: impl FnOnce(&mut MpitPath), signs: bool) -> Self {
        let mut scene = Scene::new();
        let router = Domain::new(1).member(7, &[1]).keyring();
        let secret = Secret32([8; 32]);
        let witness = Witness { keyring: &router, secret: &secret, place: Place::Between };
        scene.rgi = witness.add_record(&scene.rgi, &mut scene.rng, NOW).unwrap().message;
        let mpit = impaired(&mut scene, change, signs);
        let read = witness.consume_mpit(&mpit, scene.initiator.proposal().pair, NOW);
        Self { scene, router, mpit, read }
    }
}

/// What the responder, and a router that said something about the path, make of it.
fn read(change: impl Fn(&mut MpitPath), signs: bool) -> [Option<Reject>; 2] {
    let Passed { mut scene, mpit, read, .. } = Passed::new(change, signs);
    let Scene { r, rng, responder, .. } = &mut scene;
    let responder: &mut Responder = responder;
    [responder.consume_mpit(r, &mpit, rng, NOW).err(), read.err()]
}

#[test]
fn an_honest_one_is_believed() {
    assert_eq!(read(|_| (), true), [None, None]);
}

#[test]
fn skip_sig() {
    assert_eq!(read(|_| (), false), [Some(Reject::BadSignature), Some(Reject::BadSignature)]);
}

#[test]
fn wrong_table() {
    let wrong = Some(Reject::Misbehaved("the action table is not what the records say"));
    assert_eq!(read(|path| path.table.swap(0, 1), true), [wrong, wrong]);
}

/// Only its own agent knows a record again; its responder agrees to a path without it.
#[test]
fn omit_record() {
    let omit = |path: &mut MpitPath| {
        path.records.clear();
        path.table.remove(1);
    };
    assert_eq!(read(omit, true), [None, Some(Reject::Misbehaved("our record is not in the MPIT"))]);
}

#[test]
fn lie_bitmap() {
    let lie = |path: &mut MpitPath| path.records[0].matches = [0xff, 0xff];
    assert_eq!(read(lie, true), [None, Some(Reject::Misbehaved("our record is not in the MPIT"))]);
}

/// Everything else that both ends know: the responder compares it, the router what it can.
#[test]
fn facts_of_another_negotiation() {
    type Lie = fn(&mut MpitPath);
    let lies: [(&str, Lie, bool); 8] = [
        ("initiator's key", |path| path.e_i[0] ^= 1, true),
        ("responder's key", |path| path.e_r[0] ^= 1, true),
        ("time stamp", |path| path.timestamp.0 += 1, true),
        ("flow", |path| path.flow[39] ^= 1, true),
        ("responder", |path| path.responder_certificate_hash[0] ^= 1, false),
        ("its parameters", |path| path.responder.data_port ^= 1, false),
        ("its index", |path| path.responder.index.0 ^= 1, false),
        ("own address", |path| path.initiator.wire = WireAddr([10, 9, 9, 9].into()), true),
    ];
    for (what, lie, seen_between) in lies {
        let [responder, between] = read(lie, true);
        assert!(matches!(responder, Some(Reject::Misbehaved(_) | Reject::Malformed(_))), "{what}");
        assert_eq!(between.is_some(), seen_between, "{what}: {between:?}");
    }
}

/// A NOMATCH by somebody of the domain, to a DDE with this key under the scene's number.
fn nomatch(scene: &mut Scene, e_i: [u8; 32]) -> Vec<u8> {
    let other = Domain::new(1).member(6, &[2]).keyring();
    let domain_epoch = scene.initiator.offer.domain_epoch;
    let dde = SeenDde { id: scene.initiator.id(), e_i, domain_epoch };
    create_nomatch(&other, &dde, (false, Place::Destination, Word::Own), &mut scene.rng, NOW)
        .unwrap()
}

#[test]
fn a_nomatch_counts_for_its_own_key_and_not_after_an_answer() {
    let mut scene = Scene::new();
    let own = scene.initiator.ephemeral();
    let stolen = nomatch(&mut scene, [9; 32]);
    let right = nomatch(&mut scene, own);
    let read = |scene: &Scene, message: &[u8]| {
        scene.initiator.consume_nomatch(&scene.i, message, NOW).err()
    };
    let other = Some(Reject::Misbehaved("the NOMATCH is for another DDE"));
    assert_eq!(read(&scene, &stolen), other);
    assert_eq!(read(&scene, &right), None);
    let Scene { i, rng, initiator, rgi, .. } = &mut scene;
    initiator.consume_rgi(i, rgi, rng, NOW).unwrap();
    assert_eq!(read(&scene, &right), Some(Reject::Unexpected));
}

/// A host answers that it receives somewhere else: our traffic would go to a third party.
#[test]
fn a_responder_that_names_anothers_address() {
    let domain = Domain::new(1);
    let (i, r) = (domain.member(1, &[1]).keyring(), domain.member(2, &[1]).keyring());
    let mut rng = rng(1);
    let pairs = [KeyPair::generate(&mut rng), KeyPair::generate(&mut rng)];
    let (mut initiator, dde) = Initiator::create_dde(
        &i,
        &proposal(),
        Binding::Fresh,
        parameters(1),
        pairs[0].clone(),
        &mut rng,
        NOW,
    )
    .unwrap();
    let elsewhere = SessionParameters { wire: WireAddr([10, 9, 9, 9].into()), ..parameters(2) };
    let (_, rgi) = consume_dde(&r, &dde, Binding::Fresh, NOW)
        .and_then(|dde| dde.answer(&r, false, elsewhere, pairs[1].clone(), &mut rng, NOW))
        .unwrap();
    let read = initiator.consume_rgi(&i, &rgi, &mut rng, NOW).err();
    let third = Reject::Misbehaved("a host receives at another address than its flow's");
    assert_eq!(read, Some(third));
}
