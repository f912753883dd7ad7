//! The TUN: where the hook sends packets for us to read, and where we hand packets to the local
//! stack.
//!
//! ```text
//! read    | vnet header 10 | Ethernet header 14 | IP packet |   a frame the hook forwarded
//!         | vnet header 10 | IP packet |                        what the kernel itself sends on it
//! write   | vnet header 10 | IP packet |                        received, as if from a wire
//! ```
//!
//! Nothing the kernel sends on the device by itself is wanted (multicast reports); it carries no
//! Ethernet header, and read as if it did it has no EtherType of IP, so the reader drops it.
//!
//! The device has no route and no address that anybody can reach. It has one *loopback* address of
//! scope host, because the kernel's reverse path check drops every IPv4 packet that arrives on a
//! device without any address, whatever the device's own setting, once `all.rp_filter` is not zero
//! (`__fib_validate_source`, "last_resort"); distributions do set it. With an address and the
//! device's setting 2, which wins over `all`, packets pass as the system's own policy of loose
//! checking has it. Everything goes with the file descriptor.

use crate::error::KernelError;
use crate::netlink::{self, Writer};
use crate::program::Program;
use ge_core::io::{ETHERNET_LEN, VNET_LEN};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

/// Longest read: vnet header, Ethernet header with a VLAN tag, the largest IP packet. A shorter
/// buffer would lose the tail of the packet.
pub const READ_LEN: usize = VNET_LEN + ETHERNET_LEN + 4 + 65_535;

/// The largest the kernel allows, so that no packet of any interface is too big for the device:
/// `fwd` itself does not look, but every later check that does shall pass.
const MTU: u32 = 65_535;

/// Frames that wait for the reader. The default of 500 is gone in half a millisecond of small
/// packets; 1,000 super-packets are 64 MiB, more than should wait.
const QUEUE_LEN: u32 = 1000;

/// In 127.0.0.0/8, which is local on every machine and never on a wire, so that it changes the
/// meaning of no address.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 58, 65, 1);

/// `IPV4_DEVCONF_RP_FILTER` and its value "loose" (RFC 3704 2.4).
const RP_FILTER: (u16, u32) = (8, 2);
/// `IPV4_DEVCONF_FORWARDING`, for a router: what is written to the device goes on to the inside,
/// whatever a new device gets by default. (In IPv6 the kernel has one switch for all devices.)
const FORWARDING: (u16, u32) = (1, 1);
/// `IFLA_INET_CONF`.
const INET_CONF: u16 = 1;
/// `IFLA_INET6_ADDR_GEN_MODE` and its value "none".
const ADDR_GEN_MODE: (u16, u8) = (8, 1);
/// `IFA_F_NOPREFIXROUTE`.
const NO_PREFIX_ROUTE: u32 = 0x200;

/// What the reader can deal with: unfinished checksums and super-packets of TCP.
const OFFLOADS: u32 = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
/// And of UDP, since Linux 6.2.
const UDP_OFFLOADS: u32 = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// `struct ifreq` as `TUNSETIFF` reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    unused: [u8; 22],
}

nix::ioctl_write_ptr_bad!(set_interface, libc::TUNSETIFF, InterfaceRequest);
nix::ioctl_write_int_bad!(set_offload, libc::TUNSETOFFLOAD);

/// An open TUN device; gone when it and all its queues are dropped.
pub struct Tun {
    queues: Vec<TunQueue>,
    name: String,
    ifindex: u32,
    cuts_datagrams: bool,
}

impl Tun {
    /// Makes the device with one queue, sets it up and brings it up.
    ///
    /// # Errors
    /// No `/dev/net/tun`, no permission, a name that is taken.
    pub fn open(name: &str, program: Program) -> Result<Self, KernelError> {
        Self::open_queues(name, program, 1)
    }

