//! Machines in a row, with routers between: what agents on the path need. Must be called inside a
//! [`nest`](crate::nest).
//!
//! ```text
//!   network 0         network 1          network 2                 network n
//!   10.80.0.0/24      10.81.1.0/24       10.81.2.0/24              10.81.n.0/24
//!   fd80::/64         fd81:0:0:1::/64    fd81:0:0:2::/64           fd81:0:0:n::/64
//!
//!   a .11 ── .2 r1 .1 ──┬── .2 r2 .1 ── … ── .2 rn .1 ── b .12
//!                       └── ms .9
//! ```
//! Each network is a switch in a namespace of its own, `n0`, `n1`, …, where every port bears the name
//! of the machine behind it: a tap anywhere. A router's interfaces are `left` and `right`. The
//! networks to the right of a router fit one range of each IP version, up to three routers.

use crate::capture::Capture;
use crate::host::{DEV, Host};
use crate::lab::{begin, forward, ip};
use crate::stream::MARKER;
use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::path::Path;

/// More routers than this would need other networks.
const ROUTERS_MAX: usize = 4;

/// A running row.
pub struct Row {
    /// Machine of the management server, in network 1.
    pub ms: Host,
    /// The machine at the left end.
    pub a: Host,
    /// The machine at the right end.
    pub b: Host,
    routers: Vec<Router>,
    switches: Vec<Host>,
}

/// One router. The same machine, seen from each of its sides.
pub struct Router {
    /// With its address towards `a`.
    pub left: Host,
    /// With its address towards `b`.
    pub right: Host,
}

