//! The rules, as one transaction that replaces whatever was there.
//!
//! ```text
//! table netdev gsagent {
//!   chain in_eth0   ingress            chain out_eth0   egress
//!     source is our address   drop       mark is ours            accept
//!     IPv4   jump in4                    [open: our IP, another MAC  drop]
//!     IPv6   jump in6                    source is not ours      accept | DROP
//!     to our directed broadcast  accept  IPv4   jump out4
//!     to the group bit   drop            IPv6   jump out6
//!     to somebody else   accept | DROP   IPv4, IPv6   fwd to the TUN
//!     IPv4, IPv6   fwd to the TUN        [closed: link control   accept]
//!     [closed: link control   accept]    policy accept | DROP
//!     policy accept | DROP
//!
//!   chain in4 in6                      chain out4 out6
//!     our data port, whole  accept       DHCP, IGMP, MLD, ND     accept
//!     DHCP, IGMP, MLD, ND   accept       group bit               accept | DROP
//!     our own connections   accept       IPv6 link-local         accept | DROP
//!     server on this host   accept       server on this host     accept
//!     multicast             accept|DROP  discarded pairs         drop
//!     ICMPv6 errors         return       bypassed pairs          accept
//!     IPv6 link-local       accept|DROP
//!     negotiation           return
//!     discarded pairs       drop
//!     bypassed pairs        accept
//! }
//! ```
//!
//! A router is on the way between others, so three things differ there: sealed data for another
//! machine is accepted | returned, in both directions; negotiation is returned on egress as well,
//! before the pairs; the port of the management server is accepted wherever it is.
//!
//! Where two verdicts stand, the first is open mode and the second closed mode. The EtherType is
//! read from the frame, a VLAN tag included, so tagged frames match no IP rule: open mode passes
//! them, closed mode drops them.
//!
//! Direction is told from the source address by the reader of the TUN. Three rules make that safe:
//! nobody may send us our own address, frames that leave with another one (a bridged guest's) are
//! not ours, and neither are frames that arrive for another one (a sniffer switched the interface
//! to promiscuous).

use super::{HookConfig, HookedInterface, sets};
use crate::nft::{Base, Batch, Field, HookPoint, Rule, Verdict};
use ge_core::Mode;
use ge_core::wire::dprp::MAGIC;
use std::net::{IpAddr, SocketAddr};

const ETHER_TARGET: Field = Field { base: Base::Link, offset: 0, len: 6 };
const ETHER_TARGET_FIRST: Field = Field { base: Base::Link, offset: 0, len: 1 };
const ETHER_SOURCE: Field = Field { base: Base::Link, offset: 6, len: 6 };
const ETHER_TYPE: Field = Field { base: Base::Link, offset: 12, len: 2 };
pub(super) const PORT_SOURCE: Field = Field { base: Base::Transport, offset: 0, len: 2 };
pub(super) const PORT_TARGET: Field = Field { base: Base::Transport, offset: 2, len: 2 };
const ICMP_TYPE: Field = Field { base: Base::Transport, offset: 0, len: 1 };

/// The first bytes behind the header of an ICMP echo, and of UDP.
const PAYLOAD: Field = Field { base: Base::Transport, offset: 8, len: 2 };

/// More-fragments bit and offset of an IPv4 packet.
const FRAGMENT_V4: Field = Field { base: Base::Network, offset: 6, len: 2 };
const FRAGMENT_MASK: [u8; 2] = [0x3f, 0xff];

const ICMP: u8 = 1;
const IGMP: u8 = 2;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Group bit of an Ethernet address: the lowest of the first byte.
const GROUP_BIT: [u8; 1] = [1];

/// What closed mode lets pass besides IP: ARP, 802.1X and its pre-authentication, LLDP, the slow
/// protocols (LACP), TDLS. None of them can carry a packet of a program to another host.
const LINK_CONTROL: [(u16, &str); 6] = [
    (0x0806, "ARP"),
    (0x888e, "802.1X"),
    (0x88c7, "802.11i pre-authentication"),
    (0x88cc, "LLDP"),
    (0x8809, "LACP"),
    (0x890d, "TDLS"),
];

