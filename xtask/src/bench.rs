//! Figures: how long a first packet takes, how fast the functions are, and a pair for the rig.

mod first_packet;
mod flood;
mod pair_up;

pub(crate) use first_packet::inside as first_packet;
pub(crate) use flood::inside as flood;
pub(crate) use pair_up::run as pair_up;

use crate::cargo;
use crate::count::Counts;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use e2e::nest;
use e2e::programs::built;
use std::process::{Command, ExitCode};

/// What to measure.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum What {
    /// First packet of 200 flows between two hosts of the lab
    FirstPacket,
    /// Single functions: look-up, sealing, negotiation
    Micro,
    /// What floods cost, and what honest agents notice of them
    Flood,
}

/// Builds what is needed and measures.
pub(crate) fn run(what: What, as_json: bool) -> Result<ExitCode> {
    match what {
        What::FirstPacket => {
            cargo::build(&["ges", "mgmt-server"])?;
            let status = nest::command(&["@first-packet"])?.status().context("starting a nest")?;
            Ok(u8::try_from(nest::exit_code(status)).map_or(ExitCode::FAILURE, ExitCode::from))
        }
        What::Flood => {
            cargo::build(&["ges", "mgmt-server", "benches"])?;
            let json = as_json.then_some("--json");
            let status = Command::new(built("benches")?).arg("flood").args(json).status()?;
            ensure!(status.success(), "the figures without a kernel failed");
            let args: Vec<&str> = ["@flood"].into_iter().chain(json).collect();
            let status = nest::command(&args)?.status().context("starting a nest")?;
            Ok(u8::try_from(nest::exit_code(status)).map_or(ExitCode::FAILURE, ExitCode::from))
        }
        What::Micro => {
            let counts = cargo::check(&["run", "--release", "--package", "benches"])?;
            Ok(if counts == Counts::one(true) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
