//! What the programs of both agents share: commands, options, configuration, output, exit codes.
//!
//! A program says by [`Agent`] what is its own (its name, and the options only it has) and hands
//! over with [`main`]. The rest is here: options are read ([`cli`], [`config`]), handed to the
//! runtime or asked of the running agent over its control socket, and what came back is printed
//! ([`render`]). Standard output carries only what was asked for.

mod agent;
mod capabilities;
mod cli;
mod config;
mod down;
mod explain;
mod failure;
mod follow;
mod ping;
mod render;
mod run;

#[cfg(test)]
mod golden;

use clap::FromArgMatches;
use cli::{Cli, Command, ConfigCommand};
use config::Settings;
use failure::Failure;
use ge_runtime::config_file::FileConfig;
use ge_runtime::exit::Exit;
use ge_runtime::options::RunOptions;
use ge_runtime::program::Program;
use std::fmt::Debug;
use std::io::{self, Write};
use std::process::ExitCode;

/// What one agent's program has of its own.
pub trait Agent: 'static {
    /// Which program.
    const PROGRAM: Program;
    /// What it is, for `--help`.
    const ABOUT: &'static str;

    /// Flags of `run` that only this program has.
    type Flags: clap::Args + Debug + Default;

    /// Lays the flags over the file, over what is in `run`.
    ///
    /// # Errors
    /// A value that cannot be meant: one sentence.
    fn settle(flags: &Self::Flags, file: &FileConfig, run: &mut RunOptions) -> Result<(), String>;

    /// The settled values by their keys, for `config test`.
    fn settled(run: &RunOptions) -> Vec<(&'static str, serde_json::Value)>;
}

/// The program's `main`.
#[must_use]
pub fn main<A: Agent>() -> ExitCode {
    let parsed = cli::command::<A>().try_get_matches();
    let cli = match parsed.and_then(|matches| Cli::<A::Flags>::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return failure::usage(A::PROGRAM, &error),
    };
    let json = cli.command.json();
    let exit = match dispatch::<A>(cli) {
        Ok(exit) => exit,
        Err(failure) => {
            failure.print(A::PROGRAM, json);
            failure.exit
        }
    };
    ExitCode::from(exit.code())
}

fn dispatch<A: Agent>(cli: Cli<A::Flags>) -> Result<Exit, Failure> {
    let settings = || Settings::load::<A>(&cli.common, None);
    match cli.command {
        Command::Run(options) => run::run(Settings::load::<A>(&cli.common, Some(&options))?),
        Command::Status(options) => agent::status(&settings()?, &options),
        Command::Flows(options) if options.follow => follow::run(&settings()?, &options),
        Command::Flows(options) => agent::flows(&settings()?, &options),
        Command::Ping(options) => ping::run(&settings()?, &options),
        Command::Path(options) => explain::path(&settings()?, &options),
        Command::Trace(options) => explain::trace(&settings()?, &options),
        Command::Why(options) => explain::why(&settings()?, &options),
        Command::Metrics => agent::metrics(&settings()?),
        Command::Down(options) => {
            down::run(&Settings::load::<A>(&cli.common, Some(&options.as_agent()))?, &options)
        }
        Command::Config { command: ConfigCommand::Test { agent, json } } => {
            let settings = Settings::load::<A>(&cli.common, Some(&agent))?;
            print(&render::config(&settings, A::settled(&settings.run), json))
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            let name = A::PROGRAM.name();
            clap_complete::generate(shell, &mut cli::command::<A>(), name, &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

/// Writes `text` to standard output. A reader that left early (`| head`) is no error.
fn print(text: &str) -> Result<Exit, Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failure, format!("standard output: {error}")))
        }
        _ => Ok(Exit::Success),
    }
}
