//! One end of a flow behind a NAT that is not ours: its host knows itself by another address than the
//! other end sees. Two hosts' views of one packet differ in that address and in what is summed over it.
//!
//! ```text
//!   I's view    | a -> r | L4, checksum over a, r |        sealed by I as it is
//!                   |  translated by R, behind the seal
//!   R's view    | n -> r | L4, checksum over n, r |        n: what the NAT made of a
//! ```
//! Only the responder translates, in both directions; the initiator need not know of the NAT for it.
//! Checksums are updated, not computed anew (RFC 1624), so that a packet damaged before it was sealed
//! stays damaged. What an IPv4 error quotes is translated as well (RFC 5508 4.2), or the program that
//! sent it would not be told.

use crate::wire::checksum::{never_zero, update};
use crate::wire::ip::{Fragment, IpView};
use crate::wire::{ipv4, protocol, read_u16, write_u16};
use core::net::IpAddr;

/// Which address of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Source.
    Source,
    /// Destination.
    Destination,
}

/// Writes `new` in the place of `old` into a packet that was read as `view`, and keeps every checksum
/// as right or wrong as it was. `partial`: the transport checksum is the sum of the pseudo-header.
pub fn translate(
    packet: &mut [u8],
    view: &IpView,
    place: Place,
    (old, new): (IpAddr, IpAddr),
    partial: bool,
) {
    if !write_address(packet, place, new) {
        return;
    }
    if view.fragment == Fragment::Later {
        return;
    }
    let end = view.total_len.min(packet.len());
    let Some(upper) = packet.get_mut(view.header_len..end) else { return };
    quoted(upper, view.protocol, place, new);
    translate_upper(upper, view.protocol, (old, new), partial);
}

/// The transport checksum of a packet in whose header `new` took the place of `old`.
pub fn translate_upper(
    upper: &mut [u8],
    ip_protocol: u8,
    (old, new): (IpAddr, IpAddr),
    partial: bool,
) {
    let at = match ip_protocol {
        protocol::TCP => 16,
        protocol::UDP | protocol::UDP_LITE | protocol::DCCP => 6,
        protocol::ICMPV6 => 2,
        _ => return, // nothing is summed over its addresses
    };
    let Some(field) = read_u16(upper, at) else { return };
    let udp = ip_protocol == protocol::UDP;
    if udp && field == 0 && !partial {
        return; // no checksum (RFC 768)
    }
    let updated = if partial {
        !updated(!field, old, new)
    } else {
        let updated = updated(field, old, new);
        if udp { never_zero(updated) } else { updated }
    };
    write_u16(upper, at, updated);
}

fn updated(checksum: u16, old: IpAddr, new: IpAddr) -> u16 {
    let (old, new) = (words(old), words(new));
    old.into_iter().zip(new).fold(checksum, |sum, (old, new)| update(sum, old, new))
}

fn words(address: IpAddr) -> [u16; 8] {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(v6) => v6.segments(),
    }
}

/// False, and nothing written, if the packet is of the other IP version or too short.
fn write_address(packet: &mut [u8], place: Place, new: IpAddr) -> bool {
    let source = place == Place::Source;
    match (packet.first().map(|first| first >> 4), new) {
        (Some(4), IpAddr::V4(v4)) => {
            let at = if source { 12 } else { 16 };
            let Some(room) = packet.get_mut(at..at + 4) else { return false };
            room.copy_from_slice(&v4.octets());
            let length = usize::from(packet[0] & 0xf) * 4;
            let Some(header) = packet.get_mut(..length) else { return false };
            ipv4::refresh_checksum(header);
            true
        }
        (Some(6), IpAddr::V6(v6)) => {
            let at = if source { 8 } else { 24 };
            let Some(room) = packet.get_mut(at..at + 16) else { return false };
            room.copy_from_slice(&v6.octets());
            true
        }
        _ => false,
    }
}

