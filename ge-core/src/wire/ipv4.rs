//! The IPv4 header (RFC 791).
//!
//! ```text
//! | version 4, IHL 4 | TOS 8 | total length 16 | identification 16 | 0 DF MF, offset 13 |
//! | TTL 8 | protocol 8 | checksum 16 | source 32 | destination 32 | options 0..40 bytes |
//! ```

use super::checksum::{checksum, update};
use super::ip::{Fragment, IpView};
use super::{Malformed, read_u16, write_u16};
use core::net::{IpAddr, Ipv4Addr};

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;
/// Longest header: IHL is four bits of 32-bit words.
pub const HEADER_MAX: usize = 60;

pub(crate) const TOTAL_LENGTH: usize = 2;
pub(crate) const IDENTIFICATION: usize = 4;
pub(crate) const FLAGS: usize = 6;
pub(crate) const CHECKSUM: usize = 10;
pub(crate) const DONT_FRAGMENT: u16 = 0x4000;
pub(crate) const MORE_FRAGMENTS: u16 = 0x2000;
pub(crate) const OFFSET_MASK: u16 = 0x1FFF;

/// Reads the header; the payload may be cut short.
pub(crate) fn parse(packet: &[u8]) -> Result<IpView, Malformed> {
    let header: &[u8; HEADER_LEN] = packet.first_chunk().ok_or(Malformed::TooShort)?;
    let header_len = usize::from(header[0] & 0x0F) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header_len < HEADER_LEN || total_len < header_len {
        return Err(Malformed::Length);
    }
    if packet.len() < header_len {
        return Err(Malformed::TooShort);
    }
    let flags = u16::from_be_bytes([header[6], header[7]]);
    let fragment = match (flags & OFFSET_MASK, flags & MORE_FRAGMENTS) {
        (0, 0) => Fragment::None,
        (0, _) => Fragment::First,
        (_, _) => Fragment::Later,
    };
    Ok(IpView {
        source: IpAddr::V4(Ipv4Addr::new(header[12], header[13], header[14], header[15])),
        destination: IpAddr::V4(Ipv4Addr::new(header[16], header[17], header[18], header[19])),
        protocol: header[9],
        header_len,
        total_len,
        tos: header[1],
        hop_limit: header[8],
        fragment,
        dont_fragment: flags & DONT_FRAGMENT != 0,
        plain_header: header_len == HEADER_LEN && fragment == Fragment::None,
    })
}

/// A plain header: DF set, identification 0.
pub(crate) fn emit(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    total_len: u16,
    tos: u8,
    hop_limit: u8,
) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[0] = 0x45;
    header[1] = tos;
    write_u16(&mut header, TOTAL_LENGTH, total_len);
    write_u16(&mut header, FLAGS, DONT_FRAGMENT);
    header[8] = hop_limit;
    header[9] = protocol;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    refresh_checksum(&mut header);
    header
}

/// Computes the checksum of a header (exactly the header's bytes) anew.
pub(crate) fn refresh_checksum(header: &mut [u8]) {
    write_u16(header, CHECKSUM, 0);
    let sum = checksum(header);
    write_u16(header, CHECKSUM, sum);
}

/// Writes the TOS byte and updates the checksum.
pub(crate) fn set_tos(packet: &mut [u8], tos: u8) {
    let (Some(old), Some(sum)) = (read_u16(packet, 0), read_u16(packet, CHECKSUM)) else { return };
    let new = (old & 0xFF00) | u16::from(tos);
    write_u16(packet, 0, new);
    write_u16(packet, CHECKSUM, update(sum, old, new));
}
