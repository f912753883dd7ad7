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

mod deliver;
mod features;

use crate::error::KernelError;
use crate::ledger::{Ledger, Place};
use crate::netlink::{self, Writer, attributes};
use crate::offload::Offload;
use crate::program::Program;
use ge_core::coalesce::Gather;
use ge_core::io::{ETHERNET_LEN, VNET_LEN};
use ge_core::wire::vnet::{Gso, GsoKind, PartialChecksum, VnetHeader};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use tracing::debug;

/// Longest read: vnet header, Ethernet header with a VLAN tag, the largest IP packet. A shorter
/// buffer would lose the tail of the packet.
pub const READ_LEN: usize = VNET_LEN + ETHERNET_LEN + 4 + 65_535;

/// The largest the kernel allows, so that no packet of any interface is too big for the device:
/// `fwd` itself does not look, but every later check that does shall pass.
const MTU: u32 = 65_535;

/// Frames that wait for the reader. The default of 500 is gone in half a millisecond of small packets.
/// Ten thousand connections have that many super-packets of a few segments under way, and lose many of
/// them in a queue of 1,000. How long it takes is up to the reader, who runs first while it is long; an
/// echo beside a hundred connections takes half as long again as with 1,000, at the most. Full of
/// super-packets it would be 256 MiB, which no TCP has under way.
pub const QUEUE_LEN: u32 = 4000;

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
    /// What the kernel counts for having been tried.
    tried: TunCounts,
}

/// Packets the kernel counted at the device since it was made (`struct rtnl_link_stats64`); a
/// super-packet once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunCounts {
    /// Read by us.
    pub read: u64,
    /// Written by us, and taken.
    pub written: u64,
    /// For us, dropped because we did not read fast enough.
    pub queue: u64,
    /// From us, dropped because the stack did not take them.
    pub stack: u64,
    /// From us, dropped because of a vnet header that did not fit.
    pub malformed: u64,
}

impl Tun {
    /// Makes the device with one queue, tries its offloads, sets it up and brings it up. Offloads that
    /// the kernel refuses are written down in `ledger` and done without.
    ///
    /// # Errors
    /// No `/dev/net/tun`, no permission, a name that is taken.
    pub fn open(name: &str, program: Program, ledger: &Arc<Ledger>) -> Result<Self, KernelError> {
        Self::open_queues(name, program, 1, ledger)
    }

    /// The same with `count` queues, of which each is one thread's. The kernel spreads flows over
    /// them, and leaves each where packets of its other direction were written last.
    ///
    /// # Errors
    /// As [`Tun::open`].
    pub fn open_queues(
        name: &str,
        program: Program,
        count: u8,
        ledger: &Arc<Ledger>,
    ) -> Result<Self, KernelError> {
        let mut queues = Vec::new();
        for _ in 0..count.max(1) {
            let file = Arc::new(open_device()?);
            create(&file, name, count > 1)?;
            queues.push(TunQueue { file, ledger: Arc::clone(ledger) });
        }
        // The device's, whichever of its queues is asked.
        try_offloads(&queues[0].file, ledger)
            .map_err(|error| KernelError::io(format!("switch off offloads of {name}"), error))?;
        let ifindex = nix::net::if_::if_nametoindex(name)
            .map_err(|errno| KernelError::io(format!("find interface {name}"), errno))?;
        let failed = |error| KernelError::io(format!("set up {name}"), error);
        let tried = counts(ifindex).map_err(failed)?;
        configure(ifindex, program).map_err(failed)?;
        Ok(Self { queues, name: name.to_owned(), ifindex, tried })
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's index.
    #[must_use]
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// What the kernel counted at the device.
    ///
    /// # Errors
    /// As netlink; `ENODEV` once the device was deleted by somebody.
    pub fn counts(&self) -> io::Result<TunCounts> {
        let (now, tried) = (counts(self.ifindex)?, self.tried);
        Ok(TunCounts {
            read: now.read.saturating_sub(tried.read),
            written: now.written.saturating_sub(tried.written),
            queue: now.queue.saturating_sub(tried.queue),
            stack: now.stack.saturating_sub(tried.stack),
            malformed: now.malformed.saturating_sub(tried.malformed),
        })
    }

    /// The queue of a thread, the engine's being number 0.
    #[must_use]
    pub fn queue(&self, number: u8) -> &TunQueue {
        &self.queues[usize::from(number) % self.queues.len()]
    }

    /// Whether a queue is one of this device's.
    #[must_use]
    pub fn has(&self, queue: &TunQueue) -> bool {
        self.queues.contains(queue)
    }
}

/// One queue of a TUN device. A clone is the same queue.
#[derive(Clone)]
pub struct TunQueue {
    file: Arc<File>,
    ledger: Arc<Ledger>,
}

/// The same queue, not one that is alike.
impl PartialEq for TunQueue {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }
}

