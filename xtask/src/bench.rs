//! Figures: how long a first packet takes, how fast the functions are, and a pair for the rig.

mod first_packet;
mod measure;
mod pair_up;
mod path;

pub(crate) use first_packet::inside as first_packet;
pub(crate) use pair_up::run as pair_up;
pub(crate) use path::inside as path;

use crate::cargo;
use crate::count::Counts;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use e2e::nest;
use std::process::ExitCode;

/// What to measure.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum What {
    /// First packet of 200 flows between two hosts of the lab
    FirstPacket,
    /// First packets with agents on 0 to 3 routers between, and the CPU of every agent
    Path,
    /// Single functions: look-up, sealing, negotiation
    Micro,
}

/// Builds what is needed and measures. JSON is the whole output, if asked for.
pub(crate) fn run(what: What, as_json: bool) -> Result<ExitCode> {
    let json = as_json.then_some("--json");
    match what {
        What::FirstPacket => {
            ensure!(
                !as_json,
                "first-packet prints a table only; `bench path --json` has its figures"
            );
            in_nest(&["ges", "mgmt-server"], &["@first-packet"])
        }
        What::Path => {
            let args: Vec<_> = ["@path"].into_iter().chain(json).collect();
            in_nest(&["ges", "gen", "mgmt-server"], &args)
        }
        What::Micro => {
            let args = ["run", "--release", "--package", "benches", "--"];
            let args: Vec<_> = args.into_iter().chain(json).collect();
            let counts = cargo::check(&args)?;
            Ok(if counts == Counts::one(true) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn in_nest(programs: &[&str], args: &[&str]) -> Result<ExitCode> {
    cargo::build(programs)?;
    let status = nest::command(args)?.status().context("starting a nest")?;
    Ok(u8::try_from(nest::exit_code(status)).map_or(ExitCode::FAILURE, ExitCode::from))
}