/// Below this the field is a length (IEEE 802.3): spanning tree and other 802.2 control.
const ETHER_TYPE_MIN: u16 = 0x0600;

/// IPv4 or IPv6, and where its fields are.
#[derive(Clone, Copy)]
pub(super) struct Version {
    pub(super) ether_type: [u8; 2],
    name: &'static str,
    pub(super) source: Field,
    pub(super) target: Field,
    pub(super) clear: &'static str,
    pub(super) drop: &'static str,
    pub(super) own: &'static str,
    chain_in: &'static str,
    chain_out: &'static str,
}

pub(super) const V4: Version = Version {
    ether_type: [0x08, 0x00],
    name: "IPv4",
    source: Field { base: Base::Network, offset: 12, len: 4 },
    target: Field { base: Base::Network, offset: 16, len: 4 },
    clear: "clear4",
    drop: "drop4",
    own: "own4",
    chain_in: "in4",
    chain_out: "out4",
};

pub(super) const V6: Version = Version {
    ether_type: [0x86, 0xdd],
    name: "IPv6",
    source: Field { base: Base::Network, offset: 8, len: 16 },
    target: Field { base: Base::Network, offset: 24, len: 16 },
    clear: "clear6",
    drop: "drop6",
    own: "own6",
    chain_in: "in6",
    chain_out: "out6",
};

impl Version {
    pub(super) const fn is_v4(self) -> bool {
        self.ether_type[0] == V4.ether_type[0]
    }
}

/// Which way a chain looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

/// The transaction: the old table goes, the new one comes, no packet passes in between.
pub(super) fn replace(config: &HookConfig, table: &'static str, flags: u32) -> Batch {
    let mut batch = Batch::new(table);
    // Deleting needs a table that is there; adding without flags changes nothing on one that is.
    batch.add_table(None);
    batch.delete_table();
    batch.add_table(Some(flags));
    for version in [V4, V6] {
        sets::declare(&mut batch, version, config.router.is_some());
        shared_chain(&mut batch, config, version, Way::In);
        shared_chain(&mut batch, config, version, Way::Out);
    }
    for interface in &config.interfaces {
        ingress(&mut batch, config, interface);
        egress(&mut batch, config, interface);
    }
    batch
}

/// The transaction that takes everything away.
pub(super) fn remove(table: &'static str) -> Batch {
    let mut batch = Batch::new(table);
    batch.add_table(None);
    batch.delete_table();
    batch
}

/// What packets get that belong to nobody's flow.
const fn by_mode(mode: Mode) -> Verdict {
    match mode {
        Mode::Open => Verdict::Accept,
        Mode::Closed => Verdict::Drop,
    }
}

fn ingress(batch: &mut Batch, config: &HookConfig, interface: &HookedInterface) {
    let chain = format!("in_{}", interface.name);
    batch.add_base_chain(&chain, HookPoint::Ingress, &interface.name, by_mode(config.mode));
    let own = Rule::default().equals(ETHER_SOURCE, &interface.mac);
    batch.add_rule(&chain, "our own source", &own.counted().verdict(Verdict::Drop));
    for version in [V4, V6] {
        jump(batch, &chain, version, version.chain_in);
    }
    for broadcast in &interface.broadcasts {
        let rule = ip(V4).equals(V4.target, &broadcast.octets());
        let rule = group(rule).verdict(by_mode(config.mode));
        batch.add_rule(&chain, "directed broadcast", &rule);
    }
    for version in [V4, V6] {
        // A unicast packet in a multicast frame: the kernel would take it, past all agreements.
        let rule = group(ip(version)).counted().verdict(Verdict::Drop);
        batch.add_rule(&chain, "unicast to a group", &rule);
    }
    for version in [V4, V6] {
        let rule = ip(version).differs(ETHER_TARGET, &interface.mac);
        batch.add_rule(&chain, "for another machine", &rule.verdict(by_mode(config.mode)));
    }
    forward(batch, &chain, config, interface);
}