impl Eq for TunQueue {}

impl TunQueue {
    /// Reads one packet into `buf`, which should hold [`READ_LEN`] bytes; its length.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; `EBADFD` once the device was deleted by somebody.
    pub fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.file, buf)?)
    }

    /// Hands one inner packet, maybe merged from many, to the local stack. If the kernel refuses it
    /// as such, its packets are written one by one, and the ledger says that no more are to be
    /// merged. What is not taken is counted there.
    pub fn deliver(&self, gather: &Gather<'_>) {
        deliver::deliver(gather, &self.ledger, |slices| self.writev(slices));
    }

    /// The same with one packet: vnet header and IP packet, in as many pieces as the caller has
    /// them in.
    pub fn deliver_parts(&self, parts: &[IoSlice<'_>]) {
        if let Err(error) = self.writev(parts) {
            self.ledger.losses.add(Place::Deliver, 1, &error);
        }
    }

    /// Writes one packet: vnet header and IP packet, in as many pieces as the caller has them in.
    ///
    /// # Errors
    /// `EINVAL` for a vnet header that does not fit the packet, `EIO` while the device is down.
    pub fn writev(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::io::writev(&self.file, parts)?)
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
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

/// Makes the device, or one more queue of it.
fn create(file: &File, name: &str, one_of_many: bool) -> Result<(), KernelError> {
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
    Ok(())
}

/// Before the device is up: then nothing comes of what is written to try it.
fn try_offloads(file: &File, ledger: &Ledger) -> io::Result<()> {
    let knows_datagrams = features::settle(ledger, |mask| {
        // SAFETY: the argument of this request is a number, not a pointer.
        let set = unsafe { set_offload(file.as_raw_fd(), mask.cast_signed()) };
        set.map(drop).map_err(io::Error::from)
    })?;
    if !knows_datagrams {
        ledger.refused(Offload::MergeUdp, &io::Error::from_raw_os_error(libc::EINVAL));
    }
    for (offload, packet) in [(Offload::MergeTcp, probe(6)), (Offload::MergeUdp, probe(17))] {
        // A packet that would do is refused because the device is down (EIO).
        match (&mut &*file).write(&packet) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                ledger.refused(offload, &error);
            }
            _ => {}
        }
    }
    Ok(())
}

/// A super-packet of two segments of one byte, from and to nobody.
fn probe(protocol: u8) -> Vec<u8> {
    let (kind, upper_len, checksum) =
        if protocol == 6 { (GsoKind::TcpV4, 20_u8, 16) } else { (GsoKind::UdpDatagrams, 8, 6) };
    let header_len = 20 + u16::from(upper_len);
    let vnet = VnetHeader {
        partial: Some(PartialChecksum { start: 20, offset: checksum }),
        gso: Some(Gso { kind, size: 1, ecn: false }),
        hdr_len: header_len,
        ..VnetHeader::default()
    };
    let mut packet = vnet.emit().to_vec();
    let mut ip = [0; 20];
    (ip[0], ip[3], ip[8], ip[9]) = (0x45, 22 + upper_len, 1, protocol);
    packet.extend_from_slice(&ip);
    let mut upper = vec![0; usize::from(upper_len)];
    if protocol == 6 {
        upper[12] = 0x50;
    } else {
        upper[5] = upper_len + 2;
    }
    packet.extend_from_slice(&upper);
    packet.extend_from_slice(&[0; 2]);
    packet
}

