//! A running flow between two members while routers come, go and change, in virtual time.
//!
//! ```text
//!   a ges ──┬── r1 gen ──┬── b ges       hooks of r1 and r2 towards b; each way has its own route
//!           ├── r2 gen ──┤
//!           └────────────┘
//! ```
//! `cargo test --release -p ge-sim --test it route_change -- --nocapture` prints the figures.

use crate::chains::{chain, plan, talk};
use crate::{ladder, ms, s};
use ge_core::Mode;
use ge_core::limits::REFUSED_LIFETIME;
use ge_sim::chain::Chain;
use ge_sim::fault::Fault;
use ge_sim::matrix::oracle::{Verdict, verdicts};
use ge_sim::{NodeId, Sim};
use std::time::Duration;

/// So finely is recovery measured: the spacing of the packets.
const STEP: u64 = 230_000;
/// So long is a flow watched after a change.
const WATCHED: Duration = Duration::from_secs(25);
/// Routers by the letters of [`plan`]: open, closed of the group, open and closed of another one.
const KINDS: [&str; 4] = ["T1o", "T1c", "T2o", "T2c"];
const ENDS: [[&str; 2]; 2] = [["s1c", "d1c"], ["s1o", "d1o"]];

/// By which router a way leads.
#[derive(Clone, Copy)]
enum By {
    R1,
    R2,
    Nobody,
}

struct World {
    sim: Sim,
    path: Chain,
    what: String,
    /// The flow was refused before the change: that it is not any more is found out only when its
    /// destination is asked about again.
    refused: bool,
}

impl World {
    fn new(seed: u64, [source, destination]: [&str; 2], routers: [&str; 2]) -> Self {
        let text = format!("{source} {} {} {destination}", routers[0], routers[1]);
        let (mut sim, path) = chain(seed, &text);
        let [a, r1, r2, b] = path.path[..] else { panic!("four machines") };
        for router in [r1, r2] {
            sim.outside(router, &[b]);
            sim.route(router, a, a);
            sim.route(router, b, b);
        }
        let mut world = Self { sim, path, what: text, refused: false };
        world.lead(s(0), By::R1, By::R1);
        world.run(ms(1));
        world
    }

    fn node(&self, by: By, end: NodeId) -> NodeId {
        match by {
            By::R1 => self.path.path[1],
            By::R2 => self.path.path[2],
            By::Nobody => end,
        }
    }

    /// What `a` sends goes by one router, what `b` sends by another.
    fn lead(&mut self, after: Duration, there: By, back: By) {
        let (a, b) = (self.path.source(), self.path.destination());
        let (next, previous) = (self.node(there, b), self.node(back, a));
        self.sim.at(after, Fault::Route { at: a, to: b, next });
        self.sim.at(after, Fault::Route { at: b, to: a, next: previous });
    }

    fn r1(&self) -> NodeId {
        self.path.path[1]
    }

    /// Router `at` has no agent any more, or not yet: it forwards like any other. One that stopped while
    /// closed would go on refusing.
    fn without_agent(&mut self, at: usize) {
        let (node, mode) = (self.path.path[at], plan(&self.what).agents()[at].mode);
        self.sim.at(s(0), Fault::Mode(node, Mode::Open));
        self.sim.at(ms(100), Fault::Stop(node));
        self.sim.at(ms(200), Fault::Mode(node, mode));
        self.run(ms(300));
    }

    fn run(&mut self, time: Duration) {
        self.sim.run_for(time).unwrap();
    }

    /// Both ends send; nobody waits for an earlier change any more.
    fn talk(&mut self) {
        talk(&mut self.sim, &self.path, true);
        self.run(s(4));
        let (a, b) = (self.path.source(), self.path.destination());
        self.refused = self.sim.row_verdict(a, b) != "protected";
    }

    fn assert_up(&self) {
        let (a, b) = (self.path.source(), self.path.destination());
        let rows = [self.sim.row_verdict(a, b), self.sim.row_verdict(b, a)];
        assert_eq!(rows, ["protected"; 2], "{}", self.what);
    }

    /// Whether the rule lets the flow pass these routers.
    fn passes(&self, on_path: &[usize]) -> bool {
        let agents = plan(&self.what).agents();
        let kept = agents.iter().enumerate();
        let kept = kept.filter(|(at, _)| [0, 3].contains(at) || on_path.contains(at));
        !verdicts(&kept.map(|(_, agent)| agent.clone()).collect::<Vec<_>>())
            .contains(&Verdict::Discard)
    }

    /// A flow that passed recovers within the retry ladder, to the spacing of its packets.
    fn bound(&self) -> Duration {
        let passed = ladder() + Duration::from_micros(STEP);
        if self.refused { REFUSED_LIFETIME + passed } else { passed }
    }

