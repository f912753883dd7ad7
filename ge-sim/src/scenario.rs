//! A whole run drawn from a seed: who there is, what they send, what goes wrong, and whether all is
//! well in the end. Here machines that reach each other directly; in [`path`] machines in a row; in
//! [`siege`] the same with somebody between them. Agents have one thread each, or as many as the seed
//! says.

pub mod path;
pub mod siege;

use crate::check::{Invariant, Violation};
use crate::fault::{Cast, Fault, plan};
use crate::net::{below, hit};
use crate::node::Agent;
use crate::packet::NodeId;
use crate::sabotage::Sabotage;
use crate::sim::{Manner, Sim, Traffic};
use ge_core::Mode;
use ge_core::crypto::Rng;
use ge_core::limits::ASK_AGAIN_LAST;
use rand_core::SeedableRng as _;
use std::time::Duration;

/// After the last fault every wanted flow is up within ten seconds (THREATS.md I10) and one retry
/// ladder, with the time a refused destination is left alone.
const SETTLE: Duration = Duration::from_secs(14);
/// Then every packet must arrive.
const PROOF: Duration = Duration::from_secs(3);
/// Where agents have threads so many times as much is sent, or nothing would be under way when their
/// engines change something.
const HASTE: u32 = 10;
/// Packets sent this shortly before the end may still be on their way.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// A kind of world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum World {
    /// Machines that reach each other directly.
    Mesh,
    /// Machines in a row.
    Path,
    /// Machines in a row, with intruders between them.
    Siege,
    /// Machines that reach each other directly, and of every third seed machines in a row, whose agents
    /// have several threads.
    Threads,
}

impl World {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Mesh, Self::Path, Self::Siege, Self::Threads];

    /// `mesh`, `path`, `siege` or `threads`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Path => "path",
            Self::Siege => "siege",
            Self::Threads => "threads",
        }
    }

    /// The world of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|world| world.as_str() == name)
    }

    /// Runs the scenario of a seed.
    ///
    /// # Errors
    /// The first violation.
    pub fn run(self, seed: u64, trace: bool) -> Result<Outcome, Violation> {
        self.run_as(seed, trace, Manner::default())
    }

    fn run_as(self, seed: u64, trace: bool, manner: Manner) -> Result<Outcome, Violation> {
        let threads = Manner { threads: true, ..manner };
        match self {
            Self::Mesh => run_as(seed, trace, None, manner),
            Self::Path => path::run_as(seed, trace, manner),
            Self::Siege => siege::run_as(seed, trace, manner),
            Self::Threads if self.is_row(seed) => path::run_as(seed, trace, threads),
            Self::Threads => run_as(seed, trace, None, threads),
        }
    }

    /// Machines in a row, which are to settle as the rule says.
    fn is_row(self, seed: u64) -> bool {
        match self {
            Self::Mesh | Self::Siege => false,
            Self::Path => true,
            Self::Threads => seed.is_multiple_of(3),
        }
    }

    /// Runs the scenario of a seed for what must never happen. That every path settles as the rule
    /// says after faults (I10) does not hold yet: docs/known-issues.md.
    ///
    /// # Errors
    /// The first violation.
    pub fn run_for_safety(self, seed: u64) -> Result<Outcome, Violation> {
        match self.run(seed, false) {
            Err(violation)
                if self.is_row(seed) && violation.invariant == Invariant::I10Liveness =>
            {
                Ok(Outcome { unsettled: 1, ..Outcome::default() })
            }
            result => result,
        }
    }

    /// The same, with every open agent in observe mode.
    ///
    /// # Errors
    /// The first violation.
    pub fn run_observing(self, seed: u64) -> Result<Outcome, Violation> {
        self.run_as(seed, false, Manner { observe: true, ..Manner::default() })
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Events.
    pub events: u64,
    /// Virtual time in microseconds.
    pub simulated: u64,
    /// Worlds that did not settle as the rule says, where that is looked over.
    pub unsettled: u64,
}

/// Runs the scenario of a seed.
///
/// # Errors
/// The first violation.
pub fn run(seed: u64, trace: bool, sabotage: Option<Sabotage>) -> Result<Outcome, Violation> {
    run_as(seed, trace, sabotage, Manner::default())
}

fn run_as(
    seed: u64,
    trace: bool,
    sabotage: Option<Sabotage>,
    manner: Manner,
) -> Result<Outcome, Violation> {
    let mut rng = Rng::seed_from_u64(!seed);
    let v4 = hit(&mut rng, 700);
    let mut sim = Sim::with_family(seed, v4);
    sim.trace = trace;
    sim.sabotage = sabotage;
    sim.net.filters_echo = filters_echo(seed);
    sim.mgmt.observe = manner.observe;
    let length = length(&mut rng);
    let nodes = stage(&mut sim, &mut rng, v4, length, manner.threads);
    sim.run_for(Duration::from_micros(length))?;
    quiet(&mut sim, &nodes)?;
    let settle = if asks_in_background(&sim, &nodes) { SETTLE + ASK_AGAIN_LAST } else { SETTLE };
    sim.run_for(settle)?;
    let from = sim.now();
    sim.run_for(PROOF + IN_FLIGHT)?;
    let until = sim.now() - IN_FLIGHT.as_micros() as u64;
    liveness(&mut sim, &nodes, from, until);
    sim.verdict()?;
    Ok(Outcome { events: sim.events(), simulated: sim.now(), unsettled: 0 })
}

