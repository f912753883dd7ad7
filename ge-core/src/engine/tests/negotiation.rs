//! Questions and answers: full tables, new policies, glare.

use super::ends::{Ends, b_engine, hand_over, kinds, negotiation, protected};
use super::*;
use crate::DropReason;
use crate::engine::row::Via;
use crate::flow::FlowKey;
use crate::limits::GLARE_WAIT;
use crate::wire::dprp::Kind;

#[test]
fn agreement_that_finds_no_room_is_not_confirmed() {
    let mut world = Ends::new();
    world.b.pit = Pit::new(8, [1, 2, 3, 4]);
    assert_eq!(world.send(0), Outgoing::Consumed);
    let question = outputs(&mut world.a);
    let now = world.now();
    for answer in world.answers(question) {
        hand_over(&mut world.a, answer, now);
    }
    // Meanwhile others fill the table for good.
    for n in 100..108 {
        let key = FlowKey::host_pair(pair(n));
        assert!(world.b.pit.insert(key, rows::protected()).is_ok());
    }
    let agreement = outputs(&mut world.a);
    assert_eq!(kinds(&agreement), [Kind::Mpit]);
    let answers = world.answers(agreement);
    assert_eq!(kinds(&answers), [], "a CDN would say that we have the keys");
    assert_eq!(world.b.counters.dropped_in[DropReason::TableFull as usize], 1);
    assert_eq!(world.b.sessions.len(), 0);
    assert!(world.b.pit.get(pair(0).reversed()).is_none());
}

#[test]
fn new_policy_takes_a_stored_refusal_back() {
    let domain = Domain::new(1);
    let mut world = Ends::of(&domain.member(1, &[1]), &domain.member(2, &[2]));
    assert_eq!(world.send(0), Outgoing::Consumed);
    let message = negotiation(&world.a, pair(0)).message.clone();
    let asked = |world: &mut Ends| {
        let icmp = crate::wire::icmp::emit_echo(true, 1, 1, &message, local(), pair(0).remote.0);
        let now = world.now();
        let packet = frame(local(), pair(0).remote.0, 1, &icmp);
        assert_eq!(arrive(&mut world.b, packet, now), Incoming::Consumed);
        kinds(&outputs(&mut world.b))
    };
    assert_eq!(asked(&mut world), [Kind::NoMatch]);
    assert_eq!(asked(&mut world), [Kind::NoMatch], "stored, and said again");
    let mut joined = domain.member(2, &[1, 2]).membership;
    joined.version += 1;
    let now = world.now();
    world.b.install(joined, now).unwrap();
    assert_eq!(asked(&mut world), [Kind::Rgi]);
}

/// The other end lost its session and asks in the clear carrier, while ours asks inside the
/// session: ours yields to the first of its questions, and is not put off by the next ones.
#[test]
fn negotiation_yields_once() {
    let mut world = Ends::agreed();
    let (now, current) = (world.now(), protected(&world.a, pair(0)).current);
    world.a.renegotiate(pair(0), Via::Session(current), now);
    outputs(&mut world.a);
    let yielded = now.mono + GLARE_WAIT;
    assert!(negotiation(&world.a, pair(0)).next_attempt < yielded);
    let member = Domain::new(1).member(2, &[1]);
    for seed in 3..6 {
        let mut restarted = b_engine(&member, seed);
        let now = world.now();
        assert_eq!(send(&mut restarted, pair(0).reversed(), now), Outgoing::Consumed);
        for question in outputs(&mut restarted) {
            hand_over(&mut world.a, question, now);
        }
        assert_eq!(kinds(&outputs(&mut world.a)), [Kind::Rgi], "each is answered");
        assert_eq!(negotiation(&world.a, pair(0)).next_attempt, yielded, "seed {seed}");
        world.millis += 300;
    }
}