fn egress(batch: &mut Batch, config: &HookConfig, interface: &HookedInterface) {
    let chain = format!("out_{}", interface.name);
    batch.add_base_chain(&chain, HookPoint::Egress, &interface.name, by_mode(config.mode));
    let ours = Rule::default().meta_is(libc::NFT_META_MARK, &config.mark.to_ne_bytes());
    batch.add_rule(&chain, "our mark", &ours.verdict(Verdict::Accept));
    own_by_another_name(batch, &chain, config.mode, interface);
    let foreign = Rule::default().differs(ETHER_SOURCE, &interface.mac);
    batch.add_rule(&chain, "of another machine", &foreign.verdict(by_mode(config.mode)));
    for version in [V4, V6] {
        jump(batch, &chain, version, version.chain_out);
    }
    forward(batch, &chain, config, interface);
}

/// The interface's Ethernet address has changed and the agent does not know yet: what this machine
/// sends must not pass for another machine's, which open mode accepts.
fn own_by_another_name(batch: &mut Batch, chain: &str, mode: Mode, interface: &HookedInterface) {
    if mode == Mode::Closed {
        return; // it drops all that is another machine's
    }
    for (address, version) in interface.addresses.iter().flat_map(|ip| [(ip, V4), (ip, V6)]) {
        let Some(own) = octets(*address, version) else { continue };
        let rule = ip(version).differs(ETHER_SOURCE, &interface.mac).equals(version.source, &own);
        batch.add_rule(chain, "our own by another name", &rule.counted().verdict(Verdict::Drop));
    }
}

/// The end of both: IP goes to the agent, in closed mode only link control stays.
fn forward(batch: &mut Batch, chain: &str, config: &HookConfig, interface: &HookedInterface) {
    for version in [V4, V6] {
        let what = format!("{} to {}", version.name, interface.tun_name);
        batch.add_rule(chain, &what, &ip(version).forward(interface.tun_ifindex));
    }
    if config.mode == Mode::Closed {
        for (ether_type, what) in LINK_CONTROL {
            let rule = Rule::default().equals(ETHER_TYPE, &ether_type.to_be_bytes());
            batch.add_rule(chain, what, &rule.verdict(Verdict::Accept));
        }
        let last = (ETHER_TYPE_MIN - 1).to_be_bytes();
        let rule = Rule::default().between(ETHER_TYPE, &[0, 0], &last);
        batch.add_rule(chain, "802.2", &rule.verdict(Verdict::Accept));
    }
}

/// What is the same for all interfaces.
fn shared_chain(batch: &mut Batch, config: &HookConfig, version: Version, way: Way) {
    let chain = if way == Way::In { version.chain_in } else { version.chain_out };
    batch.add_chain(chain);
    sealed_data(batch, chain, config, version, way);
    link_control(batch, chain, version);
    if way == Way::In {
        let fields = [version.source, PORT_SOURCE, PORT_TARGET];
        let rule = protocol(version, TCP).in_set(&fields, version.own);
        batch.add_rule(chain, "our own connections", &rule.verdict(Verdict::Accept));
    }
    management_server(batch, chain, config, version, way);
    multicast(batch, chain, config.mode, version, way);
    if version.ether_type == V6.ether_type {
        link_local(batch, chain, config.mode, way);
    }
    if way == Way::In || config.router.is_some() {
        // A machine we talk to in clear may get an agent: its requests must reach ours, not the
        // kernel, which would echo them. A router takes part in what passes it, both ways.
        let icmp = if version.ether_type == V4.ether_type { ICMP } else { ICMPV6 };
        let rule = protocol(version, icmp).equals(PAYLOAD, &MAGIC);
        batch.add_rule(chain, "negotiation", &rule.verdict(Verdict::Return));
    }
    let pair = match way {
        Way::In => [version.source, version.target],
        Way::Out => [version.target, version.source],
    };
    let rule = Rule::default().in_set(&pair, version.drop).counted();
    batch.add_rule(chain, "discarded pairs", &rule.verdict(Verdict::Drop));
    let rule = Rule::default().in_set(&pair, version.clear);
    batch.add_rule(chain, "bypassed pairs", &rule.verdict(Verdict::Accept));
}

