//! The mode matrix, run by the simulator's own program.

use crate::cargo::cargo;
use anyhow::{Context, Result};
use clap::Args;
use std::process::ExitCode;

/// Options, as the simulator's program takes them.
#[derive(Args)]
pub(crate) struct Options {
    /// A line of JSON for each case: verdicts of its agents in path order
    #[arg(long)]
    json: bool,
    /// What closed agents ask of other agents' sessions
    #[arg(long, value_parser = ["strict", "vouched", "any"], default_value = "vouched")]
    transit: String,
    /// Only these: SOURCE,DESTINATION,TRANSIT,RELATION, each of which may be *
    #[arg(long, default_value = "*,*,*,*")]
    case: String,
    /// Seed of every case
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// IPv6 addresses
    #[arg(long)]
    ipv6: bool,
    /// Print what happens
    #[arg(long)]
    trace: bool,
}

/// Runs the matrix; its exit code says whether agents and rule agree.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let Options { json, transit, case, seed, ipv6, trace } = options;
    let seed = seed.to_string();
    let mut args = vec!["run", "--release", "--quiet", "--package", "ge-sim", "--", "matrix"];
    args.extend(["--transit", transit, "--case", case, "--seed", &seed]);
    let flags = [(json, "--json"), (ipv6, "--ipv6"), (trace, "--trace")];
    args.extend(flags.iter().filter(|(set, _)| **set).map(|(_, flag)| *flag));
    let status = cargo(&args).status().context("starting cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
