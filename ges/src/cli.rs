//! The command line. Every flag of `run` is also an environment variable and a key of the file.

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use ge_runtime::exit::Exit;
use ge_runtime::report::Verdict;
use ge_runtime::telemetry::LogFormat;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use tracing::level_filters::LevelFilter;

/// Host agent: machines that hold the same group key talk encrypted, on their own addresses.
#[derive(Debug, Parser)]
#[command(name = "ges", version, after_long_help = exit_codes(), propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where things are; for every command.
#[derive(Debug, Default, Args)]
pub(crate) struct Common {
    /// Configuration file [default: /etc/ges/ges.toml, if it exists].
    #[arg(long, env = "GES_CONFIG", global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Control socket of the agent [default: /run/ges/ges.sock].
    #[arg(long, env = "GES_SOCKET", global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent in the foreground.
    Run(Box<AgentOptions>),
    /// Show this host's agent: server, mode, groups, flows, and problems if there are any.
    Status(StatusOptions),
    /// List flows and their verdicts.
    Flows(FlowsOptions),
    /// Ask for the verdict of a host, negotiate if needed, and measure an echo.
    Ping(PingOptions),
    /// Stop the agent; with --purge, remove everything it left on this host.
    Down(DownOptions),
    /// Print the metrics of the running agent.
    Metrics,
    /// Work with the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print a completion script.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

impl Command {
    /// True if output, errors included, is to be JSON.
    pub(crate) const fn json(&self) -> bool {
        match self {
            Self::Status(StatusOptions { json, .. })
            | Self::Flows(FlowsOptions { json, .. })
            | Self::Ping(PingOptions { json, .. })
            | Self::Down(DownOptions { json, .. })
            | Self::Config { command: ConfigCommand::Test { json, .. } } => *json,
            Self::Run(_) | Self::Metrics | Self::Completion { .. } => false,
        }
    }
}

/// What an agent is started with.
#[derive(Debug, Default, Args)]
pub(crate) struct AgentOptions {
    /// Management server, https://HOST:PORT. Needed to enrol.
    #[arg(long, env = "GES_SERVER", value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) server: Option<String>,
    /// File with the enrolment token. Needed to enrol.
    #[arg(long, env = "GES_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Directory of this host's keys and cache [default: /var/lib/ges].
    #[arg(long, env = "GES_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Interface to protect; repeat for more [default: all with a global route].
    #[arg(long, env = "GES_INTERFACE", value_name = "DEV", value_delimiter = ',')]
    pub(crate) interface: Vec<String>,
    /// Serve Prometheus metrics on this address over plain HTTP.
    #[arg(long, env = "GES_METRICS", value_name = "IP:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Least level that is logged: error, warn, info, debug, trace or off [default: info].
    #[arg(long, env = "GES_LOG", value_name = "LEVEL")]
    pub(crate) log: Option<LevelFilter>,
    /// Look of log lines: text or json [default: text].
    #[arg(long, env = "GES_LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    /// Print one JSON object, schema ges.status/1.
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit with 5 if there is a problem of severity warning or above.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FlowsOptions {
    /// Only flows with this verdict: protected, clear, dropped or pending.
    #[arg(long, value_name = "VERDICT")]
    pub(crate) verdict: Option<Verdict>,
    /// Print one JSON object, schema ges.flows/1.
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
    /// Print one JSON object, schema ges.ping/1.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DownOptions {
    /// Also remove filter rules, control socket and state directory, keys included.
    #[arg(long)]
    pub(crate) purge: bool,
    /// State directory to remove [default: /var/lib/ges].
    #[arg(long, env = "GES_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Print one JSON object, schema ges.down/1.
    #[arg(long)]
    pub(crate) json: bool,
}

impl DownOptions {
    /// The agent's options as far as this command knows them.
    pub(crate) fn as_agent(&self) -> AgentOptions {
        AgentOptions { state: self.state.clone(), ..AgentOptions::default() }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check file, environment and flags, and print what `run` would use.
    Test {
        #[command(flatten)]
        agent: Box<AgentOptions>,
        /// Print one JSON object, schema ges.config/1.
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