/// Sealed data that arrives goes to our socket. At a router it may be between other agents: open
/// mode lets it pass, in closed mode the engine decides.
fn sealed_data(batch: &mut Batch, chain: &str, config: &HookConfig, version: Version, way: Way) {
    let port = config.data_port.to_be_bytes();
    let sealed = || protocol(version, UDP).equals(PORT_TARGET, &port);
    // A message that a narrow path cut is put together by the agent.
    let whole = |rule: Rule| match version.ether_type == V4.ether_type {
        true => rule.masked(FRAGMENT_V4, &FRAGMENT_MASK, &[0, 0]),
        false => rule,
    };
    let Some(router) = &config.router else {
        if way == Way::In {
            batch.add_rule(chain, "data port", &whole(sealed()).verdict(Verdict::Accept));
            let cut = sealed().equals(PAYLOAD, &MAGIC);
            batch.add_rule(chain, "negotiation", &cut.verdict(Verdict::Return));
        }
        return;
    };
    // What leaves from an own address and is ours has our mark and does not come here.
    let (field, verdict) = match way {
        Way::In => (version.target, Verdict::Accept),
        Way::Out => (version.source, Verdict::Return),
    };
    for address in router.addresses.iter().filter_map(|address| octets(*address, version)) {
        let own = whole(sealed()).equals(field, &address);
        batch.add_rule(chain, "data port", &own.verdict(verdict));
    }
    for field in [PORT_TARGET, PORT_SOURCE] {
        // Answers to somebody behind a NAT go to another port.
        let message = protocol(version, UDP).equals(field, &port).equals(PAYLOAD, &MAGIC);
        batch.add_rule(chain, "negotiation", &message.verdict(Verdict::Return));
    }
    let verdict = match config.mode {
        Mode::Open => Verdict::Accept,
        Mode::Closed => Verdict::Return,
    };
    batch.add_rule(chain, "sealed data of others", &sealed().verdict(verdict));
}

/// Without these a machine loses its address or its neighbours. DHCP is asked for by both ports,
/// so that neither port alone is a way around the agent.
pub(super) fn link_control(batch: &mut Batch, chain: &str, version: Version) {
    let mut accept = |what: &str, rule: Rule| {
        batch.add_rule(chain, what, &rule.verdict(Verdict::Accept));
    };
    if version.ether_type == V4.ether_type {
        accept("DHCP", ports(version, 67, 68));
        accept("IGMP", protocol(version, IGMP));
    } else {
        accept("DHCPv6", ports(version, 546, 547));
        // MLD 130-132, router and neighbour discovery 133-136, redirect 137; MLDv2 report 143.
        accept(
            "MLD and neighbour discovery",
            protocol(version, ICMPV6).between(ICMP_TYPE, &[130], &[137]),
        );
        accept("MLDv2", protocol(version, ICMPV6).equals(ICMP_TYPE, &[143]));
    }
}

