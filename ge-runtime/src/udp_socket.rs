//! The data sockets: sealed datagrams out and in, many per system call.
//!
//! One [`DatagramRun`] is one `sendmsg` with `UDP_SEGMENT`, or a few; the kernel, or the network
//! card, cuts it. Received datagrams of one flow come glued together by `UDP_GRO`, with the size at
//! which to cut. Where the kernel has neither, or it is switched off, each goes by itself. Path MTU is the engine's business: DF is set and the kernel's own opinion is not asked
//! (`IP_PMTUDISC_PROBE`), because it may rest on ICMP that nobody authenticated.

mod control;
mod probe;
mod transfer;

pub use probe::probe_segments;
pub use transfer::is_too_big;

use crate::error::KernelError;
use crate::ledger::{Ledger, Place};
use crate::offload::Offload;
use crate::patience::Patience;
use crate::sockopt::{SocketMemory, set_buffers, set_int, socket_memory, steer_by_lane};
use control::Control;
use ge_core::addr::WireAddr;
use ge_core::id::Interface;
use ge_core::io::{DatagramMeta, DatagramRun, Received};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrStorage, bind,
    getsockname, recvmsg, setsockopt, socket, sockopt,
};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use transfer::{Kernel, transfer};

/// Longest receive: what `UDP_GRO` glues together at most. A shorter buffer would lose the tail.
pub const RECEIVE_LEN: usize = 65_535;

/// What waits to be sent, in bytes. At 10 Gbit/s it is 6 ms, on a slow link more than one wants.
const SEND_BUFFER: usize = 8 << 20;
/// What waits to be read, in bytes; the kernel charges more than a datagram carries. It must hold
/// what comes while the event loop wakes late, or delivers what came before. What does not fit is
/// lost merged: up to 64 KiB of many connections at once.
const RECEIVE_BUFFER: usize = 32 << 20;

/// Errors about an earlier datagram that may sit before one that was received.
const PENDING_ERRORS: usize = 16;

/// Room for the control messages of one receive, aligned as the kernel's macros expect.
#[repr(align(8))]
struct ControlRoom([u8; 128]);

/// A data socket of one IP version.
pub struct UdpSocket {
    fd: OwnedFd,
    ledger: Arc<Ledger>,
    /// Datagrams in one call; one for good when the kernel shows that it cannot segment.
    at_once: AtomicUsize,
    patience: Patience,
}

/// Where a run goes, as `sendmsg` wants it.
enum Route {
    V4(libc::in_pktinfo, SockaddrStorage, u8),
    V6(libc::in6_pktinfo, SockaddrStorage, i32),
}

/// One run on its way.
struct Sending<'a> {
    socket: &'a UdpSocket,
    route: &'a Route,
    first_error: Option<io::Error>,
}

