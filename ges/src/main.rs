//! `ges`: the host agent and the commands that ask it.
//!
//! Thin on purpose. It reads options ([`cli`], [`config`]), hands them to the runtime or asks the
//! running agent over its control socket, prints what came back ([`render`]), and ends with a code
//! of the table in `--help`. Standard output carries only what was asked for.

mod agent;
mod capabilities;
mod cli;
mod config;
mod down;
mod failure;
mod ping;
mod render;
mod run;

#[cfg(test)]
mod golden;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command, ConfigCommand};
use config::Settings;
use failure::Failure;
use ge_runtime::exit::Exit;
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    let json = cli.command.json();
    let exit = match dispatch(cli) {
        Ok(exit) => exit,
        Err(failure) => {
            failure.print(json);
            failure.exit
        }
    };
    ExitCode::from(exit.code())
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let settings = || Settings::load(&cli.common, None);
    match cli.command {
        Command::Run(options) => run::run(Settings::load(&cli.common, Some(&options))?),
        Command::Status(options) => agent::status(&settings()?, &options),
        Command::Flows(options) => agent::flows(&settings()?, &options),
        Command::Ping(options) => ping::run(&settings()?, &options),
        Command::Metrics => agent::metrics(&settings()?),
        Command::Down(options) => {
            down::run(&Settings::load(&cli.common, Some(&options.as_agent()))?, &options)
        }
        Command::Config { command: ConfigCommand::Test { agent, json } } => {
            let settings = Settings::load(&cli.common, Some(&agent))?;
            print(&render::config(&settings, json))
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ges", &mut script);
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
