//! `cargo xtask test`: every check there is, a table of steps, one closing line.

use crate::count::Counts;
use crate::{cargo, deps, e2e_task, packages, sim, tidy};
use anyhow::Result;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Seeds simulated in every test run: enough to notice, few enough to wait for.
const SEEDS: u64 = 10_000;

/// How much to check.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Everything,
    /// Without the end-to-end scenarios and the programs they use.
    WithoutScenarios,
}

struct Step {
    name: &'static str,
    counts: Counts,
    took: Duration,
}

/// Runs all steps, also after one failed.
pub(crate) fn run(extent: Extent) -> Result<ExitCode> {
    let everything = extent == Extent::Everything;
    if everything {
        heading("programs");
        packages::provide()?;
    }
    let mut steps = Vec::new();
    let mut step = |name, work: &dyn Fn() -> Result<Counts>| {
        heading(name);
        let start = Instant::now();
        let counts = work().unwrap_or_else(|error| {
            eprintln!("xtask: {error:#}");
            Counts::one(false)
        });
        steps.push(Step { name, counts, took: start.elapsed() });
    };
    step("format", &|| cargo::check(&["fmt", "--all", "--check"]));
    step("lints", &|| {
        let args = ["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
        cargo::check(&args)
    });
    step("tests", &|| {
        let args = ["test", "--release", "--workspace", "--no-fail-fast"];
        cargo::count(&args, |line| line.is_empty() || line.ends_with("... ok"))
    });
    step("tidy", &tidy::run);
    step("deps", &deps::run);
    step("simulator", &|| sim::run(SEEDS));
    if everything {
        step("end to end", &|| e2e_task::run(&[], 1));
    }
    Ok(close(&steps))
}

fn heading(name: &str) {
    println!("\n== {name}");
}

/// The table and the closing line.
fn close(steps: &[Step]) -> ExitCode {
    let mut sum = Counts::default();
    println!("\n{:<12} {:>8} {:>8} {:>9}", "step", "passed", "failed", "time");
    for step in steps {
        let Counts { passed, failed } = step.counts;
        println!("{:<12} {passed:>8} {failed:>8} {:>7.1} s", step.name, step.took.as_secs_f64());
        sum += step.counts;
    }
    println!("\n{sum}");
    let good = steps.iter().all(|step| step.counts.is_good());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
