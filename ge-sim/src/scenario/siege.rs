//! A path drawn from a seed, with intruders on it: outsiders, members, and routers under somebody
//! else's control, each with a script of crafts. What must never happen is looked for while they are
//! there and after they have gone; whether the flow comes up is a matter of what they do.

use super::Outcome;
use super::path::{GROUPS, Stage, traffic};
use crate::adversary::{Craft, Intruder, Position};
use crate::chain::Chain;
use crate::check::Violation;
use crate::fault::{Cast, Fault, plan};
use crate::matrix::run::world_of;
use crate::net::{below, hit};
use crate::packet::NodeId;
use crate::sim::{Manner, Sim};
use ge_core::crypto::Rng;
use ge_core::{GroupId, Mode};
use rand_core::SeedableRng as _;
use std::time::Duration;

/// Most crafts of one script.
const SCRIPT: u64 = 4;
/// What becomes of lies once nobody tells new ones.
const AFTERMATH: Duration = Duration::from_secs(8);

/// Runs the siege of a seed.
///
/// # Errors
/// The first violation.
pub fn run(seed: u64, trace: bool) -> Result<Outcome, Violation> {
    run_as(seed, trace, Manner::default())
}

pub(super) fn run_as(seed: u64, trace: bool, manner: Manner) -> Result<Outcome, Violation> {
    let mut rng = Rng::seed_from_u64(seed ^ 0x0073_6965_6765); // other draws than the world's own
    let v4 = hit(&mut rng, 700);
    let stage = Stage::draw(&mut rng);
    let (mut sim, chain) = world_of(seed, v4, GROUPS as usize, &stage.plan, manner);
    sim.trace = trace;
    sim.net.filters_echo = hit(&mut rng, 150);
    sim.answers_ping(chain.source(), stage.source_answers);
    sim.answers_ping(chain.destination(), stage.destination_answers);
    let length = 2_000_000 + below(&mut rng, 12_000_000);
    talk(&mut sim, &mut rng, &chain, stage.both_ways, length);
    if hit(&mut rng, 400) {
        disturb(&mut sim, &mut rng, &chain, v4, length);
    }
    // Half of them come when a session is up.
    if hit(&mut rng, 500) {
        sim.run_for(Duration::from_micros(length / 4))?;
    }
    for _ in 0..=below(&mut rng, 2) {
        let (intruder, what) = intruder(&mut sim, &mut rng, &chain);
        if trace {
            println!("{}: {what}", stage.plan);
        }
        sim.intrude(intruder);
    }
    sim.run_for(Duration::from_micros(length))?;
    sim.expel();
    sim.at(Duration::ZERO, Fault::Quiet);
    sim.run_for(AFTERMATH)?;
    Ok(Outcome { events: sim.events(), simulated: sim.now(), unsettled: 0 })
}

fn talk(sim: &mut Sim, rng: &mut Rng, chain: &Chain, both_ways: bool, length: u64) {
    let every = Duration::from_millis(100 + below(rng, 500));
    sim.flow(chain.source(), chain.destination(), traffic(rng), every);
    if both_ways {
        let start = if hit(rng, 500) { 0 } else { below(rng, length) };
        sim.flow_from(chain.destination(), chain.source(), traffic(rng), every, start);
    }
}

fn disturb(sim: &mut Sim, rng: &mut Rng, chain: &Chain, v4: bool, length: u64) {
    let agents: Vec<NodeId> = chain.agents.iter().map(|(node, _)| *node).collect();
    if agents.is_empty() {
        return;
    }
    let groups = sim.mgmt.groups();
    for (at, fault) in plan(rng, &Cast { agents, groups, v4 }, length) {
        sim.at_micros(at, fault);
    }
}

/// Somebody somewhere on the path, and in words.
fn intruder(sim: &mut Sim, rng: &mut Rng, chain: &Chain) -> (Intruder, String) {
    let at = below(rng, chain.path.len() as u64 - 1) as usize;
    let (one, other) = (chain.path[at], chain.path[at + 1]);
    let router = sim.node(one).identity.is_some() && sim.node(one).is_router();
    let (position, keys) = match below(rng, 4) {
        0 => (Position::Outsider, None),
        1 if router => (Position::Transit, Some(one)),
        1 | 2 => (Position::Member, Some(member(sim, &[]))),
        _ => {
            let group = GroupId(1 + below(rng, GROUPS) as u32);
            (Position::Fellow, Some(member(sim, &[group])))
        }
    };
    let keys = keys.and_then(|node| sim.keys_of(node));
    let count = 1 + below(rng, SCRIPT) as usize;
    let mut script = Vec::with_capacity(count);
    for _ in 0..count {
        let crafts: &[Craft] =
            if keys.is_some() && hit(rng, 700) { &Craft::INSIDE } else { &Craft::OUTSIDE };
        script.push(crafts[below(rng, crafts.len() as u64) as usize]);
    }
    let share = [50, 300, 1000][below(rng, 3) as usize];
    let what = format!("{position:?} between {one:?} and {other:?}, {share} of 1000: {script:?}");
    (Intruder::new(position, keys, [(one, other), (other, one)], &script, share), what)
}

/// A member of the domain that is on no machine of the path.
fn member(sim: &mut Sim, groups: &[GroupId]) -> NodeId {
    sim.agent(Mode::Closed, groups)
}
