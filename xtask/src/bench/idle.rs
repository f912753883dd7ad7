//! Part `idle`: what agents do while nothing is sent between hosts that they protect.

use super::measure::{cpu_time, naps};
use super::row::Row;
use super::spread::Spread;
use super::stage::{MORE, Stage, Way};
use super::traffic::{Addresses, Traffic};
use super::{Inside, progress};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// How long nothing is sent, at the least: as long as a session rests between two looks, so that each is
/// looked at once.
const SPAN: Duration = Duration::from_secs(15);
/// Whoever received something last says so within this time, and what a wait begins with is over.
const SETTLE: Duration = Duration::from_secs(3);
/// The network may say something by itself, and what it costs is not measured; a few times at most.
const ATTEMPTS: u32 = 3;

/// What both agents did in a second of nothing.
struct Idle {
    /// Milliseconds on a CPU.
    cpu: f64,
    /// Times one of their threads went to sleep.
    naps: f64,
}

/// With one protected host pair, and with [`MORE`].
pub(super) fn idle(options: &Inside) -> Result<Vec<Row>> {
    let stage = Stage::pair(options.profile)?;
    let one = rows(options, &stage, "1 protected pair")?;
    progress(&format!("idle: {MORE} host pairs"));
    let traffic = Traffic::Flows(MORE, Addresses::Many);
    traffic.run(&stage, Way::Ours, options.secs).context("idle: host pairs")?;
    let many = rows(options, &stage, "1,000 protected pairs")?;
    Ok([one, many].concat())
}

fn rows(options: &Inside, stage: &Stage, what: &str) -> Result<Vec<Row>> {
    let span = SPAN.max(Duration::from_secs(options.secs));
    let mut taken = Vec::new();
    for run in 1..=options.runs {
        progress(&format!("idle: run {run}, {what}"));
        taken.push(undisturbed(stage, span).with_context(|| format!("idle: {what}"))?);
    }
    let row = |of: fn(&Idle) -> f64, name: &str, unit: &str| -> Result<Row> {
        let values: Vec<f64> = taken.iter().map(of).collect();
        let spread = Spread::of(&values).context("no run")?;
        Ok(Row::alone("idle", &format!("{what}, {name} of both agents"), unit, spread))
    };
    Ok(vec![row(|idle| idle.cpu, "CPU", "ms/s")?, row(|idle| idle.naps, "wake-ups", "per s")?])
}

/// A span in which no packet was sealed or opened.
fn undisturbed(stage: &Stage, span: Duration) -> Result<Idle> {
    for _ in 0..ATTEMPTS {
        let before = packets(stage)?;
        // Asking woke them; and what was sent before is answered first.
        std::thread::sleep(SETTLE);
        let idle = once(stage, span)?;
        if packets(stage)? == before {
            return Ok(idle);
        }
        progress("again: something was sent meanwhile");
    }
    anyhow::bail!("something is sent all the time")
}

fn once(stage: &Stage, span: Duration) -> Result<Idle> {
    let read = || -> Result<(Duration, u64)> {
        let mut both = (Duration::ZERO, 0);
        for agent in &stage.agents {
            both.0 += cpu_time(agent)?;
            both.1 += naps(agent)?;
        }
        Ok(both)
    };
    let (began, (cpu, naps)) = (Instant::now(), read()?);
    std::thread::sleep(span);
    let (took, (cpu_then, naps_then)) = (began.elapsed().as_secs_f64(), read()?);
    ensure!(cpu_then >= cpu && naps_then >= naps, "a thread of an agent ended");
    Ok(Idle {
        cpu: (cpu_then - cpu).as_secs_f64() * 1e3 / took,
        naps: (naps_then - naps) as f64 / took,
    })
}

/// Packets that both agents sealed and opened, all together.
fn packets(stage: &Stage) -> Result<u64> {
    let counts = stage.agents.iter().map(e2e::Agent::thread_packets).collect::<Result<Vec<_>>>()?;
    Ok(counts.concat().iter().sum())
}
