//! `cargo xtask demo`: the product told as a story of claims, each shown, none asserted.
//!
//! Outside, the programs are built and a nest of namespaces is opened; inside, [`story`] goes
//! through its [`CLAIMS`](story::CLAIMS) one after the other while a [`table`] shows what happens.
//! The table ends with one PASS or FAIL for each claim, and the exit code says the same.

mod shell;
mod story;
mod table;

use crate::cargo;
use anyhow::{Context, Result, bail};
use e2e::nest;
use e2e::programs::{installed, no_tun};
use std::process::ExitCode;
use std::time::Instant;
use story::{CLAIMS, Story};
use table::Table;

/// Outside: looks whether the machine can, builds, opens the nest.
pub(crate) fn run(shell: bool) -> Result<ExitCode> {
    if installed("ip").is_none() {
        bail!("the demo needs iproute2; install it with `sudo apt-get install iproute2`");
    }
    if let Some(reason) = no_tun() {
        bail!("{reason}");
    }
    cargo::build(&["ges", "mgmt-server"])?;
    let mut args = vec!["@demo"];
    args.extend(shell.then_some("--shell"));
    let status = nest::command(&args)?.status().context("starting a nest")?;
    Ok(u8::try_from(nest::exit_code(status)).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Inside: the story, then the shell if wanted.
pub(crate) fn inside(wants_shell: bool) -> Result<ExitCode> {
    let start = Instant::now();
    println!("{INTRODUCTION}");
    let mut table = Table::new(CLAIMS.iter().map(|claim| claim.text));
    let mut story = Story::new()?;
    for claim in CLAIMS {
        table.begin();
        let outcome = (claim.show)(&mut story, &mut table);
        table.end(outcome);
    }
    let failed = table.failed();
    println!(
        "\n{} of {} claims hold, {:.1} s after the build.",
        CLAIMS.len() - failed,
        CLAIMS.len(),
        start.elapsed().as_secs_f64()
    );
    if failed > 0 {
        println!(
            "\n{}\nLast lines of the programs' logs:\n{}",
            table.reasons(),
            e2e::lab::last_words(12)
        );
    }
    if wants_shell {
        shell::open(&mut story)?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const INTRODUCTION: &str = "
Two hosts, one group key, their own addresses. All of it lives in network namespaces of
this one process: nothing on your machine changes, and all is gone when it ends.

  ms  10.77.0.1    management server        a  10.77.0.11   host
  o   10.77.0.99   outsider, no agent       b  10.77.0.12   host     one switch, tapped at a
";