impl UdpSocket {
    /// Opens the IPv4 data socket, with our mark on all it sends.
    ///
    /// # Errors
    /// [`KernelError::AnotherAgent`] if the port is taken; no permission for the mark.
    pub fn bind_v4(port: u16, mark: u32, ledger: &Arc<Ledger>) -> Result<Self, KernelError> {
        open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), mark, ledger, false)
            .map_err(|error| refusal(port, error))
    }

    /// Opens the IPv6 data socket; `None` where the kernel has no IPv6.
    ///
    /// # Errors
    /// As [`UdpSocket::bind_v4`].
    pub fn bind_v6(
        port: u16,
        mark: u32,
        ledger: &Arc<Ledger>,
    ) -> Result<Option<Self>, KernelError> {
        match open(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), mark, ledger, false) {
            Ok(socket) => Ok(Some(socket)),
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(refusal(port, error)),
        }
    }

    /// Opens sockets beside this one on the same port, one for each further thread of `workers`, and
    /// has the kernel hand each datagram to the thread that owns its lane. This one has the port alone
    /// before, so that a second agent is refused as ever.
    ///
    /// # Errors
    /// A kernel that cannot steer (before Linux 4.5).
    pub fn bind_beside(&self, workers: u8, mark: u32) -> Result<Vec<Self>, KernelError> {
        if workers < 2 {
            return Ok(Vec::new());
        }
        let failed = |error: io::Error| KernelError::io("share the data port", error);
        let address = getsockname::<SockaddrStorage>(self.fd.as_raw_fd())
            .map_err(|errno| failed(errno.into()))?;
        let address = socket_addr(&address)
            .ok_or_else(|| failed(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)))?;
        setsockopt(&self.fd, sockopt::ReusePort, &true).map_err(|errno| failed(errno.into()))?;
        let others = (1..workers).map(|_| open(address, mark, &self.ledger, true));
        let others = others.collect::<io::Result<Vec<Self>>>().map_err(failed)?;
        steer_by_lane(&self.fd, workers).map_err(failed)?;
        Ok(others)
    }

    /// Sends the datagrams of a run, in order.
    ///
    /// Where the kernel cannot segment (`EIO`, `EINVAL`), the same datagrams go out one by one, and
    /// so do all later ones. Where its queue is full it is given a moment ([`Patience`]). Whatever
    /// is not sent is counted in the ledger, by its error.
    ///
    /// # Errors
    /// The first; what could be sent was sent all the same.
    /// - `EMSGSIZE`: a datagram is larger than the interface's MTU ([`is_too_big`]).
    /// - `WouldBlock`, `ENOBUFS`: a queue is full.
    /// - `EINVAL`: the run has no addresses, or of two IP versions.
    /// - what routing says.
    pub fn send(&self, run: &DatagramRun) -> io::Result<()> {
        if run.bytes.is_empty() || run.segment == 0 {
            return Ok(());
        }
        let route = match Route::of(run) {
            Ok(route) => route,
            Err(error) => {
                self.ledger.losses.add(Place::Send, run.count() as u64, &error);
                return Err(error);
            }
        };
        let mut sending = Sending { socket: self, route: &route, first_error: None };
        let segment = run.segment.min(run.bytes.len());
        transfer(&mut sending, &run.bytes, segment, self.at_once.load(Ordering::Relaxed));
        sending.first_error.map_or(Ok(()), Err)
    }

    /// Sizes of its buffers, and what it dropped because they were full.
    ///
    /// # Errors
    /// As `getsockopt`.
    pub fn memory(&self) -> io::Result<SocketMemory> {
        socket_memory(&self.fd)
    }

    /// Receives what is there into `buf`, which should hold [`RECEIVE_LEN`] bytes.
    ///
    /// Errors about datagrams sent earlier, which the kernel reports on the next call, are passed
    /// over: a refused peer must not stop the others.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<Received> {
        let mut result = self.recv_once(buf);
        for _ in 0..PENDING_ERRORS {
            match &result {
                Err(error) if is_pending_error(error) => result = self.recv_once(buf),
                _ => break,
            }
        }
        result
    }

    fn recv_once(&self, buf: &mut [u8]) -> io::Result<Received> {
        let mut room = ControlRoom([0; 128]);
        let mut parts = [IoSliceMut::new(buf)];
        let flags = MsgFlags::empty();
        let message =
            recvmsg::<SockaddrStorage>(self.fd.as_raw_fd(), &mut parts, Some(&mut room.0), flags)?;
        let no_address = || io::Error::from_raw_os_error(libc::EPROTO);
        let from = message.address.and_then(|address| socket_addr(&address));
        let from = from.ok_or_else(no_address)?;
        let (mut segment, mut tos, mut to) = (message.bytes, 0, None);
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::UdpGroSegments(size) => {
                    segment =
                        usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(segment);
                }
                ControlMessageOwned::Ipv4Tos(value) => tos = value,
                ControlMessageOwned::Ipv6TClass(value) => tos = value.to_le_bytes()[0],
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    let address = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                    to = Some((IpAddr::V4(address), info.ipi_ifindex.cast_unsigned()));
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    to = Some((IpAddr::V6(address), info.ipi6_ifindex));
                }
                _ => {}
            }
        }
        let (to, interface) = to.ok_or_else(no_address)?;
        let meta = DatagramMeta {
            from: WireAddr(from.ip()),
            from_port: from.port(),
            to: WireAddr(to),
            tos,
            interface: Interface(interface),
        };
        Ok(Received { at: 0..message.bytes, segment, meta })
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Route {
    fn of(run: &DatagramRun) -> io::Result<Self> {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        let (Some(from), Some((to, port))) = (run.from, run.to) else { return Err(invalid()) };
        let interface = run.interface.map_or(0, |interface| interface.0);
        match (from.0, to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: interface.cast_signed(),
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                Ok(Self::V4(info, SocketAddr::from((to, port)).into(), run.tos))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: from.octets() },
                    ipi6_ifindex: interface,
                };
                let to = SocketAddr::from(SocketAddrV6::new(to, port, 0, 0));
                Ok(Self::V6(info, to.into(), i32::from(run.tos)))
            }
            _ => Err(invalid()),
        }
    }

    fn send(&self, fd: &OwnedFd, bytes: &[u8], segment: Option<u16>) -> io::Result<()> {
        let mut control = Control::new();
        if let Some(segment) = segment {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &[&segment.to_ne_bytes()]);
        }
        let to = match self {
            Self::V4(info, to, tos) => {
                let source = info.ipi_spec_dst.s_addr.to_ne_bytes();
                let info: [&[u8]; 3] = [&info.ipi_ifindex.to_ne_bytes(), &source, &[0; 4]];
                control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
                control.push(libc::IPPROTO_IP, libc::IP_TOS, &[&[*tos]]);
                to
            }
            Self::V6(info, to, class) => {
                let info: [&[u8]; 2] = [&info.ipi6_addr.s6_addr, &info.ipi6_ifindex.to_ne_bytes()];
                control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
                control.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &[&class.to_ne_bytes()]);
                to
            }
        };
        control.send(fd, bytes, to)
    }
}

