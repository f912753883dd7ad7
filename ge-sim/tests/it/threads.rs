//! Agents with several threads: what each does by what it has heard, while the engine goes on.

use crate::chains::{plan, restart};
use crate::{assert_settled, ms, s};
use ge_core::Mode::{self, Closed};
use ge_core::limits::PIT_IDLE;
use ge_core::{GroupId, Lane};
use ge_sim::fault::Fault;
use ge_sim::matrix::run::world_of;
use ge_sim::mgmt::Rotation;
use ge_sim::net::Conditions;
use ge_sim::sabotage::Sabotage;
use ge_sim::sim::Manner;
use ge_sim::{Invariant, NodeId, Sim, Traffic};
use std::time::Duration;

/// Two members with so many threads.
fn two(seed: u64, mode: Mode, workers: [u8; 2]) -> (Sim, [NodeId; 2], GroupId) {
    let mut sim = Sim::with_family(seed, !seed.is_multiple_of(3));
    let group = sim.group();
    let nodes = workers.map(|workers| {
        let node = sim.agent(mode, &[group]);
        sim.spread(node, workers);
        node
    });
    sim.start();
    (sim, nodes, group)
}

/// Both ways, datagrams from many ports and a stream.
fn talk(sim: &mut Sim, [a, b]: [NodeId; 2]) {
    for (from, to) in [(a, b), (b, a)] {
        sim.flow(from, to, Traffic::Datagrams(300), ms(7));
        sim.flow(from, to, Traffic::Stream(9000), ms(31));
    }
}

/// What is sent within the next two seconds arrives, sealed.
fn assert_up(sim: &mut Sim, [a, b]: [NodeId; 2], what: &str) {
    let since = sim.now();
    sim.run_for(s(2)).unwrap();
    for (from, to) in [(a, b), (b, a)] {
        let tally = sim.check.tally(from, to, since, sim.now() - 300_000);
        assert!(tally.sealed > 50 && tally.lost + tally.clear == 0, "{what}: {tally:?}");
    }
}

/// Bad in every way, but for the time a packet takes.
fn bad(seed: u64) -> Conditions {
    Conditions {
        loss: 20 + 10 * (seed as u32 % 8),
        duplicate: 100,
        reorder: 200,
        jitter: 3_000,
        corrupt: 20,
        ..Conditions::QUIET
    }
}

#[test]
fn every_thread_seals_and_opens_and_nothing_is_lost() {
    for workers in [[2, 2], [3, 8], [8, 8], [1, 4], [4, 1]] {
        let (mut sim, nodes, _) = two(1, Closed, workers);
        talk(&mut sim, nodes);
        sim.run_for(s(1)).unwrap();
        assert_up(&mut sim, nodes, &format!("{workers:?}"));
        assert_settled(&sim, nodes);
        for (node, workers) in nodes.into_iter().zip(workers) {
            let packets = sim.thread_packets(node);
            assert_eq!(packets.len(), usize::from(workers));
            assert!(packets.iter().all(|[sealed, _]| *sealed > 0), "{workers:?}: {packets:?}");
        }
    }
}

/// Flows of a NAT's inside stay the engine's, since they move with every whim of it.
#[test]
fn who_is_behind_a_nat_is_the_engine_s_matter() {
    let mut sim = Sim::new(5);
    let group = sim.group();
    let nodes = [(); 2].map(|()| sim.agent(Closed, &[group]));
    nodes.iter().for_each(|node| sim.spread(*node, 4));
    sim.behind_nat(nodes[0]);
    sim.start();
    let [a, b] = nodes;
    sim.flow(a, b, Traffic::Datagrams(300), ms(20));
    sim.flow_from(b, a, Traffic::Datagrams(300), ms(20), 1_000_000);
    sim.run_for(s(3)).unwrap();
    sim.forget_mappings();
    sim.run_for(s(1)).unwrap();
    assert_up(&mut sim, nodes, "behind a NAT");
    for node in nodes {
        let beside: u64 = sim.thread_packets(node)[1..].iter().flatten().sum();
        assert_eq!(beside, 0, "{node:?}");
    }
}

