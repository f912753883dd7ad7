//! Packets of the simulated world: what applications send, and how anything on a link is classed.
//!
//! Every byte an application sends is recognisable and numbered, so that a link can be searched
//! for plaintext and a receiver can tell what was sent, by whom, and whether it came twice.
//!
//! ```text
//! datagram payload | MARKER 8 | from 2 | to 2 | number 4 | fill ... | digest 8 |
//! stream byte o    | byte o % 32 of the block o / 32:
//!                  | MARKER 8 | from 2 | to 2 | block 4 | fill 16 |
//! ```

use ge_core::io::{ETHERNET_LEN, VNET_LEN};
use ge_core::limits::DATA_PORT;
use ge_core::shim::Shim;
use ge_core::wire::checksum::{checksum, fold, never_zero, pseudo_header, sum};
use ge_core::wire::dprp::{self, Kind};
use ge_core::wire::icmp::{ECHO_LEN, parse_echo};
use ge_core::wire::ip::{self, HEADER_MAX, IpView, emit_header};
use ge_core::wire::protocol;
pub use ge_core::wire::udp::UDP_LEN;
use ge_core::wire::udp::parse_udp;
use ge_core::wire::vnet::{Gso, GsoKind, PartialChecksum, VnetHeader};
use std::net::IpAddr;

/// What every application payload carries, and nothing else does.
pub const MARKER: [u8; 8] = [0xa7, b'P', b'L', b'A', b'I', b'N', 0x5a, 0xc3];
/// Marker, sender, receiver and number of a datagram.
pub const HEAD_LEN: usize = 16;
/// Smallest application datagram: head and digest.
pub const DATAGRAM_MIN: usize = HEAD_LEN + 8;
/// Stream bytes repeat their marker so often: every TCP segment of twice this size shows one.
pub const BLOCK: usize = 32;
/// UDP port of applications.
pub const APP_PORT: u16 = 7000;
const TCP_LEN: usize = 20;
const HOP_LIMIT: u8 = 64;

/// Number of a node in its simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

/// One application datagram, as its payload names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parcel {
    /// Who sent it.
    pub from: NodeId,
    /// For whom.
    pub to: NodeId,
    /// Unique between the two.
    pub number: u32,
}

/// An IP packet: header, `protocol`, `upper`.
#[must_use]
pub fn ip_packet(from: IpAddr, to: IpAddr, protocol: u8, tos: u8, upper: &[u8]) -> Vec<u8> {
    let mut header = [0; HEADER_MAX];
    let len = emit_header(&mut header, from, to, protocol, upper.len(), tos, HOP_LIMIT);
    [&header[..len], upper].concat()
}

/// A UDP packet with a complete checksum.
#[must_use]
pub fn udp_packet(from: (IpAddr, u16), to: (IpAddr, u16), tos: u8, payload: &[u8]) -> Vec<u8> {
    let len = (UDP_LEN + payload.len()) as u16;
    let mut upper = Vec::with_capacity(UDP_LEN + payload.len());
    for field in [from.1, to.1, len, 0] {
        upper.extend_from_slice(&field.to_be_bytes());
    }
    upper.extend_from_slice(payload);
    let pseudo = pseudo_header(from.0, to.0, protocol::UDP, upper.len());
    let check = never_zero(!fold(pseudo + sum(&upper)));
    upper[6..8].copy_from_slice(&check.to_be_bytes());
    ip_packet(from.0, to.0, protocol::UDP, tos, &upper)
}

/// The UDP packet of one parcel, `size` bytes long as an IP packet where that is possible.
#[must_use]
pub fn parcel_packet(parcel: Parcel, from: (IpAddr, u16), to: IpAddr, size: usize) -> Vec<u8> {
    let headers = UDP_LEN + if from.0.is_ipv4() { 20 } else { 40 };
    let payload = parcel_payload(parcel, size.saturating_sub(headers).max(DATAGRAM_MIN));
    udp_packet(from, (to, APP_PORT), 0, &payload)
}

fn parcel_payload(parcel: Parcel, len: usize) -> Vec<u8> {
    let mut payload = head(parcel.from, parcel.to, parcel.number).to_vec();
    let mut fill = u64::from(parcel.number);
    while payload.len() < len - 8 {
        fill = mix(fill);
        payload.extend_from_slice(&fill.to_be_bytes());
    }
    payload.truncate(len - 8);
    let digest = digest(&payload);
    payload.extend_from_slice(&digest.to_be_bytes());
    payload
}

