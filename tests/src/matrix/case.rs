//! The cases, as the simulator's program names them with `matrix --rule`, and the choice of those
//! that are run on the kernel.

use crate::programs::built;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::process::Command;

/// Cases chosen unless others are named.
pub const CHOSEN: usize = 112;

/// One case: a path of agents and what the rule says of each.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Case {
    /// Kind of the source: `none`, `host-open`, `host-closed`, `router-open`, `router-closed`.
    pub source: String,
    /// Kind of the destination.
    pub destination: String,
    /// Modes of the routers between: empty, `o`, `c`, `oo`, `oc`, `co` or `cc`.
    pub transit: String,
    /// Who shares groups with whom, `R1` to `R4`.
    pub relation: String,
    /// The agents in path order.
    pub agents: Vec<Wanted>,
    /// What the rule says, in the same order: `protect`, `bypass`, `discard`.
    pub verdicts: Vec<String>,
}

/// An agent of a case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Wanted {
    /// Where it stands.
    pub place: Place,
    /// `open` or `closed`.
    pub mode: String,
    /// Numbers of its groups.
    pub groups: Vec<u32>,
}

/// A place on the longest path, in path order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The machine the first packet comes from.
    SourceHost,
    /// The router next to it.
    SourceRouter,
    /// The first of the routers between; it is of the source's side.
    #[serde(rename = "transit-1")]
    Transit1,
    /// The second; it is of the destination's side.
    #[serde(rename = "transit-2")]
    Transit2,
    /// The router next to the destination.
    DestinationRouter,
    /// The machine the first packet goes to.
    DestinationHost,
}

impl Place {
    /// Whether it is on the source's side.
    #[must_use]
    pub const fn is_source_side(self) -> bool {
        matches!(self, Self::SourceHost | Self::SourceRouter | Self::Transit1)
    }

    /// Number of the machine in path order, from 0. Link `n` is between machines `n` and `n + 1`.
    #[must_use]
    pub const fn number(self) -> usize {
        self as usize
    }
}

impl Case {
    /// Asks the simulator's program for the cases that fit `pattern`.
    ///
    /// # Errors
    /// If it is not built or there is no such case.
    pub fn fitting(pattern: &str) -> Result<Vec<Self>> {
        let program = built("ge-sim")?;
        let output =
            Command::new(program).args(["matrix", "--rule", "--case", pattern]).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ge-sim matrix --rule: {}", words.trim_end());
        let read = |line| serde_json::from_str(line).context("a line of ge-sim matrix --rule");
        said.lines().map(read).collect()
    }

    /// [`CHOSEN`] of all cases, always the same ones, in the order of all.
    ///
    /// # Errors
    /// As [`Case::fitting`].
    pub fn chosen() -> Result<Vec<Self>> {
        Ok(choose(Self::fitting("*,*,*,*")?, CHOSEN))
    }

    /// What it shows that others may not: kinds of both ends, routers between, groups, verdicts.
    fn features(&self) -> Vec<String> {
        let Self { source, destination, transit, relation, agents, verdicts } = self;
        let places: Vec<_> = agents.iter().map(|agent| agent.place.number().to_string()).collect();
        vec![
            format!("ends {source} {destination}"),
            format!("between {transit}"),
            format!("groups {relation}"),
            format!("between and groups {transit} {relation}"),
            format!("verdicts {}", verdicts.join(" ")),
            format!("verdicts at {} {}", places.join(" "), verdicts.join(" ")),
        ]
    }
}

/// First, again and again, the case that shows most of what is not yet shown; then of the others at
/// equal distances as many as are wanted.
fn choose(all: Vec<Case>, wanted: usize) -> Vec<Case> {
    let mut open: BTreeSet<String> = all.iter().flat_map(Case::features).collect();
    let mut chosen = BTreeSet::new();
    while !open.is_empty() {
        let news = |case: &Case| case.features().iter().filter(|one| open.contains(*one)).count();
        // The first of the best, so that the choice is the same everywhere.
        let best = all.iter().enumerate().rev().max_by_key(|(_, case)| news(case));
        let Some((at, case)) = best else { break };
        for feature in case.features() {
            open.remove(&feature);
        }
        chosen.insert(at);
    }
    let others: Vec<usize> = (0..all.len()).filter(|at| !chosen.contains(at)).collect();
    let more = wanted.saturating_sub(chosen.len()).min(others.len());
    chosen.extend((0..more).map(|nth| others[nth * others.len() / more]));
    all.into_iter()
        .enumerate()
        .filter(|(at, _)| chosen.contains(at))
        .map(|(_, case)| case)
        .collect()
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, transit, relation, .. } = self;
        let transit = if transit.is_empty() { "-" } else { transit };
        write!(f, "{source},{destination},{transit},{relation}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases() -> Vec<Case> {
        let case = |number: usize| Case {
            source: format!("s{}", number % 5),
            destination: format!("d{}", number / 5 % 5),
            transit: format!("t{}", number % 7),
            relation: format!("R{}", number % 4),
            agents: Vec::new(),
            verdicts: vec![format!("v{}", number % 9)],
        };
        (0..700).map(case).collect()
    }

    #[test]
    fn the_choice_shows_everything_and_is_always_the_same() {
        let chosen = choose(cases(), 100);
        assert_eq!(chosen.len(), 100);
        assert_eq!(chosen, choose(cases(), 100));
        let features = |cases: &[Case]| -> BTreeSet<String> {
            cases.iter().flat_map(Case::features).collect()
        };
        assert_eq!(features(&chosen), features(&cases()));
        assert!(choose(cases(), 1).len() > 20, "what is to be shown comes first");
    }
}
