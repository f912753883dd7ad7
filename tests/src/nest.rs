//! Fresh namespaces around a process: everything made inside is gone when its top process ends.
//!
//! A program that wants a nest starts *itself* again in two steps, because a process that entered a
//! new PID namespace is not in it, only its children are:
//!
//! ```text
//! top         spawn(["demo"])           the program as the user started it
//!  └ opener   argv: @nest demo          unshares user (if not root), net, mount, pid; writes id maps
//!     └ pid 1 argv: demo, E2E_NEST=1    mounts /proc and a private /run, then runs `demo`
//! ```
//!
//! Each step asks the kernel to be killed when its parent dies, so that closing the terminal is as
//! good a clean-up as returning from `main`: the kernel ends every process of the nest and with
//! them every namespace, interface, rule and mount.

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getgid, getpid, getuid};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

/// First argument that makes a program the opener of a nest.
const OPENER: &str = "@nest";
/// Set in the environment of a nest's first process.
const INSIDE: &str = "E2E_NEST";

/// To be called first in `main`, while the process has one thread. Returns in the program as the
/// user started it and in the first process of a nest; never returns in the opener.
///
/// # Errors
/// One sentence for people, with what to do, if the machine does not allow such namespaces.
pub fn init() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == OPENER) {
        let status = open(args.collect())?;
        std::process::exit(exit_code(status));
    }
    if is_inside() {
        prepare_mounts()?;
    }
    Ok(())
}

/// True in the first process of a nest.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some() && getpid() == Pid::from_raw(1)
}

/// This program again, in a new nest, with `args`. Killed when the calling thread ends.
///
/// # Errors
/// If the path of the running program cannot be found.
pub fn command<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command.arg(OPENER).args(args);
    die_with_parent(&mut command);
    Ok(command)
}

/// What a shell would report: the exit code, or 128 + signal.
#[must_use]
pub fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Asks the kernel to kill the child when the thread that starts it ends.
pub(crate) fn die_with_parent(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec and makes one system call, nothing else.
    unsafe {
        command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into));
    }
}

/// The opener: leaves the machine's namespaces and starts pid 1 of the new ones.
fn open(args: Vec<std::ffi::OsString>) -> Result<ExitStatus> {
    let (uid, gid) = (getuid(), getgid());
    let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if !uid.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    if let Err(errno) = unshare(flags) {
        bail!("{}", refusal(uid.is_root(), errno));
    }
    if !uid.is_root() {
        // The order is the kernel's: a group map may be written only once setgroups is denied.
        std::fs::write("/proc/self/setgroups", "deny").context("denying setgroups")?;
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("mapping the user")?;
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).context("mapping the group")?;
    }
    let mut first = Command::new(std::env::current_exe().context("finding this program")?);
    first.args(args).env(INSIDE, "1");
    die_with_parent(&mut first);
    first.status().context("starting the first process of the nest")
}

fn refusal(root: bool, errno: nix::Error) -> String {
    if root {
        return format!(
            "network namespaces are not allowed here ({errno}); a container needs CAP_SYS_ADMIN \
             (docker run --privileged), or run this on a machine of your own"
        );
    }
    format!(
        "an ordinary user may not make network namespaces here ({errno}); allow it with \
         `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=10000`, \
         or run the same command as root"
    )
}

/// Own `/proc` (for the new PIDs) and own `/run` (so that `ip netns` names are private).
fn prepare_mounts() -> Result<()> {
    const NONE: Option<&str> = None;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .context("making mounts private")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), NONE)
        .context("mounting /proc; a container that masks it needs --privileged")?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), NONE).context("mounting /run")
}
