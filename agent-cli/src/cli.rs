//! The command line. Every flag of `run` is also an environment variable and a key of the file.
//!
//! It is the same for every agent but for the program's own flags `F`, and its name: help texts say
//! `{program}` where [`command`] puts it.

use crate::Agent;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use ge_runtime::config_file::keys;
use ge_runtime::exit::Exit;
use ge_runtime::report::Verdict;
use ge_runtime::telemetry::LogFormat;
use serde::Serialize;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;
use std::path::PathBuf;
use tracing::level_filters::LevelFilter;

#[derive(Debug, Parser)]
#[command(version, after_long_help = exit_codes(), propagate_version = true)]
pub(crate) struct Cli<F: Args> {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command<F>,
}

/// The command line of a program: its name in every text, and an environment variable for every
/// setting.
pub(crate) fn command<A: Agent>() -> clap::Command {
    let command = Cli::<A::Flags>::command().name(A::PROGRAM.name()).about(A::ABOUT);
    named::<A>(command)
}

fn named<A: Agent>(command: clap::Command) -> clap::Command {
    let name = A::PROGRAM.name();
    let command = command.mut_args(|arg| {
        let help = arg.get_help().map(|help| help.to_string().replace("{program}", name));
        let setting = arg
            .get_long()
            .filter(|long| *long == "config" || keys(A::PROGRAM).any(|key| key == *long));
        let variable =
            setting.map(|long| format!("{name}_{long}").to_uppercase().replace('-', "_"));
        let arg = if let Some(help) = help { arg.help(help) } else { arg };
        if let Some(variable) = variable { arg.env(variable) } else { arg }
    });
    command.mut_subcommands(named::<A>)
}

/// Where things are; for every command.
#[derive(Debug, Default, Args)]
pub(crate) struct Common {
    /// Configuration file [default: /etc/{program}/{program}.toml, if it exists].
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Control socket of the agent [default: /run/{program}/{program}.sock].
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command<F: Args> {
    /// Run the agent in the foreground.
    Run(Box<AgentOptions<F>>),
    /// Show this machine's agent: server, mode, groups, flows, and problems if there are any.
    Status(StatusOptions),
    /// List flows and their verdicts.
    Flows(FlowsOptions),
    /// Ask for the verdict of a host, negotiate if needed, and measure an echo.
    Ping(PingOptions),
    /// Show which agents are on the path to a host, in order, and which part they protect.
    Path(PathOptions),
    /// Explain the verdict between two hosts across every agent on the path, and what would change
    /// it.
    Trace(TraceOptions),
    /// Explain a flow as `flows` lists it, without asking anybody.
    Why(WhyOptions),
    /// Stop the agent; with --purge, remove everything it left on this machine.
    Down(DownOptions),
    /// Print the metrics of the running agent.
    Metrics,
    /// Work with the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand<F>,
    },
    /// Print a completion script.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

impl<F: Args> Command<F> {
    /// True if output, errors included, is to be JSON.
    pub(crate) const fn json(&self) -> bool {
        match self {
            Self::Status(StatusOptions { json, .. })
            | Self::Flows(FlowsOptions { json, .. })
            | Self::Ping(PingOptions { json, .. })
            | Self::Path(PathOptions { json, .. })
            | Self::Trace(TraceOptions { json, .. })
            | Self::Why(WhyOptions { json, .. })
            | Self::Down(DownOptions { json, .. })
            | Self::Config { command: ConfigCommand::Test { json, .. } } => *json,
            Self::Run(_) | Self::Metrics | Self::Completion { .. } => false,
        }
    }
}

/// What an agent is started with.
#[derive(Debug, Default, Args)]
pub(crate) struct AgentOptions<F: Args> {
    /// Management server, https://HOST:PORT. Needed to enrol.
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) server: Option<String>,
    /// File with the enrolment token. Needed to enrol.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Directory of this machine's keys and cache [default: /var/lib/{program}].
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) own: F,
    /// Serve Prometheus metrics on this address over plain HTTP.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Threads of the data path, 8 at most [default: one for each processor].
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroU8>,
    /// Offload not to use, or all; repeat for more. Names: status --details.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) no_offload: Vec<String>,
    /// Least level that is logged: error, warn, info, debug, trace or off [default: info].
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<LevelFilter>,
    /// Look of log lines: text or json [default: text].
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    /// Also show offloads, packets that the kernel did not take, buffers and algorithms.
    #[arg(short = 'd', long)]
    pub(crate) details: bool,
    /// Print one JSON object, schema {program}.status/1.
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit with 5 if there is a problem of severity warning or above.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FlowsOptions {
    /// Only flows with this verdict: protected, clear, transit, dropped or pending.
    #[arg(long, value_name = "VERDICT")]
    pub(crate) verdict: Option<Verdict>,
    /// Only flows that closed mode would drop; in observe mode.
    #[arg(long, conflicts_with = "follow")]
    pub(crate) would_drop: bool,
    /// Print changes as they happen, until interrupted.
    #[arg(long)]
    pub(crate) follow: bool,
    /// Print one JSON object, schema {program}.flows/1; with --follow one a line, schema
    /// {program}.flow-change/1.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PathOptions {
    /// Name or address of the other host.
    #[arg(value_hint = ValueHint::Hostname)]
    pub(crate) host: String,
    /// Print one JSON object, schema {program}.path/1.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TraceOptions {
    /// Address packets come from. This agent must speak for it, or for the other.
    #[arg(value_hint = ValueHint::Hostname)]
    pub(crate) source: String,
    /// Address they go to.
    #[arg(value_hint = ValueHint::Hostname)]
    pub(crate) destination: String,
    /// Protocol that is asked about.
    #[arg(short = 'p', long, value_enum)]
    pub(crate) protocol: Option<Protocol>,
    /// Destination port that is asked about.
    #[arg(long, value_name = "PORT", requires = "protocol")]
    pub(crate) dport: Option<u16>,
    /// Print one JSON object, schema {program}.trace/1.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `trace -p` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP or ICMPv6.
    Icmp,
}

