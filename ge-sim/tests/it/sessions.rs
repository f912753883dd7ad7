//! How sessions begin, continue and end.

use crate::{assert_settled, ms, pair, s};
use ge_core::Mode::{Closed, Open};
use ge_core::icmp_error::{ErrorKind, build_error_for};
use ge_core::wire::{ip, protocol};
use ge_sim::adversary::Origin;
use ge_sim::fault::Fault;
use ge_sim::packet::Class;
use ge_sim::{Fate, Traffic};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

#[test]
fn first_packet_waits_one_round_trip() {
    let (mut sim, a, b, _) = pair(1, Closed, Closed);
    sim.run_for(s(1)).unwrap();
    sim.send(a, b, 200);
    sim.run_for(ms(14)).unwrap();
    assert_eq!(sim.check.opened(a, b), 0);
    sim.run_for(ms(1)).unwrap();
    assert_eq!(sim.check.opened(a, b), 1, "DDE, RGI, and the packet behind the MPIT: 15 ms");
}

#[test]
fn second_packet_takes_the_direct_way() {
    let (mut sim, a, b, _) = pair(2, Closed, Closed);
    sim.send(a, b, 200);
    sim.run_for(s(1)).unwrap();
    sim.send(b, a, 200);
    sim.run_for(ms(5)).unwrap();
    assert_eq!(sim.check.opened(b, a), 1);
}

#[test]
fn glare_leaves_one_session_each_side() {
    for seed in 0..40 {
        let (mut sim, a, b, _) = pair(seed, Closed, Closed);
        sim.net.conditions.jitter = seed * 500;
        sim.send(a, b, 100);
        sim.send(b, a, 100);
        sim.run_for(s(15)).unwrap();
        assert_settled(&sim, [a, b]);
        let since = sim.now();
        sim.send(a, b, 100);
        sim.send(b, a, 100);
        sim.run_for(s(1)).unwrap();
        for (from, to) in [(a, b), (b, a)] {
            assert_eq!(sim.check.tally(from, to, since, u64::MAX).sealed, 1, "seed {seed}");
        }
    }
}

#[test]
fn restart_of_one_end_recovers() {
    for cached in [true, false] {
        let (mut sim, a, b, _) = pair(3, Closed, Closed);
        sim.flow(a, b, Traffic::Datagrams(300), ms(200));
        sim.flow(b, a, Traffic::Datagrams(300), ms(230));
        sim.at(s(2), Fault::Crash(b));
        sim.at(s(3), Fault::Start { node: b, cached });
        sim.run_for(s(10)).unwrap();
        let recovered = sim.now();
        sim.run_for(s(3)).unwrap();
        for (from, to) in [(a, b), (b, a)] {
            let tally = sim.check.tally(from, to, recovered, recovered + 2_000_000);
            assert!(tally.sealed > 5 && tally.lost == 0, "cached {cached}: {tally:?}");
        }
    }
}

#[test]
fn one_way_flow_notices_that_its_receiver_restarted() {
    let (mut sim, a, b, _) = pair(4, Closed, Closed);
    sim.flow(a, b, Traffic::Datagrams(300), ms(200));
    sim.at(s(2), Fault::Crash(b));
    sim.at(ms(2100), Fault::Start { node: b, cached: true });
    sim.run_for(s(12)).unwrap();
    let recovered = sim.now();
    sim.run_for(s(3)).unwrap();
    let tally = sim.check.tally(a, b, recovered, recovered + 2_000_000);
    assert!(tally.sealed > 5 && tally.lost == 0, "{tally:?}");
}

#[test]
fn peer_that_lost_the_session_is_answered_by_an_end_that_is_rekeying_in_it() {
    for seed in 0..20 {
        let (mut sim, a, b, group) = pair(seed, Closed, Closed);
        sim.send(a, b, 100);
        sim.run_for(s(1)).unwrap();
        sim.at(s(0), Fault::Crash(b));
        sim.at(ms(1), Fault::Start { node: b, cached: true });
        sim.at(ms(2), Fault::Rotate(group, ge_sim::mgmt::Rotation::Soft));
        sim.run_for(ms(100)).unwrap();
        sim.send(b, a, 100);
        sim.run_for(ms(100)).unwrap();
        assert_eq!(sim.check.opened(b, a), 1, "seed {seed}: at once, not after a ladder");
    }
}

#[test]
fn rekey_at_two_minutes_loses_nothing() {
    let (mut sim, a, b, _) = pair(6, Closed, Closed);
    sim.flow(a, b, Traffic::Datagrams(300), ms(50));
    sim.flow(b, a, Traffic::Stream(5000), ms(70));
    sim.run_for(s(200)).unwrap();
    let tally = sim.check.tally(a, b, 0, sim.now() - 100_000);
    assert!(tally.lost == 0 && tally.sealed > 3900, "{tally:?}");
    for (node, other) in [(a, b), (b, a)] {
        let peer = sim.row(node, other).unwrap().peer.unwrap();
        assert!(peer.key_age < s(90), "{node:?} rekeyed at 120 s: {:?}", peer.key_age);
    }
    assert_settled(&sim, [a, b]);
}

