//! The matrix with every open agent in observe mode. What an agent lists is compared with the rule
//! for the same path in which this agent alone is closed: its record on the wire says open, so that
//! nobody else does anything else for it.

use super::case::{Case, GROUPS};
use super::oracle::{self, Agent, Verdict};
use super::{Settings, run};
use crate::chain::Chain;
use crate::sim::{Manner, Sim};
use ge_core::Mode;

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What the agents did, in path order.
    pub verdicts: Vec<Verdict>,
    /// Which of them list the flow as one that closed mode would drop.
    pub would: Vec<bool>,
    /// Which of them the rule would have drop it, if they saw it pass and were closed.
    pub expected_would: Vec<bool>,
}

/// Runs cases one after the other.
#[must_use]
pub fn observe_all(cases: &[Case], settings: Settings) -> Vec<Observation> {
    cases.iter().map(|case| observe(*case, settings)).collect()
}

fn observe(case: Case, settings: Settings) -> Observation {
    let plan = case.plan(settings.transit);
    let agents = plan.agents();
    let manner = Manner { observe: true, ..Manner::default() };
    let (mut sim, chain) = run::world_of(settings.seed, settings.v4, GROUPS, &plan, manner);
    let verdicts = run::observe(&mut sim, &chain, run::Patience::Short)
        .map_or_else(|_| Vec::new(), |observed| observed.verdicts);
    let would = (0..agents.len()).map(|at| lists(&sim, &chain, at)).collect();
    let expected_would = (0..agents.len()).map(|at| expected(&agents, at)).collect();
    Observation { verdicts, would, expected_would }
}

fn lists(sim: &Sim, chain: &Chain, at: usize) -> bool {
    chain.would_drop(sim, at).is_some()
}

/// An open agent outside of the segment of a flow that passes.
fn expected(agents: &[Agent], at: usize) -> bool {
    let mut closed = agents.to_vec();
    closed[at].mode = Mode::Closed;
    let inside = oracle::segment(agents).is_some_and(|(first, last)| first <= at && at <= last);
    agents[at].mode == Mode::Open
        && !inside
        && oracle::verdicts(agents)[at] == Verdict::Bypass
        && oracle::verdicts(&closed)[at] == Verdict::Discard
}
