//! The rules, as one transaction that replaces whatever was there.
//!
//! ```text
//! table netdev gsagent {
//!   chain in_eth0   ingress            chain out_eth0   egress
//!     source is our address   drop       mark is ours            accept
//!     IPv4   goto in4_eth0               source is ours, IPv4    goto out4_eth0
//!     IPv6   goto in6_eth0               source is ours, IPv6    goto out6_eth0
//!     [closed: link control   accept]    [open: our IP, another MAC  drop]
//!     policy accept | DROP               source is not ours      accept | DROP
//!                                        [closed: link control   accept]
//!                                        policy accept | DROP
//!
//!   chain in4_eth0 in6_eth0            chain out4_eth0 out6_eth0
//!     jump in4, jump in6                 TCP, protected pairs   fwd to the TUN
//!     to our directed broadcast  accept  jump out4, jump out6
//!     to the group bit   drop            fwd to the TUN
//!     to somebody else   accept | DROP
//!     fwd to the TUN
//!
//!   chain in4 in6                      chain out4 out6
//!     TCP   goto in4_tcp                 TCP   goto out4_tcp
//!     UDP   goto in4_udp                 UDP   goto out4_udp
//!     IGMP, MLD, ND         accept       IGMP, MLD, ND           accept
//!     goto in4_any                       goto out4_any
//!
//!   chain in4_tcp                      chain out4_tcp
//!     our own connections   accept       server on this host     accept
//!     server on this host   accept       goto out4_any
//!     goto in4_any
//!
//!   chain in4_udp                      chain out4_udp
//!     our data port, whole  accept       DHCP                    accept
//!     DHCP                  accept       goto out4_any
//!     goto in4_any
//!
//!   chain in4_any                      chain out4_any
//!     multicast             accept|DROP  group bit               accept | DROP
//!     ICMPv6 errors         return       IPv6 link-local         accept | DROP
//!     IPv6 link-local       accept|DROP  discarded pairs         drop
//!     negotiation           return       bypassed pairs          accept
//!     discarded pairs       drop
//!     bypassed pairs        accept
//! }
//! ```
//!
//! Each protocol has rules of its own, so that a packet meets few of them: a router that gets its
//! packets one by one spent an eighth of its time here when all stood in one chain. As everything is
//! `goto`, the end of each of these chains is the rule behind the jump in the interface's. `return` is
//! the same, from any of them.
//!
//! A router is on the way between others, so three things differ there: sealed data for another
//! machine is accepted | returned, in both directions, by chains of its own (`in4_data`, …); negotiation
//! is returned on egress as well, before the pairs; the port of the management server is accepted
//! wherever it is.
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

const PROTOCOL_V4: Field = Field { base: Base::Network, offset: 9, len: 1 };

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
    pub(super) protect: &'static str,
    pub(super) own: &'static str,
    chains_in: Chains,
    chains_out: Chains,
}

/// Chains for the packets of one IP version in one direction.
#[derive(Clone, Copy)]
struct Chains {
    /// By protocol to the others.
    first: &'static str,
    tcp: &'static str,
    udp: &'static str,
    /// UDP to a data port, at a router.
    data: &'static str,
    /// Whatever the protocol: the end of all.
    any: &'static str,
}

pub(super) const V4: Version = Version {
    ether_type: [0x08, 0x00],
    name: "IPv4",
    source: Field { base: Base::Network, offset: 12, len: 4 },
    target: Field { base: Base::Network, offset: 16, len: 4 },
    clear: "clear4",
    drop: "drop4",
    protect: "protect4",
    own: "own4",
    chains_in: Chains {
        first: "in4",
        tcp: "in4_tcp",
        udp: "in4_udp",
        data: "in4_data",
        any: "in4_any",
    },
    chains_out: Chains {
        first: "out4",
        tcp: "out4_tcp",
        udp: "out4_udp",
        data: "out4_data",
        any: "out4_any",
    },
};

pub(super) const V6: Version = Version {
    ether_type: [0x86, 0xdd],
    name: "IPv6",
    source: Field { base: Base::Network, offset: 8, len: 16 },
    target: Field { base: Base::Network, offset: 24, len: 16 },
    clear: "clear6",
    drop: "drop6",
    protect: "protect6",
    own: "own6",
    chains_in: Chains {
        first: "in6",
        tcp: "in6_tcp",
        udp: "in6_udp",
        data: "in6_data",
        any: "in6_any",
    },
    chains_out: Chains {
        first: "out6",
        tcp: "out6_tcp",
        udp: "out6_udp",
        data: "out6_data",
        any: "out6_any",
    },
};

impl Version {
    pub(super) const fn is_v4(self) -> bool {
        self.ether_type[0] == V4.ether_type[0]
    }

    /// The sets of verdicts: a pair is in one of them at the most.
    pub(super) const fn verdicts(self) -> [&'static str; 3] {
        [self.clear, self.drop, self.protect]
    }

