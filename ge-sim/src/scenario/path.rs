//! A path drawn from a seed: who stands where, what the two machines send, what goes wrong; and in
//! the end, when all is quiet, whether every agent does what the rule says.

use super::Outcome;
use crate::chain::{Chain, Outside, Plan, ROUTERS_MAX, Router};
use crate::check::{Invariant, Violation};
use crate::fault::{Cast, Fault, plan};
use crate::matrix::oracle::{Agent, Standing, Verdict, verdicts};
use crate::matrix::run::{Observed, Patience, observe, world_of};
use crate::net::{below, hit};
use crate::node::Agent as Machine;
use crate::packet::NodeId;
use crate::sim::{Manner, Sim, Traffic};
use ge_core::crypto::Rng;
use ge_core::{GroupId, Mode, Transit};
use rand_core::SeedableRng as _;
use std::time::Duration;

/// Groups members are drawn into.
pub(super) const GROUPS: u64 = 3;

/// Runs the path of a seed.
///
/// # Errors
/// The first violation.
pub fn run(seed: u64, trace: bool) -> Result<Outcome, Violation> {
    run_as(seed, trace, Manner::default())
}

pub(super) fn run_as(seed: u64, trace: bool, manner: Manner) -> Result<Outcome, Violation> {
    let mut rng = Rng::seed_from_u64(seed ^ 0x7061_7468); // other draws than the world's own
    let v4 = hit(&mut rng, 700);
    let mut stage = Stage::draw(&mut rng);
    let (mut sim, chain) = world_of(seed, v4, GROUPS as usize, &stage.plan, manner);
    sim.trace = trace;
    if trace {
        println!("{}", stage.plan);
    }
    sim.answers_ping(chain.source(), stage.source_answers);
    sim.answers_ping(chain.destination(), stage.destination_answers);
    let patience = if hit(&mut rng, 700) {
        disturb(&mut sim, &mut rng, &chain, stage.both_ways, v4)?;
        Patience::Long
    } else {
        Patience::Short
    };
    stage.plan.set_modes(chain.agents.iter().map(|(node, _)| sim.mgmt.mode(*node)));
    compare(&mut sim, &chain, &stage, patience)?;
    Ok(Outcome { events: sim.events(), simulated: sim.now(), unsettled: 0 })
}

/// Who is there.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) plan: Plan,
    pub(super) source_answers: bool,
    pub(super) destination_answers: bool,
    /// The destination machine talks as well, without being asked.
    pub(super) both_ways: bool,
}

impl Stage {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let mut plan = Plan::default();
        if hit(rng, 500) {
            plan.source = Some(agent(rng, Standing::Source));
        }
        if hit(rng, 500) {
            plan.destination = Some(agent(rng, Standing::Destination));
        }
        // Long paths are rarer than short ones, and as many as a message has room for are possible.
        let count = below(rng, ROUTERS_MAX as u64 + 1).min(below(rng, ROUTERS_MAX as u64 + 1));
        let of_source = below(rng, count + 1);
        for at in 0..count {
            let standing = match at < of_source {
                _ if hit(rng, 150) => Standing::Transit,
                true => Standing::Source,
                false => Standing::Destination,
            };
            let mut router = Router::new(agent(rng, standing));
            if standing == Standing::Transit && hit(rng, 500) {
                router.outside = Outside::Source;
            }
            plan.routers.push(router);
        }
        Self {
            plan,
            source_answers: hit(rng, 800),
            destination_answers: hit(rng, 800),
            both_ways: hit(rng, 300),
        }
    }
}

fn agent(rng: &mut Rng, standing: Standing) -> Agent {
    let mode = if hit(rng, 400) { Mode::Closed } else { Mode::Open };
    let transit = [Transit::Strict, Transit::Vouched, Transit::Any][below(rng, 3) as usize];
    let mut groups: Vec<_> = (1..=GROUPS as u32).filter(|_| hit(rng, 400)).map(GroupId).collect();
    if groups.is_empty() {
        groups.push(GroupId(1));
    }
    Agent { standing, mode, transit, groups }
}

/// Traffic, and whatever can go wrong; in the end everything is whole again.
fn disturb(
    sim: &mut Sim,
    rng: &mut Rng,
    chain: &Chain,
    both_ways: bool,
    v4: bool,
) -> Result<(), Violation> {
    let length = 2_000_000 + below(rng, 15_000_000);
    let every = Duration::from_millis(200 + below(rng, 800));
    sim.flow(chain.source(), chain.destination(), traffic(rng), every);
    if both_ways {
        // At once, or after the first packet's negotiation.
        let start = if hit(rng, 500) { 0 } else { below(rng, length) };
        sim.flow_from(chain.destination(), chain.source(), traffic(rng), every, start);
    }
    let agents: Vec<NodeId> = chain.agents.iter().map(|(node, _)| *node).collect();
    if !agents.is_empty() {
        let groups = sim.mgmt.groups();
        for (at, fault) in plan(rng, &Cast { agents: agents.clone(), groups, v4 }, length) {
            if !matches!(fault, Fault::Remove(_)) {
                sim.at_micros(at, fault);
            }
        }
    }
    if hit(rng, 400) {
        sim.attack(Some(Duration::from_millis(50 + below(rng, 500))));
    }
    sim.run_for(Duration::from_micros(length))?;
    sim.at(Duration::ZERO, Fault::Quiet);
    for node in agents {
        sim.at(Duration::ZERO, Fault::Start { node, cached: true });
    }
    sim.hush();
    sim.run_for(Duration::from_secs(5))
}

