//! Runs scenarios, each in a nest of its own, and counts.

use crate::nest;
use crate::scenario::{Scenario, all, find};
use crate::wait::wait_for;
use anyhow::{Context, Result, bail};
use std::collections::VecDeque;
use std::io::{IsTerminal, Read, Write};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// First argument of a program that shall run one scenario as pid 1 of a nest.
pub const INSIDE: &str = "@scenario";
/// A scenario that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(90);
/// The same for one that runs dozens of cases.
const DEADLINE_MATRIX: Duration = Duration::from_secs(400);
/// More of it for every kill that `E2E_KILLS` asks for: TCP takes that long to recover.
const DEADLINE_PER_KILL: Duration = Duration::from_secs(10);
/// Lines of each log printed after a failure.
const LAST_LINES: usize = 25;

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Succeeded.
    pub passed: usize,
    /// Did not.
    pub failed: usize,
    /// Left out because the machine lacks a program.
    pub skipped: usize,
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(&'static str),
}

/// Runs the scenarios called `names`, or all, `jobs` at a time; prints a line for each.
///
/// # Errors
/// If a name is unknown.
pub fn run(names: &[String], jobs: usize) -> Result<Counts> {
    let chosen = choose(names)?;
    let total = chosen.len();
    let queue = Mutex::new(VecDeque::from(chosen));
    let counts = Mutex::new(Counts::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, total.max(1)) {
            scope.spawn(|| {
                while let Some(scenario) = lock(&queue).pop_front() {
                    let start = Instant::now();
                    let outcome = run_one(&scenario);
                    let mut counts = lock(&counts);
                    report(&scenario, &outcome, start.elapsed(), &mut counts, total);
                }
            });
        }
    });
    Ok(counts.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// The work of a process started with [`INSIDE`]: runs `name` and prints what went wrong.
///
/// # Errors
/// The scenario's own.
pub fn run_inside(name: &str) -> Result<()> {
    let scenario = find(name).with_context(|| format!("no scenario is called {name}"))?;
    (scenario.run)().inspect_err(|_| {
        let words = crate::lab::last_words(LAST_LINES);
        if !words.is_empty() {
            eprintln!("last lines of the programs' logs:\n{words}");
        }
    })
}

/// Prints names and what each shows.
pub fn list() {
    for scenario in all() {
        println!("{:<24} {}", scenario.name, scenario.shows);
    }
}

fn choose(names: &[String]) -> Result<Vec<Scenario>> {
    if names.is_empty() {
        return Ok(all());
    }
    let one = |name: &String| match find(name) {
        Some(scenario) => Ok(scenario),
        None => bail!("no scenario is called {name}; `cargo xtask e2e --list` names them"),
    };
    names.iter().map(one).collect()
}

fn run_one(scenario: &Scenario) -> Outcome {
    if let Some(program) = scenario.missing() {
        return Outcome::Skipped(program);
    }
    match run_in_nest(scenario.name) {
        Ok(None) => Outcome::Passed,
        Ok(Some(words)) => Outcome::Failed(words),
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}

/// `None` on success, else everything it printed.
fn run_in_nest(name: &str) -> Result<Option<String>> {
    let mut command = nest::command(&[INSIDE, name])?;
    let (mut reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().context("starting a nest")?;
    // Holds the writing ends; without it gone, the reader below would never see the end.
    drop(command);
    let words = std::thread::spawn(move || {
        let mut words = Vec::new();
        // What could be read is worth printing even if the rest could not.
        let _ = reader.read_to_end(&mut words);
        String::from_utf8_lossy(&words).into_owned()
    });
    let waited = wait_for("the scenario to end", deadline(name), || Ok(child.try_wait()?));
    if waited.is_err() {
        // Ends the opener; the kernel then ends everything in the nest.
        child.kill()?;
        child.wait()?;
    }
    let words = words.join().unwrap_or_default();
    match waited {
        Ok(status) if status.success() => Ok(None),
        Ok(_) => Ok(Some(words)),
        Err(error) => Ok(Some(format!("{words}{error:#}"))),
    }
}

fn report(
    scenario: &Scenario,
    outcome: &Outcome,
    took: Duration,
    counts: &mut Counts,
    total: usize,
) {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let paint = |code: &str, word: &str| {
        if colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
    };
    let word = match outcome {
        Outcome::Passed => {
            counts.passed += 1;
            paint("32", "ok  ")
        }
        Outcome::Failed(_) => {
            counts.failed += 1;
            paint("31", "FAIL")
        }
        Outcome::Skipped(_) => {
            counts.skipped += 1;
            paint("33", "skip")
        }
    };
    let done = counts.passed + counts.failed + counts.skipped;
    let seconds = took.as_secs_f64();
    println!("{done:>3}/{total} {word} {:<24} {seconds:>5.1} s  {}", scenario.name, scenario.shows);
    match outcome {
        Outcome::Failed(words) => println!("{}", indent(words)),
        Outcome::Skipped(program) => println!("         needs {program}"),
        Outcome::Passed => {}
    }
    // Progress must be seen while it happens, also through a pipe; a closed pipe is not our error.
    let _ = std::io::stdout().flush();
}

fn indent(words: &str) -> String {
    words.lines().map(|line| format!("         {line}")).collect::<Vec<_>>().join("\n")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn deadline(name: &str) -> Duration {
    let usual = if name.starts_with("matrix_") { DEADLINE_MATRIX } else { DEADLINE };
    let kills = std::env::var("E2E_KILLS").ok().and_then(|n| n.parse::<u32>().ok());
    usual + DEADLINE_PER_KILL * kills.unwrap_or(0)
}