    /// The same with `count` queues, of which each is one thread's. The kernel spreads flows over
    /// them, and leaves each where packets of its other direction were written last.
    ///
    /// # Errors
    /// As [`Tun::open`].
    pub fn open_queues(name: &str, program: Program, count: u8) -> Result<Self, KernelError> {
        let mut files = Vec::new();
        let mut cuts_datagrams = true;
        for _ in 0..count.max(1) {
            let file = open_device()?;
            cuts_datagrams &= create(&file, name, count > 1)?;
            files.push(file);
        }
        let queues = files.into_iter().map(|file| TunQueue(Arc::new(file))).collect();
        let ifindex = nix::net::if_::if_nametoindex(name)
            .map_err(|errno| KernelError::io(format!("find interface {name}"), errno))?;
        configure(ifindex, program)
            .map_err(|error| KernelError::io(format!("set up {name}"), error))?;
        Ok(Self { queues, name: name.to_owned(), ifindex, cuts_datagrams })
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the kernel takes and hands out super-packets of UDP on it (Linux 6.2).
    #[must_use]
    pub const fn cuts_datagrams(&self) -> bool {
        self.cuts_datagrams
    }

    /// The device's index.
    #[must_use]
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The queue of a thread, the engine's being number 0.
    #[must_use]
    pub fn queue(&self, number: u8) -> &TunQueue {
        &self.queues[usize::from(number) % self.queues.len()]
    }
}

/// One queue of a TUN device. A clone is the same queue.
#[derive(Clone)]
pub struct TunQueue(Arc<File>);

/// The same queue, not one that is alike.
impl PartialEq for TunQueue {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TunQueue {}

impl TunQueue {
    /// Reads one packet into `buf`, which should hold [`READ_LEN`] bytes; its length.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; `EBADFD` once the device was deleted by somebody.
    pub fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buf)
    }

    /// Hands one packet to the local stack: vnet header and IP packet, in as many pieces as the
    /// caller has them in.
    ///
    /// # Errors
    /// `EINVAL` for a vnet header that does not fit the packet, `EIO` while the device is down.
    pub fn writev(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self.0).write_vectored(parts)
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open_device() -> Result<File, KernelError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => KernelError::NoTun,
            Some(libc::EACCES | libc::EPERM) => KernelError::TunAccess,
            _ => KernelError::io("open /dev/net/tun", error),
        })
}

/// Makes the device, or one more queue of it. Whether the kernel knows super-packets of UDP.
fn create(file: &File, name: &str, one_of_many: bool) -> Result<bool, KernelError> {
    let many = if one_of_many { libc::IFF_MULTI_QUEUE } else { 0 };
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | many;
    let mut request = InterfaceRequest {
        name: [0; libc::IFNAMSIZ],
        flags: libc::c_short::try_from(flags).expect("invariant: the four flags are 0x5101"),
        unused: [0; 22],
    };
    let room = request.name.get_mut(..name.len()).filter(|_| name.len() < libc::IFNAMSIZ);
    room.ok_or_else(|| {
        KernelError::io(format!("make {name}"), io::Error::from_raw_os_error(libc::ENAMETOOLONG))
    })?
    .copy_from_slice(name.as_bytes());
    // SAFETY: the descriptor is an open /dev/net/tun, and the request has the size and the layout
    // of the `struct ifreq` that the kernel reads and writes.
    unsafe { set_interface(file.as_raw_fd(), &raw const request) }.map_err(
        |errno| match errno {
            nix::Error::EBUSY => KernelError::AnotherAgent,
            _ => KernelError::io(format!("make the TUN device {name}"), errno),
        },
    )?;
    let offload = |features: u32| {
        // SAFETY: the argument of this request is a number, not a pointer.
        unsafe { set_offload(file.as_raw_fd(), features.cast_signed()) }
    };
    if offload(OFFLOADS | UDP_OFFLOADS).is_ok() {
        return Ok(true);
    }
    offload(OFFLOADS)
        .map_err(|errno| KernelError::io(format!("switch on offloads of {name}"), errno))?;
    Ok(false)
}

