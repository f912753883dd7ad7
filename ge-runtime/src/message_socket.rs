//! Sends negotiation messages, as ICMP and ICMPv6 echo and in UDP. Their answers come by the hook or
//! by the data socket, so the sockets receive nothing.

use crate::error::KernelError;
use crate::program::Program;
use crate::sockopt::{receive_nothing, set_int};
use ge_core::io::Transmit;
use ge_core::wire::protocol::UDP;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn,
    SockaddrIn6, sendmsg, setsockopt, socket, sockopt::Mark,
};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

/// Raw sockets for both carriers and both IP versions.
pub struct MessageSocket {
    echo: Versions,
    /// Raw as well: a message may leave from the address of another machine, and without DF.
    udp: Versions,
}

struct Versions {
    v4: OwnedFd,
    /// Absent where the kernel has no IPv6.
    v6: Option<OwnedFd>,
}

impl MessageSocket {
    /// Opens the sockets, with our mark on all they send. Those of a router may send from addresses
    /// of other machines: it speaks for them.
    ///
    /// # Errors
    /// No `CAP_NET_RAW`.
    pub fn open(mark: u32, program: Program) -> Result<Self, KernelError> {
        let anywhere = program == Program::Gen;
        let open = |v4, v6| Versions::open([v4, v6], mark, anywhere);
        Ok(Self {
            echo: open(SockProtocol::Icmp, SockProtocol::IcmpV6)?,
            udp: open(SockProtocol::Udp, SockProtocol::Udp)?,
        })
    }

    /// Sends a message from its source address by its interface. The kernel makes the IP header,
    /// and for ICMPv6 the checksum again.
    ///
    /// # Errors
    /// `WouldBlock` and `ENOBUFS` when a queue is full (the retry ladder repeats it); `EINVAL` when
    /// the addresses are of two IP versions; what routing says.
    pub fn send(&self, message: &Transmit) -> io::Result<()> {
        let interface = message.interface.0;
        let carrier = if message.protocol == UDP { &self.udp } else { &self.echo };
        match (message.from.0, message.to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                send_v4(&carrier.v4, from, to, interface, &message.bytes)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let fd = carrier.v6.as_ref().ok_or(io::ErrorKind::Unsupported)?;
                send_v6(fd, from, to, interface, &message.bytes)
            }
            _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }
}

impl Versions {
    fn open([v4, v6]: [SockProtocol; 2], mark: u32, anywhere: bool) -> Result<Self, KernelError> {
        let v4 = open(AddressFamily::Inet, v4, mark)?;
        if anywhere {
            set_int(&v4, libc::IPPROTO_IP, libc::IP_TRANSPARENT, 1)
                .map_err(|error| KernelError::io("send for other machines", error))?;
        }
        // DF clear: a narrow path cuts the message, and the other agent puts it together. An error
        // from the path could not reach us in closed mode.
        set_int(&v4, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)
            .map_err(|error| KernelError::io("set up the message socket", error))?;
        let v6 = match open(AddressFamily::Inet6, v6, mark) {
            Err(KernelError::Io { source, .. })
                if source.raw_os_error() == Some(libc::EAFNOSUPPORT) =>
            {
                None
            }
            result => Some(result?),
        };
        if let Some(v6) = v6.as_ref().filter(|_| anywhere) {
            set_int(v6, libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT, 1)
                .map_err(|error| KernelError::io("send for other machines", error))?;
        }
        Ok(Self { v4, v6 })
    }
}

fn open(family: AddressFamily, protocol: SockProtocol, mark: u32) -> Result<OwnedFd, KernelError> {
    let failed = |error: io::Error| KernelError::io("open a message socket", error);
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd =
        socket(family, SockType::Raw, flags, protocol).map_err(|errno| failed(errno.into()))?;
    receive_nothing(&fd).map_err(failed)?;
    setsockopt(&fd, Mark, &mark).map_err(|errno| failed(errno.into()))?;
    Ok(fd)
}

fn send_v4(
    fd: &OwnedFd,
    from: Ipv4Addr,
    to: Ipv4Addr,
    interface: u32,
    message: &[u8],
) -> io::Result<()> {
    let info = libc::in_pktinfo {
        ipi_ifindex: interface.cast_signed(),
        ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
    let control = [ControlMessage::Ipv4PacketInfo(&info)];
    sendmsg(fd.as_raw_fd(), &[IoSlice::new(message)], &control, MsgFlags::empty(), Some(&to))?;
    Ok(())
}

fn send_v6(
    fd: &OwnedFd,
    from: Ipv6Addr,
    to: Ipv6Addr,
    interface: u32,
    message: &[u8],
) -> io::Result<()> {
    let info = libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr { s6_addr: from.octets() },
        ipi6_ifindex: interface,
    };
    let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, 0));
    let control = [ControlMessage::Ipv6PacketInfo(&info)];
    sendmsg(fd.as_raw_fd(), &[IoSlice::new(message)], &control, MsgFlags::empty(), Some(&to))?;
    Ok(())
}