    const fn chains(self, way: Way) -> Chains {
        match way {
            Way::In => self.chains_in,
            Way::Out => self.chains_out,
        }
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
        shared_chains(&mut batch, config, version, Way::In);
        shared_chains(&mut batch, config, version, Way::Out);
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
const fn by_mode(mode: Mode) -> Verdict<'static> {
    match mode {
        Mode::Open => Verdict::Accept,
        Mode::Closed => Verdict::Drop,
    }
}

fn ingress(batch: &mut Batch, config: &HookConfig, interface: &HookedInterface) {
    for version in [V4, V6] {
        let chain = ip_name(Way::In, version, interface);
        batch.add_chain(&chain);
        jump_to_shared(batch, &chain, Way::In, version);
        if version.is_v4() {
            for broadcast in &interface.broadcasts {
                let rule = group(Rule::default().equals(version.target, &broadcast.octets()));
                let rule = rule.verdict(by_mode(config.mode));
                batch.add_rule(&chain, "directed broadcast", &rule);
            }
        }
        // A unicast packet in a multicast frame: the kernel would take it, past all agreements.
        let rule = group(Rule::default()).counted().verdict(Verdict::Drop);
        batch.add_rule(&chain, "unicast to a group", &rule);
        let rule = Rule::default().differs(ETHER_TARGET, &interface.mac);
        batch.add_rule(&chain, "for another machine", &rule.verdict(by_mode(config.mode)));
        to_agent(batch, &chain, interface);
    }
    let chain = base_name(Way::In, interface);
    batch.add_base_chain(&chain, HookPoint::Ingress, &interface.name, by_mode(config.mode));
    let own = Rule::default().equals(ETHER_SOURCE, &interface.mac);
    batch.add_rule(&chain, "our own source", &own.counted().verdict(Verdict::Drop));
    by_version(batch, &chain, interface, Way::In);
    link_control(batch, &chain, config.mode);
}

fn egress(batch: &mut Batch, config: &HookConfig, interface: &HookedInterface) {
    for version in [V4, V6] {
        let chain = ip_name(Way::Out, version, interface);
        batch.add_chain(&chain);
        shortcut(batch, &chain, version, interface);
        jump_to_shared(batch, &chain, Way::Out, version);
        to_agent(batch, &chain, interface);
    }
    let chain = base_name(Way::Out, interface);
    batch.add_base_chain(&chain, HookPoint::Egress, &interface.name, by_mode(config.mode));
    let ours = Rule::default().meta_is(libc::NFT_META_MARK, &config.mark.to_ne_bytes());
    batch.add_rule(&chain, "our mark", &ours.verdict(Verdict::Accept));
    // By far the most frames, so that they are asked nothing else.
    by_version(batch, &chain, interface, Way::Out);
    own_by_another_name(batch, &chain, config.mode, interface);
    let foreign = Rule::default().differs(ETHER_SOURCE, &interface.mac);
    batch.add_rule(&chain, "of another machine", &foreign.verdict(by_mode(config.mode)));
    link_control(batch, &chain, config.mode);
}

fn base_name(way: Way, interface: &HookedInterface) -> String {
    let way = if way == Way::In { "in" } else { "out" };
    format!("{way}_{}", interface.name)
}

fn ip_name(way: Way, version: Version, interface: &HookedInterface) -> String {
    format!("{}_{}", version.chains(way).first, interface.name)
}

/// To the rules that are the same for all interfaces.
fn jump_to_shared(batch: &mut Batch, chain: &str, way: Way, version: Version) {
    let shared = Rule::default().verdict(Verdict::Jump(version.chains(way).first));
    batch.add_rule(chain, version.name, &shared);
}

/// TCP of pairs that are much used and protected is the agent's whatever the other rules say; asking
/// them first takes longer than handing it over. Only what leaves, of which a router may get every
/// packet by itself: what arrives in clear for such a pair is somebody's mistake. Behind the rules for
/// management servers, which no such pair may have an end at (`HookConfig::spared`), a router carries
/// a seventieth less.
fn shortcut(batch: &mut Batch, chain: &str, version: Version, interface: &HookedInterface) {
    let pair = [version.target, version.source];
    let rule = protocol(version, TCP).in_set(&pair, version.protect);
    batch.add_rule(chain, "protected pairs", &rule.forward(interface.tun_ifindex));
}

/// The end of both: to the agent.
fn to_agent(batch: &mut Batch, chain: &str, interface: &HookedInterface) {
    let what = format!("to {}", interface.tun_name);
    batch.add_rule(chain, &what, &Rule::default().forward(interface.tun_ifindex));
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

/// IP has chains of its own. What leaves is ours only from our Ethernet address.
fn by_version(batch: &mut Batch, chain: &str, interface: &HookedInterface, way: Way) {
    for version in [V4, V6] {
        let rule = match way {
            Way::In => ip(version),
            Way::Out => ip(version).equals(ETHER_SOURCE, &interface.mac),
        };
        let goto = Verdict::Goto(&ip_name(way, version, interface));
        batch.add_rule(chain, version.name, &rule.verdict(goto));
    }
}

/// In closed mode only this stays beside IP.
fn link_control(batch: &mut Batch, chain: &str, mode: Mode) {
    if mode == Mode::Open {
        return;
    }
    for (ether_type, what) in LINK_CONTROL {
        let rule = Rule::default().equals(ETHER_TYPE, &ether_type.to_be_bytes());
        batch.add_rule(chain, what, &rule.verdict(Verdict::Accept));
    }
    let last = (ETHER_TYPE_MIN - 1).to_be_bytes();
    let rule = Rule::default().between(ETHER_TYPE, &[0, 0], &last);
    batch.add_rule(chain, "802.2", &rule.verdict(Verdict::Accept));
}

/// What is the same for all interfaces.
fn shared_chains(batch: &mut Batch, config: &HookConfig, version: Version, way: Way) {
    let Chains { first, tcp, udp, any, .. } = version.chains(way);
    [first, tcp, udp, any].into_iter().for_each(|chain| batch.add_chain(chain));
    let goto = |rule: Rule, chain| rule.verdict(Verdict::Goto(chain));

    batch.add_rule(first, "TCP", &goto(protocol(version, TCP), tcp));
    batch.add_rule(first, "UDP", &goto(protocol(version, UDP), udp));
    neighbours(batch, first, version);
    batch.add_rule(first, "any", &goto(Rule::default(), any));

    if way == Way::In {
        let fields = [version.source, PORT_SOURCE, PORT_TARGET];
        let rule = Rule::default().in_set(&fields, version.own);
        batch.add_rule(tcp, "our own connections", &rule.verdict(Verdict::Accept));
    }
    management_server(batch, tcp, config, version, way);
    batch.add_rule(tcp, "any", &goto(Rule::default(), any));

    sealed_data(batch, udp, config, version, way);
    dhcp(batch, udp, version);
    batch.add_rule(udp, "any", &goto(Rule::default(), any));

    whatever_protocol(batch, any, config, version, way);
}

/// The end of all protocols' chains.
fn whatever_protocol(
    batch: &mut Batch,
    chain: &str,
    config: &HookConfig,
    version: Version,
    way: Way,
) {
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
    let data = version.chains(way).data;
    batch.add_chain(data);
    batch.add_rule(chain, "to a data port", &sealed().verdict(Verdict::Goto(data)));
    // Answers to somebody behind a NAT go to another port.
    let answer = protocol(version, UDP).equals(PORT_SOURCE, &port).equals(PAYLOAD, &MAGIC);
    batch.add_rule(chain, "negotiation", &answer.verdict(Verdict::Return));

    // What leaves from an own address and is ours has our mark and does not come here.
    let (field, verdict) = match way {
        Way::In => (version.target, Verdict::Accept),
        Way::Out => (version.source, Verdict::Return),
    };
    for address in router.addresses.iter().filter_map(|address| octets(*address, version)) {
        let own = whole(Rule::default()).equals(field, &address);
        batch.add_rule(data, "data port", &own.verdict(verdict));
    }
    let message = Rule::default().equals(PAYLOAD, &MAGIC);
    batch.add_rule(data, "negotiation", &message.verdict(Verdict::Return));
    let verdict = match config.mode {
        Mode::Open => Verdict::Accept,
        Mode::Closed => Verdict::Return,
    };
    batch.add_rule(data, "sealed data of others", &Rule::default().verdict(verdict));
}

/// Without DHCP a machine loses its address. It is asked for by both ports, so that neither port
/// alone is a way around the agent.
pub(super) fn dhcp(batch: &mut Batch, chain: &str, version: Version) {
    let (what, low, high) = match version.is_v4() {
        true => ("DHCP", 67, 68),
        false => ("DHCPv6", 546, 547),
    };
    batch.add_rule(chain, what, &ports(version, low, high).verdict(Verdict::Accept));
}

/// Without these a machine loses its neighbours.
pub(super) fn neighbours(batch: &mut Batch, chain: &str, version: Version) {
    let mut accept = |what: &str, rule: Rule| {
        batch.add_rule(chain, what, &rule.verdict(Verdict::Accept));
    };
    if version.is_v4() {
        accept("IGMP", protocol(version, IGMP));
    } else {
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

pub(super) fn ip(version: Version) -> Rule {
    Rule::default().equals(ETHER_TYPE, &version.ether_type)
}

pub(super) fn group(rule: Rule) -> Rule {
    rule.masked(ETHER_TARGET_FIRST, &GROUP_BIT, &GROUP_BIT)
}

/// Packets of this protocol whose transport header can be looked at.
pub(super) fn protocol(version: Version, number: u8) -> Rule {
    if version.is_v4() {
        // Read where it is: that costs less than asking the kernel what it found.
        return Rule::default().equals(PROTOCOL_V4, &[number]);
    }
    Rule::default().meta_is(libc::NFT_META_L4PROTO, &[number]).not_fragmented()
}

fn ports(version: Version, low: u16, high: u16) -> Rule {
    let (low, high) = (low.to_be_bytes(), high.to_be_bytes());
    protocol(version, UDP).between(PORT_SOURCE, &low, &high).between(PORT_TARGET, &low, &high)
}

/// The first bytes of an address.
const fn leading(address: Field, len: u32) -> Field {
    Field { base: address.base, offset: address.offset, len }
}
