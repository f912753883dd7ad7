//! Negotiation messages lost, doubled, late. THREATS.md 4.5.

use crate::{assert_settled, pair, s};
use ge_core::Mode::Closed;
use ge_core::wire::dprp::Kind;
use ge_sim::Fate;
use ge_sim::packet::Class;

const MESSAGES: [Kind; 4] = [Kind::Dde, Kind::Rgi, Kind::Mpit, Kind::Cdn];

/// Does `fate` to the first message of each of the `kinds`, and sends a packet, after a second
/// another one, then one back: all must arrive. The first one follows right behind the MPIT and
/// waits at the other end where that is lost or late.
fn run(seed: u64, kinds: &[Kind], fate: Fate) {
    let (mut sim, a, b, _) = pair(seed, Closed, Closed);
    let mut left = kinds.to_vec();
    sim.tamper(move |passing| {
        let Class::Message(kind, _) = passing.class else { return Fate::Carry };
        let Some(at) = left.iter().position(|wanted| *wanted == kind) else { return Fate::Carry };
        left.swap_remove(at);
        fate
    });
    sim.send(a, b, 100);
    sim.run_for(s(1)).unwrap();
    sim.send(a, b, 100);
    sim.run_for(s(2)).unwrap();
    sim.send(b, a, 100);
    sim.run_for(s(16)).unwrap();
    let opened = (sim.check.opened(a, b), sim.check.opened(b, a));
    assert_eq!(opened, (2, 1), "{kinds:?} {fate:?}");
    assert_settled(&sim, [a, b]);
}

#[test]
fn every_message_lost_once() {
    for kind in MESSAGES {
        run(1, &[kind], Fate::Lose);
    }
}

#[test]
fn every_pair_of_messages_lost() {
    for one in MESSAGES {
        for other in MESSAGES {
            run(2, &[one, other], Fate::Lose);
        }
    }
}

#[test]
fn every_message_twice() {
    for kind in MESSAGES {
        run(3, &[kind], Fate::Twice);
    }
    run(3, &MESSAGES, Fate::Twice);
}

#[test]
fn every_message_late() {
    for late in [100_000, 260_000, 700_000, 1_500_000, 4_000_000] {
        for kind in MESSAGES {
            run(4, &[kind], Fate::Late(late));
        }
    }
}

#[test]
fn all_confirmations_lost_while_data_flows() {
    let (mut sim, a, b, _) = pair(5, Closed, Closed);
    sim.tamper(|passing| match passing.class {
        Class::Message(Kind::Cdn, _) => Fate::Lose,
        _ => Fate::Carry,
    });
    sim.send(a, b, 100);
    sim.send(b, a, 100);
    sim.run_for(s(5)).unwrap();
    assert_eq!((sim.check.opened(a, b), sim.check.opened(b, a)), (1, 1), "data confirms as well");
}
