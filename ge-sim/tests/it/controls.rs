//! Every check fires when the thing it watches over is broken.

use crate::chains::{chain, plan};
use crate::{ms, pair, s};
use ge_core::Mode::{self, Closed, Open};
use ge_core::Transit;
use ge_sim::adversary::{Origin, mutate};
use ge_sim::fault::Fault;
use ge_sim::matrix::run::world;
use ge_sim::mgmt::Rotation;
use ge_sim::packet::Class;
use ge_sim::sabotage::Sabotage;
use ge_sim::{Fate, Invariant, NodeId, Sim, Traffic, scenario};
use std::cell::RefCell;
use std::rc::Rc;

/// Two agents that talk both ways, with something broken.
fn talking(mode: Mode, sabotage: Sabotage) -> (Sim, NodeId, NodeId) {
    let (mut sim, a, b, _) = pair(1, mode, mode);
    sim.sabotage = Some(sabotage);
    sim.flow(a, b, Traffic::Datagrams(300), ms(100));
    sim.flow(b, a, Traffic::Stream(3000), ms(100));
    (sim, a, b)
}

fn violated(sim: &mut Sim, seconds: u64) -> Option<Invariant> {
    sim.run_for(s(seconds)).err().map(|violation| violation.invariant)
}

#[test]
fn leak_is_seen_in_closed_mode() {
    let (mut sim, ..) = talking(Closed, Sabotage::Leak);
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I1NoPlaintext));
}

#[test]
fn leak_is_seen_in_open_mode_once_protected() {
    let (mut sim, ..) = talking(Open, Sabotage::Leak);
    sim.sabotage = None;
    assert_eq!(violated(&mut sim, 2), None);
    sim.sabotage = Some(Sabotage::Leak);
    assert_eq!(violated(&mut sim, 2), Some(Invariant::I1NoPlaintext));
}

#[test]
fn leak_at_a_closed_router_is_seen() {
    let (mut sim, path) = chain(1, "T1c");
    sim.sabotage = Some(Sabotage::Leak);
    sim.flow(path.source(), path.destination(), Traffic::Datagrams(300), ms(100));
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I1NoPlaintext));
}

#[test]
fn plaintext_that_a_closed_router_lets_in_is_seen() {
    let (mut sim, path) = chain(1, "D1c");
    sim.sabotage = Some(Sabotage::AcceptPlaintext);
    sim.flow(path.source(), path.destination(), Traffic::Datagrams(300), ms(100));
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I4SentOnce));
}

#[test]
fn row_of_a_session_that_its_ends_did_not_sign_is_seen() {
    let (mut sim, path) = chain(1, "s1c T1c d1c");
    sim.flow(path.source(), path.destination(), Traffic::Datagrams(300), ms(100));
    assert_eq!(violated(&mut sim, 5), None);
    sim.sabotage = Some(Sabotage::WrongEnds);
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I2BothSigned));
}

#[test]
fn session_with_somebody_who_never_spoke_is_seen() {
    let (mut sim, _, _) = talking(Closed, Sabotage::WrongPeer);
    let group = sim.mgmt.groups()[0];
    sim.agent(Closed, &[group]);
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I2BothSigned));
}

/// A router that is to let nothing pass was told otherwise.
#[test]
fn closed_router_that_is_not_content_and_lets_pass_is_seen() {
    let strict = |sabotage| {
        let mut plan = plan("s1c T1c d1c");
        plan.routers[0].agent.transit = Transit::Strict;
        let (mut sim, path) = world(1, true, 1, &plan);
        sim.sabotage = sabotage;
        sim.at(ms(1), Fault::Mode(path.path[1], Closed));
        sim.flow(path.source(), path.destination(), Traffic::Datagrams(300), ms(100));
        violated(&mut sim, 5)
    };
    assert_eq!(strict(None), None);
    assert_eq!(strict(Some(Sabotage::Lenient)), Some(Invariant::I2BothSigned));
}

#[test]
fn session_taken_with_a_removed_member_is_seen() {
    let (mut sim, path) = chain(1, "s1c T1c d1c");
    sim.sabotage = Some(Sabotage::IgnoreRemoval);
    sim.at(ms(10), Fault::Remove(path.source()));
    sim.run_for(s(6)).unwrap();
    sim.flow(path.source(), path.destination(), Traffic::Datagrams(300), ms(100));
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I5Removed));
}

#[test]
fn answers_longer_than_the_questions_allow_are_seen() {
    let (mut sim, ..) = talking(Closed, Sabotage::Babble);
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I8Modest));
}

#[test]
fn nonce_used_twice_is_seen() {
    let (mut sim, ..) = talking(Closed, Sabotage::ReuseNonce);
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I3NonceOnce));
}

