//! A machine of the lab: one network namespace with its addresses, and ways to run things in it.

use crate::process::Process;
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use std::ffi::OsStr;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Interface every host has towards the others.
pub const DEV: &str = "eth0";

/// A machine of the lab. Cheap to clone; all clones are the same machine.
#[derive(Clone)]
pub struct Host {
    /// Name; also the name of its namespace for `ip netns exec`.
    pub name: String,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
    netns: Arc<File>,
    dir: PathBuf,
}

impl Host {
    /// The namespace called `name`, made before; logs and files of the machine live below `dir`.
    ///
    /// # Errors
    /// If there is no such namespace.
    pub fn open(name: &str, v4: Ipv4Addr, v6: Ipv6Addr, dir: &Path) -> Result<Self> {
        let path = format!("/run/netns/{name}");
        let netns = Arc::new(File::open(&path).with_context(|| format!("opening {path}"))?);
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(Self { name: name.to_owned(), v4, v6, netns, dir })
    }

    /// The same machine by other addresses of its own.
    #[must_use]
    pub fn at(&self, v4: Ipv4Addr, v6: Ipv6Addr) -> Self {
        Self { v4, v6, ..self.clone() }
    }

    /// Both addresses.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// A file of this machine's own directory.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// `program` as it would run on this machine.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let netns = Arc::clone(&self.netns);
        command.current_dir(&self.dir);
        // SAFETY: one system call on an open descriptor between fork and exec.
        unsafe {
            command.pre_exec(move || setns(&*netns, CloneFlags::CLONE_NEWNET).map_err(Into::into));
        }
        command
    }

    /// Starts a program; its output goes to `NAME.log` of this machine.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        let log = self.path(&format!("{name}.log"));
        Process::start(&format!("{name} on {}", self.name), command, &log)
    }

    /// Runs a program to its end and returns whatever came of it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn output<S: AsRef<OsStr>>(&self, argv: &[S]) -> Result<Output> {
        let (program, args) = argv.split_first().context("an empty command")?;
        self.command(program).args(args).stdin(Stdio::null()).output().with_context(|| {
            format!("running {} on {}", program.as_ref().to_string_lossy(), self.name)
        })
    }

    /// Runs a program to its end and returns what it printed.
    ///
    /// # Errors
    /// If it cannot be started or does not exit with 0; what it said is in the error.
    pub fn run<S: AsRef<OsStr>>(&self, argv: &[S]) -> Result<String> {
        let output = self.output(argv)?;
        if !output.status.success() {
            let words: Vec<_> = argv.iter().map(|a| a.as_ref().to_string_lossy()).collect();
            bail!(
                "on {}: `{}` {}: {}{}",
                self.name,
                words.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `work` on a thread of this process that is inside the machine, so that plain sockets of
    /// the standard library belong to it.
    pub fn thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let netns = Arc::clone(&self.netns);
        std::thread::spawn(move || {
            setns(&*netns, CloneFlags::CLONE_NEWNET).context("entering the namespace")?;
            work()
        })
    }

    /// [`Host::thread`], waited for.
    ///
    /// # Errors
    /// What `work` returned, or that it panicked.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&*self.netns, CloneFlags::CLONE_NEWNET).context("entering the namespace")?;
                work()
            });
            inside.join().unwrap_or_else(|_| bail!("a thread on {} panicked", self.name))
        })
    }
}
