//! The network between the nodes: one link per ordered pair of nodes, through one router.
//!
//! A link delays, loses, duplicates, reorders and corrupts, and takes packets up to its MTU; the
//! router in the middle reports what is too large, as a real one does, and fragments IPv4 packets
//! that allow it. Whatever happens on a link is drawn from the simulation's generator.

use crate::packet::NodeId;
use ge_core::icmp_error::packet_too_big;
use ge_core::wire::dprp::{self, Kind, MAC_LEN};
use ge_core::wire::{ip, protocol};
use rand_core::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a link does. Shares are in tenths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// One way, in microseconds.
    pub latency: u64,
    /// Added to the latency, evenly from zero to this, in microseconds.
    pub jitter: u64,
    /// Lost.
    pub loss: u32,
    /// Delivered twice.
    pub duplicate: u32,
    /// Delayed by several latencies more, so that later packets overtake.
    pub reorder: u32,
    /// Delivered with flipped bits behind the IP header.
    pub corrupt: u32,
    /// Largest packet in bytes.
    pub mtu: u16,
}

impl Conditions {
    /// A quiet local network: 5 ms each way, Ethernet's MTU.
    pub const QUIET: Self = Self {
        latency: 5_000,
        jitter: 0,
        loss: 0,
        duplicate: 0,
        reorder: 0,
        corrupt: 0,
        mtu: 1500,
    };
}

/// What became of a packet given to a link.
#[derive(Debug, Default)]
pub struct Transit {
    /// Copies that arrive: after how many microseconds, their bytes, and whether they were changed
    /// on the way.
    pub copies: Vec<(u64, Vec<u8>, bool)>,
    /// An error the router returns to the sender.
    pub error: Option<(u64, Vec<u8>)>,
}

/// All links.
pub struct Net {
    /// What links do that have no conditions of their own.
    pub conditions: Conditions,
    /// MTU of single links, both directions apart.
    pub mtu: BTreeMap<(NodeId, NodeId), u16>,
    /// Every link drops ICMP echo, as many firewalls do. Stays when faults are over.
    pub filters_echo: bool,
    /// Links that carry nothing.
    pub cut: BTreeSet<(NodeId, NodeId)>,
}

impl Default for Net {
    fn default() -> Self {
        Self {
            conditions: Conditions::QUIET,
            mtu: BTreeMap::new(),
            filters_echo: false,
            cut: BTreeSet::new(),
        }
    }
}

/// The router's address.
#[must_use]
pub const fn router(v4: bool) -> IpAddr {
    if v4 {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254))
    } else {
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe))
    }
}

impl Net {
    /// Cuts both directions between two nodes.
    pub fn partition(&mut self, a: NodeId, b: NodeId) {
        self.cut.extend([(a, b), (b, a)]);
    }

    /// Every link is whole and as it was at the start.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.mtu.clear();
        self.conditions = Conditions::QUIET;
    }

    /// Carries one packet.
    pub fn carry(&self, from: NodeId, to: NodeId, packet: &[u8], rng: &mut impl Rng) -> Transit {
        let mut transit = Transit::default();
        if self.cut.contains(&(from, to)) || self.filters_echo && is_echo(packet) {
            return transit;
        }
        let conditions = self.conditions;
        let mtu = self.mtu.get(&(from, to)).copied().unwrap_or(conditions.mtu);
        if packet.len() > usize::from(mtu)
            && let Ok(view) = ip::parse(packet)
            && view.dont_fragment
        {
            let error = packet_too_big(packet, &view, mtu, router(view.source.is_ipv4()));
            transit.error = error.map(|error| (2 * conditions.latency, error));
            return transit;
        }
        if hit(rng, conditions.loss) {
            return transit;
        }
        let copies = if hit(rng, conditions.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let mut delay = conditions.latency + below(rng, conditions.jitter + 1);
            if hit(rng, conditions.reorder) {
                delay += conditions.latency * (1 + below(rng, 5));
            }
            let mut bytes = packet.to_vec();
            let corrupt = hit(rng, conditions.corrupt) && flip(&mut bytes, rng);
            transit.copies.push((delay, bytes, corrupt));
        }
        transit
    }
}

/// True for an echo, or a fragment of one: filters look at the type, and later fragments of what they
/// dropped are never put together.
fn is_echo(packet: &[u8]) -> bool {
    let Ok(view) = ip::parse(packet) else { return false };
    let icmp_type = packet.get(view.header_len).copied();
    match view.protocol {
        protocol::ICMP => matches!(icmp_type, Some(0 | 8)),
        protocol::ICMPV6 => matches!(icmp_type, Some(128 | 129)),
        _ => false,
    }
}

/// True in `share` of 1,000 cases.
pub fn hit(rng: &mut impl Rng, share: u32) -> bool {
    share > 0 && rng.next_u32() % 1000 < share
}

/// A number below `bound`, which is not zero.
pub fn below(rng: &mut impl Rng, bound: u64) -> u64 {
    rng.next_u64() % bound
}

/// Flips one bit behind the IP header and the UDP or echo header, which no key covers and whose
/// damage a kernel notices itself. False if there is nothing to flip, and for a DDE's mac2: it is covered by
/// nothing, so that the message still is what its sender said.
fn flip(bytes: &mut [u8], rng: &mut impl Rng) -> bool {
    const UPPER_LEN: usize = 8;
    let Ok(view) = ip::parse(bytes) else { return false };
    let Some(body) = bytes.get_mut(view.header_len + UPPER_LEN..).filter(|body| !body.is_empty())
    else {
        return false;
    };
    let at = below(rng, body.len() as u64) as usize;
    let is_dde = dprp::peek(body).is_some_and(|header| header.kind == Kind::Dde);
    let is_mac2 = is_dde && at + MAC_LEN >= body.len();
    body[at] ^= 1 << below(rng, 8);
    !is_mac2
}