/// A management server on this machine: its port, on the addresses agents know it by. At a router
/// also one on the way: whoever is behind it needs keys first.
pub(super) fn management_server(
    batch: &mut Batch,
    chain: &str,
    config: &HookConfig,
    version: Version,
    way: Way,
) {
    let (near, far) = match way {
        Way::In => ((version.target, PORT_TARGET), (version.source, PORT_SOURCE)),
        Way::Out => ((version.source, PORT_SOURCE), (version.target, PORT_TARGET)),
    };
    let mut accept = |what: &str, server: &SocketAddr, (address, port): (Field, Field)| {
        let Some(octets) = octets(server.ip(), version) else { return };
        let rule = protocol(version, TCP)
            .equals(address, &octets)
            .equals(port, &server.port().to_be_bytes());
        batch.add_rule(chain, what, &rule.verdict(Verdict::Accept));
    };
    match &config.router {
        None => config.serves.iter().for_each(|own| accept("management server here", own, near)),
        Some(router) => {
            for server in &router.servers {
                accept("management server inside", server, near);
                accept("management server outside", server, far);
            }
        }
    }
}

/// The address as bytes, if it is of this IP version.
pub(super) fn octets(address: IpAddr, version: Version) -> Option<Vec<u8>> {
    match (address, version.ether_type == V4.ether_type) {
        (IpAddr::V4(v4), true) => Some(v4.octets().to_vec()),
        (IpAddr::V6(v6), false) => Some(v6.octets().to_vec()),
        (IpAddr::V4(_), false) | (IpAddr::V6(_), true) => None,
    }
}

/// Multicast and broadcast belong to no pair of hosts. On arrival the IP address must agree with
/// the frame; on leaving, the kernel made the frame from the address.
fn multicast(batch: &mut Batch, chain: &str, mode: Mode, version: Version, way: Way) {
    let verdict = by_mode(mode);
    if way == Way::Out || mode == Mode::Closed {
        batch.add_rule(chain, "group", &group(Rule::default()).verdict(verdict));
        return;
    }
    let mut accept = |rule: Rule| {
        batch.add_rule(chain, "multicast", &group(rule).verdict(verdict));
    };
    if version.ether_type == V4.ether_type {
        accept(Rule::default().between(version.target, &[224, 0, 0, 0], &[239, 255, 255, 255]));
        accept(Rule::default().equals(version.target, &[255; 4]));
    } else {
        accept(Rule::default().equals(leading(version.target, 1), &[0xff]));
    }
}

/// Link-local IPv6 unicast is never protected. ICMPv6 errors from such addresses (a router's) may
/// quote a protected flow, so the agent sees them.
fn link_local(batch: &mut Batch, chain: &str, mode: Mode, way: Way) {
    if way == Way::In {
        let errors = protocol(V6, ICMPV6).between(ICMP_TYPE, &[0], &[127]);
        batch.add_rule(chain, "ICMPv6 errors", &errors.verdict(Verdict::Return));
    }
    for address in [V6.source, V6.target] {
        let rule = Rule::default().masked(leading(address, 2), &[0xff, 0xc0], &[0xfe, 0x80]);
        batch.add_rule(chain, "link-local", &rule.verdict(by_mode(mode)));
    }
}

fn jump(batch: &mut Batch, chain: &str, version: Version, target: &'static str) {
    batch.add_rule(chain, version.name, &ip(version).verdict(Verdict::Jump(target)));
}

pub(super) fn ip(version: Version) -> Rule {
    Rule::default().equals(ETHER_TYPE, &version.ether_type)
}

pub(super) fn group(rule: Rule) -> Rule {
    rule.masked(ETHER_TARGET_FIRST, &GROUP_BIT, &GROUP_BIT)
}

/// Packets of this protocol whose transport header can be looked at.
pub(super) fn protocol(version: Version, number: u8) -> Rule {
    let rule = Rule::default().meta_is(libc::NFT_META_L4PROTO, &[number]);
    if version.ether_type == V6.ether_type { rule.not_fragmented() } else { rule }
}

fn ports(version: Version, low: u16, high: u16) -> Rule {
    let (low, high) = (low.to_be_bytes(), high.to_be_bytes());
    protocol(version, UDP).between(PORT_SOURCE, &low, &high).between(PORT_TARGET, &low, &high)
}

/// The first bytes of an address.
const fn leading(address: Field, len: u32) -> Field {
    Field { base: address.base, offset: address.offset, len }
}
