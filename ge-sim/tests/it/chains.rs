//! Paths with agents between: restarts, forgotten rows, asymmetric ways, both ends at once.

use crate::{ms, s};
use ge_core::limits::DATA_PORT;
use ge_core::wire::dprp::Kind;
use ge_core::{GroupId, Mode, Transit};
use ge_sim::adversary::Origin;
use ge_sim::chain::{Chain, Plan, Router};
use ge_sim::fault::Fault;
use ge_sim::matrix::oracle::{Agent, Standing, verdicts};
use ge_sim::matrix::run::{Patience, observe, world};
use ge_sim::packet::{Class, udp_packet};
use ge_sim::{Fate, NodeId, Sim, Traffic};
use std::cell::Cell;
use std::rc::Rc;

/// `s1c T2o D1c`: a host agent if the letter is small, otherwise a router; of the source's side, of
/// the destination's or of neither; groups; mode. An end without a host agent is an ordinary machine.
pub(crate) fn plan(text: &str) -> Plan {
    let mut plan = Plan::default();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        let groups = letters.iter().filter_map(|c| c.to_digit(10)).map(GroupId).collect();
        let mode = if letters.last() == Some(&'c') { Mode::Closed } else { Mode::Open };
        let standing = match letters[0].to_ascii_uppercase() {
            'S' => Standing::Source,
            'D' => Standing::Destination,
            _ => Standing::Transit,
        };
        let agent = Agent { standing, mode, transit: Transit::Vouched, groups };
        match letters[0] {
            's' => plan.source = Some(agent),
            'd' => plan.destination = Some(agent),
            _ => plan.routers.push(Router::new(agent)),
        }
    }
    plan
}

pub(crate) fn chain(seed: u64, text: &str) -> (Sim, Chain) {
    world(seed, true, 2, &plan(text))
}

/// Paths on which two agents protect, with agents between and beyond.
pub(crate) const PROTECTED: [&str; 6] = [
    "s1c T1c d1c",
    "s1c S1c D1c d1c",
    "S1c S1c D1c",
    "S1o S1o D1o",
    "S2o S1o T2o D1o D2o",
    "s1o S2o D2o d1o",
];

pub(crate) fn talk(sim: &mut Sim, chain: &Chain, both: bool) {
    sim.flow(chain.source(), chain.destination(), Traffic::Datagrams(300), ms(200));
    if both {
        sim.flow(chain.destination(), chain.source(), Traffic::Datagrams(300), ms(230));
    }
}

/// Everything sent within the last three seconds but the very last arrives, protected.
fn assert_up(sim: &mut Sim, chain: &Chain, both: bool, what: &str) {
    let since = sim.now();
    sim.run_for(s(3)).unwrap();
    let (from, to) = (chain.source(), chain.destination());
    let ways = [(from, to), (to, from)];
    for (from, to) in &ways[..if both { 2 } else { 1 }] {
        let tally = sim.check.tally(*from, *to, since, sim.now() - 300_000);
        assert!(tally.sealed > 5 && tally.lost + tally.clear == 0, "{what}: {tally:?}");
    }
}

pub(crate) fn restart(sim: &mut Sim, nodes: &[NodeId], cached: bool) {
    for &node in nodes {
        sim.at(s(0), Fault::Crash(node));
        sim.at(ms(300), Fault::Start { node, cached });
    }
}

#[test]
fn restart_of_any_agent_and_of_all_recovers() {
    for text in PROTECTED {
        for both in [false, true] {
            for cached in [false, true] {
                let agents = plan(text).agents().len();
                for which in 0..=agents {
                    let (mut sim, path) = chain(1, text);
                    talk(&mut sim, &path, both);
                    sim.run_for(s(3)).unwrap();
                    let all: Vec<NodeId> = path.agents.iter().map(|(node, _)| *node).collect();
                    restart(
                        &mut sim,
                        all.get(which).map_or(&all[..], std::slice::from_ref),
                        cached,
                    );
                    sim.run_for(s(12)).unwrap();
                    let what = format!("{text}, agent {which} of {agents}, both {both}");
                    assert_up(&mut sim, &path, both, &what);
                }
            }
        }
    }
}

/// The first of each of some messages is lost somewhere on the path.
#[test]
fn each_set_of_messages_lost_once_recovers() {
    const MESSAGES: [Kind; 4] = [Kind::Dde, Kind::Rgi, Kind::Mpit, Kind::Cdn];
    for text in PROTECTED {
        for set in 1..16 {
            let (mut sim, path) = chain(12, text);
            let mut left: Vec<Kind> =
                (0..4).filter(|at| set >> at & 1 == 1).map(|at| MESSAGES[at]).collect();
            let what = format!("{text}: {left:?}");
            sim.tamper(move |passing| {
                let Class::Message(kind, _) = passing.class else { return Fate::Carry };
                match left.iter().position(|other| *other == kind) {
                    Some(at) => {
                        left.remove(at);
                        Fate::Lose
                    }
                    None => Fate::Carry,
                }
            });
            talk(&mut sim, &path, false);
            sim.run_for(s(12)).unwrap();
            assert_up(&mut sim, &path, false, &what);
        }
    }
}

