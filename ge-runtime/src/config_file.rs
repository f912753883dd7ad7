//! The configuration file: TOML with the flags' names as keys.
//!
//! A key that is none of them is an error that names the nearest, because a setting that is
//! silently ignored is one that somebody relies on. The program opens the file and lays flags and
//! environment over it.

use crate::program::Program;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::path::PathBuf;

/// Keys that every agent's file has.
const KEYS: [&str; 9] = [
    "server",
    "token-file",
    "state",
    "socket",
    "metrics",
    "workers",
    "no-offload",
    "log",
    "log-format",
];
/// Keys of a host's file alone.
const HOST_KEYS: [&str; 1] = ["interface"];
/// Keys of a router's file alone.
const ROUTER_KEYS: [&str; 2] = ["outside", "protect"];

/// The file as written.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FileConfig {
    /// Base URL of the management server.
    pub server: Option<String>,
    /// File that holds the enrolment token.
    pub token_file: Option<PathBuf>,
    /// State directory.
    pub state: Option<PathBuf>,
    /// Interfaces to protect (host).
    pub interface: Option<OneOrMore>,
    /// Interfaces that lead outside (router).
    pub outside: Option<OneOrMore>,
    /// Subnets to stand for (router), as written.
    pub protect: Option<OneOrMore>,
    /// Control socket.
    pub socket: Option<PathBuf>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Threads of the data path.
    pub workers: Option<NonZeroU8>,
    /// Offloads that are not to be used, as written.
    pub no_offload: Option<OneOrMore>,
    /// Least level that is logged, in a word.
    pub log: Option<String>,
    /// Look of log lines, in a word.
    pub log_format: Option<String>,
}

/// `interface = "eth0"` or `interface = ["eth0", "eth1"]`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected one value as text, or a list of them")]
pub enum OneOrMore {
    /// One.
    One(String),
    /// A list.
    More(Vec<String>),
}

impl OneOrMore {
    /// What the flags say, or else the file.
    #[must_use]
    pub fn under(file: Option<&Self>, flags: &[String]) -> Vec<String> {
        match file {
            _ if !flags.is_empty() => flags.to_vec(),
            Some(Self::One(text)) => vec![text.clone()],
            Some(Self::More(texts)) => texts.clone(),
            None => Vec::new(),
        }
    }
}

/// Keys of the file of `program`; each is also a flag of `run`.
pub fn keys(program: Program) -> impl Iterator<Item = &'static str> {
    let own: &[&str] = match program {
        Program::Ges => &HOST_KEYS,
        Program::Gen => &ROUTER_KEYS,
    };
    KEYS.into_iter().chain(own.iter().copied())
}

/// Reads the text of the file of `program`.
///
/// # Errors
/// One line that names the mistake, and where it is.
pub fn parse(program: Program, text: &str) -> Result<FileConfig, String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| located(text, &error))?;
    if let Some(key) = table.keys().find(|key| !keys(program).any(|known| known == *key)) {
        let (key, meant) = (key.escape_debug(), nearest(program, key));
        return Err(format!("unknown key `{key}`; did you mean `{meant}`?"));
    }
    toml::from_str(text).map_err(|error| located(text, &error))
}

/// The parser's message on one line, with the line number in the file.
fn located(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    let start = error.span().map(|span| span.start);
    match start.and_then(|start| text.get(..start)) {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

fn nearest(program: Program, key: &str) -> &'static str {
    let likeness = |known: &&str| strsim::jaro_winkler(&key.replace('_', "-"), known);
    keys(program)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .expect("invariant: there are keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMON: &str = r#"
        server = "https://file:5866"
        token-file = "/file/token"
        state = "/file/state"
        socket = "/file/sock"
        metrics = "127.0.0.1:9"
        workers = 2
        no-offload = ["udp-send", "tun-uso"]
        log = "debug"
        log-format = "json"
    "#;

    #[test]
    fn every_key_is_known() {
        for (program, own) in [
            (Program::Ges, "interface = [\"eth8\", \"eth9\"]"),
            (Program::Gen, "outside = \"wan0\"\nprotect = [\"10.0.0.0/8\"]"),
        ] {
            let text = format!("{COMMON}\n{own}");
            let table: toml::Table = toml::from_str(&text).unwrap();
            let mut written: Vec<&str> = table.keys().map(String::as_str).collect();
            let mut known: Vec<&str> = keys(program).collect();
            written.sort_unstable();
            known.sort_unstable();
            assert_eq!(written, known);
            assert!(parse(program, &text).is_ok());
        }
    }

    #[test]
    fn each_program_has_its_own_keys() {
        let message = parse(Program::Gen, "interface = \"eth0\"").unwrap_err();
        assert!(message.contains("unknown key `interface`"), "{message}");
        let message = parse(Program::Ges, "outsides = \"eth0\"").unwrap_err();
        assert!(!message.contains("`outside`"), "{message}");
        let message = parse(Program::Gen, "outsides = \"eth0\"").unwrap_err();
        assert!(message.contains("did you mean `outside`?"), "{message}");
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("sever = \"https://x\"", "unknown key `sever`; did you mean `server`?"),
            ("interfaces = [\"eth0\"]", "unknown key `interfaces`; did you mean `interface`?"),
            ("token_file = \"x\"", "unknown key `token_file`; did you mean `token-file`?"),
            ("logformat = \"json\"", "unknown key `logformat`; did you mean `log-format`?"),
            ("\"log\\nformat\" = 1", "unknown key `log\\nformat`; did you mean `log-format`?"),
            ("[agent]\nserver = \"x\"", "unknown key `agent`"),
            ("server = \"a\"\nserver = \"b\"", "line 2:"),
            ("\n\nserver = 5", "line 3:"),
            ("interface = 5", "a list of them"),
            ("metrics = \"9100\"", "line 1:"),
            ("no-offloads = \"all\"", "did you mean `no-offload`?"),
            ("server = ", "line 1:"),
        ];
        for (text, expected) in cases {
            let message = parse(Program::Ges, text).unwrap_err();
            assert!(message.contains(expected), "{text:?}: {message}");
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }
}
