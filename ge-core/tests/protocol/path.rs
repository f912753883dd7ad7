//! Agents between the two ends: what they add, what they believe, and what they refuse.

use crate::domain::{Domain, Member, NOW, proposal, rng};
use crate::run::{Run, remac};
use ge_core::crypto::Rng;
use ge_core::dprp::{Agreement, Answered, Committed, Reject, SeenDde, Tentative, Witness, Word};
use ge_core::flow::HostPair;
use ge_core::keyring::Keyring;
use ge_core::limits::PATH_RECORDS;
use ge_core::membership::{Revocation, Secret32};
use ge_core::now::UnixTime;
use ge_core::wire::dprp::rgi::SEALED_RECORD_LEN;
use ge_core::wire::dprp::{Consent, MAC_LEN, Place, peek};
use ge_core::{Mode, Transit};

/// An agent on the path.
struct Between {
    keyring: Keyring,
    secret: Secret32,
    place: Place,
}

impl Between {
    fn new(number: u8, groups: &[u32], mode: Mode, transit: Transit) -> Self {
        let mut member = Domain::new(1).member(number, groups);
        member.membership.mode = mode;
        member.membership.transit = transit;
        Self::of(&member)
    }

    fn open(number: u8) -> Self {
        Self::new(number, &[], Mode::Open, Transit::Vouched)
    }

    fn of(member: &Member) -> Self {
        let secret = Secret32([member.membership.agent.0[0]; 32]);
        Self { keyring: member.keyring(), secret, place: Place::Between }
    }

    fn witness(&self) -> Witness<'_> {
        Witness { keyring: &self.keyring, secret: &self.secret, place: self.place }
    }

    fn rgi(&self, message: &[u8]) -> Vec<u8> {
        self.witness().add_record(message, &mut rng(7), NOW).unwrap().message
    }

    fn mpit(&self, message: &[u8], unix: UnixTime) -> Result<Tentative, Reject> {
        self.witness().consume_mpit(message, proposal().pair, unix)
    }
}

/// Two ends, the agents between them, and the messages as they arrive.
struct Scene {
    run: Run,
    between: Vec<Between>,
}

/// What a whole negotiation leaves.
struct Done {
    initiator: Agreement,
    responder: Agreement,
    committed: Vec<Committed>,
}

impl Scene {
    /// In the order of the path, the one nearest the initiator first.
    fn new(between: Vec<Between>) -> Self {
        Self { run: Run::pair(), between }
    }

    /// RGI as the initiator gets it; `change` is the network between the agents and the initiator.
    fn until_mpit(
        &mut self,
        change: impl FnOnce(Vec<u8>) -> Vec<u8>,
    ) -> Result<(ge_core::dprp::Initiator, ge_core::dprp::Responder, Agreement, Vec<u8>), Reject>
    {
        let (mut initiator, dde) = self.run.dde();
        let (responder, rgi) = self.run.rgi(&dde)?;
        let rgi = self.between.iter().rev().fold(rgi, |rgi, agent| agent.rgi(&rgi));
        let (agreed, mpit) = self.run.mpit(&mut initiator, &change(rgi))?;
        Ok((initiator, responder, agreed, mpit))
    }

    fn finish(&mut self) -> Result<Done, Reject> {
        let (initiator, mut responder, agreed_i, mpit) = self.until_mpit(|rgi| rgi)?;
        let tentative: Vec<Tentative> =
            self.between.iter().map(|agent| agent.mpit(&mpit, NOW)).collect::<Result<_, _>>()?;
        let (agreed_r, cdn) = self.run.cdn(&mut responder, &mpit)?;
        let committed = self
            .between
            .iter()
            .zip(&tentative)
            .map(|(agent, tentative)| tentative.consume_cdn(&agent.keyring, &cdn, NOW))
            .collect::<Result<_, _>>()?;
        initiator.consume_cdn(&self.run.i, &cdn, NOW)?;
        Ok(Done { initiator: agreed_i, responder: agreed_r, committed })
    }

