//! One parser for both IP versions.
//!
//! [`parse`] reads the IP header, walks IPv6 extension headers up to the upper layer, and returns
//! an [`IpView`]; nothing else in the crate reads raw IP headers. The IPv4 header checksum is not
//! verified: the kernel did that for what it received, and does it for what we hand it.

use super::{Malformed, ipv4, ipv6, protocol, read_u16};
use crate::flow::Ports;
use core::net::IpAddr;

/// Longest IP header [`emit_header`] writes.
pub const HEADER_MAX: usize = ipv6::HEADER_LEN;

/// Which part of a fragmented packet this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// A whole packet (an IPv6 atomic fragment, RFC 6946, is one).
    None,
    /// The first fragment: has the upper-layer header.
    First,
    /// Any other fragment: has no upper-layer header.
    Later,
}

/// An IP header as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpView {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol of the upper layer, behind all extension headers.
    pub protocol: u8,
    /// Offset of the upper layer: IP header with options or extension headers, in bytes.
    pub header_len: usize,
    /// Length of the whole IP packet in bytes; what follows it is link padding.
    pub total_len: usize,
    /// TOS or traffic class byte: DSCP and ECN.
    pub tos: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Whether it is a fragment.
    pub fragment: Fragment,
    /// Must not be fragmented: IPv4 DF, or IPv6.
    pub dont_fragment: bool,
    /// No options, no extension headers, not a fragment: can be rebuilt by [`emit_header`].
    pub plain_header: bool,
}

/// Reads the IP header of a whole packet. `total_len <= packet.len()` holds for the result.
///
/// # Errors
/// [`Malformed`] names what is wrong; see its variants.
pub fn parse(packet: &[u8]) -> Result<IpView, Malformed> {
    let view = parse_truncated(packet)?;
    if view.total_len > packet.len() {
        return Err(Malformed::TooShort);
    }
    Ok(view)
}

/// Like [`parse`], but only the headers must be there: for packets quoted in ICMP errors, and for
/// headers without their payload. `header_len <= packet.len()` holds for the result.
///
/// # Errors
/// As [`parse`].
pub fn parse_truncated(packet: &[u8]) -> Result<IpView, Malformed> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => ipv4::parse(packet),
        Some(6) => ipv6::parse(packet),
        Some(_) => Err(Malformed::Version),
        None => Err(Malformed::TooShort),
    }
}

/// Ports as the packet carries them: `local` is the source, `remote` the destination. An ICMP
/// echo has its identifier in both, so that the reply's ports are the request's reversed. Zero
/// where there are none, and for fragments other than the first.
#[must_use]
pub fn ports(packet: &[u8], view: &IpView) -> Ports {
    let none = Ports { protocol: view.protocol, local: 0, remote: 0 };
    if view.fragment == Fragment::Later {
        return none;
    }
    let end = view.total_len.min(packet.len());
    let Some(upper) = packet.get(view.header_len..end) else { return none };
    let (local, remote) = match (view.protocol, upper.first()) {
        (
            protocol::TCP | protocol::UDP | protocol::DCCP | protocol::SCTP | protocol::UDP_LITE,
            _,
        ) => (read_u16(upper, 0), read_u16(upper, 2)),
        (protocol::ICMP, Some(0 | 8)) | (protocol::ICMPV6, Some(128 | 129)) => {
            (read_u16(upper, 4), read_u16(upper, 4))
        }
        _ => (None, None),
    };
    match (local, remote) {
        (Some(local), Some(remote)) => Ports { protocol: view.protocol, local, remote },
        _ => none,
    }
}

/// Writes a plain IP header for `payload_len` bytes of `protocol` and returns its length: 20
/// bytes (IPv4: DF set, identification 0 as RFC 6864 4.1 allows, checksum right) or 40 (IPv6:
/// flow label 0). Zero, and nothing written, if the addresses differ in version or the packet
/// would exceed its length field.
pub fn emit_header(
    out: &mut [u8; HEADER_MAX],
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    payload_len: usize,
    tos: u8,
    hop_limit: u8,
) -> usize {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let Ok(total_len) = u16::try_from(payload_len + ipv4::HEADER_LEN) else { return 0 };
            let header = ipv4::emit(source, destination, protocol, total_len, tos, hop_limit);
            out[..ipv4::HEADER_LEN].copy_from_slice(&header);
            ipv4::HEADER_LEN
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let Ok(payload_len) = u16::try_from(payload_len) else { return 0 };
            *out = ipv6::emit(source, destination, protocol, payload_len, tos, hop_limit);
            ipv6::HEADER_LEN
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
    }
}

/// Writes the TOS or traffic class byte of a packet [`parse`] accepted; keeps the IPv4 header
/// checksum right.
pub fn set_tos(packet: &mut [u8], tos: u8) {
    match packet.first().map(|first| first >> 4) {
        Some(4) => ipv4::set_tos(packet, tos),
        Some(6) => ipv6::set_tos(packet, tos),
        _ => {}
    }
}

/// TOS byte of a decapsulated packet: the inner one's DSCP, and the ECN field of RFC 6040 figure
/// 4. `None`: drop it, because congestion was signalled to a transport that cannot hear it.
///
/// ```text
/// inner \ outer | Not-ECT  ECT(0)   ECT(1)   CE
/// Not-ECT       | Not-ECT  Not-ECT  Not-ECT  drop
/// ECT(0)        | ECT(0)   ECT(0)   ECT(1)   CE
/// ECT(1)        | ECT(1)   ECT(1)   ECT(1)   CE
/// CE            | CE       CE       CE       CE
/// ```
///
/// On the way in the outer byte is simply the inner one (RFC 6040 normal mode).
#[must_use]
pub const fn combine_ecn(inner: u8, outer: u8) -> Option<u8> {
    const NOT_ECT: u8 = 0b00;
    const ECT1: u8 = 0b01;
    const ECT0: u8 = 0b10;
    const CE: u8 = 0b11;
    let ecn = match (inner & 0b11, outer & 0b11) {
        (NOT_ECT, CE) => return None,
        (NOT_ECT, _) => NOT_ECT,
        (_, CE) | (CE, _) => CE,
        (ECT0, ECT1) | (ECT1, _) => ECT1,
        (_, _) => ECT0,
    };
    Some((inner & !0b11) | ecn)
}
