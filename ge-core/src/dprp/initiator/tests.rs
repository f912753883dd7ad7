//! Records of agents between the ends, and initiators that sign something else than was decided.

use super::*;
use crate::action::Action;
use crate::dprp::consume_dde;
use crate::dprp::domain::{Domain, NOW, parameters, proposal, rng};
use crate::dprp::offer::Peer;
use crate::dprp::responder::Responder;
use crate::keyring::DomainKeys;
use crate::limits::{MESSAGE_MAX, PATH_RECORDS};
use crate::mode::Mode;
use crate::mode::Transit;
use crate::wire::dprp::rgi::Record;
use crate::wire::dprp::{Consent, HEADER_LEN, Place, TableRow, peek};

/// Both ends after the RGI was sent.
pub(super) struct Scene {
    pub(super) i: Keyring,
    pub(super) r: Keyring,
    pub(super) rng: Rng,
    pub(super) initiator: Initiator,
    pub(super) responder: Responder,
    pub(super) rgi: Vec<u8>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let domain = Domain::new(1);
        let (i, r) = (domain.member(1, &[1]).keyring(), domain.member(2, &[1]).keyring());
        let mut rng = rng(1);
        let (initiator, dde) = Initiator::create_dde(
            &i,
            &proposal(),
            Binding::Fresh,
            parameters(1),
            KeyPair::generate(&mut rng),
            &mut rng,
            NOW,
        )
        .unwrap();
        let (responder, rgi) = consume_dde(&r, &dde, Binding::Fresh, NOW)
            .and_then(|dde| {
                dde.answer(&r, false, parameters(2), KeyPair::generate(&mut rng), &mut rng, NOW)
            })
            .unwrap();
        Self { i, r, rng, initiator, responder, rgi }
    }

    fn finish(&mut self) -> Result<usize, Reject> {
        let (agreed_i, mpit) =
            self.initiator.consume_rgi(&self.i, &self.rgi, &mut self.rng, NOW)?;
        let (agreed_r, cdn) = self.responder.consume_mpit(&self.r, &mpit, &mut self.rng, NOW)?;
        assert_eq!(agreed_i.send.0, agreed_r.receive.0);
        self.initiator.consume_cdn(&self.i, &cdn, NOW)?;
        Ok(mpit.len())
    }

    /// An agent on the path appends its record and makes `mac1` anew.
    fn append(&mut self, record: &Record) {
        let header = peek(&self.rgi).unwrap();
        let keys = keys(&self.i);
        let sids = path::sids(&header);
        let sealed = path::seal(&keys.record, Use::Record, sids, &record.emit(), &mut self.rng);
        self.rgi.truncate(self.rgi.len() - MAC_LEN);
        self.rgi.extend_from_slice(&sealed);
        self.rgi[5] += 1;
        let length = (self.rgi.len() + MAC_LEN) as u16;
        self.rgi[6..8].copy_from_slice(&length.to_be_bytes());
        tags::append_mac1(&mut self.rgi, &keys.mac1);
    }

    /// The MPIT of an initiator that decides by itself: `lie` changes records and table before
    /// they are signed.
    fn lying_mpit(&mut self, lie: impl FnOnce(&mut Vec<Record>, &mut Vec<TableRow>)) -> Vec<u8> {
        let State::Offered(noise) = &mut self.initiator.state else { panic!("nothing offered") };
        let (mut noise, offer) = (noise.take().unwrap(), &self.initiator.offer);
        let keys = keys(&self.i);
        let header = peek(&self.rgi).unwrap();
        let mut rgi = Rgi::open(&header, &self.rgi, keys).unwrap();
        let (group, epoch) = offer.chosen_group(&self.i, &rgi, NOW).unwrap();
        noise.set_group_key(&self.i.group_epoch(group, epoch, NOW).unwrap().psk2);
        let (certificate, payload) = offer.prove(&self.i, &rgi, &mut noise, group, NOW).unwrap();
        let table = decide(&rgi.records).unwrap();
        let mut peer = Peer { certificate, payload, seen_as: None, table };
        lie(&mut rgi.records, &mut peer.table);
        offer.create_mpit(&self.i, keys, &rgi, &peer, &mut noise, &mut self.rng).unwrap().message
    }
}