/// The parcel in an application payload. `Err` if it is none, or not as it was sent.
///
/// # Errors
/// What is wrong with it.
pub fn read_parcel(payload: &[u8]) -> Result<Parcel, &'static str> {
    let Some((body, tail)) = payload.split_last_chunk::<8>() else {
        return Err("shorter than a parcel");
    };
    let parcel = named(body).ok_or("no marker")?;
    if digest(body) != u64::from_be_bytes(*tail) {
        return Err("digest differs");
    }
    Ok(parcel)
}

/// The parcel a packet carries in clear, by its head alone: it may have been changed behind that.
#[must_use]
pub fn readable_parcel(packet: &[u8], view: &IpView) -> Option<Parcel> {
    let upper = packet.get(view.header_len..view.total_len)?;
    if view.protocol != protocol::UDP || upper.get(2..4)? != APP_PORT.to_be_bytes() {
        return None;
    }
    named(upper.get(UDP_LEN..)?)
}

fn named(payload: &[u8]) -> Option<Parcel> {
    let head: &[u8; HEAD_LEN] = payload.first_chunk()?;
    let number = u32::from_be_bytes([head[12], head[13], head[14], head[15]]);
    let node = |at: usize| NodeId(u16::from_be_bytes([head[at], head[at + 1]]));
    (head[..8] == MARKER).then_some(Parcel { from: node(8), to: node(10), number })
}

fn head(from: NodeId, to: NodeId, number: u32) -> [u8; HEAD_LEN] {
    let mut head = [0; HEAD_LEN];
    head[..8].copy_from_slice(&MARKER);
    head[8..10].copy_from_slice(&from.0.to_be_bytes());
    head[10..12].copy_from_slice(&to.0.to_be_bytes());
    head[12..].copy_from_slice(&number.to_be_bytes());
    head
}

/// `len` bytes from `offset` on of the stream between two nodes.
#[must_use]
pub fn stream_bytes(from: NodeId, to: NodeId, offset: u32, len: usize) -> Vec<u8> {
    let skip = offset as usize % BLOCK;
    let first = offset / BLOCK as u32;
    let mut bytes = Vec::with_capacity(skip + len + BLOCK);
    for block in first..first + (skip + len).div_ceil(BLOCK) as u32 {
        let fill = mix(u64::from(block) << 32 | u64::from(from.0));
        bytes.extend_from_slice(&head(from, to, block));
        bytes.extend_from_slice(&fill.to_be_bytes());
        bytes.extend_from_slice(&mix(fill).to_be_bytes());
    }
    bytes.truncate(skip + len);
    bytes.split_off(skip)
}

/// A frame with a TCP super-packet of `len` stream bytes from `offset` on, to be cut into
/// segments of `mss` bytes, with a partial checksum, as a kernel hands it over.
#[must_use]
pub fn stream_frame(
    (from, from_addr): (NodeId, IpAddr),
    (to, to_addr): (NodeId, IpAddr),
    offset: u32,
    len: usize,
    mss: u16,
) -> Vec<u8> {
    let mut upper = vec![0; TCP_LEN];
    upper[..2].copy_from_slice(&stream_port(from).to_be_bytes());
    upper[2..4].copy_from_slice(&stream_port(to).to_be_bytes());
    upper[4..8].copy_from_slice(&offset.to_be_bytes());
    upper[12] = 5 << 4;
    upper[13] = 0x10; // ACK
    upper[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    upper.extend_from_slice(&stream_bytes(from, to, offset, len));
    let sum = fold(pseudo_header(from_addr, to_addr, protocol::TCP, upper.len()));
    upper[16..18].copy_from_slice(&sum.to_be_bytes());
    let packet = ip_packet(from_addr, to_addr, protocol::TCP, 0, &upper);
    let start = (ETHERNET_LEN + packet.len() - upper.len()) as u16;
    let kind = if from_addr.is_ipv4() { GsoKind::TcpV4 } else { GsoKind::TcpV6 };
    let vnet = VnetHeader {
        partial: Some(PartialChecksum { start, offset: 16 }),
        data_valid: false,
        gso: (len > usize::from(mss)).then_some(Gso { kind, size: mss, ecn: false }),
        hdr_len: start + TCP_LEN as u16,
    };
    [&vnet.emit()[..], &ethernet(&packet), &packet].concat()
}

/// Streams use the node's number as port, so that a segment names its two ends.
const fn stream_port(node: NodeId) -> u16 {
    20_000 + node.0
}

/// A stream segment: sender, receiver, offset of its first byte, and its bytes.
#[must_use]
pub fn read_segment<'a>(
    packet: &'a [u8],
    view: &IpView,
) -> Option<(NodeId, NodeId, u32, &'a [u8])> {
    if view.protocol != protocol::TCP {
        return None;
    }
    let upper = packet.get(view.header_len..view.total_len)?;
    let payload = upper.get(TCP_LEN..)?;
    let port = |at: usize| {
        Some(NodeId(u16::from_be_bytes([upper[at], upper[at + 1]]).checked_sub(20_000)?))
    };
    let offset = u32::from_be_bytes([upper[4], upper[5], upper[6], upper[7]]);
    Some((port(0)?, port(2)?, offset, payload))
}

