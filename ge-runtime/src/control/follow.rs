//! Changes pushed over the control socket: both ends.

use super::client::{Client, ClientError};
use super::console::{Console, engine_gone};
use super::protocol::{Answer, Refusal, Request};
use super::server::send;
use crate::command::{Command, Told};
use crate::report::{ChangeReport, Verdict};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::SystemTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// Changes that wait for one follower: a burst of a busy router, at under 1 KiB each.
const QUEUE: usize = 256;

impl Console {
    /// Registers a follower.
    pub(super) fn follow(&self) -> Result<mpsc::Receiver<Told>, Refusal> {
        let (queue, changes) = mpsc::channel(QUEUE);
        self.engine.send(Command::Follow(queue)).map_err(engine_gone)?;
        Ok(changes)
    }
}

/// Tells a peer of changes until it hangs up or does not read for too long.
pub(super) async fn tell(
    mut changes: mpsc::Receiver<Told>,
    verdict: Option<Verdict>,
    reader: &mut (impl AsyncReadExt + Unpin),
    writer: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<()> {
    let mut lost = 0;
    let mut unread = [0; 64];
    loop {
        let told = tokio::select! {
            told = changes.recv() => told,
            // A follower has nothing more to say; what it says all the same ends it.
            _ = reader.read(&mut unread) => None,
        };
        let Some(told) = told else { return Ok(()) };
        lost += told.lost;
        let mut change = ChangeReport::new(&told, SystemTime::now());
        let wanted = |only| change.flow.as_ref().is_some_and(|flow| flow.verdict == only);
        if verdict.is_none_or(wanted) {
            change.lost = std::mem::take(&mut lost);
            send(writer, &Answer::Change(Box::new(change))).await?;
        }
    }
}

impl Client {
    /// Hands every change to `each`, until that has enough, or SIGINT or SIGTERM ends it.
    ///
    /// # Errors
    /// The agent is gone or refused.
    pub fn follow(
        mut self,
        verdict: Option<Verdict>,
        mut each: impl FnMut(&ChangeReport) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let signals = ending_signals()?;
        let Answer::Following {} = self.ask(&Request::Follow { verdict })? else {
            return Err(ClientError::Unreadable("it does not follow".to_owned()));
        };
        loop {
            if !self.has_line() && !self.wait(&signals)? {
                return Ok(());
            }
            let Answer::Change(change) = self.read_answer()? else {
                return Err(ClientError::Unreadable("it told of no change".to_owned()));
            };
            if each(&change).is_break() {
                return Ok(());
            }
        }
    }

    /// Waits for the agent's next word. False if a signal came first.
    fn wait(&self, signals: &SignalFd) -> io::Result<bool> {
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = [readable(self.as_fd()), readable(signals.as_fd())];
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => return Ok(fds[1].revents().is_none_or(|events| events.is_empty())),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// SIGINT and SIGTERM as something to wait for beside the socket.
fn ending_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?)
}
