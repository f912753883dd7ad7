//! The mode matrix: run by the simulator's own program, or with the real agents on the real kernel.

use crate::cargo::{self, cargo};
use anyhow::{Context, Result};
use clap::Args;
use e2e::matrix::case::Case;
use e2e::nest;
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
    #[arg(long)]
    case: Option<String>,
    /// Run real agents in namespaces, without --case a choice of 112 that shows every pair of ends,
    /// every way between and every verdict; a line for each
    #[arg(long, conflicts_with_all = ["transit", "seed", "ipv6", "trace"])]
    kernel: bool,
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
    let Options { json, transit, case, kernel, seed, ipv6, trace } = options;
    if *kernel {
        return on_kernel(*json, case.as_deref());
    }
    let (seed, case) = (seed.to_string(), case.as_deref().unwrap_or("*,*,*,*"));
    let mut args = vec!["run", "--release", "--quiet", "--package", "ge-sim", "--", "matrix"];
    args.extend(["--transit", transit, "--case", case, "--seed", &seed]);
    let flags = [(json, "--json"), (ipv6, "--ipv6"), (trace, "--trace")];
    args.extend(flags.iter().filter(|(set, _)| **set).map(|(_, flag)| *flag));
    let status = cargo(&args).status().context("starting cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The same with real agents, in a nest.
fn on_kernel(json: bool, case: Option<&str>) -> Result<ExitCode> {
    cargo::build(&["ges", "gen", "mgmt-server", "ge-sim"])?;
    let mut args = vec!["@matrix"];
    args.extend(json.then_some("--json"));
    args.extend(case.into_iter().flat_map(|case| ["--case", case]));
    let status = nest::command(&args)?.status().context("starting a nest")?;
    Ok(u8::try_from(nest::exit_code(status)).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The work of the nest's first process.
pub(crate) fn inside(json: bool, case: Option<&str>) -> Result<ExitCode> {
    let cases = case.map_or_else(Case::chosen, Case::fitting)?;
    let found = e2e::matrix::run(&cases, |found| {
        if json {
            println!("{}", found.json());
        } else {
            println!("{found}");
        }
    })?;
    for wrong in found.iter().filter(|found| json && !found.agrees()) {
        eprintln!("{wrong}");
    }
    let good = found.iter().filter(|found| found.agrees()).count();
    if !json {
        println!("{good}/{} agents and rule agree", found.len());
    }
    Ok(if good == found.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