/// `RTM_GETLINK` of one device.
fn counts(ifindex: u32) -> io::Result<TunCounts> {
    /// `IFLA_STATS64`, and places of its words: received is what we wrote, sent what we read.
    const STATS: u16 = 23;
    const WRITTEN: usize = 0;
    const READ: usize = 1;
    const STACK: usize = 6;
    const QUEUE: usize = 7;
    const MALFORMED: usize = 13;
    let socket = netlink::open(NETLINK_ROUTE)?;
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    let mut writer = Writer::default();
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
    let flags = u16::try_from(flags).expect("invariant: flags of a header of 16 bits");
    writer.message(libc::RTM_GETLINK, flags, 1, &header, |_| ());
    let replies = netlink::request(&socket, &writer)?;
    let stats = replies.iter().filter_map(|body| body.get(16..)).find_map(|body| {
        attributes(body).find(|(kind, _)| *kind == STATS).map(|(_, value)| value.to_vec())
    });
    let stats = stats.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    let word = |at: usize| {
        let bytes = stats.get(at * 8..at * 8 + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_ne_bytes)
    };
    Ok(TunCounts {
        read: word(READ),
        written: word(WRITTEN),
        queue: word(QUEUE),
        stack: word(STACK),
        malformed: word(MALFORMED),
    })
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
    send_at_once(&socket, ifindex);
    set_link(&socket, ifindex, libc::IFF_UP.cast_unsigned(), |_| ())?;
    match delete_multicast_route(&socket, ifindex) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::ESRCH)) => {
            Ok(())
        }
        result => result,
    }
}

/// `RTM_NEWQDISC`: `struct tcmsg` and attributes. The device takes every packet or drops it, so that a
/// queue before its own never has anything in it; what distributions have there by default
/// (`net.core.default_qdisc`) sorts each packet for nothing. A kernel that refuses keeps it.
fn send_at_once(socket: &Socket, ifindex: u32) {
    /// `TC_H_ROOT`.
    const ROOT: [u8; 4] = [0xff; 4];
    let mut header = [0; 20];
    header[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    header[12..16].copy_from_slice(&ROOT);
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let sent = send(socket, libc::RTM_NEWQDISC, flags, &header, |body| {
        body.attr_str(libc::TCA_KIND, "noqueue");
    });
    if let Err(error) = sent {
        debug!(%error, "the TUN keeps its queueing discipline");
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

#[cfg(test)]
mod tests {
    use super::*;

    /// One of two queues, never made in the kernel.
    fn tun() -> Tun {
        let queue = |_| {
            let file = File::open("/dev/null").expect("every machine has it");
            TunQueue { file: Arc::new(file), ledger: Arc::default() }
        };
        let queues = (0..2).map(queue).collect();
        Tun { queues, name: "ges0".to_owned(), ifindex: 1, tried: TunCounts::default() }
    }

    #[test]
    fn a_broken_queue_is_of_the_tun_it_was_taken_from_and_not_of_the_next() {
        let (broken, next) = (tun(), tun());
        let reports = [broken.queue(0).clone(), broken.queue(1).clone()];
        assert!(reports.iter().all(|queue| broken.has(queue)));
        // The first report had it replaced.
        drop(broken);
        assert!(!reports.iter().any(|queue| next.has(queue)));
        assert!(next.has(next.queue(1)));
    }
}
