//! ICMP echo as the carrier of control messages (RFC 792, RFC 4443), and the messages that keep a
//! link working and therefore are never ours to protect.
//!
//! ```text
//! | type 8 | code 8 | checksum 16 | identifier 16 | sequence 16 | payload |
//! ```

use super::checksum::{checksum, fold, pseudo_header, sum, transport_is_valid};
use super::ip::{Fragment, IpView, ports};
use super::{protocol, read_u16, write_u16};
use core::net::IpAddr;

/// Length of an echo header in bytes.
pub const ECHO_LEN: usize = 8;

pub(crate) const CHECKSUM: usize = 2;

const V4_REPLY: u8 = 0;
const V4_REQUEST: u8 = 8;
const V6_REQUEST: u8 = 128;
const V6_REPLY: u8 = 129;

/// An echo request or reply whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'a> {
    /// Request, else reply.
    pub request: bool,
    /// Identifier.
    pub id: u16,
    /// Sequence number.
    pub seq: u16,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// A whole ICMP or ICMPv6 echo message, checksum included. The version is that of `from`.
#[must_use]
pub fn emit_echo(
    request: bool,
    id: u16,
    seq: u16,
    payload: &[u8],
    from: IpAddr,
    to: IpAddr,
) -> Vec<u8> {
    let kind = match (from, request) {
        (IpAddr::V4(_), true) => V4_REQUEST,
        (IpAddr::V4(_), false) => V4_REPLY,
        (IpAddr::V6(_), true) => V6_REQUEST,
        (IpAddr::V6(_), false) => V6_REPLY,
    };
    let mut message = Vec::with_capacity(ECHO_LEN + payload.len());
    message.extend_from_slice(&[kind, 0, 0, 0]);
    message.extend_from_slice(&id.to_be_bytes());
    message.extend_from_slice(&seq.to_be_bytes());
    message.extend_from_slice(payload);
    write_checksum(&mut message, from, to);
    message
}

/// Reads an echo message. `None` for anything else, and for a wrong checksum.
#[must_use]
pub fn parse_echo<'a>(packet: &'a [u8], view: &IpView) -> Option<Echo<'a>> {
    let message = message(packet, view)?;
    let request = match (view.protocol, message.get(..2)?) {
        (protocol::ICMP, [V4_REQUEST, 0]) | (protocol::ICMPV6, [V6_REQUEST, 0]) => true,
        (protocol::ICMP, [V4_REPLY, 0]) | (protocol::ICMPV6, [V6_REPLY, 0]) => false,
        _ => return None,
    };
    let echo = Echo {
        request,
        id: read_u16(message, 4)?,
        seq: read_u16(message, 6)?,
        payload: message.get(ECHO_LEN..)?,
    };
    is_valid(packet, view).then_some(echo)
}

/// True for what a host needs to have addresses and neighbours at all: neighbour discovery (hop
/// limit 255, RFC 4861 7.1), MLD and IGMP (hop limit 1), DHCP and DHCPv6. The hop limits make sure
/// that nothing of it crossed a router.
#[must_use]
pub fn is_link_control(packet: &[u8], view: &IpView) -> bool {
    if view.fragment != Fragment::None {
        return false;
    }
    match (view.source, view.protocol) {
        (IpAddr::V4(_), protocol::IGMP) => view.hop_limit == 1,
        (IpAddr::V6(_), protocol::ICMPV6) => match packet.get(view.header_len) {
            Some(130..=132 | 143) => view.hop_limit == 1,
            Some(133..=137) => view.hop_limit == 255,
            _ => false,
        },
        (IpAddr::V4(_), protocol::UDP) => between_ports(packet, view, [67, 68]),
        (IpAddr::V6(_), protocol::UDP) => between_ports(packet, view, [546, 547]),
        _ => false,
    }
}

/// The ICMP message of a whole packet whose IP version and ICMP version agree.
pub(crate) fn message<'a>(packet: &'a [u8], view: &IpView) -> Option<&'a [u8]> {
    let agree = matches!(
        (view.source, view.protocol),
        (IpAddr::V4(_), protocol::ICMP) | (IpAddr::V6(_), protocol::ICMPV6)
    );
    if !agree || view.fragment != Fragment::None {
        return None;
    }
    packet.get(view.header_len..view.total_len)
}

/// True if the message's checksum is right; ICMPv6 has the pseudo-header under it, ICMP has not.
pub(crate) fn is_valid(packet: &[u8], view: &IpView) -> bool {
    match view.source {
        IpAddr::V4(_) => message(packet, view).is_some_and(|message| checksum(message) == 0),
        IpAddr::V6(_) => transport_is_valid(packet, view),
    }
}

/// Computes the checksum of a whole message.
pub(crate) fn write_checksum(message: &mut [u8], from: IpAddr, to: IpAddr) {
    write_u16(message, CHECKSUM, 0);
    let pseudo = match from {
        IpAddr::V4(_) => 0,
        IpAddr::V6(_) => pseudo_header(from, to, protocol::ICMPV6, message.len()),
    };
    let value = !fold(pseudo + sum(message));
    write_u16(message, CHECKSUM, value);
}

fn between_ports(packet: &[u8], view: &IpView, allowed: [u16; 2]) -> bool {
    let ports = ports(packet, view);
    allowed.contains(&ports.local) && allowed.contains(&ports.remote)
}
