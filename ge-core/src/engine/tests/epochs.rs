//! One end has its group's new key and asks under it; the other, closed, does not have it yet.

use super::ends::{Ends, kinds, negotiation};
use super::*;
use crate::dprp::domain::Member;
use crate::limits::OPEN_HOLD;
use crate::wire::dprp::Kind;
use crate::{Epoch, Mode, UnixTime};

/// The group's next epoch has begun; the domain's key stays.
fn renewed(member: &Member, unix: UnixTime) -> Membership {
    let mut membership = member.membership.clone();
    membership.version += 1;
    for key in membership.groups.iter_mut().flat_map(|group| &mut group.keys) {
        if key.epoch == Epoch(6) {
            key.not_before = unix;
        }
    }
    membership
}

/// A member in this mode, and a closed one.
fn members(mode: Mode) -> (Member, Member) {
    let domain = Domain::new(1);
    let (mut a, mut b) = (domain.member(1, &[1]), domain.member(2, &[1]));
    a.membership.mode = mode;
    b.membership.mode = Mode::Closed;
    (a, b)
}

fn verdict(engine: &Engine, now: Now) -> &'static str {
    engine.flow_snapshot(pair(0), now).unwrap().verdict
}

#[test]
fn a_peer_that_lacks_the_new_key_refuses_nothing() {
    for mode in [Mode::Open, Mode::Closed] {
        let (a, b) = members(mode);
        let mut world = Ends::of(&a, &b);
        let now = world.now();
        world.a.install(renewed(&a, now.unix), now).unwrap();
        assert_eq!(world.send(0), Outgoing::Consumed);
        let question = outputs(&mut world.a);
        let answer = world.answers(question);
        assert_eq!(kinds(&answer), [Kind::NoMatch]);
        for output in answer {
            ends::hand_over(&mut world.a, output, now);
        }
        world.run(OPEN_HOLD.as_millis() as u64 + 100);
        assert_eq!(verdict(&world.a, world.now()), "pending", "{mode:?}: it may have the key soon");
        let now = world.now();
        world.b.install(renewed(&b, now.unix), now).unwrap();
        world.run(500);
        let session = world.a.current_session(pair(0)).expect("asked again");
        assert_eq!(session.epoch, Epoch(6), "{mode:?}");
    }
}

#[test]
fn nothing_goes_in_clear_to_a_closed_peer_that_never_gets_it() {
    let (a, b) = members(Mode::Open);
    let mut world = Ends::of(&a, &b);
    let now = world.now();
    world.a.install(renewed(&a, now.unix), now).unwrap();
    assert_eq!(world.send(0), Outgoing::Consumed);
    let rest = world.run(2_500);
    assert!(!rest.iter().any(|(_, output)| matches!(output, Output::PutBack(_))));
    assert_eq!(verdict(&world.a, world.now()), "dropped");
}

#[test]
fn a_session_in_use_goes_on_until_the_peer_has_the_key() {
    let (a, b) = members(Mode::Closed);
    let mut world = Ends::of(&a, &b);
    world.agree(0);
    let before = world.now();
    world.a.install(renewed(&a, before.unix), before).unwrap();
    for _ in 0..10 {
        assert_eq!(world.send(0), Outgoing::Sealed);
        world.run(500);
    }
    assert_eq!(world.a.current_session(pair(0)).unwrap().epoch, Epoch(5));
    assert!(negotiation(&world.a, pair(0)).keyless.is_some(), "it asks, and is told why not");
    let now = world.now();
    world.b.install(renewed(&b, now.unix), now).unwrap();
    for _ in 0..4 {
        assert_eq!(world.send(0), Outgoing::Sealed);
        world.run(500);
    }
    assert_eq!(world.a.current_session(pair(0)).unwrap().epoch, Epoch(6));
}