impl Kernel for Sending<'_> {
    fn send(&mut self, bytes: &[u8], segment: Option<u16>) -> io::Result<()> {
        let Self { socket, route, .. } = self;
        socket.patience.send(&socket.fd, || route.send(&socket.fd, bytes, segment))
    }

    fn lost(&mut self, datagrams: usize, error: &io::Error) {
        self.socket.ledger.losses.add(Place::Send, datagrams as u64, error);
        self.first_error.get_or_insert_with(|| match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => error.kind().into(),
        });
    }

    fn cannot_cut(&mut self, error: &io::Error, datagrams: usize) {
        self.socket.at_once.store(1, Ordering::Relaxed);
        self.socket.ledger.fell_back(Offload::UdpSend, error, datagrams as u64);
    }
}

fn open(
    address: SocketAddr,
    mark: u32,
    ledger: &Arc<Ledger>,
    shared: bool,
) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Datagram, flags, None)?;
    setsockopt(&fd, sockopt::Mark, &mark)?;
    set_buffers(&fd, SEND_BUFFER, RECEIVE_BUFFER)?;
    if !ledger.is_off(Offload::UdpReceive)
        && let Err(errno) = setsockopt(&fd, sockopt::UdpGroSegment, &true)
    {
        ledger.refused(Offload::UdpReceive, &errno.into());
    }
    if address.is_ipv4() {
        setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
        setsockopt(&fd, sockopt::IpRecvTos, &true)?;
        set_int(&fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
    } else {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
        setsockopt(&fd, sockopt::Ipv6RecvTClass, &true)?;
        set_int(&fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
    }
    if shared {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    let at_once = if ledger.is_on(Offload::UdpSend) { ledger.segments() } else { 1 };
    Ok(UdpSocket {
        fd,
        ledger: Arc::clone(ledger),
        at_once: AtomicUsize::new(usize::try_from(at_once).unwrap_or(1)),
        patience: Patience::default(),
    })
}

fn refusal(port: u16, error: io::Error) -> KernelError {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => KernelError::AnotherAgent,
        _ => KernelError::io(format!("open UDP port {port}"), error),
    }
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
}

fn is_pending_error(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENETDOWN
                | libc::EMSGSIZE
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EACCES
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use allocation_counter::measure;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    /// Both ways, cut by the kernel and by itself.
    #[test]
    fn neither_sending_nor_receiving_allocates() {
        let ledger = Arc::default();
        let v4 = UdpSocket::bind_v4(0, 1, &ledger).unwrap();
        let v6 = UdpSocket::bind_v6(0, 1, &ledger).unwrap();
        let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        for (socket, ip) in [Some(v4), v6].into_iter().zip(loopback) {
            let Some(socket) = socket else { continue };
            let own = getsockname::<SockaddrStorage>(socket.fd.as_raw_fd()).unwrap();
            let port = socket_addr(&own).unwrap().port();
            for length in [1200, 12_000] {
                let run = DatagramRun {
                    from: Some(WireAddr(ip)),
                    to: Some((WireAddr(ip), port)),
                    interface: None,
                    tos: 0xb9,
                    segment: 1200,
                    bytes: vec![7; length],
                };
                let (mut buffer, mut received) = (vec![0; RECEIVE_LEN], 0);
                let counted = measure(|| {
                    for turn in 1..=10 {
                        socket.send(&run).unwrap();
                        while received < turn * length {
                            let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                            assert_eq!(poll(&mut fds, PollTimeout::from(10_000_u16)), Ok(1));
                            let some = socket.recv(&mut buffer).unwrap();
                            assert_eq!((some.meta.tos, some.meta.to), (0xb9, WireAddr(ip)));
                            received += some.at.len();
                        }
                    }
                });
                assert_eq!((received, counted.count_total), (10 * length, 0), "{ip} {length}");
            }
        }
    }
}