    /// Microseconds from now until the flow is, both ways, as the rule says and stays so. Nothing ever
    /// goes in clear, unless the ends are open and the pair was never protected: then nobody may have
    /// answered for a moment.
    fn settle(&mut self, passes: bool, change: &str) -> u64 {
        let began = self.sim.now();
        let closed = plan(&self.what).agents()[0].mode == Mode::Closed;
        let wary = [0, 3].iter().any(|at| self.path.is_wary(&self.sim, *at));
        self.run(WATCHED);
        let (a, b) = (self.path.source(), self.path.destination());
        let what = format!("{}: {change}", self.what);
        let wrong = (began..self.sim.now() - 1_000_000).step_by(STEP as usize).filter(|from| {
            [(a, b), (b, a)].iter().any(|(one, other)| {
                let tally = self.sim.check.tally(*one, *other, *from, from + STEP);
                assert!(tally.clear == 0 || !closed && !wary, "{what}: in clear");
                tally.clear > 0 || if passes { tally.lost > 0 } else { tally.sealed > 0 }
            })
        });
        let took = wrong.last().map_or(0, |from| from + STEP - began);
        assert!(Duration::from_micros(took) <= self.bound(), "{what}: {took} us");
        if passes {
            self.assert_up();
        }
        took
    }
}

fn print(what: &str, mut took: Vec<u64>) {
    took.sort_unstable();
    let [p50, max] = [took[took.len() / 2], took[took.len() - 1]].map(Duration::from_micros);
    println!("{}, {} runs: as the rule says after {p50:?} (p50), {max:?} (max)", what, took.len());
}

#[test]
fn router_appears_on_the_path() {
    let mut took = Vec::new();
    for ends in ENDS {
        for kind in KINDS {
            let mut world = World::new(30, ends, [kind, "T1o"]);
            world.without_agent(1);
            world.talk();
            world.assert_up();
            world.sim.at(s(0), Fault::Start { node: world.r1(), cached: false });
            let passes = world.passes(&[1]);
            took.push(world.settle(passes, "r1 appears"));
        }
    }
    print("a router appears", took);
}

#[test]
fn router_vanishes_from_the_path() {
    let mut took = Vec::new();
    for ends in ENDS {
        for kind in KINDS {
            for change in ["stops", "crashes, the route goes past it", "the route goes past it"] {
                let mut world = World::new(31, ends, [kind, "T1o"]);
                world.talk();
                match change {
                    "stops" => world.sim.at(s(0), Fault::Stop(world.r1())),
                    "the route goes past it" => world.lead(s(0), By::Nobody, By::Nobody),
                    _ => {
                        world.sim.at(s(0), Fault::Crash(world.r1()));
                        world.run(s(3));
                        world.lead(s(0), By::Nobody, By::Nobody);
                    }
                }
                // What a closed agent leaves behind refuses.
                let passes = change != "stops" || kind.ends_with('o');
                took.push(world.settle(passes, change));
            }
        }
    }
    print("a router vanishes", took);
}

#[test]
fn route_moves_to_another_router() {
    let mut took = Vec::new();
    for ends in ENDS {
        for one in KINDS {
            for other in KINDS {
                for agents in ["both", "only r1", "only r2"] {
                    let mut world = World::new(32, ends, [one, other]);
                    let [stopped, passes] = match agents {
                        "both" => [None, Some(2)],
                        "only r1" => [Some(2), None],
                        _ => [Some(1), Some(2)],
                    };
                    if let Some(at) = stopped {
                        world.without_agent(at);
                    }
                    world.talk();
                    world.lead(s(0), By::R2, By::R2);
                    let passes = world.passes(passes.as_slice());
                    took.push(world.settle(passes, &format!("to r2, agents: {agents}")));
                }
            }
        }
    }
    print("the route moves", took);
}

/// What comes back takes another router from now on. A closed one there never saw the session begin,
/// nor can it: it lets nothing of it pass.
#[test]
fn replies_move_to_another_router() {
    let mut took = Vec::new();
    for ends in ENDS {
        for (routers, passes) in
            [(["T1o", "T1o"], true), (["T2o", "T1o"], true), (["T1c", "T1o"], true)]
        {
            let mut world = World::new(33, ends, routers);
            world.talk();
            world.lead(s(0), By::R1, By::R2);
            took.push(world.settle(passes, "replies by r2"));
        }
        let mut world = World::new(33, ends, ["T1o", "T1c"]);
        world.talk();
        world.lead(s(0), By::R1, By::R2);
        let since = world.sim.now();
        world.run(WATCHED);
        let (a, b) = (world.path.source(), world.path.destination());
        let [there, back] =
            [(a, b), (b, a)].map(|(one, other)| world.sim.check.tally(one, other, since, u64::MAX));
        assert_eq!((there.clear, back.clear, back.sealed), (0, 0, 0), "{}", world.what);
    }
    print("replies move", took);
}

#[test]
fn both_ends_start_at_once_past_a_router() {
    let mut took = Vec::new();
    for ends in ENDS {
        for kind in KINDS {
            for seed in 0..10 {
                let mut world = World::new(seed, ends, [kind, "T1o"]);
                world.sim.net.conditions.jitter = seed * 500;
                let passes = world.passes(&[1]);
                talk(&mut world.sim, &world.path, true);
                took.push(world.settle(passes, "both at once"));
            }
        }
    }
    print("both ends at once", took);
}

/// A router starts anew within the moment: only its rows are gone, the ends notice nothing.
#[test]
fn router_alone_forgets_its_row() {
    let mut took = Vec::new();
    for ends in ENDS {
        for kind in KINDS {
            let mut world = World::new(34, ends, [kind, "T1o"]);
            world.talk();
            world.sim.at(s(0), Fault::Crash(world.r1()));
            world.sim.at(s(0), Fault::Start { node: world.r1(), cached: true });
            let passes = world.passes(&[1]);
            took.push(world.settle(passes, "r1 forgets"));
        }
    }
    print("a row is forgotten in the middle", took);
}
