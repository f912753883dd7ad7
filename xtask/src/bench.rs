//! Figures: the table of all of them, single measurements by name, and a pair for the rig.

mod alone;
mod cpus;
mod first_packet;
mod flood;
mod gauge;
mod idle;
mod measure;
mod native;
mod pair_up;
mod path;
mod row;
mod setting;
mod spread;
mod stage;
mod table;
mod throughput;
mod traffic;
mod whole;

pub(crate) use first_packet::inside as first_packet;
pub(crate) use flood::inside as flood;
pub(crate) use native::inside as native;
pub(crate) use pair_up::run as pair_up;
pub(crate) use path::inside as path;
pub(crate) use whole::{Options, inside, run as whole};

use crate::cargo;
use crate::count::Counts;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use e2e::nest;
use e2e::programs::built;
use std::process::{Command, ExitCode};

/// What a nest is to measure for the table.
#[derive(Args)]
pub(crate) struct Inside {
    #[arg(value_enum)]
    part: whole::Part,
    #[arg(long)]
    runs: u32,
    #[arg(long)]
    secs: u64,
    #[arg(long, value_enum)]
    profile: setting::Profile,
}

/// A line for whoever waits.
fn progress(text: &str) {
    eprintln!("bench: {text}");
}

/// What to measure by itself.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum What {
    /// First packet of 200 flows between two hosts of the lab
    FirstPacket,
    /// First packets with agents on 0 to 3 routers between, and the CPU of every agent
    Path,
    /// Single functions: look-up, sealing, negotiation
    Micro,
    /// What floods cost, and what honest agents notice of them
    Flood,
    /// A format that keeps the TCP header, against datagrams: speed, and who lets it pass
    Native,
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
        What::Flood => {
            cargo::build(&["benches"])?;
            let status = Command::new(built("benches")?).arg("flood").args(json).status()?;
            ensure!(status.success(), "the figures without a kernel failed");
            let args: Vec<_> = ["@flood"].into_iter().chain(json).collect();
            in_nest(&["ges", "mgmt-server"], &args)
        }
        What::Native => {
            let args: Vec<_> = ["@native"].into_iter().chain(json).collect();
            in_nest(&["benches"], &args)
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
