//! `ge-sim run`: many seeds, or one with its trace.

use clap::{Args, Parser, Subcommand};
use ge_sim::scenario::{self, Outcome};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

/// Seeds between two lines of progress.
const PROGRESS: u64 = 1000;

#[derive(Parser)]
#[command(version, about = "Deterministic simulation of many agents")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run scenarios drawn from seeds and check the invariants after every event.
    Run(Run),
}

#[derive(Args)]
struct Run {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Do not stop at the first failure; one line each.
    #[arg(long)]
    keep_going: bool,
    /// Only this seed.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Print what happens. With one seed only.
    #[arg(long, requires = "seed")]
    trace: bool,
}

fn main() -> ExitCode {
    let Command::Run(run) = Cli::parse().command;
    match run.seed {
        Some(seed) => one(seed, run.trace),
        None => many(&run),
    }
}

fn one(seed: u64, trace: bool) -> ExitCode {
    match guarded(seed, trace) {
        Ok(Outcome { events, simulated }) => {
            println!(
                "seed {seed}: {events} events, {} s simulated, all invariants held",
                simulated / 1_000_000
            );
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            println!("{}", replay(seed));
            ExitCode::FAILURE
        }
    }
}

/// A panic is a finding like any other, and must name its seed.
fn guarded(seed: u64, trace: bool) -> Result<Outcome, String> {
    std::panic::catch_unwind(|| scenario::run(seed, trace, None))
        .map_err(|_| format!("panic in seed {seed}"))?
        .map_err(|violation| violation.to_string())
}

/// The one line that shows a failure again.
fn replay(seed: u64) -> String {
    format!("cargo run --release -p ge-sim -- run --seed {seed} --trace")
}

fn many(run: &Run) -> ExitCode {
    let started = Instant::now();
    let next = AtomicU64::new(run.from);
    let end = run.from + run.seeds;
    let (sender, results) = mpsc::channel();
    let mut total = Outcome::default();
    let mut done = 0;
    let mut failed = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..run.jobs.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || sender.send((seed, guarded(seed, false))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (seed, result) in results {
            match result {
                Ok(outcome) => {
                    done += 1;
                    total.events += outcome.events;
                    total.simulated += outcome.simulated;
                    if done % PROGRESS == 0 {
                        eprintln!("{done} of {} seeds", run.seeds);
                    }
                }
                Err(why) => {
                    failed.push((seed, why));
                    if !run.keep_going {
                        next.store(end, Ordering::Relaxed);
                        break;
                    }
                }
            }
        }
    });
    failed.sort();
    for (seed, why) in &failed {
        eprintln!("{why}");
        println!("{}", replay(*seed));
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "seeds run {done}, events {}, simulated time {} s, seeds per second {:.0}",
        total.events,
        total.simulated / 1_000_000,
        done as f64 / seconds
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
