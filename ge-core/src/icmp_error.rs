//! ICMP errors: made for the local stack, and read from the network.
//!
//! The engine makes two kinds of its own ("too big" and "prohibited"), and translates a third: a
//! router's error quotes our outer packet, which no program knows; it becomes the same error
//! about the inner packet, which the local stack understands. All ways lead through one builder,
//! so that the rules about when an error must not be sent (RFC 1812 4.3.2.7, RFC 4443 2.4) stand
//! in one place.

use crate::wire::ip::{self, Fragment, IpView};
use crate::wire::{icmp, ipv4, ipv6, protocol, read_u16, read_u32, write_u16, write_u32};
use core::net::IpAddr;

/// Largest ICMP error, IPv4 (RFC 1812 4.3.2.3).
pub const ERROR_MAX_V4: usize = 576;
/// Largest ICMPv6 error: the minimum MTU (RFC 4443 2.4 (c)).
pub const ERROR_MAX_V6: usize = 1280;

/// Header of an error message before the quoted packet.
const ERROR_LEN: usize = 8;
/// Bytes of upper layer a quote needs to be of use: the ports (RFC 792).
const QUOTE_MIN: usize = 8;
/// TTL of what we make.
const HOP_LIMIT: u8 = 64;
/// Precedence "internetwork control" for IPv4 errors (RFC 1812 4.3.2.5).
const TOS_V4: u8 = 0xC0;

const V4_UNREACHABLE: u8 = 3;
const V4_TIME_EXCEEDED: u8 = 11;
const V4_TOO_BIG_CODE: u8 = 4;
const V4_PROHIBITED_CODE: u8 = 13;
const V4_HOST_CODE: u8 = 1;
const V4_PORT_CODE: u8 = 3;
const V6_UNREACHABLE: u8 = 1;
const V6_TOO_BIG: u8 = 2;
const V6_TIME_EXCEEDED: u8 = 3;
const V6_PROHIBITED_CODE: u8 = 1;
const V6_ADDRESS_CODE: u8 = 3;
const V6_PORT_CODE: u8 = 4;
const V6_REDIRECT: u8 = 137;

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The packet is larger than the next link takes.
    TooBig {
        /// What the next link takes, in bytes of whole IP packet; 0 from routers older than RFC
        /// 1191. Larger values than fit are 65,535.
        mtu: u16,
    },
    /// Destination unreachable.
    Unreachable {
        /// Code, in the numbering of the reporter's IP version.
        code: u8,
    },
    /// Hop limit or reassembly time exceeded.
    TimeExceeded {
        /// Code; the same in both IP versions.
        code: u8,
    },
    /// Any other error. Not translated.
    Other,
}

impl ErrorKind {
    /// True if nobody listens on the port the quoted packet went to.
    #[must_use]
    pub const fn is_port_unreachable(self, reporter: IpAddr) -> bool {
        let port = match reporter {
            IpAddr::V4(_) => V4_PORT_CODE,
            IpAddr::V6(_) => V6_PORT_CODE,
        };
        matches!(self, Self::Unreachable { code } if code == port)
    }
}

/// An ICMP error as read. Nothing in it is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError<'a> {
    /// What it says.
    pub kind: ErrorKind,
    /// Who says it.
    pub reporter: IpAddr,
    /// The start of the packet it is about.
    pub quoted: &'a [u8],
}

/// The readable part of a quoted packet, which may be cut anywhere behind its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedView {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol of the upper layer.
    pub protocol: u8,
    /// Offset of the upper layer in bytes.
    pub header_len: usize,
}

/// Tells the sender of `offending` that the path takes only `mtu` bytes: an IP packet with ICMP 3/4
/// (RFC 1191) or ICMPv6 2/0 (RFC 8201). `None` where an error must not be sent: about ICMP errors,
/// later fragments, to or from what is not one host.
#[must_use]
pub fn packet_too_big(offending: &[u8], view: &IpView, mtu: u16, from: IpAddr) -> Option<Vec<u8>> {
    build(ErrorKind::TooBig { mtu }, offending, view, from)
}

