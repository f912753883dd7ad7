//! `cargo xtask bench`: all parts, one table.

use super::row::Row;
use super::setting::{Profile, Setting};
use super::table::Table;
use super::{Inside, alone, idle, throughput};
use crate::cargo::{self, root};
use crate::packages;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use e2e::nest;
use e2e::programs::no_tun;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

/// The table that is kept, from the root.
const LAST: &str = "benches/last.json";

/// A part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Part {
    /// Functions: look-up, parsing, sealing, opening, negotiation
    Micro,
    /// Two hosts: TCP, UDP, echoes
    Pair,
    /// Two routers between ordinary machines, LAN packets merged and one by one
    Router,
    /// 1, 100 and 10,000 connections
    Flows,
    /// Bytes of a row, a session, an agent
    Memory,
    /// Two hosts that are protected and say nothing: CPU and wake-ups of their agents
    Idle,
}

impl Part {
    /// In the order of the table.
    pub(super) const ALL: [Self; 6] =
        [Self::Micro, Self::Pair, Self::Router, Self::Flows, Self::Memory, Self::Idle];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Micro => "micro",
            Self::Pair => "pair",
            Self::Router => "router",
            Self::Flows => "flows",
            Self::Memory => "memory",
            Self::Idle => "idle",
        }
    }
}

/// How to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Parts to measure, with commas between; all if none is named
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "what")]
    only: Vec<Part>,
    /// Runs of everything, one after the other: the table has the median, least and most
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100), conflicts_with = "what")]
    runs: u32,
    /// Seconds of traffic in each run
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60), conflicts_with = "what")]
    secs: u64,
    /// What the virtual network cards can do
    #[arg(long, value_enum, default_value_t = Profile::Sw, conflicts_with = "what")]
    profile: Profile,
    /// Stored table to compare with [default: benches/last.json, if it fits]
    #[arg(long, value_name = "FILE", conflicts_with = "what")]
    compare: Option<PathBuf>,
    /// Store the table as benches/last.json; parts that were not measured stay
    #[arg(long, conflicts_with = "what")]
    keep: bool,
}

/// Builds, installs, measures, prints.
pub(crate) fn run(options: &Options, as_json: bool) -> Result<ExitCode> {
    let mut parts = if options.only.is_empty() { Part::ALL.to_vec() } else { options.only.clone() };
    parts.sort();
    parts.dedup();
    let setting = Setting::new(options.profile, options.runs, options.secs);
    let last = root().join(LAST);
    // Before minutes of measuring: a file that cannot be read, or must not be overwritten.
    let then = match &options.compare {
        Some(path) => Some(Table::read(path)?),
        None => {
            Some(&last).filter(|path| path.is_file()).map(|path| Table::read(path)).transpose()?
        }
    };
    let name = options.compare.as_ref().unwrap_or(&last).display().to_string();
    let then = comparable(then, &setting, options.compare.is_some(), &name)?;
    if options.keep && last.is_file() {
        let stored = Table::read(&last)?.setting;
        ensure!(
            parts == Part::ALL || stored.profile == setting.profile,
            "{LAST} has profile {}: --keep of some parts needs --profile {0}",
            stored.profile.as_str()
        );
    }
    prepare(&parts)?;
    let mut rows = Vec::new();
    for part in parts {
        rows.extend(measure(part, options).with_context(|| format!("part {}", part.as_str()))?);
    }
    let table = Table::new(setting, rows);
    if as_json {
        println!("{}", serde_json::to_string_pretty(&table.to_json(then.as_ref())?)?);
    } else {
        table.print(then.as_ref().map(|then| (then, name.trim_start_matches(&root_prefix()))));
    }
    if options.keep {
        let before = if last.is_file() { Some(Table::read(&last)?) } else { None };
        table.keep(&last, before)?;
        eprintln!("bench: kept as {LAST}");
    }
    Ok(ExitCode::SUCCESS)
}

fn root_prefix() -> String {
    format!("{}/", root().display())
}

/// A stored table, if it was measured with the same cards: an error if somebody asked for it.
fn comparable(
    then: Option<Table>,
    setting: &Setting,
    asked: bool,
    name: &str,
) -> Result<Option<Table>> {
    let Some(table) = then else { return Ok(None) };
    let profile = table.setting.profile;
    if profile == setting.profile {
        return Ok(Some(table));
    }
    let said = format!("{name} has profile {}, not {}", profile.as_str(), setting.profile.as_str());
    ensure!(!asked, "{said}; compare with a table of the same profile");
    eprintln!("bench: {said}; not compared");
    Ok(None)
}

/// Programs of ours and of the system.
fn prepare(parts: &[Part]) -> Result<()> {
    let traffic = parts.iter().any(|part| *part != Part::Micro);
    if traffic {
        if let Some(reason) = no_tun() {
            anyhow::bail!("{reason}");
        }
        packages::require(&["ip", "iperf3", "ethtool"])?;
    }
    let programs = ["benches", "ges", "gen", "mgmt-server"];
    cargo::build(if traffic { &programs } else { &programs[..1] })
}

/// One part; those with traffic in a nest of their own.
fn measure(part: Part, options: &Options) -> Result<Vec<Row>> {
    match part {
        Part::Micro => alone::micro(options.runs),
        Part::Memory => Ok([alone::engine_memory()?, in_nest(part, options)?].concat()),
        Part::Pair | Part::Router | Part::Flows | Part::Idle => in_nest(part, options),
    }
}

fn in_nest(part: Part, options: &Options) -> Result<Vec<Row>> {
    let (runs, secs) = (options.runs.to_string(), options.secs.to_string());
    let profile = options.profile.as_str();
    let args = ["@bench", part.as_str(), "--runs", &runs, "--secs", &secs, "--profile", profile];
    let mut nest = nest::command(&args)?;
    let output = nest.stderr(Stdio::inherit()).output().context("starting a nest")?;
    ensure!(output.status.success(), "it did not work; the reason stands above");
    serde_json::from_slice(&output.stdout).context("rows of a nest")
}

/// The work of the nest's first process: rows as JSON on standard output.
pub(crate) fn inside(options: &Inside) -> Result<ExitCode> {
    let rows = match options.part {
        Part::Pair => throughput::pair(options),
        Part::Router => throughput::router(options),
        Part::Flows => throughput::flows(options),
        Part::Memory => alone::agent_memory(options),
        Part::Idle => idle::idle(options),
        Part::Micro => alone::micro(options.runs),
    };
    let rows = rows.inspect_err(|_| eprint!("{}", e2e::lab::last_words(10)))?;
    println!("{}", serde_json::to_string(&rows)?);
    Ok(ExitCode::SUCCESS)
}
