//! Puts captured frames back on the interface they were leaving by.
//!
//! The same Ethernet header goes out again, so there is no second route look-up and no second
//! neighbour look-up; our mark lets the frame pass the egress chain. It does go through the queueing
//! discipline: `PACKET_QDISC_BYPASS` fails with super-packets. Where the kernel takes no super-packets,
//! or that is switched off, they are cut here and go out frame by frame.

use crate::error::KernelError;
use crate::ledger::{Ledger, Place};
use crate::offload::Offload;
use crate::patience::Patience;
use crate::sockopt::{self, SocketMemory};
use ge_core::io::{ETHERNET_LEN, VNET_LEN};
use ge_core::unmerge::unmerge_frame;
use ge_core::wire::vnet::VnetHeader;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, sendmsg, setsockopt, socket, sockopt::Mark,
};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes on their way to the device: sixty-four super-packets, what one turn of the event loop
/// puts back at most.
const SEND_BUFFER: usize = 4 << 20;

/// A sending packet socket on one interface.
pub struct PacketSocket {
    fd: OwnedFd,
    ledger: Arc<Ledger>,
    /// Each frame begins with a vnet header (`PACKET_VNET_HDR`).
    vnet: bool,
    /// Super-packets go out as they are. Cleared for good when the kernel refuses one.
    whole: AtomicBool,
    patience: Patience,
}

impl PacketSocket {
    /// Opens the socket on the interface with this index, with our mark on all it sends.
    ///
    /// # Errors
    /// No `CAP_NET_RAW`, or the interface went away.
    pub fn open(ifindex: u32, mark: u32, ledger: &Arc<Ledger>) -> Result<Self, KernelError> {
        let failed = |error: io::Error| KernelError::io("open a packet socket", error);
        // Protocol 0: it receives nothing.
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Packet, SockType::Raw, flags, None)
            .map_err(|errno| failed(errno.into()))?;
        let vnet = !ledger.is_off(Offload::PutBack)
            && sockopt::set_int(&fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)
                .inspect_err(|error| ledger.refused(Offload::PutBack, error))
                .is_ok();
        setsockopt(&fd, Mark, &mark).map_err(|errno| failed(errno.into()))?;
        sockopt::set_buffers(&fd, SEND_BUFFER, SEND_BUFFER).map_err(failed)?;
        bind(&fd, ifindex).map_err(failed)?;
        let whole = AtomicBool::new(vnet && ledger.is_on(Offload::PutBack));
        let ledger = Arc::clone(ledger);
        Ok(Self { fd, ledger, vnet, whole, patience: Patience::default() })
    }

    /// Puts a frame back as it was read from the TUN: vnet header, Ethernet header, packet. If the
    /// kernel refuses a super-packet as such, it is cut, and so are all later ones. What is not
    /// taken is counted in the ledger.
    ///
    /// # Errors
    /// The first:
    /// - `ENOBUFS`: the queueing discipline dropped it, as it may drop any packet.
    /// - `WouldBlock`: the send buffer is full and stayed so for a moment ([`Patience`]).
    /// - `ENETDOWN`, `ENXIO`: the interface is down or gone.
    /// - `EMSGSIZE`: larger than the interface's MTU, which shrank since it was captured.
    /// - `EINVAL`: the vnet header does not fit the frame.
    pub fn put_back(&self, frame_with_vnet: &[u8]) -> io::Result<()> {
        if !self.whole.load(Ordering::Relaxed) {
            return self.put_back_cut(frame_with_vnet).1;
        }
        let Err(error) = self.send(&[IoSlice::new(frame_with_vnet)]) else { return Ok(()) };
        let refused = matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO));
        let gso = VnetHeader::parse(frame_with_vnet).is_ok_and(|vnet| vnet.gso.is_some());
        if !refused || !gso {
            self.ledger.losses.add(Place::PutBack, 1, &error);
            return Err(error);
        }
        let (sent, result) = self.put_back_cut(frame_with_vnet);
        if sent > 0 {
            self.whole.store(false, Ordering::Relaxed);
            self.ledger.fell_back(Offload::PutBack, &error, sent);
        }
        result
    }

    /// Frame by frame, each whole and with a complete checksum; how many were sent.
    fn put_back_cut(&self, frame_with_vnet: &[u8]) -> (u64, io::Result<()>) {
        let none: &[u8] = if self.vnet { &[0; VNET_LEN] } else { &[] };
        let (mut sent, mut result) = (0, Ok(()));
        let mut send = |frame: &[u8]| match self.send(&[IoSlice::new(none), IoSlice::new(frame)]) {
            Ok(()) => sent += 1,
            Err(error) => {
                self.ledger.losses.add(Place::PutBack, 1, &error);
                if result.is_ok() {
                    result = Err(error);
                }
            }
        };
        if unmerge_frame(frame_with_vnet, &mut send).is_err() {
            match as_it_is(frame_with_vnet) {
                Some(frame) => send(frame),
                None => {
                    let error = io::Error::from_raw_os_error(libc::EINVAL);
                    self.ledger.losses.add(Place::PutBack, 1, &error);
                    result = Err(error);
                }
            }
        }
        (sent, result)
    }

    fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let none = None::<&nix::sys::socket::SockaddrStorage>;
        self.patience.send(&self.fd, || {
            sendmsg(self.fd.as_raw_fd(), parts, &[], MsgFlags::empty(), none)?;
            Ok(())
        })
    }

    /// Sizes of its buffers.
    ///
    /// # Errors
    /// As `getsockopt`.
    pub fn memory(&self) -> io::Result<SocketMemory> {
        sockopt::socket_memory(&self.fd)
    }
}

/// A frame that is finished, whatever is in it.
fn as_it_is(frame_with_vnet: &[u8]) -> Option<&[u8]> {
    let vnet = VnetHeader::parse(frame_with_vnet).ok()?;
    let frame = frame_with_vnet.get(VNET_LEN..)?;
    let finished = vnet.gso.is_none() && vnet.partial.is_none() && frame.len() >= ETHERNET_LEN;
    finished.then_some(frame)
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
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