pub(super) fn keys(keyring: &Keyring) -> &DomainKeys {
    keyring.sending_domain(NOW).unwrap().1
}

fn record(mode: Mode, matches: [u8; 2]) -> Record {
    let consent = Consent::of(mode, Transit::Vouched);
    let place = Place::Between;
    Record { certificate_ref: [3; 8], consent, place, matches, time: 77, lmac: [4; MAC_LEN] }
}

#[test]
fn seven_agents_fit_between_the_ends() {
    for count in 0..=PATH_RECORDS {
        let mut scene = Scene::new();
        for _ in 0..count {
            scene.append(&record(Mode::Open, [0, 0]));
        }
        assert_eq!(scene.rgi.len(), 784 + 64 * count);
        assert_eq!(scene.finish(), Ok(750 + 34 * count));
    }
    let mut scene = Scene::new();
    (0..=PATH_RECORDS).for_each(|_| scene.append(&record(Mode::Open, [0, 0])));
    assert!(scene.rgi.len() > MESSAGE_MAX);
    assert!(matches!(scene.finish(), Err(Reject::Malformed(_))));
}

#[test]
fn a_closed_agent_lets_its_own_groups_through() {
    let cases = [
        (Mode::Open, [0, 0], true),
        (Mode::Closed, [1, 0], true),
        (Mode::Closed, [0, 0x80], true),
        (Mode::Closed, [0, 0], false),
    ];
    for (mode, matches, through) in cases {
        let mut scene = Scene::new();
        scene.append(&record(Mode::Open, [0, 0]));
        scene.append(&record(mode, matches));
        assert_eq!(scene.finish().is_ok(), through, "{mode:?} {matches:?}");
    }
}

#[test]
fn a_table_that_is_not_what_the_records_say_is_refused() {
    type Lie = fn(&mut Vec<Record>, &mut Vec<TableRow>);
    let lies: [(&str, Lie); 6] = [
        ("own end bypasses", |_, table| table[0] = TableRow(Action::Bypass)),
        ("other end bypasses", |_, table| table[2] = TableRow(Action::Bypass)),
        ("agent between discards", |_, table| table[1] = TableRow(Action::Discard)),
        ("agent between protects", |_, table| table[1] = TableRow(Action::Protect)),
        ("closed and not vouched for", |records, _| records[0] = record(Mode::Closed, [0, 0])),
        ("everybody discards", |_, table| table.fill(TableRow(Action::Discard))),
    ];
    for (what, lie) in lies {
        let mut scene = Scene::new();
        scene.append(&record(Mode::Open, [0, 0]));
        let mpit = scene.lying_mpit(lie);
        let read = scene.responder.consume_mpit(&scene.r, &mpit, &mut scene.rng, NOW).err();
        let wrong = match what {
            "closed and not vouched for" => Reject::NotContent([3; 8]),
            _ => Reject::Misbehaved("the action table is not what the records say"),
        };
        assert_eq!(read, Some(wrong), "{what}");
    }
    // The same path without a lie is accepted.
    let mut scene = Scene::new();
    scene.append(&record(Mode::Open, [0, 0]));
    let mpit = scene.lying_mpit(|_, _| ());
    assert!(scene.responder.consume_mpit(&scene.r, &mpit, &mut scene.rng, NOW).is_ok());
}

#[test]
fn rows_and_records_must_be_as_many_as_the_header_says() {
    type Lie = fn(&mut Vec<Record>, &mut Vec<TableRow>);
    let lies: [Lie; 3] = [
        |_, table| table.truncate(2),
        |_, table| table.push(table[0]),
        |records, _| records.clear(),
    ];
    for lie in lies {
        let mut scene = Scene::new();
        scene.append(&record(Mode::Open, [0, 0]));
        let mpit = scene.lying_mpit(lie);
        let read = scene.responder.consume_mpit(&scene.r, &mpit, &mut scene.rng, NOW).err();
        assert!(matches!(read, Some(Reject::Malformed(_))), "{read:?}");
    }
}

