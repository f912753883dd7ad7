//! Requests from the control plane (tokio threads) to the engine thread.
//!
//! The engine thread blocks in `poll` on its own descriptors and must not run a reactor for the
//! sake of a few requests per minute. So a command is queued, and an eventfd that the thread polls
//! with the rest becomes readable. Answers travel back by the one-shot sender in the command.
//!
//! ```text
//! tokio task --send()--> queue --+--> engine thread: poll(fd) -> clear_wake() -> try_recv()*
//!                        eventfd-+
//! ```

use crate::report::KernelReport;
use ge_core::flow::HostPair;
use ge_core::io::{Change, FlowSnapshot, Outlook, Snapshot};
use ge_core::membership::Membership;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, TrySendError};
use std::time::Duration;
use tokio::sync::{mpsc as mpsc_async, oneshot};

/// Commands waiting for the engine thread. Far more than the control socket admits at once; when
/// it is full the engine is stuck, and waiting longer would only hide that.
pub const QUEUE: usize = 64;

/// What the control plane asks of the engine thread.
pub enum Command {
    /// Answer with the engine's state.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Answer with what the kernel says about sockets and TUNs.
    Kernel(oneshot::Sender<KernelReport>),
    /// Start, or join, the negotiation with `remote`.
    Probe {
        /// The other host.
        remote: IpAddr,
        /// Answered once the verdict is known, or with the row as it is after the ladder.
        reply: oneshot::Sender<ProbeReply>,
    },
    /// What is known about two hosts, one of which this agent stands for.
    Explain {
        /// Who, and whether to ask the agents on the path.
        question: Question,
        /// Answered once the verdict is known and nobody is being asked any more.
        reply: oneshot::Sender<Explained>,
    },
    /// Tell of every row whose verdict changes, until the receiver is gone.
    Follow(mpsc_async::Sender<Told>),
    /// Put a new version of the membership in force.
    Install(Box<Membership>),
    /// All addresses of the names that must be protected.
    Named(BTreeSet<IpAddr>),
    /// This host was removed: forget the keys.
    Expel,
    /// Leave the loop, take the hook down as the mode asks, return.
    Stop,
}

/// What came of [`Command::Probe`].
#[derive(Clone, Debug)]
pub struct ProbeReply {
    /// The row, or `None` where no row was made (an address of this host itself, say).
    pub flow: Option<FlowSnapshot>,
    /// From the command to this answer.
    pub took: Duration,
}

/// What [`Command::Explain`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Source of the flow; `None`: the address the kernel would use.
    pub source: Option<IpAddr>,
    /// Destination of the flow.
    pub destination: IpAddr,
    /// Negotiate if there is no answer yet.
    pub ask: bool,
}

/// What came of [`Command::Explain`].
#[derive(Clone, Debug)]
pub enum Explained {
    /// This agent stands for neither of the two.
    Strangers,
    /// Packets between them do not pass an interface under the hook.
    NotHooked,
    /// This.
    Known(Box<Known>),
}

/// A pair, and what is known about it.
#[derive(Clone, Debug)]
pub struct Known {
    /// The two hosts; `local` is the one this agent stands for.
    pub pair: HostPair,
    /// Before asking.
    pub outlook: Outlook,
    /// The row, if there is one.
    pub flow: Option<FlowSnapshot>,
    /// From the command to this answer.
    pub took: Duration,
}

/// What a follower is told.
#[derive(Clone, Debug)]
pub struct Told {
    /// Changes it was not told of before this one, because it reads too slowly.
    pub lost: u64,
    /// The change.
    pub change: Change,
}

/// Why a command did not reach the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// [`QUEUE`] commands wait already.
    #[error("the engine does not answer")]
    Full,
    /// The engine thread has ended.
    #[error("the engine has stopped")]
    Stopped,
}

/// The control plane's end. Cheap to clone.
#[derive(Clone)]
pub struct CommandSender {
    queue: mpsc::SyncSender<Command>,
    wake: Arc<EventFd>,
}

impl CommandSender {
    /// Queues `command` and wakes the engine thread. Never blocks.
    pub fn send(&self, command: Command) -> Result<(), SendError> {
        self.queue.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => SendError::Full,
            TrySendError::Disconnected(_) => SendError::Stopped,
        })?;
        // The write fails only with EAGAIN at 2^64 - 2 pending wakes: the descriptor is readable
        // then, which is all a wake is for.
        let _ = self.wake.write(1);
        Ok(())
    }

    /// Asks for the engine's state and waits for it.
    pub async fn snapshot(&self) -> Result<Snapshot, SendError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Snapshot(reply))?;
        answer.await.map_err(|_| SendError::Stopped)
    }

    /// Asks what the kernel says about sockets and TUNs and waits for it.
    pub async fn kernel(&self) -> Result<KernelReport, SendError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Kernel(reply))?;
        answer.await.map_err(|_| SendError::Stopped)
    }

    /// Asks for a negotiation with `remote` and waits for its outcome.
    pub async fn probe(&self, remote: IpAddr) -> Result<ProbeReply, SendError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Probe { remote, reply })?;
        answer.await.map_err(|_| SendError::Stopped)
    }
}

impl CommandSender {
    /// Asks what is known about two hosts and waits for it.
    pub async fn explain(&self, question: Question) -> Result<Explained, SendError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Explain { question, reply })?;
        answer.await.map_err(|_| SendError::Stopped)
    }
}

/// The engine thread's end.
pub struct CommandReceiver {
    queue: mpsc::Receiver<Command>,
    wake: Arc<EventFd>,
}

impl CommandReceiver {
    /// The next command, if one waits. `None` also when every sender is gone: the control plane
    /// ending does not end the data path.
    pub fn try_recv(&self) -> Option<Command> {
        self.queue.try_recv().ok()
    }

    /// Makes the descriptor unreadable again. Call it *before* draining with [`Self::try_recv`],
    /// so that a command queued in between wakes the thread once more.
    pub fn clear_wake(&self) {
        // EAGAIN means there was nothing to clear.
        let _ = self.wake.read();
    }
}

impl AsFd for CommandReceiver {
    /// Readable while a command may wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// A queue between the two sides.
pub fn channel() -> io::Result<(CommandSender, CommandReceiver)> {
    let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
    let wake = Arc::new(wake);
    let (queue, receiver) = mpsc::sync_channel(QUEUE);
    Ok((
        CommandSender { queue, wake: Arc::clone(&wake) },
        CommandReceiver { queue: receiver, wake },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn readable(receiver: &CommandReceiver) -> bool {
        let mut fds = [PollFd::new(receiver.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn a_command_wakes_until_cleared() {
        let (sender, receiver) = channel().unwrap();
        assert!(!readable(&receiver));
        sender.send(Command::Stop).unwrap();
        sender.send(Command::Stop).unwrap();
        assert!(readable(&receiver));
        receiver.clear_wake();
        assert!(!readable(&receiver));
        assert!(matches!(receiver.try_recv(), Some(Command::Stop)));
        assert!(matches!(receiver.try_recv(), Some(Command::Stop)));
        assert!(receiver.try_recv().is_none());
    }

    #[test]
    fn a_stuck_or_ended_engine_is_an_error_and_not_a_wait() {
        let (sender, receiver) = channel().unwrap();
        for _ in 0..QUEUE {
            sender.send(Command::Stop).unwrap();
        }
        assert_eq!(sender.send(Command::Stop), Err(SendError::Full));
        drop(receiver);
        assert_eq!(sender.send(Command::Stop), Err(SendError::Stopped));
    }
}