/// Tells the sender of `offending` that policy forbids it: ICMP 3/13 (RFC 1812) or ICMPv6 1/1.
/// `None` as for [`packet_too_big`].
#[must_use]
pub fn administratively_prohibited(
    offending: &[u8],
    view: &IpView,
    from: IpAddr,
) -> Option<Vec<u8>> {
    let code = match from {
        IpAddr::V4(_) => V4_PROHIBITED_CODE,
        IpAddr::V6(_) => V6_PROHIBITED_CODE,
    };
    build(ErrorKind::Unreachable { code }, offending, view, from)
}

/// Reads an ICMP error. `None` for what is no error, and for a wrong checksum.
#[must_use]
pub fn parse_error<'a>(packet: &'a [u8], view: &IpView) -> Option<IcmpError<'a>> {
    let message = icmp::message(packet, view)?;
    let (&kind, &code) = (message.first()?, message.get(1)?);
    if !is_error(view.protocol, kind) {
        return None;
    }
    // RFC 4884 5: length of the quote where extensions follow it, in words of 4 or 8 bytes.
    let (kind, quoted_len) = match (view.source, kind) {
        (IpAddr::V4(_), V4_UNREACHABLE) if code == V4_TOO_BIG_CODE => {
            (ErrorKind::TooBig { mtu: read_u16(message, 6)? }, usize::from(*message.get(5)?) * 4)
        }
        (IpAddr::V4(_), V4_UNREACHABLE) => {
            (ErrorKind::Unreachable { code }, usize::from(*message.get(5)?) * 4)
        }
        (IpAddr::V4(_), V4_TIME_EXCEEDED) => {
            (ErrorKind::TimeExceeded { code }, usize::from(*message.get(5)?) * 4)
        }
        (IpAddr::V6(_), V6_TOO_BIG) => {
            let mtu = u16::try_from(read_u32(message, 4)?).unwrap_or(u16::MAX);
            (ErrorKind::TooBig { mtu }, 0)
        }
        (IpAddr::V6(_), V6_UNREACHABLE) => {
            (ErrorKind::Unreachable { code }, usize::from(*message.get(4)?) * 8)
        }
        (IpAddr::V6(_), V6_TIME_EXCEEDED) => {
            (ErrorKind::TimeExceeded { code }, usize::from(*message.get(4)?) * 8)
        }
        (_, _) => (ErrorKind::Other, 0),
    };
    let quoted = message.get(ERROR_LEN..)?;
    let quoted = if quoted_len == 0 { quoted } else { quoted.get(..quoted_len).unwrap_or(quoted) };
    icmp::is_valid(packet, view).then_some(IcmpError { kind, reporter: view.source, quoted })
}

/// Reads the headers of a quoted packet. `None` if they are cut short or malformed.
#[must_use]
pub fn quoted_parse(quoted: &[u8]) -> Option<QuotedView> {
    let view = ip::parse_truncated(quoted).ok()?;
    Some(QuotedView {
        source: view.source,
        destination: view.destination,
        protocol: view.protocol,
        header_len: view.header_len,
    })
}

/// Turns an error about our outer packet into one about the inner packet, which may be cut short
/// but needs its headers and eight bytes more. `kind` holds what the inner sender is to be told;
/// for `TooBig` the caller has taken our overhead off.
///
/// It comes from `reporter`, or, if that is of the other IP version (the inner packet crossed it
/// in a tunnel), from the inner destination with a code that says as much in the inner version.
/// `None` for [`ErrorKind::Other`] and where an error must not be sent.
#[must_use]
pub fn build_error_for(
    kind: ErrorKind,
    reporter: IpAddr,
    inner_offending: &[u8],
) -> Option<Vec<u8>> {
    let view = ip::parse_truncated(inner_offending).ok()?;
    if view.source.is_ipv4() == reporter.is_ipv4() {
        return build(kind, inner_offending, &view, reporter);
    }
    let kind = match (kind, view.source) {
        (ErrorKind::Unreachable { .. }, IpAddr::V4(_)) => {
            ErrorKind::Unreachable { code: V4_HOST_CODE }
        }
        (ErrorKind::Unreachable { .. }, IpAddr::V6(_)) => {
            ErrorKind::Unreachable { code: V6_ADDRESS_CODE }
        }
        (kind, _) => kind,
    };
    build(kind, inner_offending, &view, view.destination)
}

