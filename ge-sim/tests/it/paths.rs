//! Paths that are narrow, and errors about them.

use crate::{ms, pair, s};
use ge_core::Mode::Closed;
use ge_core::icmp_error::packet_too_big;
use ge_core::wire::ip;
use ge_sim::adversary::Origin;
use ge_sim::fault::Fault;
use ge_sim::net::router;
use ge_sim::packet::Class;
use ge_sim::{Fate, Sim, Traffic};
use std::cell::RefCell;
use std::rc::Rc;

#[test]
fn path_that_narrows_is_adapted_to() {
    for (v4, mtu) in [(true, 1400), (true, 1000), (true, 576), (false, 1400), (false, 1280)] {
        let mut sim = Sim::with_family(1, v4);
        let group = sim.group();
        let (a, b) = (sim.agent(Closed, &[group]), sim.agent(Closed, &[group]));
        sim.start();
        sim.flow(a, b, Traffic::Datagrams(1400), ms(100));
        sim.flow(b, a, Traffic::Stream(20_000), ms(150));
        sim.run_for(s(2)).unwrap();
        sim.at(s(0), Fault::Mtu(a, b, mtu));
        sim.at(s(0), Fault::Mtu(b, a, mtu));
        sim.run_for(s(2)).unwrap();
        let (since, streamed) = (sim.now(), sim.check.opened(b, a));
        sim.run_for(s(2)).unwrap();
        let tally = sim.check.tally(a, b, since, sim.now() - 100_000);
        assert!(tally.sealed > 15 && tally.lost == 0, "IPv4 {v4}, {mtu}: {tally:?}");
        assert!(sim.check.opened(b, a) > streamed + 10, "IPv4 {v4}, {mtu}: the stream goes on");
    }
}

#[test]
fn jumbo_frames_travel_whole() {
    let (mut sim, a, b, _) = pair(2, Closed, Closed);
    sim.net.conditions.mtu = 9000;
    sim.flow(a, b, Traffic::Stream(60_000), ms(200));
    sim.run_for(s(5)).unwrap();
    assert!(sim.check.opened(a, b) > 20);
}

/// Error about the last sealed datagram, or about one that never was.
fn forged_error(mtu: u16, quoted_counter: Option<u32>) -> (Sim, [ge_sim::NodeId; 2]) {
    let (mut sim, a, b, _) = pair(3, Closed, Closed);
    let last = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&last);
    sim.tamper(move |passing| {
        if matches!(passing.class, Class::Sealed(_)) && passing.from == a {
            *seen.borrow_mut() = passing.packet.to_vec();
        }
        Fate::Carry
    });
    sim.send(a, b, 1000);
    sim.run_for(s(1)).unwrap();
    let mut quoted = last.borrow().clone();
    if let Some(counter) = quoted_counter {
        quoted[20 + 8 + 4..20 + 8 + 8].copy_from_slice(&counter.to_be_bytes());
    }
    let view = ip::parse(&quoted).unwrap();
    let error = packet_too_big(&quoted, &view, mtu, router(true)).unwrap();
    sim.inject(error, Origin::Forged);
    sim.run_for(ms(10)).unwrap();
    (sim, [a, b])
}

/// Bytes of the largest packet `a` sends to `b` when told to send 1,400.
fn largest(sim: &mut Sim, [a, b]: [ge_sim::NodeId; 2]) -> usize {
    let largest = Rc::new(RefCell::new(0));
    let seen = Rc::clone(&largest);
    sim.tamper(move |passing| {
        if passing.from == a {
            let mut largest = seen.borrow_mut();
            *largest = passing.packet.len().max(*largest);
        }
        Fate::Carry
    });
    sim.flow(a, b, Traffic::Datagrams(1400), ms(100));
    sim.run_for(s(2)).unwrap();
    largest.take()
}

#[test]
fn error_about_a_datagram_that_was_never_sent_changes_nothing() {
    let (mut sim, nodes) = forged_error(576, Some(0x8000_0000));
    assert_eq!(largest(&mut sim, nodes), 1433);
}

#[test]
fn error_of_an_attacker_on_the_path_cannot_go_below_the_floor() {
    for mtu in [0, 68, 575, 576] {
        let (mut sim, nodes) = forged_error(mtu, None);
        let largest = largest(&mut sim, nodes);
        assert!((500..=576).contains(&largest), "told {mtu}: {largest}");
    }
}

#[test]
fn error_never_widens_a_path() {
    let (mut sim, nodes) = forged_error(65_535, None);
    assert_eq!(largest(&mut sim, nodes), 1433);
}
