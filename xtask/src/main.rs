//! `cargo xtask TASK`: everything a developer or a newcomer types, in one program.
//!
//! Each task is a module with one public function. Tasks call cargo and the lab ([`e2e`]); they
//! depend on no crate of the product, so that they build quickly and also when the product does
//! not. Tasks that check something return [`Counts`](count::Counts), which `test` adds up.

mod bench;
mod cargo;
mod count;
mod demo;
mod deps;
mod e2e_task;
mod matrix;
mod packages;
mod sim;
mod source;
mod test;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};
use count::Counts;
use e2e::nest;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of this project", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Two hosts, one group, in five minutes: builds, shows, ends with a line for each claim
    Demo {
        /// Leave an interactive shell inside the lab when the story is told
        #[arg(long)]
        shell: bool,
    },
    /// Everything: format, lints, tests, tidy, deps, simulator, end to end
    Test,
    /// `test` without the end-to-end part: it installs nothing, and needs root too
    Ci,
    /// End-to-end scenarios on the real kernel, all or by name
    E2e {
        /// Scenarios to run; all if none is named
        names: Vec<String>,
        /// Print the names and what each shows
        #[arg(long)]
        list: bool,
        /// Scenarios at a time
        #[arg(long, default_value_t = 1)]
        jobs: usize,
    },
    /// Figures: everything in one table, beside the one that was kept; or one thing by its name
    Bench {
        /// What to measure by itself, in more detail or outside the table
        #[arg(value_enum)]
        what: Option<bench::What>,
        #[command(flatten)]
        options: bench::Options,
        /// One JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Sizes, missing docs, unfinished marks, junk, threat rows without test
    Tidy,
    /// Which crate may depend on which
    Deps,
    /// Simulated worlds; a failing seed prints the line that replays it
    Sim {
        /// How many seeds
        #[arg(long, default_value_t = 500)]
        seeds: u64,
    },
    /// Modes: 700 paths of agents against the decision rule, simulated or with --kernel real
    Matrix(matrix::Options),
    /// Product between two existing network namespaces joined by va and vb, until SIGTERM
    #[command(hide = true)]
    PairUp {
        /// Namespace with 10.231.0.1 on va
        ns_a: String,
        /// Namespace with 10.231.0.2 on vb
        ns_b: String,
        /// Further options of both agents, such as `--workers 1`
        #[arg(last = true)]
        options: Vec<String>,
    },
    /// First process of the demo's nest
    #[command(name = "@demo", hide = true)]
    DemoInside {
        #[arg(long)]
        shell: bool,
    },
    /// First process of a nest for a part of the table
    #[command(name = "@bench", hide = true)]
    BenchInside(bench::Inside),
    /// First process of the path measurement's nest
    #[command(name = "@path", hide = true)]
    PathInside {
        #[arg(long)]
        json: bool,
    },
    /// First process of the matrix's nest
    #[command(name = "@matrix", hide = true)]
    MatrixInside {
        #[arg(long)]
        json: bool,
        #[arg(long)]
        case: Option<String>,
    },
    /// First process of the measurement's nest
    #[command(name = "@first-packet", hide = true)]
    FirstPacketInside,
    /// First process of the nest in which formats are compared
    #[command(name = "@native", hide = true)]
    NativeInside {
        #[arg(long)]
        json: bool,
    },
    /// First process of the floods' nest
    #[command(name = "@flood", hide = true)]
    FloodInside {
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    nest::init()?;
    // The runner of scenarios starts this very program again, once for each.
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some(e2e::runner::INSIDE) {
        e2e::runner::run_inside(&args.next().unwrap_or_default())?;
        return Ok(ExitCode::SUCCESS);
    }
    match Cli::parse().task {
        Task::Demo { shell } => demo::run(shell),
        Task::DemoInside { shell } => demo::inside(shell),
        Task::Test => test::run(test::Extent::Everything),
        Task::Ci => test::run(test::Extent::WithoutScenarios),
        Task::E2e { list: true, .. } => {
            e2e::runner::list();
            Ok(ExitCode::SUCCESS)
        }
        Task::E2e { names, jobs, .. } => closed(e2e_task::run(&names, jobs)?),
        Task::Bench { what: Some(what), json, .. } => bench::run(what, json),
        Task::Bench { what: None, options, json } => bench::whole(&options, json),
        Task::BenchInside(options) => bench::inside(&options),
        Task::PathInside { json } => bench::path(json),
        Task::FirstPacketInside => bench::first_packet(),
        Task::FloodInside { json } => bench::flood(json),
        Task::NativeInside { json } => bench::native(json),
        Task::PairUp { ns_a, ns_b, options } => bench::pair_up(&ns_a, &ns_b, &options),
        Task::Tidy => closed(tidy::run()?),
        Task::Deps => closed(deps::run()?),
        Task::Matrix(options) => matrix::run(&options),
        Task::MatrixInside { json, case } => matrix::inside(json, case.as_deref()),
        Task::Sim { seeds } => closed(sim::run(seeds)?),
    }
}

/// The closing line of a task that counts, and its exit code.
fn closed(counts: Counts) -> Result<ExitCode> {
    println!("{counts}");
    Ok(counts.exit())
}