/// The peer's threads have the new keys before ours may use them, and the old ones long enough.
#[test]
fn new_keys_take_over_in_all_lanes_and_nothing_is_lost() {
    for seed in 0..6 {
        let (mut sim, nodes, group) = two(seed, Closed, [1 + seed as u8, 8 - seed as u8]);
        talk(&mut sim, nodes);
        sim.run_for(s(2)).unwrap();
        let since = sim.now();
        sim.net.conditions.jitter = 2_000;
        for rotation in [Rotation::Soft, Rotation::Soft] {
            sim.at(s(0), Fault::Rotate(group, rotation));
            assert_up(&mut sim, nodes, &format!("seed {seed}, {rotation:?}"));
        }
        // By age, once.
        sim.run_for(s(120)).unwrap();
        assert_up(&mut sim, nodes, &format!("seed {seed}"));
        let [a, b] = nodes;
        let until = sim.now() - 300_000;
        let lost = [(a, b), (b, a)].map(|(from, to)| sim.check.tally(from, to, since, until).lost);
        assert_eq!(lost, [0, 0], "seed {seed}");
    }
}

/// I4 in every lane: what a link doubles or an adversary repeats is opened once, by whichever thread.
#[test]
fn nothing_is_delivered_twice_on_bad_links() {
    for seed in 0..24 {
        let workers = [1 + seed as u8 % Lane::COUNT, 1 + (seed / 3) as u8 % Lane::COUNT];
        let (mut sim, nodes, group) = two(seed, Closed, workers);
        sim.net.conditions = bad(seed);
        sim.attack(Some(ms(20)));
        talk(&mut sim, nodes);
        for round in 0..4 {
            sim.run_for(ms(700 + 100 * (seed % 5))).unwrap();
            match (seed + round) % 4 {
                0 => sim.at(s(0), Fault::Rotate(group, Rotation::Soft)),
                1 => sim.at(s(0), Fault::Rotate(group, Rotation::Hard)),
                2 => restart(&mut sim, &nodes[..1], true),
                _ => restart(&mut sim, &nodes, seed % 2 == 0),
            }
        }
        sim.at(s(0), Fault::Quiet);
        sim.run_for(s(14)).unwrap();
        assert_up(&mut sim, nodes, &format!("seed {seed}"));
    }
}

/// A receiver that restarts is missed although the engine of the sender seals nothing itself.
#[test]
fn a_peer_that_only_other_threads_talk_to_is_missed() {
    for seed in 0..8 {
        let (mut sim, [a, b], _) = two(seed, Closed, [8, 3]);
        sim.flow(a, b, Traffic::Datagrams(300), ms(20));
        sim.run_for(s(3)).unwrap();
        restart(&mut sim, &[b], true);
        sim.run_for(s(4)).unwrap();
        let since = sim.now();
        sim.run_for(s(2)).unwrap();
        let tally = sim.check.tally(a, b, since, sim.now() - 300_000);
        assert!(tally.sealed > 50 && tally.lost == 0, "seed {seed}: {tally:?}");
    }
}

/// I5: sealed for nobody who was removed, and heard by nobody, five seconds after the news came.
#[test]
fn a_removed_member_is_left_alone_by_all_threads() {
    for seed in 0..12 {
        let mut sim = Sim::new(seed);
        let group = sim.group();
        let nodes = [(); 3].map(|()| sim.agent(Closed, &[group]));
        sim.spread_all();
        sim.bundle_delay = 1_000_000;
        sim.start();
        for from in nodes {
            for to in nodes.into_iter().filter(|to| *to != from) {
                sim.flow(from, to, Traffic::Datagrams(300), ms(11));
            }
        }
        sim.run_for(s(3)).unwrap();
        let [a, b, gone] = nodes;
        sim.deafen(gone); // it goes on as before
        sim.at(s(0), Fault::Remove(gone));
        sim.run_for(s(12)).unwrap();
        assert_up(&mut sim, [a, b], &format!("seed {seed}"));
        let since = sim.now();
        sim.run_for(s(2)).unwrap();
        for (from, to) in [(a, gone), (gone, a), (b, gone), (gone, b)] {
            let tally = sim.check.tally(from, to, since, u64::MAX);
            assert_eq!((tally.sealed, tally.clear), (0, 0), "seed {seed}: {from:?} to {to:?}");
        }
    }
}

