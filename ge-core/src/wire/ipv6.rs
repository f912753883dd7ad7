//! The IPv6 header and its extension headers (RFC 8200).
//!
//! ```text
//! | version 4, traffic class 8, flow label 20 | payload length 16 | next header 8 | hop limit 8 |
//! | source 128 | destination 128 | extension headers: next header 8, length 8, ... |
//! ```
//!
//! The walk ends at the first header that is not hop-by-hop, routing, fragment or destination
//! options. AH and ESP count as upper layers: what they protect is not ours to read.

use super::ip::{Fragment, IpView};
use super::{Malformed, write_u16};
use core::net::{IpAddr, Ipv6Addr};

/// Length of the fixed header in bytes.
pub const HEADER_LEN: usize = 40;

/// Extension headers of one packet. RFC 8200 4.1 knows an order with six of ours in it; a bounded
/// walk keeps a packet of nothing but headers cheap.
pub const EXTENSION_HEADERS_MAX: usize = 8;

pub(crate) const PAYLOAD_LENGTH: usize = 4;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Largest packet whose length the fixed header can say.
const PACKET_MAX: usize = HEADER_LEN + u16::MAX as usize;

/// Reads the header chain; the payload may be cut short.
pub(crate) fn parse(packet: &[u8]) -> Result<IpView, Malformed> {
    let header: &[u8; HEADER_LEN] = packet.first_chunk().ok_or(Malformed::TooShort)?;
    let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if payload_len == 0 && packet.len() > PACKET_MAX {
        return Err(Malformed::Jumbogram);
    }
    let total_len = HEADER_LEN + payload_len;
    let source = address(header, 8)?;
    let destination = address(header, 24)?;
    let headers = packet.get(..total_len).unwrap_or(packet);
    let upper = walk(headers, header[6])?;
    Ok(IpView {
        source,
        destination,
        protocol: upper.protocol,
        header_len: upper.offset,
        total_len,
        tos: (header[0] << 4) | (header[1] >> 4),
        hop_limit: header[7],
        fragment: upper.fragment,
        dont_fragment: true,
        plain_header: upper.offset == HEADER_LEN,
    })
}

/// A plain header: flow label 0.
pub(crate) fn emit(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: u8,
    payload_len: u16,
    tos: u8,
    hop_limit: u8,
) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[0] = 0x60 | (tos >> 4);
    header[1] = tos << 4;
    write_u16(&mut header, PAYLOAD_LENGTH, payload_len);
    header[6] = protocol;
    header[7] = hop_limit;
    header[8..24].copy_from_slice(&source.octets());
    header[24..40].copy_from_slice(&destination.octets());
    header
}

/// Writes the traffic class; the flow label stays.
pub(crate) fn set_tos(packet: &mut [u8], tos: u8) {
    if let [first, second, ..] = packet {
        *first = (*first & 0xF0) | (tos >> 4);
        *second = (*second & 0x0F) | (tos << 4);
    }
}

/// Where the upper layer begins.
struct Upper {
    protocol: u8,
    offset: usize,
    fragment: Fragment,
}

fn walk(packet: &[u8], first: u8) -> Result<Upper, Malformed> {
    let mut upper = Upper { protocol: first, offset: HEADER_LEN, fragment: Fragment::None };
    let mut fragmented = false;
    for position in 0..=EXTENSION_HEADERS_MAX {
        let kind = upper.protocol;
        if !matches!(kind, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
            return Ok(upper);
        }
        // Hop-by-hop options come first or not at all (RFC 8200 4.1).
        if (kind == HOP_BY_HOP && position > 0) || position == EXTENSION_HEADERS_MAX {
            return Err(Malformed::ExtensionHeaders);
        }
        let rest = packet.get(upper.offset..).ok_or(Malformed::TooShort)?;
        let header: &[u8; 8] = rest.first_chunk().ok_or(Malformed::TooShort)?;
        let len = if kind == FRAGMENT { 8 } else { 8 + usize::from(header[1]) * 8 };
        if rest.len() < len {
            return Err(Malformed::TooShort);
        }
        upper.protocol = header[0];
        upper.offset += len;
        if kind == FRAGMENT {
            if fragmented {
                return Err(Malformed::ExtensionHeaders);
            }
            fragmented = true;
            upper.fragment = fragment(u16::from_be_bytes([header[2], header[3]]));
            if upper.fragment == Fragment::Later {
                // What follows is the middle of the packet, whatever `next header` says.
                return Ok(upper);
            }
        }
    }
    Err(Malformed::ExtensionHeaders)
}

/// Offset in the upper 13 bits, M in the lowest.
const fn fragment(field: u16) -> Fragment {
    match (field >> 3, field & 1) {
        (0, 0) => Fragment::None,
        (0, _) => Fragment::First,
        (_, _) => Fragment::Later,
    }
}

fn address(header: &[u8; HEADER_LEN], at: usize) -> Result<IpAddr, Malformed> {
    let octets: [u8; 16] =
        header.get(at..at + 16).and_then(|s| s.try_into().ok()).ok_or(Malformed::TooShort)?;
    let address = Ipv6Addr::from(octets);
    if address.to_ipv4_mapped().is_some() {
        return Err(Malformed::MappedAddress);
    }
    Ok(IpAddr::V6(address))
}