/// New keys are agreed inside the session, which those between do not see.
#[test]
fn agents_between_keep_up_with_long_sessions() {
    for text in PROTECTED {
        let (mut sim, path) = chain(2, text);
        talk(&mut sim, &path, true);
        sim.run_for(s(2)).unwrap();
        let since = sim.now();
        sim.run_for(s(600)).unwrap();
        let tally = sim.check.tally(path.source(), path.destination(), since, sim.now() - 300_000);
        assert!(tally.sealed > 2990 && tally.clear == 0 && tally.lost < 5, "{text}: {tally:?}");
        assert_up(&mut sim, &path, true, text);
    }
}

/// A pause longer than what those between remember, shorter than what the ends do.
#[test]
fn rows_that_only_the_middle_forgot_come_back() {
    for text in PROTECTED {
        for pause in [60, 150, 190, 250, 310, 400] {
            let (mut sim, path) = chain(3, text);
            talk(&mut sim, &path, false);
            sim.run_for(s(3)).unwrap();
            sim.hush();
            sim.run_for(s(pause)).unwrap();
            talk(&mut sim, &path, false);
            sim.run_for(s(12)).unwrap();
            assert_up(&mut sim, &path, false, &format!("{text} after {pause} s"));
        }
    }
}

#[test]
fn both_ends_at_once_leave_one_session() {
    for text in PROTECTED {
        for seed in 0..20 {
            let (mut sim, path) = chain(seed, text);
            sim.net.conditions.jitter = seed * 500;
            talk(&mut sim, &path, true);
            sim.run_for(s(15)).unwrap();
            assert_up(&mut sim, &path, true, &format!("{text} seed {seed}"));
            let rows = (0..path.agents.len()).filter_map(|at| path.row(&sim, at));
            let protecting = rows.filter(|row| row.verdict == "protected").count();
            assert_eq!(protecting, 2, "{text} seed {seed}");
        }
    }
}

/// What goes there passes the router between, what comes back does not.
fn asymmetric(seed: u64, text: &str) -> (Sim, Chain) {
    let (mut sim, path) = chain(seed, text);
    let (before, after) = (path.path[0], path.path[2]);
    sim.route(after, before, before);
    (sim, path)
}

#[test]
fn closed_router_on_one_half_of_the_path_lets_nothing_pass() {
    for text in ["s1c T1c d1c", "s1o T1c d1o"] {
        let (mut sim, path) = asymmetric(4, text);
        talk(&mut sim, &path, false);
        sim.run_for(s(10)).unwrap();
        let tally = sim.check.tally(path.source(), path.destination(), 0, sim.now() - 300_000);
        assert_eq!((tally.sealed, tally.clear), (0, 0), "{text}");
        assert_ne!(path.row(&sim, 1).map(|row| row.verdict), Some("transit"), "{text}");
    }
}

/// What is sealed passes a closed router only if both ends of its session signed as it listened.
#[test]
fn sealed_datagram_of_no_known_session_does_not_pass_a_closed_router() {
    for (text, passes) in [("s1c T1c d1c", false), ("s1c T1o d1c", true)] {
        let (mut sim, path) = chain(13, text);
        let [source, router, destination] = path.path[..] else { panic!("three machines") };
        let seen = Rc::new(Cell::new(0));
        let count = Rc::clone(&seen);
        sim.tamper(move |passing| {
            let sealed = matches!(passing.class, Class::Sealed(_));
            count.set(count.get() + u32::from(sealed && passing.from == router));
            Fate::Carry
        });
        let [from, to] = [destination, source].map(|node| (sim.node(node).addr, DATA_PORT));
        let datagram = |sim: &mut Sim| {
            let sealed = [&[0x10, 0, 0, 7, 0, 0, 0, 0][..], &[9; 40]].concat();
            sim.inject_at(router, destination, udp_packet(from, to, 0, &sealed), Origin::Forged);
            sim.run_for(ms(100)).unwrap();
        };
        datagram(&mut sim);
        assert_eq!(seen.get() == 1, passes, "{text}: before there is any session");
        talk(&mut sim, &path, false);
        sim.run_for(s(2)).unwrap();
        sim.hush();
        sim.run_for(s(30)).unwrap();
        seen.set(0);
        datagram(&mut sim);
        assert_eq!(seen.get() == 1, passes, "{text}: beside a session");
    }
}

#[test]
fn open_router_on_one_half_of_the_path_is_in_nobodys_way() {
    let (mut sim, path) = asymmetric(5, "s1o T1o d1o");
    talk(&mut sim, &path, true);
    sim.run_for(s(10)).unwrap();
    assert_up(&mut sim, &path, true, "open");
}

/// Agents and rule agree on a path where nothing is lost.
fn agree(text: &str) {
    let (mut sim, path) = chain(8, text);
    let observed = observe(&mut sim, &path, Patience::Short).unwrap();
    assert_eq!(observed.verdicts, verdicts(&plan(text).agents()), "{text}");
    assert!(observed.odd.is_empty(), "{text}: {:?}", observed.odd);
}