/// Their threads stop sealing for a router when an agent nearer to the flow's end takes it over.
#[test]
fn an_agent_further_in_takes_a_flow_over_from_all_threads() {
    for seed in 0..6 {
        let manner = Manner { threads: true, ..Manner::default() };
        let (mut sim, path) = world_of(seed, true, 2, &plan("s1c D1o d1c"), manner);
        let ends = [path.source(), path.destination()];
        sim.at(s(0), Fault::Mode(ends[1], Mode::Open));
        sim.run_for(ms(50)).unwrap();
        sim.at(s(0), Fault::Stop(ends[1]));
        talk(&mut sim, ends);
        sim.run_for(s(5)).unwrap();
        let verdicts = |sim: &Sim| -> Vec<_> {
            (0..3).map(|at| path.row(sim, at).map_or("none", |row| row.verdict)).collect()
        };
        assert_eq!(verdicts(&sim), ["protected", "protected", "none"], "seed {seed}");
        sim.at(s(0), Fault::Mode(ends[1], Closed));
        sim.at(ms(100), Fault::Start { node: ends[1], cached: true });
        sim.run_for(s(15)).unwrap();
        assert_eq!(verdicts(&sim), ["protected", "transit", "protected"], "seed {seed}");
        assert_up(&mut sim, ends, &format!("seed {seed}"));
    }
}

/// A row that nobody used in the engine's own lane is in use all the same, and one that no thread
/// uses is forgotten by all.
#[test]
fn rows_age_by_what_all_threads_do() {
    let (mut sim, nodes, _) = two(4, Closed, [4, 4]);
    let [a, b] = nodes;
    sim.flow(a, b, Traffic::Datagrams(300), s(5));
    sim.run_for(PIT_IDLE + s(60)).unwrap();
    assert_settled(&sim, nodes);
    sim.hush();
    sim.run_for(PIT_IDLE + s(10)).unwrap();
    for node in nodes {
        assert_eq!(sim.table_sizes(node)[..3], [0, 0, 0], "{node:?}");
    }
}

fn violated(sim: &mut Sim, time: Duration) -> Option<Invariant> {
    sim.run_for(time).err().map(|violation| violation.invariant)
}

#[test]
fn a_thread_that_never_hears_of_an_end_is_seen() {
    for (fault, invariant) in [
        (None, Invariant::I6Bounded),
        (Some(Sabotage::ReuseNonce), Invariant::I3NonceOnce),
        (Some(Sabotage::DeliverTwice), Invariant::I4SentOnce),
    ] {
        let (mut sim, nodes, _) = two(1, Closed, [4, 4]);
        sim.sabotage = Some(fault.unwrap_or(Sabotage::Forgetful));
        talk(&mut sim, nodes);
        sim.at(s(2), Fault::Remove(nodes[1]));
        assert_eq!(violated(&mut sim, s(10)), Some(invariant));
    }
}

/// What each thread cuts for a narrow path, the other end's stack puts together.
#[test]
fn pieces_of_packets_of_different_threads_are_not_put_together() {
    for seed in 0..6 {
        let mut sim = Sim::with_family(seed, false);
        let group = sim.group();
        let nodes = [(); 2].map(|()| sim.agent(Closed, &[group]));
        nodes.iter().for_each(|node| sim.spread(*node, 8));
        sim.start();
        let [a, b] = nodes;
        // What a path of IPv6 must take does not fit through a seal there.
        sim.net.mtu = [((a, b), 1280), ((b, a), 1280)].into();
        sim.net.conditions =
            Conditions { reorder: 300, loss: 100, jitter: 4_000, ..Conditions::QUIET };
        for (from, to) in [(a, b), (b, a)] {
            sim.flow(from, to, Traffic::Datagrams(1280), ms(2));
        }
        sim.run_for(s(5)).unwrap();
        assert!(sim.check.opened(a, b) > 500, "seed {seed}");
    }
}

/// The engine lets a session at rest alone; the thread that uses it again says so.
#[test]
fn a_peer_that_restarted_while_nobody_talked_to_it_is_missed_at_the_first_packet() {
    for workers in [[1, 1], [4, 4]] {
        let (mut sim, [a, b], _) = two(7, Closed, workers);
        sim.flow(a, b, Traffic::Datagrams(300), s(5));
        sim.run_for(s(12)).unwrap();
        restart(&mut sim, &[b], true);
        sim.run_for(s(20)).unwrap();
        let tally = sim.check.tally(a, b, 0, sim.now());
        assert_eq!((tally.sealed, tally.lost), (6, 1), "{workers:?}");
    }
}