/// A captured frame around an IP packet: vnet header without requests, Ethernet header.
#[must_use]
pub fn frame(packet: &[u8]) -> Vec<u8> {
    [&[0; VNET_LEN][..], &ethernet(packet), packet].concat()
}

fn ethernet(packet: &[u8]) -> [u8; ETHERNET_LEN] {
    let mut header = [2; ETHERNET_LEN];
    let kind =
        if packet.first().is_some_and(|first| first >> 4 == 6) { 0x86dd } else { 0x0800_u16 };
    header[12..].copy_from_slice(&kind.to_be_bytes());
    header
}

/// What a packet on a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A negotiation message, and whether it is a reply: an echo reply, or in UDP what a responder
    /// sends.
    Message(Kind, bool),
    /// A sealed datagram.
    Sealed(Shim),
    /// An ICMP error.
    IcmpError,
    /// Anything else.
    Clear,
}

/// Reads what a packet is, as an observer without keys can.
#[must_use]
pub fn class(packet: &[u8]) -> Class {
    let Ok(view) = ip::parse(packet) else { return Class::Clear };
    if let Some((reply, message)) = message(packet, &view)
        && let Some(header) = dprp::peek(message)
    {
        return Class::Message(header.kind, reply);
    }
    let upper = &packet[view.header_len..view.total_len];
    if view.protocol == protocol::UDP
        && upper.get(2..4) == Some(&DATA_PORT.to_be_bytes()[..])
        && let Some(shim) = upper.get(UDP_LEN..).and_then(Shim::parse)
    {
        return Class::Sealed(shim);
    }
    if ge_core::icmp_error::parse_error(packet, &view).is_some() {
        return Class::IcmpError;
    }
    Class::Clear
}

/// The payload of what may carry a negotiation message, and whether it is a reply.
#[must_use]
pub fn message<'a>(packet: &'a [u8], view: &IpView) -> Option<(bool, &'a [u8])> {
    if let Some(echo) = parse_echo(packet, view) {
        return Some((!echo.request, echo.payload));
    }
    let udp = parse_udp(packet, view)?;
    if ![udp.source, udp.destination].contains(&DATA_PORT) {
        return None;
    }
    Some((!dprp::peek(udp.payload)?.kind.is_request(), udp.payload))
}

/// Makes the checksum of what may carry a message right after its bytes were changed.
pub fn refresh(packet: &mut Vec<u8>) {
    let Ok(view) = ip::parse(packet) else { return };
    if view.protocol == protocol::UDP
        && let Some((ports, payload)) =
            packet[view.header_len..view.total_len].split_first_chunk::<UDP_LEN>()
    {
        let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
        let (from, to) = ((view.source, port(0)), (view.destination, port(2)));
        *packet = udp_packet(from, to, view.tos, payload);
        return;
    }
    let pseudo = match (view.source, view.protocol) {
        (IpAddr::V4(_), protocol::ICMP) => 0,
        (IpAddr::V6(_), protocol::ICMPV6) => pseudo_header(
            view.source,
            view.destination,
            protocol::ICMPV6,
            view.total_len - view.header_len,
        ),
        _ => return,
    };
    let upper = &mut packet[view.header_len..view.total_len];
    if upper.len() < ECHO_LEN {
        return;
    }
    upper[2..4].fill(0);
    let value = if pseudo == 0 { checksum(upper) } else { !fold(pseudo + sum(upper)) };
    upper[2..4].copy_from_slice(&value.to_be_bytes());
}

/// True if application bytes can be read in the packet.
#[must_use]
pub fn shows_plaintext(packet: &[u8]) -> bool {
    packet.windows(MARKER.len()).any(|window| window[0] == MARKER[0] && window == MARKER)
}

fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A step of splitmix64: fill bytes that look like data.
const fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 27)
}