/// A refusal counts whoever signs it, also where signer and asker share a group that does not help:
/// the signer is on the asker's own side, or on neither.
#[test]
fn refusal_by_a_closed_agent_of_ones_own_group_is_heeded() {
    for text in ["s1o S1o T1c", "s1o S1c S12c", "S1o S1o S1c", "s1o S1o S2o T2c", "s1o D1o T1c"] {
        agree(text);
    }
}

/// The end that the rule names was not there when the flow began.
#[test]
fn end_that_comes_late_takes_over() {
    for text in ["s1o D1o d1c", "s1o D1o d1o", "s1c D1c d1c", "S1o D1o D1o", "S1o S1o D1o"] {
        let (mut sim, path) = chain(9, text);
        let late = if text.starts_with("S1o S1o") { 0 } else { 2 };
        let node = path.agents[late].0;
        // A router's kernel without agent forwards nothing: it was stopped, not killed.
        let away = if text.ends_with('c') { Fault::Crash(node) } else { Fault::Stop(node) };
        sim.at(s(0), away);
        talk(&mut sim, &path, false);
        sim.run_for(s(10)).unwrap();
        sim.at(s(0), Fault::Start { node, cached: true });
        // A destination is found by the questions inwards of the router in front of it.
        sim.run_for(s(30)).unwrap();
        sim.hush();
        let observed = observe(&mut sim, &path, Patience::Long).unwrap();
        assert_eq!(observed.verdicts, verdicts(&plan(text).agents()), "{text}");
    }
}

/// A flow that began in clear, as nobody answered, turns protected, and no verdict stays in a kernel.
#[test]
fn late_answer_over_a_path_ends_plaintext_at_once() {
    for text in ["s1o T1o d1o", "s1o S1o D1o d1o"] {
        for lost in [300, 500, 700, 900, 1500, 2500] {
            let (mut sim, path) = chain(10, text);
            sim.net.conditions.latency = 40_000;
            sim.tamper(move |passing| match passing.class {
                Class::Message(..) => Fate::Lose,
                _ => Fate::Carry,
            });
            sim.flow(path.source(), path.destination(), Traffic::Datagrams(300), ms(20));
            sim.run_for(ms(lost)).unwrap();
            sim.untamper();
            sim.run_for(s(15)).unwrap();
            assert_up(&mut sim, &path, false, &format!("{text}, {lost} ms"));
        }
    }
}

/// The agent of the source machine stops and goes on in clear, as it said. Its router once protected
/// the same pair, and does so again.
#[test]
fn router_that_once_protected_a_pair_does_so_again_after_an_inner_agent() {
    let (mut sim, path) = chain(11, "s1o S1o D1o");
    let (inner, outside) = (path.source(), (path.path[1], path.path[2]));
    talk(&mut sim, &path, false);
    sim.at(s(0), Fault::Stop(inner));
    sim.run_for(s(5)).unwrap();
    assert_eq!(path.row(&sim, 1).map(|row| row.verdict), Some("protected"));
    sim.hush();
    sim.run_for(s(310)).unwrap();
    sim.at(s(0), Fault::Start { node: inner, cached: true });
    talk(&mut sim, &path, false);
    sim.run_for(s(2)).unwrap();
    assert_eq!(path.row(&sim, 1).map(|row| row.verdict), Some("transit"));
    sim.hush();
    sim.at(s(0), Fault::Stop(inner));
    sim.run_for(ms(10)).unwrap();
    for _ in 0..20 {
        let parcel = sim.send(path.source(), path.destination(), 200);
        sim.run_for(ms(300)).unwrap();
        assert!(!sim.check.track(parcel).readable.contains(&outside));
    }
}

#[test]
fn machine_that_answers_no_ping_is_answered_for() {
    for (text, agents) in
        [("S1c D1c", 2), ("s1o D1o D1o", 3), ("S1o D2o D1o", 3), ("S1o D1c D1c", 3)]
    {
        let (mut sim, path) = chain(6, text);
        sim.answers_ping(path.destination(), false);
        talk(&mut sim, &path, false);
        sim.run_for(s(5)).unwrap();
        assert_up(&mut sim, &path, false, text);
        let last = path.row(&sim, agents - 1).map(|row| row.verdict);
        assert_eq!(last, Some("protected"), "{text}: the innermost answers");
    }
}

#[test]
fn large_packets_find_their_way() {
    for text in PROTECTED {
        for narrow in [1500, 1300, 1000] {
            let (mut sim, path) = chain(7, text);
            let middle = path.path.len() / 2;
            let (one, other) = (path.path[middle - 1], path.path[middle]);
            sim.flow(path.source(), path.destination(), Traffic::Stream(20_000), ms(300));
            sim.flow(path.source(), path.destination(), Traffic::Datagrams(1500), ms(200));
            sim.run_for(s(2)).unwrap();
            sim.at(s(0), Fault::Mtu(one, other, narrow));
            sim.at(s(0), Fault::Mtu(other, one, narrow));
            sim.run_for(s(4)).unwrap();
            assert_up(&mut sim, &path, false, &format!("{text} at {narrow}"));
        }
    }
}