/// An IPv4 error quotes a packet that went the other way. Its header carries a checksum of its own, so
/// that the sum over the error does not change.
fn quoted(upper: &mut [u8], ip_protocol: u8, place: Place, new: IpAddr) {
    const HEADER: usize = 8;
    const ERRORS: [u8; 3] = [3, 11, 12];
    let is_error = upper.first().is_some_and(|kind| ERRORS.contains(kind));
    if ip_protocol == protocol::ICMP
        && is_error
        && let Some(quote) = upper.get_mut(HEADER..)
    {
        let place = match place {
            Place::Source => Place::Destination,
            Place::Destination => Place::Source,
        };
        write_address(quote, place, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum::{fold, pseudo_header, transport_is_valid};
    use crate::wire::ip::{self, HEADER_MAX, emit_header};
    use crate::wire::udp::emit_udp;

    fn packet(from: &str, to: &str, protocol: u8, upper: &[u8]) -> Vec<u8> {
        let mut header = [0; HEADER_MAX];
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let len = emit_header(&mut header, from, to, protocol, upper.len(), 0, 64);
        [&header[..len], upper].concat()
    }

    const PAIRS: [(&str, &str, &str); 2] =
        [("192.168.7.9", "203.0.113.4", "10.0.0.2"), ("fd00:7::9", "2001:db8::4", "fd00::2")];

    #[test]
    fn a_right_checksum_stays_right_and_a_wrong_one_wrong() {
        for (own, seen, to) in PAIRS {
            let (from, target) = (own.parse().unwrap(), to.parse().unwrap());
            let udp = emit_udp((from, 9), (target, 7), b"a payload of odd len");
            for damage in [0, 1] {
                let mut bytes = packet(own, to, protocol::UDP, &udp);
                *bytes.last_mut().unwrap() ^= damage;
                let view = ip::parse(&bytes).unwrap();
                let change = (from, seen.parse().unwrap());
                translate(&mut bytes, &view, Place::Source, change, false);
                let view = ip::parse(&bytes).unwrap();
                assert_eq!(view.source, change.1);
                assert_eq!(transport_is_valid(&bytes, &view), damage == 0, "{own}");
            }
        }
    }

    #[test]
    fn a_partial_checksum_is_that_of_the_new_pseudo_header() {
        for (own, seen, to) in PAIRS {
            let [from, new, target] = [own, seen, to].map(|ip| ip.parse().unwrap());
            let sum = |from| fold(pseudo_header(from, target, protocol::TCP, 20));
            let mut tcp = [0; 20];
            tcp[16..18].copy_from_slice(&sum(from).to_be_bytes());
            translate_upper(&mut tcp, protocol::TCP, (from, new), true);
            assert_eq!(read_u16(&tcp, 16), Some(sum(new)), "{own}");
        }
    }

    #[test]
    fn udp_without_checksum_and_later_fragments_keep_their_bytes() {
        let (own, seen, to) = PAIRS[0];
        let change = (own.parse().unwrap(), seen.parse().unwrap());
        let mut udp = [0, 9, 0, 7, 0, 8, 0, 0];
        translate_upper(&mut udp, protocol::UDP, change, false);
        assert_eq!(udp[6..], [0, 0]);
        let mut bytes = packet(own, to, protocol::UDP, &[7; 16]);
        bytes[7] = 3;
        ipv4::refresh_checksum(&mut bytes[..20]);
        let view = ip::parse(&bytes).unwrap();
        translate(&mut bytes, &view, Place::Source, change, false);
        assert_eq!(bytes[20..], [7; 16]);
    }

    #[test]
    fn what_an_error_quotes_is_translated() {
        let (own, seen, to) = PAIRS[0];
        let inner = packet(to, own, protocol::UDP, &[0; 8]);
        let mut icmp = [&[3, 3, 0, 0, 0, 0, 0, 0], inner.as_slice()].concat();
        let sum = crate::wire::checksum::checksum(&icmp);
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut bytes = packet(own, to, protocol::ICMP, &icmp);
        let view = ip::parse(&bytes).unwrap();
        let change = (own.parse().unwrap(), seen.parse().unwrap());
        translate(&mut bytes, &view, Place::Source, change, false);
        let quote = ip::parse_truncated(&bytes[28..]).unwrap();
        assert_eq!(quote.destination, change.1);
        assert_eq!(crate::wire::checksum::checksum(&bytes[20..]), 0);
        assert_eq!(crate::wire::checksum::checksum(&bytes[28..48]), 0);
    }
}
