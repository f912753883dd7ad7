//! Puts captured frames back on the interface they were leaving by.
//!
//! The same Ethernet header goes out again, so there is no second route look-up and no second
//! neighbour look-up; our mark lets the frame pass the egress chain. It does go through the queueing
//! discipline: `PACKET_QDISC_BYPASS` fails with super-packets.

use crate::error::KernelError;
use crate::sockopt;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, send, setsockopt, socket, sockopt::Mark,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes on their way to the device: sixty-four super-packets, what one turn of the event loop
/// puts back at most.
const SEND_BUFFER: usize = 4 << 20;

/// A sending packet socket on one interface.
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens the socket on the interface with this index, with our mark on all it sends.
    ///
    /// # Errors
    /// No `CAP_NET_RAW`, or the interface went away.
    pub fn open(ifindex: u32, mark: u32) -> Result<Self, KernelError> {
        let failed = |error: io::Error| KernelError::io("open a packet socket", error);
        // Protocol 0: it receives nothing.
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Packet, SockType::Raw, flags, None)
            .map_err(|errno| failed(errno.into()))?;
        sockopt::set_int(&fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1).map_err(failed)?;
        setsockopt(&fd, Mark, &mark).map_err(|errno| failed(errno.into()))?;
        sockopt::set_buffers(&fd, SEND_BUFFER).map_err(failed)?;
        bind(&fd, ifindex).map_err(failed)?;
        Ok(Self(fd))
    }

    /// Puts a frame back exactly as it was read from the TUN: vnet header, Ethernet header, packet.
    ///
    /// # Errors
    /// The frame is lost with each of them:
    /// - `ENOBUFS`: the queueing discipline dropped it, as it may drop any packet.
    /// - `WouldBlock`: the send buffer is full; the device is slower than the programs.
    /// - `ENETDOWN`, `ENXIO`: the interface is down or gone.
    /// - `EMSGSIZE`: larger than the interface's MTU, which shrank since it was captured.
    /// - `EINVAL`: the vnet header does not fit the frame.
    pub fn put_back(&self, frame_with_vnet: &[u8]) -> io::Result<()> {
        send(self.0.as_raw_fd(), frame_with_vnet, MsgFlags::empty())?;
        Ok(())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn bind(fd: &OwnedFd, ifindex: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or(0),
        sll_protocol: 0,
        sll_ifindex: ifindex.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
    // SAFETY: the kernel reads `length` bytes at the address, which are those of a live value.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
