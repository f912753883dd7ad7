//! `ge-sim run`: many seeds, or one with its trace. `ge-sim matrix`: the mode matrix.

mod options;
mod table;

use ge_sim::Violation;
use ge_sim::matrix::{self, case::Case};
use ge_sim::scenario::{Outcome, World};
use options::{Many, Matrix, Options, USAGE};
use std::panic::{UnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

/// Seeds between two lines of progress.
const PROGRESS: u64 = 1000;
/// Exit code of a wrong command line.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    match options::parse(std::env::args().skip(1)) {
        Ok(Options::One { world, seed, trace }) => one(world, seed, trace),
        Ok(Options::Many(many)) => run(&many),
        Ok(Options::Matrix(cases)) => modes(&cases),
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn modes(matrix: &Matrix) -> ExitCode {
    let cases: Vec<Case> =
        Case::all().into_iter().filter(|case| case.fits(&matrix.cases)).collect();
    if cases.is_empty() {
        eprintln!("no case fits {}\n{USAGE}", matrix.cases);
        return ExitCode::from(EXIT_USAGE);
    }
    if matrix.rule {
        let line = |case: &Case| matrix::rule::line(*case, matrix.settings.transit);
        cases.iter().for_each(|case| println!("{}", line(case)));
        return ExitCode::SUCCESS;
    }
    let found = matrix::run_all(&cases, matrix.settings);
    for wrong in found.iter().filter(|found| !found.agrees()) {
        eprintln!("{wrong}");
    }
    let good = found.iter().filter(|found| found.agrees()).count();
    if matrix.json {
        found.iter().for_each(|found| println!("{}", found.json()));
    } else {
        println!("{}", table::table(&found));
        println!("{good}/{} agents and rule agree", found.len());
    }
    if good == found.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(world: World, seed: u64, trace: bool) -> ExitCode {
    match guarded(seed, || world.run(seed, trace)) {
        Ok(Outcome { events, simulated, .. }) => {
            let seconds = simulated / 1_000_000;
            println!("seed {seed}: {events} events, {seconds} s simulated, all invariants held");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            println!("{}", replay(world, seed));
            ExitCode::FAILURE
        }
    }
}

/// A panic is a finding like any other, and must name its seed.
fn guarded(
    seed: u64,
    run: impl FnOnce() -> Result<Outcome, Violation> + UnwindSafe,
) -> Result<Outcome, String> {
    catch_unwind(run)
        .map_err(|_| format!("panic in seed {seed}"))?
        .map_err(|violation| violation.to_string())
}

/// The one line that shows a failure again.
fn replay(world: World, seed: u64) -> String {
    let world = world.as_str();
    format!("cargo run --release -p ge-sim -- run --world {world} --seed {seed} --trace")
}

/// Keeps a seed that failed, for the test that replays them. What cannot be written was printed.
fn keep(world: World, seed: u64, why: &str) {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/seeds");
    let file = format!("{seeds}/{}-{seed}.txt", world.as_str());
    match std::fs::write(&file, format!("{why}\n{}\n", replay(world, seed))) {
        Ok(()) => println!("kept in {file}: commit it with what repairs it"),
        Err(error) => eprintln!("{file}: {error}"),
    }
}

/// What many seeds came to.
#[derive(Default)]
struct Totals {
    passed: u64,
    events: u64,
    simulated: u64,
    unsettled: u64,
    failed: Vec<(World, u64, String)>,
}

fn run(many: &Many) -> ExitCode {
    let started = Instant::now();
    let mut totals = all(many);
    totals.failed.sort();
    for (world, seed, why) in &totals.failed {
        eprintln!("{why}");
        println!("{}", replay(*world, *seed));
        keep(*world, *seed, why);
    }
    let Totals { passed, events, simulated, unsettled, failed } = totals;
    if unsettled > 0 {
        println!(
            "{unsettled} paths settled on other verdicts than the rule's: docs/known-issues.md"
        );
    }
    let rate = passed as f64 / started.elapsed().as_secs_f64();
    println!(
        "seeds run {}, events {events}, simulated time {} s, seeds per second {rate:.0}: \
         {passed} passed, {} failed",
        passed + failed.len() as u64,
        simulated / 1_000_000,
        failed.len()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn all(many: &Many) -> Totals {
    // Worlds take turns, so that the first seeds of each are run first.
    let worlds = many.worlds.len() as u64;
    let (next, end, started) = (AtomicU64::new(0), many.seeds, Instant::now());
    let nth = |run: u64| (many.worlds[(run % worlds) as usize], many.from + run / worlds);
    let (sender, results) = mpsc::channel();
    let mut totals = Totals::default();
    std::thread::scope(|scope| {
        for _ in 0..many.jobs.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= end {
                        return;
                    }
                    let (world, seed) = nth(run);
                    let run = || match many.safety {
                        true => world.run_for_safety(seed),
                        false => world.run(seed, false),
                    };
                    if sender.send((world, seed, guarded(seed, run))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (world, seed, result) in results {
            totals.add(world, seed, result);
            totals.progress(end, started);
            if !totals.failed.is_empty() && !many.keep_going {
                next.store(end, Ordering::Relaxed);
                break;
            }
        }
    });
    totals
}

impl Totals {
    fn add(&mut self, world: World, seed: u64, result: Result<Outcome, String>) {
        match result {
            Ok(outcome) => {
                self.passed += 1;
                self.events += outcome.events;
                self.simulated += outcome.simulated;
                self.unsettled += outcome.unsettled;
            }
            Err(why) => self.failed.push((world, seed, why)),
        }
    }

    fn progress(&self, runs: u64, started: Instant) {
        let (done, failed) = (self.passed + self.failed.len() as u64, self.failed.len());
        if done.is_multiple_of(PROGRESS) {
            let rate = done as f64 / started.elapsed().as_secs_f64();
            eprintln!("{done} of {runs} worlds, {rate:.0} a second, {failed} failed");
        }
    }
}
