//! The asking end of the control socket: blocking, because a command has nothing else to do.

use super::protocol::{ANSWER_MAX, Answer, Refusal, Request};
use crate::exit::Exit;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest wait for an answer. The agent bounds its own work below this.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why the agent could not be asked, or did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no agent is running on this host ({socket}: {cause})")]
    NotRunning {
        /// The socket that was tried.
        socket: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The socket's permissions keep us out.
    #[error("you may not ask the agent: it answers root and members of its group")]
    NotPermitted,
    /// The agent accepted the connection and then said nothing.
    #[error("the agent did not answer within {} s", PATIENCE.as_secs())]
    TimedOut,
    /// The agent said no.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The agent closed the connection: it ended.
    #[error("the agent hung up; has it ended?")]
    HungUp,
    /// The agent answered something this version does not read.
    #[error("the agent's answer cannot be read: {0}; is it of another version?")]
    Unreadable(String),
    /// Any other error of the system.
    #[error("the control socket failed: {0}")]
    Io(io::Error),
}

impl ClientError {
    /// The exit code of a command that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> Exit {
        match self {
            Self::NotRunning { .. } | Self::HungUp => Exit::NotRunning,
            Self::NotPermitted => Exit::Refused,
            Self::TimedOut => Exit::TimedOut,
            Self::Refused(refusal) => Exit::from_code(refusal.code),
            Self::Unreadable(_) | Self::Io(_) => Exit::Failure,
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io(error),
        }
    }
}

/// A connection to the running agent.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the agent that listens at `socket`.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(socket).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { socket: socket.to_owned(), cause }
            }
            io::ErrorKind::PermissionDenied => ClientError::NotPermitted,
            _ => ClientError::from(cause),
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks one thing. A refusal is an error.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        let mut line = serde_json::to_vec(request).map_err(unreadable)?;
        line.push(b'\n');
        // A stranger is answered and hung up on unread: the write may fail and the answer be there.
        let written = self.stream.get_mut().write_all(&line);
        match self.read_answer() {
            Err(ClientError::HungUp) => {
                written?;
                Err(ClientError::HungUp)
            }
            answer => answer,
        }
    }

    /// Reads one line. A refusal is an error.
    pub(super) fn read_answer(&mut self) -> Result<Answer, ClientError> {
        let mut answer = Vec::new();
        (&mut self.stream).take(ANSWER_MAX as u64).read_until(b'\n', &mut answer)?;
        if answer.is_empty() {
            return Err(ClientError::HungUp);
        }
        match serde_json::from_slice(&answer).map_err(unreadable)? {
            Answer::Refused(refusal) => Err(ClientError::Refused(refusal)),
            answer => Ok(answer),
        }
    }

    /// True if a line, or the start of one, was read ahead.
    pub(super) fn has_line(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    /// Waits until the agent is gone, which closes the connection.
    pub fn wait_gone(mut self) -> Result<(), ClientError> {
        let mut rest = Vec::new();
        match (&mut self.stream).take(1).read_to_end(&mut rest) {
            Ok(0) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Ok(_) => Err(ClientError::Unreadable("it spoke unasked".to_owned())),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}

fn unreadable(error: serde_json::Error) -> ClientError {
    ClientError::Unreadable(error.to_string())
}
