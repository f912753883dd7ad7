//! `ges`: the host agent and the commands that ask it. All but its own options is shared with the
//! router agent, in `agent-cli`.

use agent_cli::Agent;
use clap::Args;
use ge_runtime::config_file::{FileConfig, OneOrMore};
use ge_runtime::options::RunOptions;
use ge_runtime::program::Program;
use serde_json::{Value, json};
use std::process::ExitCode;

fn main() -> ExitCode {
    agent_cli::main::<Host>()
}

/// The host agent.
struct Host;

/// Flags of a host alone.
#[derive(Debug, Default, Args)]
struct Flags {
    /// Interface to protect; repeat for more [default: all with a global route].
    #[arg(long, value_name = "DEV", value_delimiter = ',')]
    interface: Vec<String>,
}

impl Agent for Host {
    const PROGRAM: Program = Program::Ges;
    const ABOUT: &'static str =
        "Host agent: machines that hold the same group key talk encrypted, on their own addresses.";
    type Flags = Flags;

    fn settle(flags: &Flags, file: &FileConfig, run: &mut RunOptions) -> Result<(), String> {
        run.interfaces = OneOrMore::under(file.interface.as_ref(), &flags.interface);
        Ok(())
    }

    fn settled(run: &RunOptions) -> Vec<(&'static str, Value)> {
        vec![("interface", json!(run.interfaces))]
    }
}
