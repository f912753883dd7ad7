//! The Internet checksum (RFC 1071), pseudo-headers and incremental update (RFC 1624).
//!
//! A *sum* here is a one's complement sum that has not been inverted, kept in a `u32` so that
//! several can be added before one [`fold`]. A *checksum* is what stands in a header: the folded,
//! inverted sum. A *partial* checksum field holds the folded, not inverted sum of the
//! pseudo-header; whoever completes it adds the segment and inverts.

use super::ip::IpView;
use core::net::IpAddr;

/// One's complement sum of `bytes` as big-endian 16-bit words; an odd last byte counts as the
/// high half of a word. At most 0xFFFF.
///
/// Adds native-endian 32-bit words into 64 bits and swaps once at the end: the sum does not
/// depend on byte order (RFC 1071 2(B)), and the compiler vectorises the loop.
#[must_use]
pub fn sum(bytes: &[u8]) -> u32 {
    let (words, tail) = bytes.as_chunks::<4>();
    let mut total: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    total += u64::from(u32::from_ne_bytes(last));
    while total > 0xFFFF {
        total = (total & 0xFFFF) + (total >> 16);
    }
    // At most 0xFFFF after the loop.
    u32::from(u16::from_be(total as u16))
}

/// Folds a sum to 16 bits.
#[must_use]
pub const fn fold(mut sum: u32) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

/// Checksum of `bytes`, whose checksum field must be zero.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// Sum of the pseudo-header of RFC 9293 3.1 (IPv4) and RFC 8200 8.1 (IPv6) for an upper layer of
/// `length` bytes.
#[must_use]
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u32 {
    addresses(source, destination) + u32::from(protocol) + length_sum(length)
}

/// Sum of the length field of a pseudo-header.
#[must_use]
pub(crate) const fn length_sum(length: usize) -> u32 {
    ((length >> 16) & 0xFFFF) as u32 + (length & 0xFFFF) as u32
}

/// True if the upper layer of `packet` carries a complete and right checksum over itself and its
/// pseudo-header.
#[must_use]
pub fn transport_is_valid(packet: &[u8], view: &IpView) -> bool {
    let Some(segment) = packet.get(view.header_len..view.total_len) else { return false };
    let pseudo = pseudo_header(view.source, view.destination, view.protocol, segment.len());
    fold(pseudo + sum(segment)) == 0xFFFF
}

/// `checksum` after one 16-bit word under it changed from `old` to `new` (RFC 1624 equation 3).
#[must_use]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u32 + !old as u32 + new as u32)
}

/// What a UDP sender writes for a computed checksum: zero would mean "no checksum" (RFC 768), and
/// all ones is the same number in one's complement.
#[must_use]
pub const fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xFFFF } else { checksum }
}

fn addresses(source: IpAddr, destination: IpAddr) -> u32 {
    address(source) + address(destination)
}

fn address(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(v4) => sum(&v4.octets()),
        IpAddr::V6(v6) => sum(&v6.octets()),
    }
}
