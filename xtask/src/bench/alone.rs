//! Parts `micro` and `memory`: figures of functions, of engines, and of real agents.

use super::row::Row;
use super::setting::Profile;
use super::spread::Spread;
use super::stage::{MORE, Stage, Way};
use super::traffic::{Addresses, Traffic};
use super::{Inside, progress};
use anyhow::{Context, Result, ensure};
use e2e::Agent;
use e2e::programs::built;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// The micro benches, so many times: the median and the range of their medians.
pub(super) fn micro(runs: u32) -> Result<Vec<Row>> {
    let mut rows: Vec<(String, Vec<f64>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for run in 1..=runs {
        progress(&format!("micro: run {run}"));
        for (name, value) in figures(&["--json"], "nanoseconds")? {
            let place = *places.entry(name.clone()).or_insert_with(|| {
                rows.push((name, Vec::new()));
                rows.len() - 1
            });
            rows[place].1.push(value);
        }
    }
    let row = |(name, values): (String, Vec<f64>)| {
        Some(Row::alone("micro", &name, "ns", Spread::of(&values)?))
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

/// Bytes of an engine's rows and sessions, by its allocator.
pub(super) fn engine_memory() -> Result<Vec<Row>> {
    progress("memory: engines");
    let figures = figures(&["memory", "--json"], "bytes")?;
    figures.into_iter().map(|(name, bytes)| single(&name, "bytes", bytes)).collect()
}

/// Figures that our program of micro benches prints.
fn figures(args: &[&str], key: &str) -> Result<Vec<(String, f64)>> {
    let output = Command::new(built("benches")?).args(args).output().context("running benches")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "benches {}: {}", args.join(" "), said.trim_end());
    let json: Value = serde_json::from_slice(&output.stdout).context("what benches prints")?;
    let figures = json["figures"].as_array().context("no figures")?;
    let figure =
        |figure: &Value| Some((figure["name"].as_str()?.to_owned(), figure[key].as_f64()?));
    figures.iter().map(|one| figure(one).context("a figure without value")).collect()
}

/// Resident memory of two real agents: up and idle, and with [`MORE`] protected host pairs.
pub(super) fn agent_memory(options: &Inside) -> Result<Vec<Row>> {
    progress("memory: agents");
    let stage = Stage::pair(Profile::Sw)?;
    let resident = || stage.agents.iter().map(resident).collect::<Result<Vec<f64>>>();
    let rest = resident()?;
    let traffic = Traffic::Flows(MORE, Addresses::Many);
    traffic.run(&stage, Way::Ours, options.secs).context("memory: host pairs")?;
    let rows = stage.agents[0].status()?["flows"]["protected"].as_u64();
    if let Some(rows) = rows {
        ensure!(rows >= u64::from(MORE), "only {rows} flows are protected");
    }
    let full = resident()?;
    let each = |at: usize| (full[at] - rest[at]) / f64::from(MORE);
    Ok(vec![
        single("ges at rest, resident", "bytes", rest[0])?,
        single("ges, each protected pair, resident, initiator", "bytes", each(0))?,
        single("ges, each protected pair, resident, responder", "bytes", each(1))?,
    ])
}

/// Bytes of a process that are in memory.
fn resident(agent: &Agent) -> Result<f64> {
    Ok(super::measure::resident(agent)? as f64 * 1024.0)
}

fn single(what: &str, unit: &str, value: f64) -> Result<Row> {
    Ok(Row::alone("memory", what, unit, Spread::of(&[value]).context("no value")?))
}
