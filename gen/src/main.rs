//! `gen`: the router agent and the commands that ask it. All but its own options is shared with the
//! host agent, in `agent-cli`.

use agent_cli::Agent;
use clap::Args;
use ge_runtime::config_file::{FileConfig, OneOrMore};
use ge_runtime::options::{Prefix, RunOptions};
use ge_runtime::program::Program;
use serde_json::{Value, json};
use std::process::ExitCode;

fn main() -> ExitCode {
    agent_cli::main::<Router>()
}

/// The router agent.
struct Router;

/// Flags of a router alone.
#[derive(Debug, Default, Args)]
struct Flags {
    /// Interface that leads outside; repeat for more [default: all with a global route].
    #[arg(long, value_name = "DEV", value_delimiter = ',')]
    outside: Vec<String>,
    /// Subnet whose machines are to be protected; repeat for more. The router offers it when it
    /// enrols and stands for it once it is certified [default: the networks inside].
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    protect: Vec<String>,
}

impl Agent for Router {
    const PROGRAM: Program = Program::Gen;
    const ABOUT: &'static str = "Router agent: the machines behind it talk encrypted with members \
                                 of their group, without an agent of their own.";
    type Flags = Flags;

    fn settle(flags: &Flags, file: &FileConfig, run: &mut RunOptions) -> Result<(), String> {
        run.interfaces = OneOrMore::under(file.outside.as_ref(), &flags.outside);
        let protect = OneOrMore::under(file.protect.as_ref(), &flags.protect);
        let prefixes = protect.iter().map(|text| text.parse::<Prefix>());
        run.protect = prefixes.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        match run.protect.iter().find(|prefix| prefix.length() == 0) {
            Some(prefix) => {
                Err(format!("{prefix} is everybody; name the subnets behind this router"))
            }
            None => Ok(()),
        }
    }

    fn settled(run: &RunOptions) -> Vec<(&'static str, Value)> {
        vec![("outside", json!(run.interfaces)), ("protect", json!(run.protect))]
    }
}
