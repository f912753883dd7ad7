//! Negotiations that cross each other, come late, or are asked twice.

use crate::{assert_settled, ms, pair, s};
use ge_core::Mode::Closed;
use ge_core::icmp_error::packet_too_big;
use ge_core::wire::dprp::Kind;
use ge_core::wire::ip;
use ge_sim::adversary::Origin;
use ge_sim::net::router;
use ge_sim::packet::Class;
use ge_sim::{Fate, NodeId, Sim, Traffic};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// One packet each way; both must arrive at once.
fn assert_understand(sim: &mut Sim, a: NodeId, b: NodeId, what: &str) {
    let since = sim.now();
    sim.send(a, b, 100);
    sim.send(b, a, 100);
    sim.run_for(ms(50)).unwrap();
    for (from, to) in [(a, b), (b, a)] {
        let tally = sim.check.tally(from, to, since, u64::MAX);
        assert_eq!(tally.sealed, 1, "{what}: {from:?} to {to:?}");
    }
}

/// The first negotiation ends without confirmation; its MPIT arrives after a second one succeeded.
#[test]
fn mpit_of_a_negotiation_given_up_brings_no_dead_keys() {
    let (mut sim, a, b, _) = pair(1, Closed, Closed);
    let given_up = Rc::new(Cell::new(false));
    let (over, mut late) = (Rc::clone(&given_up), false);
    sim.tamper(move |passing| match passing.class {
        Class::Message(Kind::Mpit, _) if !over.get() && !late => {
            late = true;
            Fate::Late(2_400_000)
        }
        Class::Message(Kind::Mpit, _) if !over.get() => Fate::Lose,
        _ => Fate::Carry,
    });
    sim.send(a, b, 100);
    for _ in 0..22 {
        sim.run_for(ms(100)).unwrap();
        given_up.set(sim.row_verdict(a, b) == "none");
        if given_up.get() {
            break;
        }
    }
    assert!(given_up.get(), "the ladder is over before the late MPIT arrives");
    sim.send(a, b, 100);
    sim.run_for(ms(50)).unwrap();
    assert_eq!(sim.row_verdict(b, a), "protected");
    assert!(sim.now() < 2_400_000, "the late MPIT is still to come");
    sim.run_for(s(1)).unwrap();
    assert_understand(&mut sim, a, b, "after the late MPIT");
}

/// Each end answers the other's DDE before its own RGI comes: both get to expect a CDN.
#[test]
fn of_two_negotiations_that_both_agreed_one_survives() {
    let mut both = 0;
    for seed in 0..20 {
        let (mut sim, a, b, _) = pair(seed, Closed, Closed);
        let mpits = Rc::new(Cell::new(0));
        let counted = Rc::clone(&mpits);
        let (mut rgi, mut mpit) = (false, false);
        sim.tamper(move |passing| {
            let (Class::Message(kind, _), from) = (&passing.class, passing.from) else {
                return Fate::Carry;
            };
            match kind {
                Kind::Rgi if from == b && !rgi => {
                    rgi = true;
                    Fate::Late(30_000)
                }
                Kind::Mpit => {
                    counted.set(counted.get() | if from == a { 1 } else { 2 });
                    if from == b && !mpit {
                        mpit = true;
                        return Fate::Late(100_000);
                    }
                    Fate::Carry
                }
                _ => Fate::Carry,
            }
        });
        sim.send(a, b, 100);
        sim.run_for(ms(6)).unwrap();
        sim.send(b, a, 100);
        sim.run_for(s(15)).unwrap();
        both += i32::from(mpits.get() == 3);
        assert_settled(&sim, [a, b]);
        assert_understand(&mut sim, a, b, &format!("seed {seed}"));
    }
    assert!(both > 3, "the tie came about {both} times");
}

/// An answer that says no is said again when it was lost.
#[test]
fn refusal_that_was_lost_is_repeated() {
    let mut sim = Sim::new(3);
    let (g, h) = (sim.group(), sim.group());
    let (a, b) = (sim.agent(Closed, &[g]), sim.agent(Closed, &[h]));
    sim.start();
    let mut lost = false;
    sim.tamper(move |passing| match passing.class {
        Class::Message(Kind::NoMatch, _) if !lost => {
            lost = true;
            Fate::Lose
        }
        _ => Fate::Carry,
    });
    sim.send(a, b, 100);
    sim.run_for(ms(400)).unwrap();
    assert_eq!(sim.row(a, b).unwrap().reason, "no-match", "the repeat of the DDE is answered");
}

/// New keys do not change the path: whoever answers a rekey need not learn its width again.
#[test]
fn responder_keeps_the_path_mtu_over_a_rekey() {
    let (mut sim, a, b, _) = pair(4, Closed, Closed);
    let last = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&last);
    sim.tamper(move |passing| {
        if passing.from == b && matches!(passing.class, Class::Sealed(_)) {
            *seen.borrow_mut() = passing.packet.to_vec();
        }
        Fate::Carry
    });
    sim.flow(a, b, Traffic::Datagrams(100), ms(500));
    sim.flow_from(b, a, Traffic::Datagrams(100), ms(500), 1_000_000);
    sim.run_for(ms(2100)).unwrap();
    let quoted = last.borrow().clone();
    let view = ip::parse(&quoted).unwrap();
    sim.inject(packet_too_big(&quoted, &view, 700, router(true)).unwrap(), Origin::Genuine);
    sim.run_for(s(130)).unwrap();
    assert!(sim.row(b, a).unwrap().peer.unwrap().key_age < s(15), "there are new keys");
    let widest = Rc::new(Cell::new(0));
    let seen = Rc::clone(&widest);
    sim.tamper(move |passing| {
        if passing.from == b {
            seen.set(seen.get().max(passing.packet.len()));
        }
        Fate::Carry
    });
    sim.flow(b, a, Traffic::Datagrams(1400), ms(100));
    sim.run_for(s(1)).unwrap();
    assert!((600..=700).contains(&widest.get()), "{}", widest.get());
}