/// Every tenth world filters echo. Not drawn from the world's own generator: what else happens in it
/// does not depend on this.
fn filters_echo(seed: u64) -> bool {
    hit(&mut Rng::seed_from_u64(seed ^ 0x6563_686f), 100)
}

/// Most runs are short; a few see rekeying.
fn length(rng: &mut Rng) -> u64 {
    if hit(rng, 30) { 300_000_000 } else { 2_000_000 + below(rng, 25_000_000) }
}

fn stage(sim: &mut Sim, rng: &mut Rng, v4: bool, length: u64, threads: bool) -> Vec<NodeId> {
    let groups = vec![sim.group(), sim.group()];
    let mut agents = Vec::new();
    for _ in 0..2 + below(rng, 3) {
        let mode = if hit(rng, 600) { Mode::Closed } else { Mode::Open };
        let member_of: &[_] = match below(rng, 10) {
            0 => &groups[1..],
            1 | 2 => &groups,
            _ => &groups[..1],
        };
        let node = sim.agent(mode, member_of);
        if hit(rng, 300) {
            sim.skew(node, below(rng, 121) as i64 - 60);
        }
        agents.push(node);
    }
    let mut nodes = agents.clone();
    if hit(rng, 400) {
        nodes.push(sim.host());
    }
    sim.bundle_delay = below(rng, 2_000_000);
    if threads {
        sim.spread_all();
    }
    sim.start();
    let haste = if threads { HASTE } else { 1 };
    flows(sim, rng, &nodes, length, haste);
    for (at, fault) in plan(rng, &Cast { agents, groups, v4 }, length) {
        sim.at_micros(at, fault);
    }
    if hit(rng, 500) {
        sim.attack(Some(Duration::from_millis(50 + below(rng, 500))));
    }
    nodes
}

fn flows(sim: &mut Sim, rng: &mut Rng, nodes: &[NodeId], length: u64, haste: u32) {
    // Both ends at once is the interesting beginning.
    let together = hit(rng, 400);
    for from in nodes {
        for to in nodes {
            if from == to || hit(rng, 400) {
                continue;
            }
            let start = if together { 0 } else { below(rng, length / 2) };
            let traffic = if hit(rng, 800) {
                Traffic::Datagrams(64 + below(rng, 1400) as usize)
            } else {
                Traffic::Stream(100 + below(rng, 20_000) as usize)
            };
            let every = Duration::from_millis(300 + below(rng, 1200));
            sim.flow_from(*from, *to, traffic, every / haste, start);
        }
    }
}

/// The faults are over: links are good, agents run.
fn quiet(sim: &mut Sim, nodes: &[NodeId]) -> Result<(), Violation> {
    sim.at(Duration::ZERO, Fault::Quiet);
    for node in nodes {
        if sim.node(*node).identity.is_some() {
            sim.at(Duration::ZERO, Fault::Start { node: *node, cached: true });
        }
    }
    sim.run_for(Duration::ZERO)
}

/// An open agent that let a flow go in clear asks about it less and less often.
fn asks_in_background(sim: &Sim, nodes: &[NodeId]) -> bool {
    nodes.iter().any(|a| {
        nodes.iter().any(|b| sim.mgmt.share_group(*a, *b) && sim.row_verdict(*a, *b) == "clear")
    })
}

/// I10. Between members of a common group everything sent arrives, and protected wherever one end
/// is closed: an open pair that met while packets were lost may go on in clear until it is asked
/// again.
fn liveness(sim: &mut Sim, nodes: &[NodeId], from: u64, until: u64) {
    for a in nodes {
        for b in nodes {
            let wanted = a != b
                && sim.mgmt.share_group(*a, *b)
                && [a, b].iter().all(|n| matches!(sim.node(**n).agent, Agent::Running(_)));
            if !wanted {
                continue;
            }
            let closed = [a, b].iter().any(|node| sim.mgmt.mode(**node) == Mode::Closed);
            let tally = sim.check.tally(*a, *b, from, until);
            if tally.lost > 0 || (closed && tally.clear > 0) {
                let detail = format!(
                    "{a:?} to {b:?} after the faults: {tally:?}, rows {} and {}",
                    sim.row_verdict(*a, *b),
                    sim.row_verdict(*b, *a)
                );
                sim.check.fail(Invariant::I10Liveness, detail);
            }
        }
    }
}