pub(super) fn traffic(rng: &mut Rng) -> Traffic {
    if hit(rng, 800) {
        Traffic::Datagrams(64 + below(rng, 1400) as usize)
    } else {
        Traffic::Stream(100 + below(rng, 20_000) as usize)
    }
}

/// What the agents do at last, against the rule.
fn compare(
    sim: &mut Sim,
    chain: &Chain,
    stage: &Stage,
    patience: Patience,
) -> Result<(), Violation> {
    let mut wrong = look(sim, chain, stage, patience)?;
    // Where faults were, the reply that `observe` ends with may be the first for an hour, and is asked
    // about: what counts is what the agents come to after it.
    if wrong.is_some() && patience == Patience::Long {
        wrong = look(sim, chain, stage, patience)?;
    }
    let Some(detail) = wrong else { return Ok(()) };
    sim.check.fail(Invariant::I10Liveness, detail);
    sim.verdict()
}

/// What is not as the rule says, at the moment.
fn look(
    sim: &mut Sim,
    chain: &Chain,
    stage: &Stage,
    patience: Patience,
) -> Result<Option<String>, Violation> {
    let Observed { verdicts: mut seen, odd } = observe(sim, chain, patience)?;
    let wary: Vec<bool> = (0..chain.agents.len()).map(|at| chain.is_wary(sim, at)).collect();
    let either_way = stage.both_ways || patience == Patience::Long;
    let Some(allowed) = expected(stage, &wary, either_way) else { return Ok(None) };
    forgive_those_nobody_tells(&stage.plan.agents(), &allowed[0], &mut seen);
    let running =
        chain.agents.iter().all(|(node, _)| matches!(sim.node(*node).agent, Machine::Running(_)));
    if !running || allowed.contains(&seen) && odd.is_empty() {
        return Ok(None);
    }
    let short = |verdicts: &Vec<Verdict>| -> String {
        verdicts.iter().map(|verdict| &verdict.as_str()[..1]).collect()
    };
    let allowed: Vec<_> = allowed.iter().map(short).collect();
    Ok(Some(format!(
        "{}: agents {}, rule {}; {}",
        stage.plan,
        short(&seen),
        allowed.join(" or "),
        odd.join("; ")
    )))
}

/// An open agent before the first one that asks sees packets come, and nobody tells it that they
/// are dropped further on.
fn forgive_those_nobody_tells(path: &[Agent], rule: &[Verdict], seen: &mut [Verdict]) {
    let unasked = path.iter().take_while(|agent| agent.standing != Standing::Source);
    for ((agent, rule), seen) in unasked.zip(rule).zip(seen) {
        if agent.mode == Mode::Open && *rule == Verdict::Discard {
            *seen = Verdict::Discard;
        }
    }
}

/// What the rule says. `None` where nobody can know: no agent of the
/// destination's side is there to be asked, and the machine itself says nothing.
///
/// "Open mode sends plaintext only if no ... sticky memory (24 h per destination once seen
/// protected)": an open agent that once protected the pair is never content with the part in clear,
/// and so does what a closed one set to `any` does.
///
/// `either_way`: the flow's first packet may have been one of the destination's. So it is where both talk,
/// and after faults: to an agent that lost its rows, or asked in vain, a reply is a first packet.
/// Everybody's policy holds in either direction, and the ends stay as long as the flow is in use
/// (decision 0016).
fn expected(stage: &Stage, wary: &[bool], either_way: bool) -> Option<Vec<Vec<Verdict>>> {
    let mut path = stage.plan.agents();
    for (agent, _) in path.iter_mut().zip(wary).filter(|(_, wary)| **wary) {
        if agent.mode == Mode::Open {
            (agent.mode, agent.transit) = (Mode::Closed, Transit::Any);
        }
    }
    let on = |side| path.iter().any(|agent| agent.standing == side);
    if !on(Standing::Source) || !on(Standing::Destination) && !stage.destination_answers {
        return None;
    }
    let mut allowed = vec![verdicts(&path)];
    if either_way {
        path.reverse();
        for agent in &mut path {
            agent.standing = match agent.standing {
                Standing::Source => Standing::Destination,
                Standing::Destination => Standing::Source,
                Standing::Transit => Standing::Transit,
            };
        }
        allowed.push(verdicts(&path).into_iter().rev().collect());
    }
    Some(allowed)
}
