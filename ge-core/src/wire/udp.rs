//! UDP (RFC 768) as the carrier of negotiation messages.
//!
//! ```text
//! | source port 16 | destination port 16 | length 16 | checksum 16 | payload |
//! ```

use super::checksum::{fold, never_zero, pseudo_header, sum, transport_is_valid};
use super::ip::{Fragment, IpView};
use super::{protocol, read_u16, write_u16};
use core::net::IpAddr;

/// Length of a UDP header in bytes.
pub const UDP_LEN: usize = 8;

pub(crate) const LENGTH: usize = 4;
pub(crate) const CHECKSUM: usize = 6;

/// A datagram whose length and checksum are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// A whole UDP datagram, checksum included. Empty if it would not fit its length field.
#[must_use]
pub fn emit_udp(
    (from, source): (IpAddr, u16),
    (to, destination): (IpAddr, u16),
    payload: &[u8],
) -> Vec<u8> {
    let Ok(length) = u16::try_from(UDP_LEN + payload.len()) else { return Vec::new() };
    let mut datagram = Vec::with_capacity(usize::from(length));
    for field in [source, destination, length, 0] {
        datagram.extend_from_slice(&field.to_be_bytes());
    }
    datagram.extend_from_slice(payload);
    let pseudo = pseudo_header(from, to, protocol::UDP, datagram.len());
    let checksum = never_zero(!fold(pseudo + sum(&datagram)));
    write_u16(&mut datagram, CHECKSUM, checksum);
    datagram
}

/// Reads a whole datagram. `None` for anything else, for a length that is not the packet's, and for
/// a checksum that is wrong or absent.
#[must_use]
pub fn parse_udp<'a>(packet: &'a [u8], view: &IpView) -> Option<Datagram<'a>> {
    if view.protocol != protocol::UDP || view.fragment != Fragment::None {
        return None;
    }
    let datagram = packet.get(view.header_len..view.total_len)?;
    let read = Datagram {
        source: read_u16(datagram, 0)?,
        destination: read_u16(datagram, 2)?,
        payload: datagram.get(UDP_LEN..)?,
    };
    let whole = usize::from(read_u16(datagram, LENGTH)?) == datagram.len();
    let summed = read_u16(datagram, CHECKSUM)? != 0;
    (whole && summed && transport_is_valid(packet, view)).then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ip::{self, HEADER_MAX, emit_header};

    fn packet(payload: &[u8]) -> Vec<u8> {
        let (from, to) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let udp = emit_udp((from, 5865), (to, 40_000), payload);
        let mut header = [0; HEADER_MAX];
        let len = emit_header(&mut header, from, to, protocol::UDP, udp.len(), 0, 64);
        [&header[..len], &udp].concat()
    }

    #[test]
    fn what_is_made_is_read() {
        let packet = packet(b"GE and more");
        let read = parse_udp(&packet, &ip::parse(&packet).unwrap()).unwrap();
        let made = Datagram { source: 5865, destination: 40_000, payload: b"GE and more" };
        assert_eq!(read, made);
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let good = packet(b"GE and more");
        for at in 20..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(parse_udp(&bad, &ip::parse(&bad).unwrap()), None, "byte {at}");
        }
        let mut unsummed = good;
        unsummed[26..28].fill(0);
        assert_eq!(parse_udp(&unsummed, &ip::parse(&unsummed).unwrap()), None);
    }
}
