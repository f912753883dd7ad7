//! What an agent is started with, and how starting or running it can fail.
//!
//! The program merges flags, environment and file into [`RunOptions`]; the runtime takes them as
//! decided. Every [`RunError`] is one sentence that says what to do, and knows its exit code.

use crate::exit::Exit;
use crate::offload::Switches;
use crate::program::Program;
use ge_core::Lane;
use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::path::PathBuf;

pub use mgmt_api::Prefix;

/// What an agent is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Which agent.
    pub program: Program,
    /// Base URL of the management server, `https://HOST:PORT`. Needed to enrol; afterwards the
    /// state directory knows it.
    pub server: Option<String>,
    /// File that holds the enrolment token. Needed to enrol only.
    pub token_file: Option<PathBuf>,
    /// Directory of the agent's own keys and the sealed cache; mode 0700.
    pub state: PathBuf,
    /// Interfaces to hook: those of a host, or the outside ones of a router. Empty means every
    /// interface with a global route.
    pub interfaces: Vec<String>,
    /// Subnets a router offers to stand for when it enrols; empty means those of its other
    /// interfaces. Nothing to a host.
    pub protect: Vec<Prefix>,
    /// Control socket.
    pub socket: PathBuf,
    /// Where metrics are served over plain HTTP, if at all.
    pub metrics: Option<SocketAddr>,
    /// Threads of the data path; `None`: as many as processors may be used.
    pub workers: Option<NonZeroU8>,
    /// Offloads that are off by setting.
    pub offloads: Switches,
}

impl RunOptions {
    /// What `program` uses where nothing is said.
    #[must_use]
    pub fn new(program: Program) -> Self {
        Self {
            program,
            server: None,
            token_file: None,
            state: program.state(),
            interfaces: Vec::new(),
            protect: Vec::new(),
            socket: program.socket(),
            metrics: None,
            workers: None,
            offloads: Switches::default(),
        }
    }

    /// Threads of the data path: as many as were asked for, or as there are processors to run them;
    /// at most as many as a session has lanes.
    #[must_use]
    pub fn workers(&self) -> u8 {
        let processors = || {
            let all = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            u8::try_from(all).unwrap_or(u8::MAX)
        };
        self.workers.map_or_else(processors, NonZeroU8::get).min(Lane::COUNT)
    }
}

/// Why an agent did not start, or stopped. Displayed as one sentence with the fix.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Options that cannot be meant: an unknown interface, an unreadable token file.
    #[error("{0}")]
    BadOption(String),
    /// An agent already answers on the control socket.
    #[error(
        "another agent is running on this host ({socket}); stop it first: {program} down --socket \
         {socket}"
    )]
    AnotherAgent {
        /// Program that was to be started.
        program: &'static str,
        /// Its control socket.
        socket: String,
    },
    /// No membership and no way to get one: no token, or the server refused it.
    #[error("{0}")]
    NotEnrolled(String),
    /// The server did not answer and there is no cached membership to work from.
    #[error(
        "the management server {server} did not answer and this host has no membership yet \
         ({cause}); check the address and that the server runs, then start again"
    )]
    ServerUnreachable {
        /// URL as configured.
        server: String,
        /// What the network said.
        cause: String,
    },
    /// A capability is missing.
    #[error("{0}")]
    NotPermitted(String),
    /// The kernel lacks something the hook needs.
    #[error("{0}")]
    Kernel(String),
    /// Anything else of the operating system.
    #[error("{what}: {source}")]
    System {
        /// What was tried, as the beginning of a sentence.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl RunError {
    /// A failed system call, with what was tried. A permission error becomes
    /// [`RunError::NotPermitted`], whatever the call.
    #[must_use]
    pub fn system(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        if source.kind() == io::ErrorKind::PermissionDenied {
            return Self::NotPermitted(format!(
                "{what}: {source}; the agent needs CAP_NET_ADMIN and CAP_NET_RAW: run it as root \
                 or by its systemd unit"
            ));
        }
        Self::System { what, source }
    }

    /// The exit code of a program that ends with this error.
    #[must_use]
    pub const fn exit_code(&self) -> Exit {
        match self {
            Self::BadOption(_) => Exit::Usage,
            Self::NotEnrolled(_) => Exit::NotEnrolled,
            Self::ServerUnreachable { .. } => Exit::TimedOut,
            Self::NotPermitted(_) => Exit::Refused,
            Self::AnotherAgent { .. } | Self::Kernel(_) | Self::System { .. } => Exit::Failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        let eperm = RunError::system("open /dev/net/tun", io::ErrorKind::PermissionDenied.into());
        let enoent = RunError::system("open /dev/net/tun", io::ErrorKind::NotFound.into());
        let cases = [
            (RunError::BadOption(String::new()), 2),
            (RunError::AnotherAgent { program: "ges", socket: String::new() }, 1),
            (RunError::NotEnrolled(String::new()), 4),
            (RunError::ServerUnreachable { server: String::new(), cause: String::new() }, 8),
            (eperm, 9),
            (RunError::Kernel(String::new()), 1),
            (enoent, 1),
        ];
        for (error, code) in cases {
            assert_eq!(error.exit_code().code(), code, "{error}");
        }
    }

    #[test]
    fn a_refusal_names_what_is_needed() {
        let error = RunError::system("create the TUN", io::ErrorKind::PermissionDenied.into());
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    }
}
