//! The program: parse, act, one sentence and an exit code.
//!
//! Exit codes: 0 as asked, 1 not done, 2 wrong usage.

use clap::Parser;
use mgmt_server::cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("mgmt-server: {err}");
            ExitCode::FAILURE
        }
    }
}
