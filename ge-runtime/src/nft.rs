//! nf_tables without a program: the few messages of the netdev family that the hook needs.
//!
//! A [`Batch`] collects messages; [`NftSocket::commit`] sends them as one transaction, which the
//! kernel applies whole or not at all, and turns its answer into one error that names the object.
//! Sources: `linux/netfilter/nf_tables.h`, `net/netfilter/nfnetlink.c` and `nf_tables_api.c`.

mod batch;
mod rule;
mod uapi;

pub(crate) use batch::{Batch, Element, HookPoint, Set};
pub(crate) use rule::{Base, Field, Rule, Verdict};
pub(crate) use uapi::{TABLE_F_OWNER, TABLE_F_PERSIST};

use crate::netlink::{self, Writer};
use crate::sockopt;
use netlink_sys::Socket;
use std::borrow::Cow;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Send and receive space. A reinstall of some interfaces takes 10 KiB, the largest verdict
/// transaction 240 KiB, and the kernel takes a transaction only in one piece.
const SOCKET_BUFFER: usize = 1 << 20;

/// A transaction that did not happen.
#[derive(Debug)]
pub(crate) struct CommitError {
    /// First object the kernel refused.
    pub(crate) object: Cow<'static, str>,
    /// Whether the kernel refused the socket itself rather than an object.
    pub(crate) whole: bool,
    /// Error number.
    pub(crate) errno: i32,
    /// The kernel's own words, if any.
    pub(crate) detail: String,
}

/// A netlink socket for nf_tables. Tables it owns go, or lose their owner, when it is closed.
pub(crate) struct NftSocket(Socket);

impl NftSocket {
    /// Opens the socket.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` where the kernel has no netfilter at all.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = netlink::open(netlink_sys::protocols::NETLINK_NETFILTER)?;
        // The kernel answers before `send` returns; what is not there then will never come.
        socket.set_non_blocking(true)?;
        // SAFETY: the socket is open, and the borrow ends with this call.
        let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
        sockopt::set_buffers(&fd, SOCKET_BUFFER, SOCKET_BUFFER)?;
        Ok(Self(socket))
    }

    /// Runs a transaction.
    ///
    /// # Errors
    /// The first refusal; nothing was changed then.
    pub(crate) fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let (writer, objects) = batch.finish();
        let failed = |error: io::Error| CommitError {
            object: "the transaction".into(),
            whole: true,
            errno: error.raw_os_error().unwrap_or(libc::EIO),
            detail: String::new(),
        };
        self.0.send(writer.as_bytes(), 0).map_err(failed)?;
        let mut answered = false;
        let mut first: Option<CommitError> = None;
        loop {
            let bytes = match self.0.recv_from_full() {
                Ok((bytes, _)) => bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(failed(error)),
            };
            for reply in netlink::replies(&bytes) {
                let Some((errno, detail)) = reply.error() else { continue };
                answered = true;
                if errno == 0 {
                    continue;
                }
                let index = usize::try_from(reply.sequence).unwrap_or(usize::MAX);
                let object = objects.get(index).unwrap_or(&objects[0]).clone();
                first.get_or_insert(CommitError { object, whole: index == 0, errno, detail });
            }
        }
        match first {
            Some(error) => Err(error),
            None if answered => Ok(()),
            None => Err(failed(io::Error::from_raw_os_error(libc::EIO))),
        }
    }

    /// Whether the netdev family has a table of this name.
    ///
    /// # Errors
    /// A failed system call, or no permission.
    pub(crate) fn has_table(&self, name: &str) -> io::Result<bool> {
        let mut writer = Writer::default();
        let kind = (libc::NFNL_SUBSYS_NFTABLES << 8) | libc::NFT_MSG_GETTABLE;
        let header = [libc::NFPROTO_NETDEV.to_le_bytes()[0], 0, 0, 0];
        let half = |value: i32| u16::try_from(value).expect("invariant: a constant of 16 bits");
        let flags = half(libc::NLM_F_REQUEST | libc::NLM_F_ACK);
        writer.message(half(kind), flags, 1, &header, |body| body.attr_str(uapi::TABLE_NAME, name));
        match netlink::request(&self.0, &writer) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
