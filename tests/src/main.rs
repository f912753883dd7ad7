//! `e2e [--jobs N] [NAME…]`, `e2e --list`: runs scenarios; closes with `N passed, N failed`.

use anyhow::{Context, Result, bail};
use e2e::{nest, runner};
use std::process::ExitCode;

fn main() -> ExitCode {
    start().unwrap_or_else(|error| {
        eprintln!("e2e: {error:#}");
        ExitCode::FAILURE
    })
}

fn start() -> Result<ExitCode> {
    nest::init()?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some(runner::INSIDE) => {
            runner::run_inside(args.get(1).context("which scenario?")?)?;
            Ok(ExitCode::SUCCESS)
        }
        Some("--list") => {
            runner::list();
            Ok(ExitCode::SUCCESS)
        }
        _ => run(&args),
    }
}

fn run(args: &[String]) -> Result<ExitCode> {
    let (jobs, names) = match args {
        [flag, jobs, names @ ..] if flag == "--jobs" => {
            (jobs.parse().context("--jobs takes a number")?, names)
        }
        names => (1, names),
    };
    if let Some(flag) = names.iter().find(|name| name.starts_with('-')) {
        bail!("unknown option {flag}; usage: e2e [--jobs N] [NAME…] | e2e --list");
    }
    let counts = runner::run(names, jobs)?;
    if counts.skipped > 0 {
        println!("{} skipped", counts.skipped);
    }
    println!("{} passed, {} failed", counts.passed, counts.failed);
    Ok(if counts.failed == 0 { 0 } else { 1 }.into())
}