impl Row {
    /// A row with so many routers, one to four.
    ///
    /// # Errors
    /// If `ip` is missing or the kernel refuses one of the steps.
    pub fn new(routers: usize) -> Result<Self> {
        ensure!((1..=ROUTERS_MAX).contains(&routers), "a row has 1 to {ROUTERS_MAX} routers");
        let names: Vec<String> = (0..=routers)
            .map(|network| format!("n{network}"))
            .chain((1..=routers).map(|number| format!("r{number}")))
            .chain(["ms", "a", "b"].map(str::to_owned))
            .collect();
        let dir = begin(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        for network in 0..=routers {
            let batch = "link add name br0 type bridge mcast_snooping 0\nlink set dev br0 up\n";
            ip(Some(&format!("n{network}")), batch)?;
        }
        let last = routers;
        let end = |name: &str, network: usize, number: u8| {
            plug(name, DEV, network, number)?;
            ip(Some(name), &routes(network, 0..=last))?;
            open(name, network, number, &dir)
        };
        let mut between = Vec::new();
        for number in 1..=routers {
            let name = format!("r{number}");
            plug(&name, "left", number - 1, 2)?;
            plug(&name, "right", number, 1)?;
            ip(
                Some(&name),
                &(routes(number - 1, 0..=number - 1) + &routes(number, number..=last)),
            )?;
            forward(&name)?;
            let left = open(&name, number - 1, 2, &dir)?;
            between.push(Router { left, right: open(&name, number, 1, &dir)? });
        }
        let (ms, a, b) = (end("ms", 1, 9)?, end("a", 0, 11)?, end("b", last, 12)?);
        let switches = (0..=last).map(|network| {
            Host::open(&format!("n{network}"), Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, &dir)
        });
        let switches = switches.collect::<Result<_>>()?;
        Ok(Self { ms, a, b, routers: between, switches })
    }

    /// Router `number`, from 1.
    ///
    /// # Errors
    /// If there is none.
    pub fn router(&self, number: usize) -> Result<&Router> {
        let router = number.checked_sub(1).and_then(|at| self.routers.get(at));
        router.with_context(|| format!("this row has no router {number}"))
    }

    /// The networks to the right of router `number`, as one range of each IP version.
    ///
    /// # Errors
    /// If there is no such router.
    pub fn right_of(&self, number: usize) -> Result<Vec<String>> {
        ensure!(self.routers.len() < ROUTERS_MAX, "with four routers there is no such range");
        self.router(number)?;
        // Network 3 alone; 2 and 3; 1 to 3.
        Ok(match number {
            3 => ["10.81.3.0/24", "fd81:0:0:3::/64"],
            2 => ["10.81.2.0/23", "fd81:0:0:2::/63"],
            _ => ["10.81.0.0/22", "fd81::/62"],
        }
        .map(str::to_owned)
        .to_vec())
    }

    /// Network 0, where `a` is, as a range of each IP version.
    #[must_use]
    pub fn leftmost(&self) -> Vec<String> {
        vec!["10.80.0.0/24".to_owned(), "fd80::/64".to_owned()]
    }

    /// Taps the port of `machine` in network `network`.
    ///
    /// # Errors
    /// If there is no such port, or packet sockets are refused.
    pub fn tap(&self, network: usize, machine: &Host) -> Result<Capture> {
        let switch = self.switches.get(network).context("no such network")?;
        Capture::start(switch, &machine.name, Some(MARKER))
    }

    /// Drops every ICMP echo at the port of `machine` in network `network`: requests and replies, both
    /// ways.
    ///
    /// # Errors
    /// If `nft` refuses.
    pub fn filter_echo(&self, network: usize, machine: &Host) -> Result<()> {
        let switch = self.switches.get(network).context("no such network")?;
        let mut rules = "add table netdev echo; ".to_owned();
        for hook in ["ingress", "egress"] {
            rules += &format!(
                "add chain netdev echo {hook} {{ type filter hook {hook} device {} priority 0 ; }}; \
                 add rule netdev echo {hook} icmp type {{ echo-request, echo-reply }} drop; \
                 add rule netdev echo {hook} icmpv6 type {{ echo-request, echo-reply }} drop; ",
                machine.name
            );
        }
        switch.run(&["nft", &rules])?;
        Ok(())
    }

    /// [`Row::tap`] where little happens.
    ///
    /// # Errors
    /// As [`Row::tap`].
    pub fn small_tap(&self, network: usize, machine: &Host) -> Result<Capture> {
        let switch = self.switches.get(network).context("no such network")?;
        Capture::start_small(switch, &machine.name, Some(MARKER))
    }

    /// Plugs a machine's cable into another network, where it gets an address with this last number
    /// and routes. Returns it as it can be reached there.
    ///
    /// # Errors
    /// If `ip` refuses.
    pub fn move_to(&self, machine: &Host, network: usize, number: u8) -> Result<Host> {
        let name = &machine.name;
        ensure!(network < self.switches.len(), "no such network");
        for at in 0..self.switches.len() {
            // In one of them it is; in the others there is no such port.
            let moved = format!("link set dev {name} netns n{network}\n");
            if at != network && ip(Some(&format!("n{at}")), &moved).is_ok() {
                ip(Some(&format!("n{network}")), &format!("link set dev {name} master br0 up\n"))?;
            }
        }
        for family in ["-4", "-6"] {
            machine.run(&["ip", family, "addr", "flush", "dev", DEV, "scope", "global"])?;
            machine.run(&["ip", family, "route", "flush", "proto", "boot"])?;
        }
        address_of(name, DEV, network, number)?;
        ip(Some(name), &routes(network, 0..=self.switches.len() - 1))?;
        let (v4, v6) = addresses(network, number);
        Ok(machine.at(v4, v6))
    }

    /// As [`Row::masquerade`], with another port for every mapping, as carriers' NATs do.
    ///
    /// # Errors
    /// If `nft` or `ip` refuses.
    pub fn translate(&self, number: usize) -> Result<()> {
        let mut rules = "add table inet nat; \
                         add chain inet nat out { type nat hook postrouting priority 100 ; };"
            .to_owned();
        for protocol in ["tcp", "udp"] {
            rules += &format!(
                "add rule inet nat out oifname right meta l4proto {protocol} \
                 masquerade to :20000-40000 random;"
            );
        }
        rules += "add rule inet nat out oifname right masquerade";
        self.router(number)?.right.run(&["nft", &rules])?;
        ip(Some("b"), &unroute(0..=number - 1))
    }

    /// Lets router `number` forget every mapping, as after a restart.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn forget_mappings(&self, number: usize) -> Result<()> {
        self.router(number)?.right.enter(flush_connections)
    }

