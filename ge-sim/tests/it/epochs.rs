//! New keys, removed members, wrong clocks.

use crate::{assert_settled, ms, pair, s};
use ge_core::Epoch;
use ge_core::Mode::{Closed, Open};
use ge_sim::fault::Fault;
use ge_sim::mgmt::Rotation;
use ge_sim::{Sim, Traffic};

#[test]
fn planned_and_hard_rotation_lose_nothing() {
    for rotation in [Rotation::Soft, Rotation::Hard] {
        let (mut sim, a, b, group) = pair(1, Closed, Open);
        sim.bundle_delay = 1_000_000;
        sim.flow(a, b, Traffic::Datagrams(100), ms(50));
        sim.flow(b, a, Traffic::Datagrams(100), ms(50));
        sim.at(s(3), Fault::Rotate(group, rotation));
        sim.run_for(s(20)).unwrap();
        for (from, to) in [(a, b), (b, a)] {
            let tally = sim.check.tally(from, to, 1_000_000, sim.now() - 100_000);
            assert_eq!((tally.lost, tally.clear), (0, 0), "{rotation:?}");
            let peer = sim.row(from, to).unwrap().peer.unwrap();
            assert_eq!(peer.epoch, Epoch(2), "{rotation:?}");
        }
        assert_settled(&sim, [a, b]);
    }
}

#[test]
fn hard_rotation_ends_old_sessions_within_five_seconds() {
    let (mut sim, a, b, group) = pair(2, Closed, Closed);
    sim.flow(a, b, Traffic::Datagrams(100), ms(100));
    sim.run_for(s(2)).unwrap();
    // Nothing passes, so that no new session can replace the old one.
    sim.net.partition(a, b);
    sim.at(s(0), Fault::Rotate(group, Rotation::Hard));
    sim.run_for(ms(6600)).unwrap();
    for node in [a, b] {
        assert_eq!(
            sim.table_sizes(node)[1],
            0,
            "5 s, a second of wall time, half one between looks"
        );
    }
}

#[test]
fn removed_member_cannot_talk() {
    let mut sim = Sim::new(3);
    let group = sim.group();
    let [a, b, c] = [(); 3].map(|()| sim.agent(Closed, &[group]));
    sim.start();
    for (from, to) in [(a, b), (b, a), (c, a), (a, c), (c, b)] {
        sim.flow(from, to, Traffic::Datagrams(100), ms(100));
    }
    sim.run_for(s(2)).unwrap();
    assert!(sim.check.opened(c, a) > 10);
    sim.at(s(0), Fault::Remove(c));
    sim.run_for(s(5)).unwrap();
    let removed = sim.now();
    sim.run_for(s(30)).unwrap();
    for (from, to) in [(c, a), (a, c), (c, b)] {
        let tally = sim.check.tally(from, to, removed, sim.now());
        assert_eq!((tally.sealed, tally.clear), (0, 0), "{from:?} to {to:?}");
    }
    let tally = sim.check.tally(a, b, 1_000_000, sim.now() - 100_000);
    assert_eq!(tally.lost, 0, "the others do not notice");
}

#[test]
fn clocks_may_be_a_minute_off() {
    for (one, other) in [(-60, 60), (60, -60), (0, 60)] {
        for rotation in [Rotation::Soft, Rotation::Hard] {
            let mut sim = Sim::new(4);
            let group = sim.group();
            let (a, b) = (sim.agent(Closed, &[group]), sim.agent(Closed, &[group]));
            sim.skew(a, one);
            sim.skew(b, other);
            sim.start();
            sim.flow(a, b, Traffic::Datagrams(100), ms(100));
            sim.flow(b, a, Traffic::Datagrams(100), ms(100));
            sim.run_for(s(3)).unwrap();
            sim.at(s(0), Fault::Rotate(group, rotation));
            sim.run_for(s(12)).unwrap();
            let settled = sim.now();
            sim.run_for(s(3)).unwrap();
            let tally = sim.check.tally(a, b, settled, sim.now() - 100_000);
            assert!(tally.lost == 0 && tally.sealed > 20, "{one} {other} {rotation:?}: {tally:?}");
        }
    }
}

#[test]
fn rotation_between_any_two_messages_of_a_negotiation() {
    for at in 0..20 {
        for rotation in [Rotation::Soft, Rotation::Hard] {
            let (mut sim, a, b, group) = pair(at, Closed, Closed);
            sim.send(a, b, 100);
            sim.at(ms(at), Fault::Rotate(group, rotation));
            sim.flow(b, a, Traffic::Datagrams(100), ms(500));
            sim.run_for(s(15)).unwrap();
            assert_settled(&sim, [a, b]);
            assert_eq!(sim.check.opened(a, b), 1, "{at} ms {rotation:?}");
        }
    }
}

#[test]
fn removal_between_any_two_messages_of_a_negotiation() {
    for at in 0..20 {
        let (mut sim, a, b, _) = pair(at, Closed, Closed);
        sim.flow(a, b, Traffic::Datagrams(100), ms(100));
        sim.at(ms(at), Fault::Remove(a));
        sim.run_for(s(6)).unwrap();
        let removed = sim.now();
        sim.run_for(s(10)).unwrap();
        assert_eq!(sim.check.tally(a, b, removed, u64::MAX).sealed, 0, "{at} ms");
    }
}
