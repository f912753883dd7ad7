//! A program running in the lab: its log is kept, and it is killed by pid when dropped.

use crate::nest::{die_with_parent, exit_code};
use crate::wait::wait_for;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a program may take to end after it was asked to.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A child process with its log file.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Length of the log before this run.
    before: usize,
}

impl Process {
    /// Starts `command` with both outputs appended to `log`.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let out = open_log(log)?;
        let before = usize::try_from(out.metadata()?.len())?;
        command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        die_with_parent(&mut command);
        let child = command.spawn().with_context(|| {
            format!("starting {name} ({})", command.get_program().to_string_lossy())
        })?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), before })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it printed so far in this run.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| {
                String::from_utf8_lossy(&bytes[self.before.min(bytes.len())..]).into_owned()
            })
            .unwrap_or_default()
    }

    /// Its exit code, once it has ended.
    ///
    /// # Errors
    /// If the kernel refuses to say.
    pub fn exit(&mut self) -> Result<Option<i32>> {
        Ok(self.child.try_wait()?.map(exit_code))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// If it is still running after `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> Result<i32> {
        let what = format!("{} to end", self.name);
        wait_for(&what, deadline, || self.exit())
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop(&mut self) -> Result<i32> {
        self.signal(Signal::SIGTERM)?;
        self.wait(STOP_DEADLINE)
    }

    /// Ends it without a chance to clean up (SIGKILL).
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?);
        kill(pid, signal).with_context(|| format!("sending {signal} to {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.kill();
    }
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}