/// The one place where errors are made.
fn build(kind: ErrorKind, offending: &[u8], view: &IpView, from: IpAddr) -> Option<Vec<u8>> {
    if !may_be_answered(offending, view) || from.is_ipv4() != view.source.is_ipv4() {
        return None;
    }
    let (message_type, code) = numbers(kind, from)?;
    let offending = offending.get(..view.total_len).unwrap_or(offending);
    let (header_len, max, tos, protocol) = match from {
        IpAddr::V4(_) => (ipv4::HEADER_LEN, ERROR_MAX_V4, TOS_V4, protocol::ICMP),
        IpAddr::V6(_) => (ipv6::HEADER_LEN, ERROR_MAX_V6, 0, protocol::ICMPV6),
    };
    let quoted = offending.get(..max - header_len - ERROR_LEN).unwrap_or(offending);

    let mut header = [0; ip::HEADER_MAX];
    let message_len = ERROR_LEN + quoted.len();
    let len =
        ip::emit_header(&mut header, from, view.source, protocol, message_len, tos, HOP_LIMIT);
    let mut packet = Vec::with_capacity(len + message_len);
    packet.extend_from_slice(&header[..len]);
    packet.extend_from_slice(&[message_type, code, 0, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(quoted);

    let message = packet.get_mut(len..)?;
    if let ErrorKind::TooBig { mtu } = kind {
        match from {
            IpAddr::V4(_) => write_u16(message, 6, mtu),
            IpAddr::V6(_) => write_u32(message, 4, u32::from(mtu)),
        }
    }
    icmp::write_checksum(message, from, view.source);
    Some(packet)
}

/// Type and code of `kind` in the IP version of `from`.
const fn numbers(kind: ErrorKind, from: IpAddr) -> Option<(u8, u8)> {
    match (kind, from) {
        (ErrorKind::TooBig { .. }, IpAddr::V4(_)) => Some((V4_UNREACHABLE, V4_TOO_BIG_CODE)),
        (ErrorKind::TooBig { .. }, IpAddr::V6(_)) => Some((V6_TOO_BIG, 0)),
        (ErrorKind::Unreachable { code }, IpAddr::V4(_)) => Some((V4_UNREACHABLE, code)),
        (ErrorKind::Unreachable { code }, IpAddr::V6(_)) => Some((V6_UNREACHABLE, code)),
        (ErrorKind::TimeExceeded { code }, IpAddr::V4(_)) => Some((V4_TIME_EXCEEDED, code)),
        (ErrorKind::TimeExceeded { code }, IpAddr::V6(_)) => Some((V6_TIME_EXCEEDED, code)),
        (ErrorKind::Other, _) => None,
    }
}

/// RFC 1812 4.3.2.7 and RFC 4443 2.4 (e): no error about an error, a later fragment, or a packet
/// from or to anything but one host. (RFC 4443 would allow "too big" about multicast; multicast is
/// never sealed here, so nobody asks.)
fn may_be_answered(offending: &[u8], view: &IpView) -> bool {
    let Some(upper) = offending.get(view.header_len..) else { return false };
    let about_error = match (view.protocol, upper.first()) {
        (protocol::ICMP | protocol::ICMPV6, Some(kind)) => is_error(view.protocol, *kind),
        _ => false,
    };
    upper.len() >= QUOTE_MIN
        && !about_error
        && view.fragment != Fragment::Later
        && is_one_host(view.source)
        && is_one_host(view.destination)
}

fn is_one_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_multicast() && !address.is_unspecified() && !broadcast
}

/// Types that report on another packet: unreachable, source quench, redirect, time exceeded,
/// parameter problem; in ICMPv6 everything below 128, and redirect.
const fn is_error(protocol: u8, message_type: u8) -> bool {
    match protocol {
        protocol::ICMP => matches!(message_type, 3 | 4 | 5 | 11 | 12),
        protocol::ICMPV6 => message_type < 128 || message_type == V6_REDIRECT,
        _ => false,
    }
}
