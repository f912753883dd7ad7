//! The mode matrix: every kind of end, every kind of agent between, every way they can share groups.
//! What simulated agents do is compared with what the rule says. THREATS.md T-4.
//!
//! | file | |
//! |---|---|
//! | `case.rs` | the 700 cases |
//! | `oracle.rs` | what the rule says |
//! | `rule.rs` | what the rule says, as lines for runs of the same cases elsewhere |
//! | `run.rs` | what agents do |
//! | `observe.rs` | what observing agents say that closed ones would do |

pub mod case;
pub mod observe;
pub mod oracle;
pub mod rule;
pub mod run;

use case::{Case, GROUPS};
use ge_core::Transit;
use oracle::Verdict;
use std::fmt;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How to go through cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What closed agents ask of others' sessions.
    pub transit: Transit,
    /// Seed of every case.
    pub seed: u64,
    /// IPv4, or IPv6.
    pub v4: bool,
    /// Prints what happens.
    pub trace: bool,
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The case.
    pub case: Case,
    /// What the agents did, in path order.
    pub verdicts: Vec<Verdict>,
    /// What the rule says.
    pub expected: Vec<Verdict>,
    /// Packets' fates that do not fit what the agents did, and invariants that did not hold.
    pub odd: Vec<String>,
}

impl Found {
    /// The agents did what the rule says, and the packets went accordingly.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.verdicts == self.expected && self.odd.is_empty()
    }

    /// One line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let Case { source, destination, between, relation } = self.case;
        let verdicts: Vec<_> =
            self.verdicts.iter().map(|verdict| format!("\"{}\"", verdict.as_str())).collect();
        format!(
            "{{\"source\":\"{}\",\"destination\":\"{}\",\"transit\":\"{}\",\"relation\":\"{}\",\"verdicts\":[{}]}}",
            source.as_str(),
            destination.as_str(),
            between.as_str(),
            relation.as_str(),
            verdicts.join(",")
        )
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |verdicts: &[Verdict]| {
            verdicts.iter().map(|verdict| verdict.as_str()).collect::<Vec<_>>().join(" ")
        };
        write!(f, "{}: agents [{}]", self.case, names(&self.verdicts))?;
        if self.verdicts != self.expected {
            write!(f, ", rule [{}]", names(&self.expected))?;
        }
        self.odd.iter().try_for_each(|odd| write!(f, "; {odd}"))
    }
}

/// Runs one case.
#[must_use]
pub fn run(case: Case, settings: Settings) -> Found {
    let plan = case.plan(settings.transit);
    let expected = oracle::verdicts(&plan.agents());
    let observed = catch_unwind(|| {
        let (mut sim, chain) = run::world(settings.seed, settings.v4, GROUPS, &plan);
        sim.trace = settings.trace;
        run::observe(&mut sim, &chain, run::Patience::Short)
            .map_err(|violation| violation.to_string())
    });
    match observed.unwrap_or_else(|_| Err("panic".to_owned())) {
        Ok(run::Observed { verdicts, odd }) => Found { case, verdicts, expected, odd },
        Err(why) => Found { case, verdicts: Vec::new(), expected, odd: vec![why] },
    }
}

/// Runs cases on all processors; the answers are in the order of the cases.
#[must_use]
pub fn run_all(cases: &[Case], settings: Settings) -> Vec<Found> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((at, case)) = take(&next, cases) {
                    let done = run(case, settings);
                    if let Ok(mut found) = found.lock() {
                        found.push((at, done));
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_default();
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, found)| found).collect()
}

fn take(next: &AtomicUsize, cases: &[Case]) -> Option<(usize, Case)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, *cases.get(at)?))
}
