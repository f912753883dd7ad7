//! What may go in clear, and what may not.

use crate::{ms, pair, s};
use ge_core::Mode::{Closed, Open};
use ge_sim::fault::Fault;
use ge_sim::packet::Class;
use ge_sim::{Fate, Sim, Traffic};

#[test]
fn outsider_is_refused_by_a_closed_agent() {
    let (mut sim, a, _, _) = pair(1, Closed, Closed);
    let host = sim.host();
    sim.flow(host, a, Traffic::Datagrams(100), ms(100));
    sim.flow(a, host, Traffic::Datagrams(100), ms(100));
    sim.run_for(s(20)).unwrap();
    let (into, out) =
        (sim.check.tally(host, a, 0, u64::MAX), sim.check.tally(a, host, 0, u64::MAX));
    assert_eq!((into.clear, into.sealed, out.clear, out.sealed), (0, 0, 0, 0));
    assert!(into.lost > 100 && out.lost > 100);
}

#[test]
fn outsider_is_let_in_by_an_open_agent() {
    let (mut sim, a, _, _) = pair(2, Open, Closed);
    let host = sim.host();
    sim.flow(host, a, Traffic::Datagrams(100), ms(100));
    sim.run_for(s(5)).unwrap();
    let tally = sim.check.tally(host, a, 0, sim.now() - 10_000);
    assert!(tally.lost == 0 && tally.clear > 40, "{tally:?}");
}

#[test]
fn open_mode_passes_a_packet_to_an_outsider_after_the_hold() {
    let (mut sim, a, _, _) = pair(3, Open, Closed);
    let host = sim.host();
    sim.send(a, host, 100);
    sim.run_for(ms(304)).unwrap();
    assert_eq!(sim.check.tally(a, host, 0, 1).clear, 0);
    sim.run_for(ms(1)).unwrap();
    assert_eq!(sim.check.tally(a, host, 0, 1).clear, 1, "300 ms of hold and 5 ms of way");
}

#[test]
fn agents_of_different_groups_talk_in_clear_if_both_are_open() {
    for (one, other, passes) in
        [(Open, Open, true), (Open, Closed, false), (Closed, Open, false), (Closed, Closed, false)]
    {
        let mut sim = Sim::new(4);
        let (g, h) = (sim.group(), sim.group());
        let (a, b) = (sim.agent(one, &[g]), sim.agent(other, &[h]));
        sim.start();
        sim.send(a, b, 100);
        sim.run_for(ms(15)).unwrap();
        let tally = sim.check.tally(a, b, 0, 1);
        assert_eq!(
            tally.clear == 1,
            passes,
            "{one:?} to {other:?}: one round trip, then {tally:?}"
        );
        sim.run_for(s(20)).unwrap();
        let tally = sim.check.tally(a, b, 0, 1);
        assert_eq!((tally.clear == 1, tally.sealed), (passes, 0), "{one:?} to {other:?}");
    }
}

#[test]
fn destination_once_protected_never_goes_in_clear() {
    for cached in [true, false] {
        let (mut sim, a, b, _) = pair(5, Open, Open);
        sim.flow(a, b, Traffic::Datagrams(100), ms(200));
        sim.run_for(s(1)).unwrap();
        assert_eq!(sim.row_verdict(a, b), "protected");
        sim.at(s(0), Fault::Crash(b));
        sim.run_for(s(60)).unwrap();
        let since = sim.now();
        assert_eq!(sim.check.tally(a, b, 0, u64::MAX).clear, 0);
        sim.at(s(0), Fault::Start { node: b, cached });
        sim.run_for(s(15)).unwrap();
        let tally = sim.check.tally(a, b, since + 10_000_000, sim.now() - 100_000);
        assert!(tally.sealed > 10 && tally.lost == 0, "{tally:?}");
    }
}

#[test]
fn downgrade_by_dropping_messages_fails_once_the_destination_is_known() {
    let (mut sim, a, b, _) = pair(6, Open, Open);
    sim.send(a, b, 100);
    sim.run_for(s(1)).unwrap();
    sim.tamper(|passing| match passing.class {
        Class::Message(..) | Class::Sealed(_) => Fate::Lose,
        Class::IcmpError | Class::Clear => Fate::Carry,
    });
    sim.flow(a, b, Traffic::Datagrams(100), ms(200));
    sim.flow(b, a, Traffic::Datagrams(100), ms(200));
    sim.run_for(s(60)).unwrap();
    assert_eq!(sim.check.tally(a, b, 0, u64::MAX).clear, 0);
    assert_eq!(sim.check.tally(b, a, 0, u64::MAX).clear, 0);
}

#[test]
fn goodbye_in_open_mode_goes_on_in_clear() {
    let (mut sim, a, b, _) = pair(7, Open, Open);
    sim.flow(a, b, Traffic::Datagrams(100), ms(200));
    sim.flow(b, a, Traffic::Datagrams(100), ms(200));
    sim.run_for(s(2)).unwrap();
    sim.at(s(0), Fault::Stop(a));
    sim.run_for(s(2)).unwrap();
    let stopped = sim.now();
    sim.run_for(s(3)).unwrap();
    for (from, to) in [(a, b), (b, a)] {
        let tally = sim.check.tally(from, to, stopped, sim.now() - 400_000);
        assert!(tally.clear > 5 && tally.sealed == 0 && tally.lost == 0, "{tally:?}");
    }
}

#[test]
fn goodbye_in_closed_mode_is_the_end() {
    let (mut sim, a, b, _) = pair(8, Closed, Open);
    sim.flow(a, b, Traffic::Datagrams(100), ms(200));
    sim.flow(b, a, Traffic::Datagrams(100), ms(200));
    sim.run_for(s(2)).unwrap();
    sim.at(s(0), Fault::Stop(a));
    sim.run_for(s(30)).unwrap();
    for (from, to) in [(a, b), (b, a)] {
        assert_eq!(sim.check.tally(from, to, 0, u64::MAX).clear, 0);
    }
}

#[test]
fn packets_held_in_open_mode_do_not_pass_after_the_agent_has_closed() {
    let (mut sim, a, _, _) = pair(9, Open, Closed);
    let host = sim.host();
    sim.run_for(s(1)).unwrap();
    sim.send(a, host, 100);
    sim.at(ms(100), Fault::Mode(a, Closed));
    sim.run_for(s(10)).unwrap();
    assert_eq!(sim.check.tally(a, host, 0, u64::MAX).lost, 1);
}

#[test]
fn flow_that_fell_back_to_clear_is_protected_once_the_other_agent_is_up() {
    let (mut sim, a, b, _) = pair(10, Open, Closed);
    sim.at(s(0), Fault::Crash(b));
    sim.at(s(4), Fault::Start { node: b, cached: true });
    sim.flow(a, b, Traffic::Datagrams(100), ms(300));
    sim.run_for(s(2)).unwrap();
    assert_eq!(sim.row_verdict(a, b), "clear");
    sim.run_for(s(10)).unwrap();
    let tally = sim.check.tally(a, b, 11_000_000, sim.now() - 100_000);
    assert!(tally.sealed > 2 && tally.lost == 0, "{tally:?}");
}

#[test]
fn reflected_request_means_no_more_than_silence() {
    // An ordinary host sends every request back in an echo reply.
    let (mut sim, a, _, _) = pair(11, Closed, Closed);
    let host = sim.host();
    sim.send(a, host, 100);
    sim.run_for(ms(1000)).unwrap();
    assert_eq!(sim.row_verdict(a, host), "pending", "the ladder runs to its end");
}
