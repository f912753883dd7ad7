//! How a command fails: an exit code, one sentence, and where there is one the command to run.

use ge_runtime::control::ClientError;
use ge_runtime::exit::Exit;
use ge_runtime::options::RunError;
use serde_json::json;
use std::process::ExitCode;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) command: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let command = (exit == Exit::Refused).then(as_root);
        Self { exit, message: message.into(), command }
    }

    /// Two lines at most on standard error; one JSON object on standard output with `--json`, so
    /// that a script reads one stream.
    pub(crate) fn print(&self, json: bool) {
        if json {
            println!("{}", self.json());
        } else {
            eprint!("{}", self.text());
        }
    }

    pub(crate) fn text(&self) -> String {
        match &self.command {
            Some(command) => format!("ges: {}\n     run: {command}\n", self.message),
            None => format!("ges: {}\n", self.message),
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        json!({
            "schema": "ges.error/1",
            "error": {
                "code": self.exit.code(),
                "message": self.message,
                "command": self.command,
            }
        })
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let mut failure = Self::new(error.exit_code(), error.to_string());
        if failure.exit == Exit::NotRunning {
            failure.command = Some("sudo systemctl start ges".to_owned());
        }
        failure
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::new(error.exit_code(), error.to_string())
    }
}

/// Prints what the command line parser has to say: help and version as asked for, anything else
/// as a failure, as JSON where `--json` is among the arguments.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && wants_json {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Failure::new(Exit::Usage, message).print(true);
    } else {
        // A closed stream leaves nobody to tell.
        let _ = error.print();
    }
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
    ExitCode::from(exit.code())
}

/// The same command, as root.
fn as_root() -> String {
    let arguments = std::env::args().skip(1).map(|argument| quoted(&argument));
    ["sudo".to_owned(), "ges".to_owned()].into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
}

/// `word` as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted() {
        let cases = [
            ("status", "status"),
            ("--socket=/run/ges/ges.sock", "--socket=/run/ges/ges.sock"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("$(id)", "'$(id)'"),
            ("", "''"),
        ];
        for (word, expected) in cases {
            assert_eq!(quoted(word), expected);
        }
    }
}
