//! The configuration file: TOML with the flags' names as keys.
//!
//! A key that is none of them is an error that names the nearest, because a setting that is
//! silently ignored is one that somebody relies on. The program opens the file and lays flags and
//! environment over it.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Keys of the file.
const KEYS: [&str; 8] =
    ["server", "token-file", "state", "interface", "socket", "metrics", "log", "log-format"];

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
    /// Interfaces to protect.
    pub interface: Option<OneOrMore>,
    /// Control socket.
    pub socket: Option<PathBuf>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Least level that is logged, in a word.
    pub log: Option<String>,
    /// Look of log lines, in a word.
    pub log_format: Option<String>,
}

/// `interface = "eth0"` or `interface = ["eth0", "eth1"]`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the name of an interface, or a list of names")]
pub enum OneOrMore {
    /// One name.
    One(String),
    /// A list of names.
    More(Vec<String>),
}

/// Reads the file's text.
///
/// # Errors
/// One line that names the mistake, and where it is.
pub fn parse(text: &str) -> Result<FileConfig, String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| located(text, &error))?;
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let (key, meant) = (key.escape_debug(), nearest(key));
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

fn nearest(key: &str) -> &'static str {
    let likeness = |known: &&&str| strsim::jaro_winkler(&key.replace('_', "-"), known);
    KEYS.iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .expect("invariant: there are keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
        server = "https://file:5866"
        token-file = "/file/token"
        state = "/file/state"
        interface = ["eth8", "eth9"]
        socket = "/file/sock"
        metrics = "127.0.0.1:9"
        log = "debug"
        log-format = "json"
    "#;

    #[test]
    fn every_key_is_known() {
        let table: toml::Table = toml::from_str(FULL).unwrap();
        let mut keys: Vec<&str> = table.keys().map(String::as_str).collect();
        let mut known = KEYS.to_vec();
        keys.sort_unstable();
        known.sort_unstable();
        assert_eq!(keys, known);
        assert!(parse(FULL).is_ok());
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
            ("interface = 5", "an interface"),
            ("metrics = \"9100\"", "line 1:"),
            ("server = ", "line 1:"),
        ];
        for (text, expected) in cases {
            let message = parse(text).unwrap_err();
            assert!(message.contains(expected), "{text:?}: {message}");
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }
}