#[test]
fn ephemeral_key_used_twice_is_seen() {
    let (mut sim, _, b) = talking(Closed, Sabotage::SameSeed);
    for at in [1000, 2000] {
        sim.at(ms(at), Fault::Crash(b));
        sim.at(ms(at + 100), Fault::Start { node: b, cached: true });
    }
    assert_eq!(violated(&mut sim, 10), Some(Invariant::I3NonceOnce));
}

#[test]
fn packet_delivered_twice_is_seen() {
    let (mut sim, ..) = talking(Closed, Sabotage::DeliverTwice);
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I4SentOnce));
}

#[test]
fn changed_packet_is_seen() {
    let (mut sim, ..) = talking(Closed, Sabotage::DeliverChanged);
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I4SentOnce));
}

#[test]
fn changed_stream_is_seen() {
    let (mut sim, a, b) = talking(Closed, Sabotage::DeliverChanged);
    sim.hush();
    sim.flow(b, a, Traffic::Stream(3000), ms(100));
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I4SentOnce));
}

#[test]
fn accepted_plaintext_is_seen() {
    let (mut sim, a, _) = talking(Closed, Sabotage::AcceptPlaintext);
    let host = sim.host();
    sim.flow(host, a, Traffic::Datagrams(100), ms(100));
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I4SentOnce));
}

#[test]
fn removed_member_still_heard_is_seen() {
    let (mut sim, _, b) = talking(Closed, Sabotage::IgnoreRemoval);
    sim.at(s(1), Fault::Remove(b));
    assert_eq!(violated(&mut sim, 10), Some(Invariant::I5Removed));
}

#[test]
fn table_over_its_limit_is_seen() {
    let (mut sim, ..) = talking(Closed, Sabotage::Outgrow);
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I6Bounded));
}

/// The first message of the world comes again, changed.
fn forge(sim: &mut Sim) {
    let first = Rc::new(RefCell::new(None));
    let seen = Rc::clone(&first);
    sim.tamper(move |passing| {
        if matches!(passing.class, Class::Message(..)) {
            seen.borrow_mut().get_or_insert_with(|| passing.packet.to_vec());
        }
        Fate::Carry
    });
    sim.run_for(s(1)).unwrap();
    let packet = first.borrow_mut().take().unwrap();
    let mut rng = ge_core::crypto::Rng::from_seed([1; 32]);
    let changed = mutate(packet, &mut rng).unwrap();
    sim.inject(changed, Origin::Forged);
}

use rand_core::SeedableRng as _;

#[test]
fn forged_message_alone_is_harmless() {
    let (mut sim, ..) = talking(Closed, Sabotage::Believe);
    sim.sabotage = None;
    forge(&mut sim);
    assert_eq!(violated(&mut sim, 1), None);
}

#[test]
fn forged_message_that_is_believed_is_seen() {
    let (mut sim, _, b) = talking(Closed, Sabotage::Believe);
    let host = sim.host();
    forge(&mut sim);
    // From an address that has no row yet.
    let (from, to) = (sim.node(host).addr, sim.node(b).addr);
    let packet = ge_sim::packet::udp_packet((from, 9), (to, 9), 0, &[0; 20]);
    sim.inject(packet, Origin::Forged);
    assert_eq!(violated(&mut sim, 1), Some(Invariant::I7OnlyCounters));
}

#[test]
fn answer_to_a_forged_message_is_seen() {
    let (mut sim, ..) = talking(Closed, Sabotage::Answer);
    forge(&mut sim);
    assert_eq!(violated(&mut sim, 1), Some(Invariant::I12Silence));
}

#[test]
fn held_packet_that_leaves_early_is_seen() {
    let (mut sim, ..) = talking(Open, Sabotage::ReleaseEarly);
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I9Verdict));
}

#[test]
fn flow_that_stays_down_is_seen() {
    let found = (0..5).find_map(|seed| scenario::run(seed, false, Some(Sabotage::Deafen)).err());
    assert_eq!(found.unwrap().invariant, Invariant::I10Liveness);
}

#[test]
fn policy_that_goes_back_is_seen() {
    let (mut sim, a, _) = talking(Closed, Sabotage::RollBack);
    sim.at(s(1), Fault::Mode(a, Open));
    assert_eq!(violated(&mut sim, 5), Some(Invariant::I11NoGoingBack));
}

#[test]
fn ended_epoch_still_used_is_seen() {
    let (mut sim, ..) = talking(Closed, Sabotage::KeepEpoch);
    let group = sim.mgmt.groups()[0];
    sim.at(s(1), Fault::Rotate(group, Rotation::Hard));
    assert_eq!(violated(&mut sim, 20), Some(Invariant::I11NoGoingBack));
}
