//! The data sockets of one thread: one for each IP version that the kernel has.

use crate::error::KernelError;
use crate::ledger::Ledger;
use crate::poll_list::PollList;
use crate::report::SocketReport;
use crate::udp_socket::UdpSocket;
use ge_core::batch::SealedBatch;
use ge_core::io::DatagramRun;
use ge_core::limits::MARK;
use std::net::IpAddr;
use std::sync::Arc;

/// Which of them.
#[derive(Clone, Copy)]
pub(super) enum IpVersion {
    V4,
    V6,
}

impl IpVersion {
    const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// See the module.
pub(super) struct DataSockets {
    v4: UdpSocket,
    /// `None` where the kernel has no IPv6.
    v6: Option<UdpSocket>,
}

impl DataSockets {
    /// Opens those of the first thread, with our mark on all they send.
    ///
    /// # Errors
    /// As [`UdpSocket::bind_v4`].
    pub(super) fn bind(port: u16, ledger: &Arc<Ledger>) -> Result<Self, KernelError> {
        let v4 = UdpSocket::bind_v4(port, MARK, ledger)?;
        Ok(Self { v4, v6: UdpSocket::bind_v6(port, MARK, ledger)? })
    }

    /// Opens those of the other threads of `workers`.
    ///
    /// # Errors
    /// As [`UdpSocket::bind_beside`].
    pub(super) fn bind_beside(&self, workers: u8) -> Result<Vec<Self>, KernelError> {
        let v4 = self.v4.bind_beside(workers, MARK)?;
        let v6 = self.v6.as_ref().map(|v6| v6.bind_beside(workers, MARK)).transpose()?;
        let v6 = v6.into_iter().flatten().map(Some).chain(std::iter::repeat_with(|| None));
        Ok(v4.into_iter().zip(v6).map(|(v4, v6)| Self { v4, v6 }).collect())
    }

    pub(super) const fn get(&self, version: IpVersion) -> Option<&UdpSocket> {
        match version {
            IpVersion::V4 => Some(&self.v4),
            IpVersion::V6 => self.v6.as_ref(),
        }
    }

    /// Adds two places to the list, IPv4 and then IPv6. A socket there is not is never ready.
    pub(super) fn watch(&self, poll: &mut PollList) {
        poll.watch(&self.v4);
        match &self.v6 {
            Some(v6) => poll.watch(v6),
            None => poll.leave_out(),
        }
    }

    /// Sends all runs, in order, and empties the batch.
    pub(super) fn send_batch(&self, batch: &mut SealedBatch) {
        batch.runs().iter().for_each(|run| self.send(run));
        batch.clear();
    }

    /// Sends a run by the socket of its IP version, if there is one.
    pub(super) fn send(&self, run: &DatagramRun) {
        if let Some(socket) = run.from.and_then(|from| self.get(IpVersion::of(from.0))) {
            let _ = socket.send(run); // what was not sent is counted there
        }
    }

    /// What the kernel says about them, which are those of this thread of the data path.
    pub(super) fn report(&self, thread: usize) -> impl Iterator<Item = SocketReport> {
        let both = [("udp4", Some(&self.v4)), ("udp6", self.v6.as_ref())];
        both.into_iter().filter_map(move |(name, socket)| {
            Some(SocketReport::of_thread(name, thread, socket?.memory().ok()?))
        })
    }
}
