//! Somebody on the path who swallows messages: each of the four and each set of them, for ever. What
//! must not be in clear is not in clear; who is nobody's member is reached. THREATS.md 1.1 row 1.

use crate::{ms, s};
use ge_core::mode::Prefix;
use ge_core::wire::dprp::Kind;
use ge_core::{GroupId, Mode, Transit};
use ge_sim::chain::{Chain, Plan, Router};
use ge_sim::fault::Fault;
use ge_sim::matrix::oracle::{Agent, Standing};
use ge_sim::packet::Class;
use ge_sim::{Fate, Sim, Traffic};

const MESSAGES: [Kind; 4] = [Kind::Dde, Kind::Rgi, Kind::Mpit, Kind::Cdn];

/// Each of the four and each set of them.
fn sets() -> impl Iterator<Item = Vec<Kind>> {
    (1..16).map(|set: u32| {
        MESSAGES
            .into_iter()
            .enumerate()
            .filter(|(at, _)| set >> at & 1 == 1)
            .map(|(_, k)| k)
            .collect()
    })
}

fn swallow(sim: &mut Sim, kinds: &[Kind]) {
    let kinds = kinds.to_vec();
    sim.tamper(move |passing| match passing.class {
        Class::Message(kind, _) if kinds.contains(&kind) => Fate::Lose,
        _ => Fate::Carry,
    });
}

/// Where agents stand: on both machines, on both with one between, in front of both.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Hosts,
    HostsAndBetween,
    Routers,
}

const SHAPES: [Shape; 3] = [Shape::Hosts, Shape::HostsAndBetween, Shape::Routers];

/// The two ends in `mode`, one group; links between the two ends of the segment.
fn path(shape: Shape, mode: Mode, must_protect: bool) -> (Sim, Chain, std::ops::Range<usize>) {
    let mut sim = Sim::new(1);
    let group = sim.group();
    let agent =
        |standing, mode| Agent { standing, mode, transit: Transit::Vouched, groups: vec![group] };
    let mut plan = Plan::default();
    let ends = [Standing::Source, Standing::Destination].map(|standing| agent(standing, mode));
    let [source, destination] = ends;
    let between = match shape {
        Shape::Hosts | Shape::HostsAndBetween => {
            plan.source = Some(source);
            plan.destination = Some(destination);
            0..1 + usize::from(matches!(shape, Shape::HostsAndBetween))
        }
        Shape::Routers => {
            plan.routers = vec![Router::new(source), Router::new(destination)];
            1..2
        }
    };
    if matches!(shape, Shape::HostsAndBetween) {
        plan.routers.push(Router::new(agent(Standing::Transit, Mode::Open)));
    }
    let chain = Chain::build(&mut sim, &plan);
    if must_protect {
        let address = sim.node(chain.destination()).addr;
        sim.mgmt.must_protect(Prefix { address, length: 32 });
    }
    sim.start();
    sim.run_for(ms(100)).unwrap();
    (sim, chain, between)
}

/// Packets that can be read between the two, and packets that arrive, of ten within five seconds.
fn readable(sim: &mut Sim, chain: &Chain, between: &std::ops::Range<usize>) -> (usize, usize) {
    let mut parcels = Vec::new();
    for _ in 0..10 {
        parcels.push(sim.send(chain.source(), chain.destination(), 200));
        sim.run_for(ms(500)).unwrap();
    }
    sim.run_for(s(1)).unwrap();
    let links: Vec<_> =
        chain.path[between.start..=between.end].windows(2).map(|link| (link[0], link[1])).collect();
    let tracks: Vec<_> = parcels.into_iter().map(|parcel| sim.check.track(parcel)).collect();
    let readable =
        tracks.iter().filter(|track| links.iter().any(|link| track.readable.contains(link)));
    (readable.count(), tracks.iter().filter(|track| track.arrived > 0).count())
}

#[test]
fn nothing_forbidden_is_in_clear_whatever_is_swallowed() {
    for shape in SHAPES {
        for mode in [Mode::Open, Mode::Closed] {
            for must_protect in [false, true] {
                for kinds in sets() {
                    let (mut sim, chain, between) = path(shape, mode, must_protect);
                    swallow(&mut sim, &kinds);
                    let (readable, arrived) = readable(&mut sim, &chain, &between);
                    let what = format!("{shape:?} {mode:?} must protect {must_protect}: {kinds:?}");
                    if mode == Mode::Closed || must_protect {
                        assert_eq!(readable, 0, "{what}");
                    } else if kinds.contains(&Kind::Dde) || kinds.contains(&Kind::Rgi) {
                        assert_eq!((readable, arrived), (10, 10), "{what}: open falls back");
                    }
                    if kinds == [Kind::Cdn] && !matches!(shape, Shape::HostsAndBetween) {
                        assert_eq!((readable, arrived), (0, 10), "{what}: data confirms as well");
                    }
                }
            }
        }
    }
}

#[test]
fn what_was_protected_once_is_not_in_clear_whatever_is_swallowed() {
    for shape in SHAPES {
        for kinds in sets() {
            let (mut sim, chain, between) = path(shape, Mode::Open, false);
            sim.send(chain.source(), chain.destination(), 200);
            sim.run_for(s(2)).unwrap();
            let there = chain.row(&sim, 0).map(|row| row.verdict);
            assert_eq!(there, Some("protected"), "{shape:?}");
            swallow(&mut sim, &kinds);
            // The other end loses its session, and with it its answer.
            let other = chain.agents[chain.agents.len() - 1].0;
            sim.at(s(0), Fault::Crash(other));
            sim.at(ms(100), Fault::Start { node: other, cached: true });
            sim.run_for(ms(200)).unwrap();
            let mut clear = 0;
            for _ in 0..4 {
                clear += readable(&mut sim, &chain, &between).0;
            }
            assert_eq!(clear, 0, "{shape:?}: {kinds:?}");
        }
    }
}

#[test]
fn whoever_is_nobodys_member_is_reached_whatever_is_swallowed() {
    for kinds in sets() {
        let mut sim = Sim::new(2);
        let groups = [sim.group(), sim.group()];
        let agent = |standing, group: GroupId| Agent {
            standing,
            mode: Mode::Open,
            transit: Transit::Vouched,
            groups: vec![group],
        };
        let plan = Plan {
            source: Some(agent(Standing::Source, groups[0])),
            routers: vec![Router::new(agent(Standing::Destination, groups[1]))],
            destination: None,
        };
        let chain = Chain::build(&mut sim, &plan);
        sim.start();
        swallow(&mut sim, &kinds);
        sim.flow(chain.source(), chain.destination(), Traffic::Datagrams(200), ms(500));
        sim.run_for(s(10)).unwrap();
        let tally = sim.check.tally(chain.source(), chain.destination(), 0, sim.now() - 500_000);
        assert_eq!((tally.sealed, tally.lost), (0, 0), "{kinds:?}: {tally:?}");
    }
}
