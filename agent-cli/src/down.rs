//! `down`: asks the agent to stop; with `--purge`, removes what any agent left here.
//!
//! Each thing that was reverted is named. Purging works without a running agent too: that is when
//! somebody needs it.

use crate::agent::unexpected;
use crate::cli::DownOptions;
use crate::config::Settings;
use crate::failure::Failure;
use crate::{print, render};
use ge_runtime::control::{Answer, Client, ClientError, Request, remove_stale};
use ge_runtime::error::KernelError;
use ge_runtime::exit::Exit;
use ge_runtime::hook::{Hook, TABLE};
use serde::Serialize;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Schemas `ges.down/1` and `gen.down/1`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct DownReport {
    /// What was done, in order.
    pub(crate) reverted: Vec<Reverted>,
}

/// One thing that is gone now.
#[derive(Debug, Serialize)]
pub(crate) struct Reverted {
    /// `agent`, `closed` or `guard` (rules stay), `filter`, `socket` or `state`.
    pub(crate) kind: &'static str,
    /// In words.
    pub(crate) text: String,
}

/// Runs the command.
pub(crate) fn run(settings: &Settings, options: &DownOptions) -> Result<Exit, Failure> {
    let mut report = DownReport::default();
    match stop(&settings.run.socket) {
        Ok(()) => report.add("agent", "the agent was stopped".to_owned()),
        Err(Failure { exit: Exit::NotRunning, .. }) if options.purge => {}
        Err(failure) => return Err(failure),
    }
    if options.purge {
        purge(settings, &mut report)?;
    } else if Hook::installed().unwrap_or(false) {
        let program = settings.run.program;
        let text = format!(
            "this {} is closed and stays so: the filter rules go on refusing everybody; to open \
             it: {} down --purge",
            program.machine(),
            program.name()
        );
        report.add("closed", text);
    } else if Hook::guards().unwrap_or(false) {
        let text = format!(
            "what must be protected stays refused without the agent; to talk to it in clear: {} \
             down --purge",
            settings.run.program.name()
        );
        report.add("guard", text);
    }
    if options.json {
        print(&render::json(settings.run.program, "down", &report))
    } else {
        print(&render::down(settings.run.program, &report))
    }
}

impl DownReport {
    pub(crate) fn add(&mut self, kind: &'static str, text: String) {
        self.reverted.push(Reverted { kind, text });
    }
}

fn stop(socket: &Path) -> Result<(), Failure> {
    let mut client = Client::connect(socket)?;
    let Answer::Stopping {} = client.ask(&Request::Stop {})? else { return Err(unexpected()) };
    client.wait_gone().map_err(|error| match error {
        ClientError::TimedOut => {
            let message = "the agent was asked to stop and is still there";
            Failure::new(Exit::TimedOut, message)
        }
        other => other.into(),
    })
}

/// The rules come first: they need the most permission, so a refusal leaves nothing half removed.
fn purge(settings: &Settings, report: &mut DownReport) -> Result<(), Failure> {
    if remove_rules().map_err(|error| refused(&error))? {
        report.add("filter", format!("the filter rules (table {TABLE}) were removed"));
    }
    let socket = &settings.run.socket;
    if remove_stale(socket).map_err(|error| failed("remove", socket, &error))? {
        report.add("socket", format!("the control socket {} was removed", socket.display()));
    }
    let state = &settings.run.state;
    if remove_state(state)? {
        report.add("state", format!("the state directory {} was removed", state.display()));
    }
    Ok(())
}

/// Removes the rules of a dead agent. True if there were any.
fn remove_rules() -> Result<bool, KernelError> {
    match Hook::installed().and_then(|hook| Ok(hook || Hook::guards()?)) {
        // Without nf_tables there never was a hook.
        Ok(false) | Err(KernelError::Missing { .. }) => Ok(false),
        Ok(true) => Hook::remove_stale().map(|()| true),
        Err(error) => Err(error),
    }
}

fn refused(error: &KernelError) -> Failure {
    let exit = match error {
        KernelError::Permission { .. } => Exit::Refused,
        _ => Exit::Failure,
    };
    Failure::new(exit, error.to_string())
}

/// Removes a state directory: one of our own user, closed to others, holding plain files only.
/// Anything else is somebody's mistake with `--state`, and nothing is removed.
fn remove_state(directory: &Path) -> Result<bool, Failure> {
    let meta = match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(|error| failed("look at", directory, &error))?,
    };
    let ours =
        meta.is_dir() && meta.mode() & 0o077 == 0 && meta.uid() == nix::unistd::geteuid().as_raw();
    let entries: Vec<fs::DirEntry> = match fs::read_dir(directory) {
        Ok(entries) if ours => entries.collect::<Result<_, _>>(),
        Ok(_) => return Err(not_state(directory)),
        Err(error) => Err(error),
    }
    .map_err(|error| failed("read", directory, &error))?;
    let plain = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
    if !entries.iter().all(plain) {
        return Err(not_state(directory));
    }
    for entry in entries {
        let path = entry.path();
        fs::remove_file(&path).map_err(|error| failed("remove", &path, &error))?;
    }
    fs::remove_dir(directory).map_err(|error| failed("remove", directory, &error))?;
    Ok(true)
}

fn not_state(directory: &Path) -> Failure {
    let message = format!(
        "{} is not an agent's state directory (mode 0700, ours, plain files only); \
         nothing in it was removed",
        directory.display()
    );
    Failure::new(Exit::Usage, message)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Refused,
        _ => Exit::Failure,
    };
    Failure::new(exit, format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn directory(mode: u32) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        fs::write(directory.path().join("identity"), "x").unwrap();
        directory
    }

    #[test]
    fn a_state_directory_goes() {
        let state = directory(0o700);
        assert!(remove_state(state.path()).unwrap());
        assert!(!state.path().exists());
        assert!(!remove_state(state.path()).unwrap(), "nothing left to remove");
    }

    #[test]
    fn other_directories_stay() {
        let open = directory(0o755);
        let nested = directory(0o700);
        fs::create_dir(nested.path().join("documents")).unwrap();
        for other in [&open, &nested] {
            let failure = remove_state(other.path()).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(other.path().join("identity").exists());
        }
    }
}
