//! A NAT that is not ours, between one machine and everybody else: it rewrites source address and port
//! (or echo identifier) of what leaves, the reverse of what comes back, and drops what it has no mapping
//! for. Address and port dependent in every way (RFC 4787 4, 5), with another port for every mapping.

use crate::packet::NodeId;
use ge_core::translate::{Place, translate};
use ge_core::wire::checksum::update;
use ge_core::wire::ip::{self, IpView};
use ge_core::wire::protocol;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How long a mapping lives without a packet from inside, in microseconds: as home routers have it.
pub const IDLE: u64 = 30_000_000;
/// Ports of mappings begin here.
const PORTS: u16 = 20_000;

/// The NAT in front of `inside`.
pub struct Nat {
    /// The machine behind it.
    pub inside: NodeId,
    /// Address of that machine.
    pub own: IpAddr,
    /// What everybody else sees.
    pub address: IpAddr,
    mappings: BTreeMap<Key, Mapping>,
    made: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    protocol: u8,
    inner: u16,
    remote: IpAddr,
    far: u16,
}

#[derive(Clone, Copy)]
struct Mapping {
    outer: u16,
    until: u64,
}

/// Where a protocol has what a NAT rewrites.
struct Fields {
    near: usize,
    far: Option<usize>,
    checksum: usize,
}

impl Nat {
    /// A NAT without mappings.
    #[must_use]
    pub const fn new(inside: NodeId, own: IpAddr, address: IpAddr) -> Self {
        Self { inside, own, address, mappings: BTreeMap::new(), made: 0 }
    }

    /// It forgets every mapping, as after a restart. The next ones have other ports.
    pub fn forget(&mut self) {
        self.mappings.clear();
    }

    /// A packet of the machine inside leaves. `None`: it cannot be mapped.
    pub fn outwards(&mut self, mut packet: Vec<u8>, now: u64) -> Option<Vec<u8>> {
        let view = ip::parse(&packet).ok()?;
        let fields = fields(&packet, &view, true)?;
        let key = Key {
            protocol: view.protocol,
            inner: read(&packet, &view, fields.near)?,
            remote: view.destination,
            far: fields.far.map_or(Some(0), |at| read(&packet, &view, at))?,
        };
        let known = self.mappings.get(&key).filter(|known| known.until > now).copied();
        let outer = known.map_or_else(
            || {
                self.made = (self.made + 1) % 40_000;
                PORTS + self.made
            },
            |known| known.outer,
        );
        self.mappings.insert(key, Mapping { outer, until: now + IDLE });
        translate(&mut packet, &view, Place::Source, (self.own, self.address), false);
        write(&mut packet, &view, &fields, fields.near, outer)?;
        Some(packet)
    }

    /// A packet for its address comes. `None`: nobody inside asked for it.
    #[must_use]
    pub fn inwards(&self, mut packet: Vec<u8>, now: u64) -> Option<Vec<u8>> {
        let view = ip::parse(&packet).ok()?;
        // What is near for who is inside is far for the sender.
        let fields = fields(&packet, &view, false)?;
        let to = read(&packet, &view, fields.near)?;
        let from = fields.far.map_or(Some(0), |at| read(&packet, &view, at))?;
        let (key, _) = self.mappings.iter().find(|(key, mapping)| {
            mapping.outer == to
                && mapping.until > now
                && (key.protocol, key.remote, key.far) == (view.protocol, view.source, from)
        })?;
        translate(&mut packet, &view, Place::Destination, (self.address, self.own), false);
        write(&mut packet, &view, &fields, fields.near, key.inner)?;
        Some(packet)
    }
}

/// `outwards`: the near port is the source's.
fn fields(packet: &[u8], view: &IpView, outwards: bool) -> Option<Fields> {
    let (near, far) = if outwards { (0, 2) } else { (2, 0) };
    match (view.protocol, packet.get(view.header_len)?) {
        (protocol::UDP, _) => Some(Fields { near, far: Some(far), checksum: 6 }),
        (protocol::TCP, _) => Some(Fields { near, far: Some(far), checksum: 16 }),
        (protocol::ICMP, 0 | 8) | (protocol::ICMPV6, 128 | 129) => {
            Some(Fields { near: 4, far: None, checksum: 2 })
        }
        _ => None,
    }
}

fn read(packet: &[u8], view: &IpView, at: usize) -> Option<u16> {
    let at = view.header_len + at;
    Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]))
}

fn write(packet: &mut [u8], view: &IpView, fields: &Fields, at: usize, new: u16) -> Option<()> {
    let old = read(packet, view, at)?;
    let sum = update(read(packet, view, fields.checksum)?, old, new);
    for (at, value) in [(at, new), (fields.checksum, sum)] {
        let at = view.header_len + at;
        packet.get_mut(at..at + 2)?.copy_from_slice(&value.to_be_bytes());
    }
    Some(())
}