#[derive(Debug, Args)]
pub(crate) struct WhyOptions {
    /// The other side's address, or ours and the other side's.
    #[arg(required = true, num_args = 1..=2, value_names = ["LOCAL", "REMOTE"])]
    pub(crate) flow: Vec<IpAddr>,
    /// Print one JSON object, schema {program}.why/1.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PingOptions {
    /// Name or address of the other host.
    #[arg(value_hint = ValueHint::Hostname)]
    pub(crate) host: String,
    /// Number of echoes; 0 asks for the verdict only.
    #[arg(short = 'c', long, default_value_t = 1, value_name = "N")]
    pub(crate) count: u16,
    /// Exit with 7 if the host is reached in clear.
    #[arg(long)]
    pub(crate) require_protected: bool,
    /// Print one JSON object, schema {program}.ping/1.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DownOptions {
    /// Also remove filter rules, control socket and state directory, keys included.
    #[arg(long)]
    pub(crate) purge: bool,
    /// State directory to remove [default: /var/lib/{program}].
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Print one JSON object, schema {program}.down/1.
    #[arg(long)]
    pub(crate) json: bool,
}

impl DownOptions {
    /// The agent's options as far as this command knows them.
    pub(crate) fn as_agent<F: Args + Default>(&self) -> AgentOptions<F> {
        AgentOptions { state: self.state.clone(), ..AgentOptions::default() }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand<F: Args> {
    /// Check file, environment and flags, and print what `run` would use.
    Test {
        #[command(flatten)]
        agent: Box<AgentOptions<F>>,
        /// Print one JSON object, schema {program}.config/1.
        #[arg(long)]
        json: bool,
    },
}

/// The table at the end of `--help`.
fn exit_codes() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for exit in Exit::ALL {
        let _ = writeln!(text, "  {}  {}", exit.code(), exit.meaning());
    }
    text
}
