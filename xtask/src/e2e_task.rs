//! End-to-end scenarios, with the programs built first.

use crate::cargo;
use crate::count::Counts;
use anyhow::Result;

/// Runs scenarios called `names`, or all, `jobs` at a time.
pub(crate) fn run(names: &[String], jobs: usize) -> Result<Counts> {
    cargo::build(&["ges", "gen", "mgmt-server", "ge-sim"])?;
    let counts = e2e::runner::run(names, jobs)?;
    if counts.skipped > 0 {
        println!("{} skipped: see `needs` above", counts.skipped);
    }
    Ok(Counts { passed: counts.passed as u64, failed: counts.failed as u64 })
}
