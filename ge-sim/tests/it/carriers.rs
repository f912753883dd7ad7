//! Paths that filter ICMP echo: negotiation goes in UDP, whoever stands on the path.

use crate::chains::chain;
use crate::{assert_settled, ms, pair, s};
use ge_core::Mode;
use ge_core::wire::dprp::Kind;
use ge_core::wire::ip;
use ge_core::wire::protocol;
use ge_sim::fault::Fault;
use ge_sim::packet::Class;
use ge_sim::{Fate, Sim, Traffic};
use std::cell::Cell;
use std::rc::Rc;

/// Counts messages in echo and in UDP that are put on a link.
fn count(sim: &mut Sim) -> Rc<Cell<[u32; 2]>> {
    let counted = Rc::new(Cell::new([0; 2]));
    let counts = Rc::clone(&counted);
    sim.tamper(move |passing| {
        if let Class::Message(..) = passing.class
            && let Ok(view) = ip::parse(passing.packet)
        {
            let mut now = counts.get();
            now[usize::from(view.protocol == protocol::UDP)] += 1;
            counts.set(now);
        }
        Fate::Carry
    });
    counted
}

#[test]
fn two_hosts_agree_in_udp_and_begin_with_it_next_time() {
    for mode in [Mode::Open, Mode::Closed] {
        let (mut sim, a, b, _) = pair(3, mode, mode);
        sim.net.filters_echo = true;
        let counted = count(&mut sim);
        let parcel = sim.send(a, b, 200);
        sim.run_for(ms(290)).unwrap();
        assert_settled(&sim, [a, b]);
        let track = sim.check.track(parcel);
        assert!(track.arrived == 1 && track.readable.is_empty(), "{mode:?}: {track:?}");
        assert_eq!(counted.get(), [1, 4], "{mode:?}");
        // The row ends; who asks again needs no second carrier.
        sim.run_for(s(400)).unwrap();
        assert_eq!(sim.row_verdict(a, b), "none", "{mode:?}");
        let before = counted.get();
        let parcel = sim.send(a, b, 200);
        sim.run_for(ms(60)).unwrap();
        assert_eq!(sim.check.track(parcel).arrived, 1, "{mode:?}");
        let after = counted.get();
        assert_eq!([after[0] - before[0], after[1] - before[1]], [0, 4], "{mode:?}");
    }
}

#[test]
fn whoever_echoes_is_asked_in_echo_alone() {
    let mut sim = Sim::new(4);
    let group = sim.group();
    let a = sim.agent(Mode::Open, &[group]);
    let outsider = sim.host();
    sim.start();
    let counted = count(&mut sim);
    sim.flow(a, outsider, Traffic::Datagrams(200), ms(100));
    sim.run_for(s(20)).unwrap();
    assert_eq!(sim.row_verdict(a, outsider), "clear");
    assert_eq!(counted.get()[1], 0, "{:?}", counted.get());
}

/// Paths on which two agents protect, with agents between, before and beyond.
const PROTECTED: [&str; 6] =
    ["s1c d1c", "s1c T1c d1c", "s1c S1c D1c d1c", "S1c S1c D1c", "s1o D1o", "S2o S1o T2o D1o D2o"];

#[test]
fn paths_with_agents_between_agree_in_udp() {
    for text in PROTECTED {
        let (mut sim, path) = chain(5, text);
        sim.net.filters_echo = true;
        let (from, to) = (path.source(), path.destination());
        sim.flow(from, to, Traffic::Datagrams(300), ms(200));
        sim.run_for(s(8)).unwrap();
        let since = sim.now();
        sim.run_for(s(3)).unwrap();
        let tally = sim.check.tally(from, to, since, sim.now() - 300_000);
        assert!(tally.sealed > 5 && tally.lost + tally.clear == 0, "{text}: {tally:?}");
    }
}

#[test]
fn renewal_and_restart_go_on_in_udp() {
    for text in ["s1c d1c", "s1c T1c d1c"] {
        let (mut sim, path) = chain(6, text);
        sim.net.filters_echo = true;
        let (from, to) = (path.source(), path.destination());
        sim.flow(from, to, Traffic::Datagrams(300), ms(200));
        sim.flow(to, from, Traffic::Datagrams(300), ms(230));
        sim.run_for(s(200)).unwrap();
        for (node, _) in &path.agents {
            sim.at(s(0), Fault::Crash(*node));
            sim.at(ms(300), Fault::Start { node: *node, cached: true });
        }
        sim.run_for(s(12)).unwrap();
        let since = sim.now();
        sim.run_for(s(3)).unwrap();
        for (from, to) in [(from, to), (to, from)] {
            let tally = sim.check.tally(from, to, since, sim.now() - 300_000);
            assert!(tally.sealed > 5 && tally.lost + tally.clear == 0, "{text}: {tally:?}");
        }
    }
}

/// A filter comes and goes: what is remembered is wrong then, and the other carrier is found.
#[test]
fn a_memory_that_is_wrong_costs_a_moment() {
    let (mut sim, a, b, _) = pair(7, Mode::Closed, Mode::Closed);
    sim.net.filters_echo = true;
    sim.send(a, b, 200);
    sim.run_for(s(400)).unwrap();
    sim.net.filters_echo = false;
    sim.tamper(|passing| match passing.class {
        Class::Message(Kind::Dde | Kind::Rgi | Kind::Mpit | Kind::Cdn, _)
            if ip::parse(passing.packet).is_ok_and(|view| view.protocol == protocol::UDP) =>
        {
            Fate::Lose
        }
        _ => Fate::Carry,
    });
    let parcel = sim.send(a, b, 200);
    sim.run_for(ms(250)).unwrap();
    assert_eq!(sim.check.track(parcel).arrived, 1);
    assert_settled(&sim, [a, b]);
}