#[test]
fn rekey_under_loss_loses_no_more_than_the_link() {
    let (mut sim, a, b, _) = pair(7, Closed, Closed);
    sim.net.conditions.loss = 200;
    sim.flow(a, b, Traffic::Datagrams(300), ms(20));
    sim.flow(b, a, Traffic::Datagrams(300), ms(20));
    sim.run_for(s(115)).unwrap();
    let before = sim.check.tally(a, b, 10_000_000, 110_000_000);
    let rekeying = sim.now();
    sim.run_for(s(20)).unwrap();
    let during = sim.check.tally(a, b, rekeying, sim.now() - 100_000);
    let share =
        |tally: ge_sim::check::Tally| f64::from(tally.lost) / f64::from(tally.lost + tally.sealed);
    assert!(share(during) < share(before) + 0.05, "{before:?} {during:?}");
    assert!(sim.row(a, b).unwrap().peer.unwrap().key_age < s(16));
}

#[test]
fn simultaneous_rekey_leaves_one_session_each_side() {
    for seed in 0..10 {
        let (mut sim, a, b, group) = pair(seed, Closed, Closed);
        sim.flow(a, b, Traffic::Datagrams(300), ms(100));
        sim.flow(b, a, Traffic::Datagrams(300), ms(100));
        // A new epoch reaches both at about the same time, and both want new keys.
        sim.at(s(5), Fault::Rotate(group, ge_sim::mgmt::Rotation::Soft));
        sim.run_for(s(25)).unwrap();
        assert_settled(&sim, [a, b]);
        let tally = sim.check.tally(a, b, 1_000_000, sim.now() - 100_000);
        assert_eq!(tally.lost, 0, "seed {seed}");
    }
}

#[test]
fn quiet_peer_is_told_from_a_dead_one() {
    let (mut sim, a, b, _) = pair(8, Closed, Closed);
    let asked = Rc::new(Cell::new(0));
    let counted = Rc::clone(&asked);
    sim.tamper(move |passing| {
        if matches!(passing.class, Class::Message(..)) {
            counted.set(counted.get() + 1);
        }
        Fate::Carry
    });
    sim.flow(a, b, Traffic::Datagrams(300), ms(100));
    sim.run_for(s(60)).unwrap();
    assert_eq!(asked.get(), 4, "one negotiation; keepalives tell that the receiver is there");
    sim.at(s(0), Fault::Crash(b));
    sim.run_for(s(8)).unwrap();
    assert!(asked.get() > 4, "silence is asked about");
}

#[test]
fn same_seed_is_the_same_run() {
    let run = || {
        let (mut sim, a, b, _) = pair(9, Open, Closed);
        sim.net.conditions.loss = 300;
        sim.net.conditions.jitter = 9000;
        sim.flow(a, b, Traffic::Datagrams(300), ms(100));
        sim.flow(b, a, Traffic::Stream(9000), ms(130));
        sim.run_for(s(30)).unwrap();
        (sim.events(), sim.check.opened(a, b), sim.check.opened(b, a))
    };
    assert_eq!(run(), run());
}

#[test]
fn policies_do_not_multiply_the_looks_at_a_session() {
    let events = |policies: u64| {
        let (mut sim, a, b, _) = pair(10, Closed, Closed);
        sim.flow(a, b, Traffic::Datagrams(300), ms(1000));
        sim.run_for(s(1)).unwrap();
        for n in 0..policies {
            sim.at(ms(37 * n), Fault::Mode(a, Closed));
        }
        sim.run_for(s(5)).unwrap();
        let before = sim.events();
        sim.run_for(s(10)).unwrap();
        sim.events() - before
    };
    // When in its half second a session is looked at decides whether a look for a prompt is added.
    assert!(2 * events(100) < 3 * events(1), "{} after one, {} after many", events(1), events(100));
}

#[test]
fn closed_port_at_the_peer_is_asked_about_at_once() {
    let (mut sim, a, b, _) = pair(11, Closed, Closed);
    let (last, asked) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
    let (seen, counted) = (Rc::clone(&last), Rc::clone(&asked));
    sim.tamper(move |passing| {
        match passing.class {
            Class::Sealed(_) if passing.from == a => *seen.borrow_mut() = passing.packet.to_vec(),
            // What is asked in UDP as well is the same question.
            Class::Message(..) if passing.from == a && is_echo(passing.packet) => {
                counted.set(counted.get() + 1);
            }
            _ => {}
        }
        Fate::Carry
    });
    sim.send(a, b, 300);
    sim.run_for(ms(2900)).unwrap();
    sim.send(a, b, 300);
    sim.at(s(0), Fault::Crash(b));
    sim.run_for(ms(10)).unwrap();
    let quoted = last.borrow().clone();
    let closed = ErrorKind::Unreachable { code: 3 };
    let error = build_error_for(closed, sim.node(b).addr, &quoted).unwrap();
    asked.set(0);
    for _ in 0..3 {
        sim.inject(error.clone(), Origin::Genuine);
    }
    sim.run_for(ms(600)).unwrap();
    // In two carriers, since nobody answers.
    assert!((1..=4).contains(&asked.get()), "one question, perhaps repeated: {}", asked.get());
}

fn is_echo(packet: &[u8]) -> bool {
    ip::parse(packet).is_ok_and(|view| view.protocol == protocol::ICMP)
}
