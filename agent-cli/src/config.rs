//! Settings: flag before environment before file before default.
//!
//! The first two are merged by the command line parser. The file is read by
//! [`ge_runtime::config_file`].

use crate::Agent;
use crate::cli::{AgentOptions, Common};
use crate::failure::Failure;
use ge_runtime::config_file::{self, FileConfig, OneOrMore};
use ge_runtime::exit::Exit;
use ge_runtime::offload::Switches;
use ge_runtime::options::RunOptions;
use ge_runtime::telemetry::LogFormat;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tracing::level_filters::LevelFilter;

/// Everything decided.
#[derive(Debug)]
pub(crate) struct Settings {
    /// File that was read, if any.
    pub(crate) file: Option<PathBuf>,
    /// For the runtime.
    pub(crate) run: RunOptions,
    /// Least level that is logged.
    pub(crate) log: LevelFilter,
    /// Look of log lines.
    pub(crate) log_format: LogFormat,
}

impl Settings {
    /// Reads the file and lays `common` and `agent` (flags and environment) over it.
    pub(crate) fn load<A: Agent>(
        common: &Common,
        agent: Option<&AgentOptions<A::Flags>>,
    ) -> Result<Self, Failure> {
        let usual = Some(A::PROGRAM.config()).filter(|path| path.exists());
        let file = common.config.clone().or(usual);
        let written = file.as_deref().map(read::<A>).transpose()?.unwrap_or_default();
        let nothing = AgentOptions::default();
        merge::<A>(common, agent.unwrap_or(&nothing), file, written)
    }
}

fn merge<A: Agent>(
    common: &Common,
    flags: &AgentOptions<A::Flags>,
    file: Option<PathBuf>,
    written: FileConfig,
) -> Result<Settings, Failure> {
    let mut defaults = RunOptions::new(A::PROGRAM);
    A::settle(&flags.own, &written, &mut defaults).map_err(bad)?;
    let off = OneOrMore::under(written.no_offload.as_ref(), &flags.no_offload);
    let offloads = Switches::without(off.iter().map(String::as_str));
    let run = RunOptions {
        offloads: offloads.map_err(|error| bad(error.to_string()))?,
        server: flags.server.clone().or(written.server),
        token_file: flags.token_file.clone().or(written.token_file),
        state: flags.state.clone().or(written.state).unwrap_or(defaults.state),
        socket: common.socket.clone().or(written.socket).unwrap_or(defaults.socket),
        metrics: flags.metrics.or(written.metrics),
        workers: flags.workers.or(written.workers),
        ..defaults
    };
    let place = file.clone().unwrap_or_else(|| A::PROGRAM.config());
    let log = flags.log.map_or_else(|| word(written.log, "log", &place), |log| Ok(Some(log)))?;
    let log_format = match flags.log_format {
        Some(format) => Some(format),
        None => word(written.log_format, "log-format", &place)?,
    };
    let settings = Settings {
        log: log.unwrap_or(LevelFilter::INFO),
        log_format: log_format.unwrap_or_default(),
        file,
        run,
    };
    check(settings)
}

/// Refuses what the options cannot mean, before anything is touched.
fn check(settings: Settings) -> Result<Settings, Failure> {
    if let Some(server) = &settings.run.server
        && !server.starts_with("https://")
    {
        return Err(bad(format!("server must begin with https://, not {server:?}")));
    }
    if let Some(name) = settings.run.interfaces.iter().find(|name| !is_interface_name(name)) {
        return Err(bad(format!("no interface can be named {name:?}; list them with: ip link")));
    }
    Ok(settings)
}

/// The kernel's rule (`dev_valid_name`): 1 to 15 bytes, no slash, colon or white space.
fn is_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace())
}

fn read<A: Agent>(path: &Path) -> Result<FileConfig, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| bad(format!("{} cannot be read: {error}", path.display())))?;
    config_file::parse(A::PROGRAM, &text)
        .map_err(|cause| bad(format!("{}: {cause}", path.display())))
}

fn word<T: FromStr>(value: Option<String>, key: &str, file: &Path) -> Result<Option<T>, Failure> {
    let Some(value) = value else { return Ok(None) };
    let wrong = |_| {
        let file = file.display();
        let choices =
            if key == "log" { "error, warn, info, debug, trace, off" } else { "text, json" };
        bad(format!("{file}: {key} is {value:?}; it can be one of {choices}"))
    };
    value.parse().map(Some).map_err(wrong)
}