/// An agent on the path holds the domain key: it can open a path part, change it and seal it again.
/// `at` is where the part lies in the message.
fn reseal(
    message: &[u8],
    at: core::ops::Range<usize>,
    part: Use,
    change: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let domain = Domain::new(1);
    let keyring = domain.member(9, &[]).keyring();
    let keys = keys(&keyring);
    let sids = path::sids(&peek(message).unwrap());
    let mut plaintext = path::open(&keys.record, part, sids, &message[at.clone()]).unwrap();
    change(&mut plaintext);
    let mut forged = message[..message.len() - MAC_LEN].to_vec();
    forged[at].copy_from_slice(&path::seal(&keys.record, part, sids, &plaintext, &mut rng(7)));
    tags::append_mac1(&mut forged, &keys.mac1);
    forged
}

/// Flips one bit of a byte.
fn flip(at: usize) -> impl FnOnce(&mut Vec<u8>) {
    move |plaintext| plaintext[at] ^= 1
}

#[test]
fn a_path_part_changed_on_the_path_is_refused() {
    let mut scene = Scene::new();
    let part = scene.rgi.len() - MAC_LEN - 236..scene.rgi.len() - MAC_LEN;
    // Digest, flow, initiator's tags, responder's tags, mode; and the same content sealed again.
    for at in [Some(0), Some(34), Some(80), Some(140), None] {
        let change = |plaintext: &mut Vec<u8>| at.map_or((), |at| flip(at)(plaintext));
        let forged = reseal(&scene.rgi, part.clone(), Use::Rgi, change);
        let read = scene.initiator.consume_rgi(&scene.i, &forged, &mut scene.rng, NOW).err();
        let expected = match at {
            Some(0) => "the RGI answers another DDE",
            Some(34) => "the RGI has another flow",
            Some(80) => "the RGI has other tags than the DDE",
            _ => "the path part is not the one that was sent",
        };
        assert_eq!(read, Some(Reject::Misbehaved(expected)), "{at:?}");
    }
    let (_, mpit) = scene.initiator.consume_rgi(&scene.i, &scene.rgi, &mut scene.rng, NOW).unwrap();
    let part = HEADER_LEN + 96..mpit.len() - MAC_LEN;
    // Both ephemeral keys, time, flow, the responder's certificate, both parameters, the initiator's
    // certificate, signature.
    for at in [0, 32, 71, 80, 112, 146, 171, 250, 550].map(Some).into_iter().chain([None]) {
        let change = |plaintext: &mut Vec<u8>| at.map_or((), |at| flip(at)(plaintext));
        let forged = reseal(&mpit, part.clone(), Use::Mpit, change);
        let read = scene.responder.consume_mpit(&scene.r, &forged, &mut scene.rng, NOW).err();
        let expected = match at {
            Some(0) => "the MPIT has another initiator's key",
            Some(32) => "the MPIT has another responder's key",
            Some(71) => "the MPIT has another time stamp",
            Some(80) => "the MPIT has another flow",
            Some(112) => "the MPIT is for another agent",
            Some(171) => "the MPIT has other parameters of ours",
            _ => "the path part is not the one that was sent",
        };
        assert_eq!(read, Some(Reject::Misbehaved(expected)), "{at:?}");
    }
    let (_, cdn) = scene.responder.consume_mpit(&scene.r, &mpit, &mut scene.rng, NOW).unwrap();
    let part = HEADER_LEN + 48..cdn.len() - MAC_LEN;
    let cases = [
        (0, Reject::Misbehaved("the CDN is for another MPIT")),
        (40, Reject::Misbehaved("the CDN has another certificate")),
        (32 + 322 + 5, Reject::BadSignature),
    ];
    for (at, expected) in cases {
        let forged = reseal(&cdn, part.clone(), Use::Cdn, flip(at));
        let read = scene.initiator.consume_cdn(&scene.i, &forged, NOW);
        assert_eq!(read, Err(expected), "{at}");
    }
    assert_eq!(scene.initiator.consume_cdn(&scene.i, &cdn, NOW), Ok(()));
}