/// Addresses off, checks loosened, then up: an IPv6 address would be made in the moment of going up.
fn configure(ifindex: u32, program: Program) -> io::Result<()> {
    let socket = netlink::open(NETLINK_ROUTE)?;
    let inet = |body: &mut Writer| {
        body.attr_ne32(libc::IFLA_MTU, MTU);
        body.attr_ne32(libc::IFLA_TXQLEN, QUEUE_LEN);
        body.nest(libc::IFLA_AF_SPEC, |families| {
            families.nest(family(libc::AF_INET), |inet| {
                inet.nest(INET_CONF, |conf| {
                    conf.attr_ne32(RP_FILTER.0, RP_FILTER.1);
                    if program == Program::Gen {
                        conf.attr_ne32(FORWARDING.0, FORWARDING.1);
                    }
                });
            });
        });
    };
    set_link(&socket, ifindex, 0, inet)?;
    let inet6 = |body: &mut Writer| {
        body.nest(libc::IFLA_AF_SPEC, |families| {
            families.nest(family(libc::AF_INET6), |inet6| {
                inet6.attr(ADDR_GEN_MODE.0, &[ADDR_GEN_MODE.1]);
            });
        });
    };
    match set_link(&socket, ifindex, 0, inet6) {
        // A kernel without IPv6.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
        result => result?,
    }
    add_address(&socket, ifindex)?;
    set_link(&socket, ifindex, libc::IFF_UP.cast_unsigned(), |_| ())?;
    match delete_multicast_route(&socket, ifindex) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::ESRCH)) => {
            Ok(())
        }
        result => result,
    }
}

/// `RTM_DELROUTE`: `struct rtmsg` and attributes. The kernel gives every device that is up a route
/// for all IPv6 multicast; where the real interface was down for a moment, ours would come first.
fn delete_multicast_route(socket: &Socket, ifindex: u32) -> io::Result<()> {
    let mut header = [0; 12];
    header[0] = family(libc::AF_INET6).to_le_bytes()[0];
    header[1] = 8;
    header[4] = libc::RT_TABLE_LOCAL;
    send(socket, libc::RTM_DELROUTE, 0, &header, |body| {
        body.attr(libc::RTA_DST, &Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).octets());
        body.attr_ne32(libc::RTA_OIF, ifindex);
    })
}

/// `RTM_SETLINK`: `struct ifinfomsg` and attributes. `flags` are switched on.
fn set_link(
    socket: &Socket,
    ifindex: u32,
    flags: u32,
    body: impl FnOnce(&mut Writer),
) -> io::Result<()> {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    send(socket, libc::RTM_SETLINK, 0, &header, body)
}

/// `RTM_NEWADDR`: `struct ifaddrmsg` and attributes.
fn add_address(socket: &Socket, ifindex: u32) -> io::Result<()> {
    let mut header = [0; 8];
    header[0] = family(libc::AF_INET).to_le_bytes()[0];
    header[1] = 32;
    header[3] = libc::RT_SCOPE_HOST;
    header[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    send(socket, libc::RTM_NEWADDR, libc::NLM_F_CREATE, &header, |body| {
        body.attr(libc::IFA_LOCAL, &ADDRESS.octets());
        body.attr(libc::IFA_ADDRESS, &ADDRESS.octets());
        body.attr_ne32(libc::IFA_FLAGS, NO_PREFIX_ROUTE);
    })
}

fn send(
    socket: &Socket,
    kind: u16,
    flags: i32,
    header: &[u8],
    body: impl FnOnce(&mut Writer),
) -> io::Result<()> {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags;
    let flags = u16::try_from(flags).expect("invariant: flags of a header of 16 bits");
    let mut writer = Writer::default();
    writer.message(kind, flags, 1, header, body);
    netlink::request(socket, &writer).map(drop)
}

fn family(number: i32) -> u16 {
    u16::try_from(number).expect("invariant: address families are small numbers")
}
