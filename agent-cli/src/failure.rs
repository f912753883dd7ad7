//! How a command fails: an exit code, one sentence, and where there is one the command to run.

use ge_runtime::control::ClientError;
use ge_runtime::exit::Exit;
use ge_runtime::options::RunError;
use ge_runtime::program::Program;
use serde_json::json;
use std::process::ExitCode;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) remedy: Option<Remedy>,
}

/// A command that may help.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The same with these arguments, as root.
    AsRoot(Vec<String>),
    /// Starting the agent.
    Start,
}

impl Remedy {
    fn command(&self, program: Program) -> String {
        let name = program.name();
        match self {
            Self::AsRoot(arguments) => arguments
                .iter()
                .fold(format!("sudo {name}"), |line, word| line + " " + &quoted(word)),
            Self::Start => format!("sudo systemctl start {name}"),
        }
    }
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let again = || Remedy::AsRoot(std::env::args().skip(1).collect());
        Self { exit, message: message.into(), remedy: (exit == Exit::Refused).then(again) }
    }

    /// Two lines at most on standard error; one JSON object on standard output with `--json`, so
    /// that a script reads one stream.
    pub(crate) fn print(&self, program: Program, json: bool) {
        if json {
            println!("{}", self.json(program));
        } else {
            eprint!("{}", self.text(program));
        }
    }

    pub(crate) fn text(&self, program: Program) -> String {
        let name = program.name();
        match &self.remedy {
            Some(remedy) => {
                let command = remedy.command(program);
                format!("{name}: {}\n{:5}run: {command}\n", self.message, "")
            }
            None => format!("{name}: {}\n", self.message),
        }
    }

    pub(crate) fn json(&self, program: Program) -> serde_json::Value {
        json!({
            "schema": format!("{}.error/1", program.name()),
            "error": {
                "code": self.exit.code(),
                "message": self.message,
                "command": self.remedy.as_ref().map(|remedy| remedy.command(program)),
            }
        })
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let mut failure = Self::new(error.exit_code(), error.to_string());
        if failure.exit == Exit::NotRunning {
            failure.remedy = Some(Remedy::Start);
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
pub(crate) fn usage(program: Program, error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && wants_json {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Failure::new(Exit::Usage, message).print(program, true);
    } else {
        // A closed stream leaves nobody to tell.
        let _ = error.print();
    }
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
    ExitCode::from(exit.code())
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
