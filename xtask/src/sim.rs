//! Simulated worlds, run by the simulator's own program.

use crate::cargo;
use crate::count::Counts;
use anyhow::Result;

/// Runs `seeds` worlds of all kinds; each is one check if the simulator counts them, else the run is one.
pub(crate) fn run(seeds: u64) -> Result<Counts> {
    let seeds = seeds.to_string();
    let simulator = ["run", "--release", "--package", "ge-sim", "--"];
    let args = [&simulator[..], &["run", "--world", "all", "--seeds", &seeds]].concat();
    let counts = cargo::count(&args, |_| false)?;
    Ok(if counts == Counts::default() { Counts::one(true) } else { counts })
}