fn bad(message: String) -> Failure {
    Failure::new(Exit::Usage, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Args;
    use ge_runtime::program::Program;
    use std::num::NonZeroU8;

    /// An agent with one flag of its own.
    struct Probe;

    #[derive(Debug, Default, Args)]
    struct Flags {
        #[arg(long)]
        interface: Vec<String>,
    }

    impl Agent for Probe {
        const PROGRAM: Program = Program::Ges;
        const ABOUT: &'static str = "";
        type Flags = Flags;

        fn settle(flags: &Flags, file: &FileConfig, run: &mut RunOptions) -> Result<(), String> {
            run.interfaces = OneOrMore::under(file.interface.as_ref(), &flags.interface);
            Ok(())
        }

        fn settled(_: &RunOptions) -> Vec<(&'static str, serde_json::Value)> {
            Vec::new()
        }
    }

    fn parse(text: &str) -> Result<FileConfig, String> {
        config_file::parse(Program::Ges, text)
    }

    fn merge(
        common: &Common,
        flags: &AgentOptions<Flags>,
        file: Option<PathBuf>,
        written: FileConfig,
    ) -> Result<Settings, Failure> {
        super::merge::<Probe>(common, flags, file, written)
    }

    const FULL: &str = r#"
        server = "https://file:5866"
        token-file = "/file/token"
        state = "/file/state"
        interface = ["eth8", "eth9"]
        socket = "/file/sock"
        metrics = "127.0.0.1:9"
        workers = 3
        no-offload = "udp-send"
        log = "debug"
        log-format = "json"
    "#;

    #[test]
    fn every_key_is_read() {
        let settings =
            merge(&Common::default(), &AgentOptions::default(), None, parse(FULL).unwrap())
                .unwrap();
        let expected = RunOptions {
            program: Program::Ges,
            protect: Vec::new(),
            server: Some("https://file:5866".to_owned()),
            token_file: Some("/file/token".into()),
            state: "/file/state".into(),
            interfaces: vec!["eth8".to_owned(), "eth9".to_owned()],
            socket: "/file/sock".into(),
            metrics: Some("127.0.0.1:9".parse().unwrap()),
            workers: NonZeroU8::new(3),
            offloads: Switches::without(["udp-send"]).unwrap(),
        };
        assert_eq!(settings.run, expected);
        assert_eq!((settings.log, settings.log_format), (LevelFilter::DEBUG, LogFormat::Json));
    }

    #[test]
    fn flags_cover_the_file_and_defaults_fill_it() {
        let flags = AgentOptions {
            state: Some("/flag/state".into()),
            own: Flags { interface: vec!["eth0".to_owned()] },
            log: Some(LevelFilter::WARN),
            no_offload: vec!["tun-tso".to_owned(), "merge-udp".to_owned()],
            ..AgentOptions::default()
        };
        let common = Common { socket: Some("/flag/sock".into()), ..Common::default() };
        let settings = merge(&common, &flags, None, parse(FULL).unwrap()).unwrap();
        assert_eq!(settings.run.state, Path::new("/flag/state"));
        assert_eq!(settings.run.interfaces, ["eth0"]);
        assert_eq!(settings.run.socket, Path::new("/flag/sock"));
        assert_eq!(settings.log, LevelFilter::WARN);
        assert_eq!(settings.run.offloads, Switches::without(["tun-tso", "merge-udp"]).unwrap());
        assert_eq!(settings.log_format, LogFormat::Json);
        let empty = parse("").unwrap();
        let settings = merge(&Common::default(), &AgentOptions::default(), None, empty).unwrap();
        assert_eq!(settings.run, RunOptions::new(Program::Ges));
        assert_eq!((settings.log, settings.log_format), (LevelFilter::INFO, LogFormat::Text));
    }

    #[test]
    fn values_that_cannot_be_meant_are_refused() {
        let cases = [
            "log = \"loud\"",
            "log-format = \"xml\"",
            "server = \"http://mgmt.example\"",
            "interface = \"eth0/1\"",
            "interface = \"a-name-that-is-too-long\"",
            "interface = \"\"",
            "no-offload = \"udp_send\"",
        ];
        for text in cases {
            let written = parse(text).unwrap();
            let failure =
                merge(&Common::default(), &AgentOptions::default(), None, written).expect_err(text);
            assert_eq!(failure.exit, Exit::Usage, "{text}");
        }
    }
}