    /// What the first agent on the path says to the MPIT after the network changed the RGI.
    fn first_after(&mut self, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Option<Reject> {
        let (_, _, _, mpit) = self.until_mpit(change).unwrap();
        self.between[0].mpit(&mpit, NOW).err()
    }
}

#[test]
fn up_to_seven_agents_commit_what_both_ends_signed() {
    for count in 0..=PATH_RECORDS {
        let between = (0..count).map(|at| Between::open(10 + at as u8)).collect();
        let done = Scene::new(between).finish().unwrap();
        assert_eq!(done.initiator.path.len(), count);
        assert_eq!(done.initiator.path, done.responder.path);
        for committed in &done.committed {
            assert_eq!(committed.pair, proposal().pair);
            assert_eq!(committed.initiator, done.responder.peer.agent);
            assert_eq!(committed.responder, done.initiator.peer.agent);
            assert_eq!(committed.initiator_parameters, done.responder.peer_parameters);
            assert_eq!(committed.responder_parameters, done.initiator.peer_parameters);
        }
    }
}

#[test]
fn an_eighth_agent_passes_the_rgi_and_commits_nothing() {
    let between = (0..=PATH_RECORDS).map(|at| Between::open(10 + at as u8)).collect();
    let mut scene = Scene::new(between);
    let not_there = Some(Reject::Misbehaved("our record is not in the MPIT"));
    assert_eq!(scene.first_after(|rgi| rgi), not_there);
}

#[test]
fn an_agent_that_sees_the_rgi_twice_speaks_once() {
    let mut scene = Scene::new(vec![Between::open(10)]);
    let (_, dde) = scene.run.dde();
    let (_, rgi) = scene.run.rgi(&dde).unwrap();
    let once = scene.between[0].rgi(&rgi);
    assert_eq!(scene.between[0].rgi(&once), once);
}

#[test]
fn who_is_content_decides_for_all() {
    // The ends are members of group 1.
    let cases = [
        (&[2][..], Mode::Open, Transit::Strict, true),
        (&[2], Mode::Closed, Transit::Vouched, false),
        (&[2], Mode::Closed, Transit::Any, true),
        (&[1], Mode::Closed, Transit::Vouched, true),
        (&[1], Mode::Closed, Transit::Strict, false),
    ];
    for (groups, mode, transit, content) in cases {
        let agent = Between::new(10, groups, mode, transit);
        let reference: [u8; 8] =
            ge_core::crypto::sha256(&[agent.keyring.certificate()])[..8].try_into().unwrap();
        let done = Scene::new(vec![Between::open(11), agent, Between::open(12)]).finish();
        let refusal = done.as_ref().err().copied();
        let expected = (!content).then_some(Reject::NotContent(reference));
        assert_eq!(refusal, expected, "{groups:?} {mode:?} {transit:?}");
        if let Ok(done) = done {
            assert_eq!(done.initiator.path[1].consent, Consent::of(mode, transit));
        }
    }
}

/// The records of an RGI, as they travel.
fn records(rgi: &[u8]) -> std::ops::Range<usize> {
    let count = peek(rgi).unwrap().record_count();
    rgi.len() - MAC_LEN - count * SEALED_RECORD_LEN..rgi.len() - MAC_LEN
}

/// What a member of the domain on the path makes of the records.
fn with_records(mut rgi: Vec<u8>, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let range = records(&rgi);
    let mut list: Vec<Vec<u8>> =
        rgi[range.clone()].chunks(SEALED_RECORD_LEN).map(<[u8]>::to_vec).collect();
    change(&mut list);
    rgi.splice(range, list.concat());
    rgi[5] = list.len() as u8;
    remac(&mut rgi, MAC_LEN);
    rgi
}

#[test]
fn records_that_were_tampered_with_are_noticed_by_their_agent() {
    let two = || Scene::new(vec![Between::open(10), Between::open(11)]);
    let gone = Some(Reject::Misbehaved("our record is not in the MPIT"));
    let twice = Some(Reject::Misbehaved("our record is in the MPIT twice"));
    // The last record in the RGI is that of the first agent on the path.
    assert_eq!(two().first_after(|rgi| with_records(rgi, |list| drop(list.pop()))), gone);
    assert_eq!(two().first_after(|rgi| with_records(rgi, Vec::clear)), gone);
    let doubled = |rgi| with_records(rgi, |list| list.push(list[1].clone()));
    assert_eq!(two().first_after(doubled), twice);
    let replaced = |rgi| with_records(rgi, |list| list[1] = list[0].clone());
    assert_eq!(two().first_after(replaced), gone);
    // Another order is the same decision: every agent finds its own record.
    assert_eq!(two().first_after(|rgi| with_records(rgi, |list| list.swap(0, 1))), None);
}

#[test]
fn a_record_of_another_negotiation_does_not_count() {
    let mut scene = Scene::new(vec![Between::open(10)]);
    let (_, dde) = scene.run.dde();
    let (_, other) = scene.run.rgi(&dde).unwrap();
    let other = scene.between[0].rgi(&other);
    let stolen = other[records(&other)].to_vec();
    // Sealed for the other negotiation, it does not even open at the initiator.
    let moved = scene.until_mpit(|rgi| with_records(rgi, |list| list[0] = stolen));
    assert_eq!(moved.err(), Some(Reject::BadSeal("RGI path part")));
}

#[test]
fn what_an_agent_said_counts_for_ten_seconds_and_not_after_its_restart() {
    let mut scene = Scene::new(vec![Between::open(10)]);
    let (_, _, _, mpit) = scene.until_mpit(|rgi| rgi).unwrap();
    let agent = &mut scene.between[0];
    assert!(agent.mpit(&mpit, NOW).is_ok());
    assert!(agent.mpit(&mpit, NOW.plus(9)).is_ok());
    assert_eq!(agent.mpit(&mpit, NOW.plus(10)).err(), Some(Reject::Stale));
    assert_eq!(agent.mpit(&mpit, NOW.plus(3600)).err(), Some(Reject::Stale));
    agent.secret = Secret32([99; 32]);
    let restarted = agent.mpit(&mpit, NOW).err();
    assert_eq!(restarted, Some(Reject::Misbehaved("our record is not in the MPIT")));
}

#[test]
fn a_policy_that_changed_meanwhile_counts() {
    let mut scene = Scene::new(vec![Between::open(10)]);
    let (_, _, _, mpit) = scene.until_mpit(|rgi| rgi).unwrap();
    let closed = Between::new(10, &[], Mode::Closed, Transit::Vouched);
    assert_eq!(closed.mpit(&mpit, NOW).err(), Some(Reject::Stale));
    scene.between[0].place = Place::Source;
    assert_eq!(scene.between[0].mpit(&mpit, NOW).err(), Some(Reject::Stale));
}

#[test]
fn an_mpit_must_come_in_a_packet_of_its_own_flow() {
    let mut scene = Scene::new(vec![Between::open(10)]);
    let (_, _, _, mpit) = scene.until_mpit(|rgi| rgi).unwrap();
    let pair = proposal().pair;
    // Another source is what a NAT makes of it; the row is for that pair then.
    let translated = HostPair::new([192, 0, 2, 66].into(), pair.remote.0);
    scene.between[0].witness().consume_mpit(&mpit, translated, NOW).unwrap();
    let elsewhere = HostPair::new(pair.local.0, [192, 0, 2, 66].into());
    for wrong in [elsewhere, pair.reversed()] {
        let read = scene.between[0].witness().consume_mpit(&mpit, wrong, NOW).err();
        let expected = Reject::Misbehaved("the MPIT is about another flow than its packet");
        assert_eq!(read, Some(expected), "{wrong:?}");
    }
}

#[test]
fn every_bit_of_mpit_and_cdn_counts_for_an_agent_between() {
    let mut scene = Scene::new(vec![Between::open(10)]);
    let (_, mut responder, _, mpit) = scene.until_mpit(|rgi| rgi).unwrap();
    let agent = &scene.between[0];
    let tentative = agent.mpit(&mpit, NOW).unwrap();
    let (_, cdn) = scene.run.cdn(&mut responder, &mpit).unwrap();
    for bit in 0..mpit.len() * 8 {
        let mut forged = mpit.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(agent.mpit(&forged, NOW).is_err(), "bit {bit} of the MPIT");
    }
    for bit in 0..cdn.len() * 8 {
        let mut forged = cdn.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(tentative.consume_cdn(&agent.keyring, &forged, NOW).is_err(), "bit {bit}");
    }
    assert!(tentative.consume_cdn(&agent.keyring, &cdn, NOW).is_ok());
}

#[test]
fn halves_of_two_negotiations_do_not_commit() {
    let mut scene = Scene::new(vec![Between::open(10)]);
    let (_, _, _, one) = scene.until_mpit(|rgi| rgi).unwrap();
    let tentative = scene.between[0].mpit(&one, NOW).unwrap();
    let (_, mut responder, _, other) = scene.until_mpit(|rgi| rgi).unwrap();
    let (_, cdn) = scene.run.cdn(&mut responder, &other).unwrap();
    let read = tentative.consume_cdn(&scene.between[0].keyring, &cdn, NOW);
    assert_eq!(read.err(), Some(Reject::Unexpected));
}

#[test]
fn a_removed_end_is_refused_by_agents_between() {
    let mut scene = Scene::new(vec![Between::open(10)]);
    let (_, mut responder, _, mpit) = scene.until_mpit(|rgi| rgi).unwrap();
    let (_, cdn) = scene.run.cdn(&mut responder, &mpit).unwrap();
    let after = |number| {
        let removed = Domain::new(1).member(number, &[1]);
        let mut member = Domain::new(1).member(10, &[]);
        member.membership.revocations.push(Revocation {
            serial: ge_core::id::Serial([number; 16]),
            agent: removed.membership.agent,
            identity_key: [0; 32],
            noise_key: [0; 32],
        });
        Between::of(&member)
    };
    assert_eq!(after(1).mpit(&mpit, NOW).err(), Some(Reject::Revoked));
    let agent = after(2);
    let tentative = agent.mpit(&mpit, NOW).unwrap();
    assert_eq!(tentative.consume_cdn(&agent.keyring, &cdn, NOW).err(), Some(Reject::Revoked));
}

/// The tags only say that an end holds a group's key; a closed agent wants it certified.
#[test]
fn a_closed_agent_is_vouched_for_by_certificates() {
    let domain = Domain::new(1);
    let (mut i, mut r) = (domain.member(1, &[1, 2]), domain.member(2, &[1, 2]));
    let only_group_1 = |member: &mut Member| {
        domain.issue(member, |certificate| certificate.commits.truncate(1));
    };
    let scene = |i: &Member, r: &Member| Scene {
        run: Run::new(i, r),
        between: vec![Between::new(10, &[2], Mode::Closed, Transit::Vouched)],
    };
    assert!(scene(&i, &r).finish().is_ok());
    only_group_1(&mut i);
    assert!(scene(&i, &r).finish().is_ok(), "the responder vouches");
    only_group_1(&mut r);
    let expected = Reject::Misbehaved("neither end is a member of a group of ours");
    assert_eq!(scene(&i, &r).finish().err(), Some(expected));
}

#[test]
fn strangers_messages_are_refused_before_anything_else() {
    let mut scene = Scene::new(vec![Between::open(10)]);
    let (_, dde) = scene.run.dde();
    let (_, rgi) = scene.run.rgi(&dde).unwrap();
    let stranger = Between::of(&Domain::new(2).member(10, &[1]));
    let mut other: Rng = rng(3);
    let read = stranger.witness().add_record(&rgi, &mut other, NOW);
    assert_eq!(read.err(), Some(Reject::BadMac));
    assert_eq!(SeenDde::read(&stranger.keyring, &dde, NOW).err(), Some(Reject::BadMac));
    let (_, nomatch) = scene.run.nomatch();
    assert_eq!(Answered::read(&stranger.keyring, &nomatch, NOW).err(), Some(Reject::BadMac));
}

#[test]
fn a_nomatch_shows_members_on_the_way_that_they_share() {
    let mut run = Run::pair();
    let (_, nomatch) = run.nomatch();
    for (groups, shares) in [(&[1][..], true), (&[2], false), (&[2, 1], true), (&[], false)] {
        let agent = Between::new(10, groups, Mode::Open, Transit::Vouched);
        let answered = Answered::read(&agent.keyring, &nomatch, NOW).unwrap();
        assert_eq!((answered.shares, answered.mode), (shares, Mode::Open), "{groups:?}");
    }
}

/// Who does not stand for the destination cannot say that nobody is there, only that it refuses.
#[test]
fn a_nomatch_from_the_path_counts_only_if_it_refuses() {
    for (mode, place, counts) in [
        (Mode::Closed, Place::Between, true),
        (Mode::Closed, Place::Source, true),
        (Mode::Open, Place::Between, false),
        (Mode::Open, Place::Source, false),
    ] {
        let mut run = Run::pair();
        let (initiator, dde) = run.dde();
        let mut agent = Between::new(10, &[5], mode, Transit::Vouched);
        agent.place = place;
        let seen = SeenDde::read(&agent.keyring, &dde, NOW).unwrap();
        let nomatch = seen.refuse(&agent.witness(), Word::Own, &mut rng(4), NOW).unwrap();
        let read = initiator.consume_nomatch(&run.i, &nomatch, NOW);
        assert_eq!(read.is_ok(), counts, "{mode:?} {place:?}");
    }
}

#[test]
fn who_passes_an_rgi_sees_that_somebody_before_refuses_for_ten_seconds() {
    let mut scene = Scene::new(Vec::new());
    let (_, dde) = scene.run.dde();
    let (_, rgi) = scene.run.rgi(&dde).unwrap();
    let strict = Between::new(10, &[], Mode::Closed, Transit::Strict);
    let (open, last) = (Between::open(11), Between::open(12));
    let read = |rgi: &[u8], later: u64| {
        let unix = NOW.plus(later);
        last.witness().add_record(rgi, &mut rng(7), unix).unwrap()
    };
    let own = strict.witness().add_record(&rgi, &mut rng(7), NOW).unwrap();
    assert_eq!((own.content, own.refused), (false, false), "its own word is no other's");
    let again = strict.witness().add_record(&own.message, &mut rng(7), NOW).unwrap();
    assert!(!again.refused, "nor when it comes back");
    let passed = open.rgi(&own.message);
    assert_eq!([0, 9, 10].map(|later| read(&passed, later).refused), [true, true, false]);
    assert!(!read(&open.rgi(&rgi), 0).refused);
}

#[test]
fn a_closed_router_has_not_the_last_word() {
    let domain = Domain::new(1);
    let mut closed = domain.member(2, &[2]);
    closed.membership.mode = Mode::Closed;
    let between = Between::open(10);
    for (router, last) in [(false, true), (true, false)] {
        let mut run = Run::new(&domain.member(1, &[1]), &closed);
        run.answers_as_router = router;
        let (_, nomatch) = run.nomatch();
        let read = Answered::read(&between.keyring, &nomatch, NOW).unwrap();
        assert_eq!(read.is_final, last);
    }
}

#[test]
fn a_nomatch_under_an_older_key_shows_that_the_newer_is_missing() {
    let domain = Domain::new(1);
    let between = Between::new(10, &[2], Mode::Open, Transit::Vouched);
    for (epochs, lacks) in [(&[4][..], true), (&[4, 5][..], false)] {
        let mut closed = domain.member(2, &[2]);
        closed.membership.mode = Mode::Closed;
        closed.membership.groups[0].keys.retain(|key| epochs.contains(&key.epoch.0));
        let (_, nomatch) = Run::new(&domain.member(1, &[1]), &closed).nomatch();
        let read = Answered::read(&between.keyring, &nomatch, NOW).unwrap();
        assert_eq!((read.shares, read.lacks_key), (true, lacks));
    }
}