    /// Lets router `number` masquerade what leaves to its right; machines there forget how to reach
    /// what is left of it.
    ///
    /// # Errors
    /// If `nft` or `ip` refuses.
    pub fn masquerade(&self, number: usize) -> Result<()> {
        let rules = "add table inet nat; \
                     add chain inet nat out { type nat hook postrouting priority 100 ; }; \
                     add rule inet nat out oifname right masquerade";
        self.router(number)?.right.run(&["nft", rules])?;
        ip(Some("b"), &unroute(0..=number - 1))
    }
}

/// Empties the connection table of the present network namespace (`conntrack -F`).
///
/// ```text
/// length 4 | type 2 | flags 2 | sequence 4 | port 4 | family 1 | version 1 | 0 2     host order
/// ```
fn flush_connections() -> Result<()> {
    const LENGTH: u32 = 20;
    /// Connection tracking, delete.
    const KIND: u16 = 1 << 8 | 2;
    const REQUEST_ACK: u16 = 1 | 4;
    let flags = SockFlag::SOCK_CLOEXEC;
    let netfilter = SockProtocol::NetlinkNetFilter;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, netfilter)?;
    let mut message = Vec::new();
    message.extend_from_slice(&LENGTH.to_ne_bytes());
    message.extend_from_slice(&KIND.to_ne_bytes());
    message.extend_from_slice(&REQUEST_ACK.to_ne_bytes());
    message.resize(LENGTH as usize, 0);
    sendto(fd.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 64];
    let length = recv(fd.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let error = answer[..length].get(16..20).and_then(|bytes| bytes.try_into().ok());
    let error = i32::from_ne_bytes(error.context("the kernel's answer is too short")?);
    ensure!(error == 0, "the kernel does not flush: {}", std::io::Error::from_raw_os_error(-error));
    Ok(())
}

/// A link between a machine and its network's switch, with an address.
fn plug(machine: &str, dev: &str, network: usize, number: u8) -> Result<()> {
    let switch = format!("n{network}");
    ip(
        Some(&switch),
        &format!(
            "link add name {machine} type veth peer name {dev} netns {machine}\n\
             link set dev {machine} master br0 up\n"
        ),
    )?;
    address_of(machine, dev, network, number)
}

fn address_of(machine: &str, dev: &str, network: usize, number: u8) -> Result<()> {
    let (v4, v6) = addresses(network, number);
    ip(
        Some(machine),
        &format!(
            "link set dev lo up\nlink set dev {dev} up\n\
             addr add {v4}/24 dev {dev}\naddr add {v6}/64 dev {dev} nodad\n"
        ),
    )
}

fn addresses(network: usize, number: u8) -> (Ipv4Addr, Ipv6Addr) {
    let k = u8::try_from(network).unwrap_or(u8::MAX);
    let (second, prefix) = if network == 0 { (80, 0xfd80) } else { (81, 0xfd81) };
    // As people read it: .11 and ::11.
    let last = u16::from_str_radix(&number.to_string(), 16).unwrap_or(0);
    let v6 = Ipv6Addr::new(prefix, 0, 0, k.into(), 0, 0, 0, last);
    (Ipv4Addr::new(10, second, k, number), v6)
}

/// From a machine in network `at`: the routes to the other `networks`, by the neighbouring routers.
fn routes(at: usize, networks: impl Iterator<Item = usize>) -> String {
    let route = |network: usize| {
        let gateway = if network < at { 1 } else { 2 };
        let ((v4, v6), (to4, to6)) = (addresses(at, gateway), addresses(network, 0));
        format!("route add {to4}/24 via {v4}\nroute add {to6}/64 via {v6}\n")
    };
    networks.filter(|network| *network != at).map(route).collect()
}

fn unroute(networks: impl Iterator<Item = usize>) -> String {
    let remove = |network: usize| {
        let (v4, v6) = addresses(network, 0);
        format!("route del {v4}/24\nroute del {v6}/64\n")
    };
    networks.map(remove).collect()
}

fn open(name: &str, network: usize, number: u8, dir: &Path) -> Result<Host> {
    let (v4, v6) = addresses(network, number);
    Host::open(name, v4, v6, dir)
}

/// Both addresses of a machine in a range: what a test of a range is about.
#[must_use]
pub fn address(host: &Host, v6: bool) -> IpAddr {
    host.addresses()[usize::from(v6)]
}
