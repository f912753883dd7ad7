//! What one captured frame is, as far as a test needs to know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// UDP port of sealed data (docs/spec, constants).
const DATA_PORT: u16 = 5865;
/// First two bytes of every negotiation message.
const NEGOTIATION_MAGIC: [u8; 2] = [0x47, 0x45];

/// IPv6's number for "nothing that can be read follows".
const NO_NEXT_HEADER: u8 = 59;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Sealed data of two agents.
    Sealed,
    /// A negotiation message of two agents.
    Negotiation,
    /// An ICMP error that quotes a packet of the agents.
    AgentError,
    /// Neighbour and router discovery, multicast group management.
    Link,
    /// TCP in clear.
    Tcp,
    /// UDP in clear.
    Udp,
    /// ICMP in clear.
    Icmp,
    /// Any other IP packet in clear, and trailing fragments of datagrams not seen from the start.
    Other,
}

impl Kind {
    /// True for what programs sent, readable by whoever taps the wire.
    #[must_use]
    pub fn is_clear(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Icmp | Self::Other)
    }
}

/// Addresses and kind of a captured IP packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Source address.
    pub from: IpAddr,
    /// Destination address.
    pub to: IpAddr,
    /// What it carries.
    pub kind: Kind,
    /// Which part of a datagram it is, if not all of it.
    pub fragment: Option<Fragment>,
}

/// A part of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Same in all parts.
    pub id: u32,
    /// The part with the ports.
    pub is_first: bool,
}

impl Packet {
    /// Reads an Ethernet frame; `None` if it is no IP packet.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(14..)?;
        match frame.get(12..14)? {
            [0x08, 0x00] => Self::ipv4(packet),
            [0x86, 0xdd] => Self::ipv6(packet),
            _ => None,
        }
    }

    fn ipv4(packet: &[u8]) -> Option<Self> {
        let header = packet.get(..20)?;
        let address = |at: usize| -> Option<IpAddr> {
            Some(Ipv4Addr::from(<[u8; 4]>::try_from(header.get(at..at + 4)?).ok()?).into())
        };
        let flags = u16::from_be_bytes([header[6], header[7]]);
        let id = u32::from(u16::from_be_bytes([header[4], header[5]]));
        let is_first = flags & 0x1fff == 0;
        let fragment = (flags & 0x3fff != 0).then_some(Fragment { id, is_first });
        let payload = packet.get(usize::from(header[0] & 0x0f) * 4..)?;
        let kind = if is_first { kind(header[9], payload) } else { Kind::Other };
        Some(Self { from: address(12)?, to: address(16)?, kind, fragment })
    }

    fn ipv6(packet: &[u8]) -> Option<Self> {
        let header = packet.get(..40)?;
        let address = |at: usize| -> Option<IpAddr> {
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(header.get(at..at + 16)?).ok()?).into())
        };
        let mut next = header[6];
        let mut payload = &packet[40..];
        // Hop-by-hop options precede multicast reports; everything else is read as it stands.
        if next == 0 {
            let length = 8 + 8 * usize::from(*payload.get(1)?);
            next = payload[0];
            payload = payload.get(length..)?;
        }
        let mut fragment = None;
        if next == 44 {
            let part = payload.get(..8)?;
            let id = u32::from_be_bytes([part[4], part[5], part[6], part[7]]);
            let is_first = u16::from_be_bytes([part[2], part[3]]) & 0xfff8 == 0;
            fragment = Some(Fragment { id, is_first });
            next = if is_first { part[0] } else { NO_NEXT_HEADER };
            payload = payload.get(8..)?;
        }
        Some(Self { from: address(8)?, to: address(24)?, kind: kind(next, payload), fragment })
    }
}

/// One line for a failure message: addresses, kind, length, and the first bytes of the IP packet.
#[must_use]
pub fn describe(packet: &Packet, frame: &[u8]) -> String {
    let start = &frame[14.min(frame.len())..frame.len().min(14 + 64)];
    format!(
        "{} > {} {:?}, {} bytes: {}",
        packet.from,
        packet.to,
        packet.kind,
        frame.len(),
        hex::encode(start)
    )
}

fn kind(protocol: u8, payload: &[u8]) -> Kind {
    match protocol {
        2 => Kind::Link,
        6 => Kind::Tcp,
        // A NAT rewrites one of the two.
        17 if ports(payload).is_some_and(|(from, to)| from == DATA_PORT || to == DATA_PORT) => {
            let body = payload.get(8..).unwrap_or_default();
            if body.starts_with(&NEGOTIATION_MAGIC) { Kind::Negotiation } else { Kind::Sealed }
        }
        17 => Kind::Udp,
        1 => icmp(payload, &[0, 8], &[3, 11, 12], quoted_ipv4),
        58 if matches!(payload.first(), Some(130..=137 | 143)) => Kind::Link,
        58 => icmp(payload, &[128, 129], &[1, 2, 3, 4], quoted_ipv6),
        _ => Kind::Other,
    }
}

fn icmp(payload: &[u8], echo: &[u8], error: &[u8], quoted: fn(&[u8]) -> Option<Kind>) -> Kind {
    let Some(message_type) = payload.first() else { return Kind::Icmp };
    let body = payload.get(8..).unwrap_or_default();
    if echo.contains(message_type) && body.starts_with(&NEGOTIATION_MAGIC) {
        return Kind::Negotiation;
    }
    let about_agents = |kind| matches!(kind, Kind::Sealed | Kind::Negotiation);
    if error.contains(message_type) && quoted(body).is_some_and(about_agents) {
        return Kind::AgentError;
    }
    Kind::Icmp
}

fn quoted_ipv4(packet: &[u8]) -> Option<Kind> {
    Some(Packet::ipv4(packet)?.kind)
}

fn quoted_ipv6(packet: &[u8]) -> Option<Kind> {
    Some(Packet::ipv6(packet)?.kind)
}

fn ports(payload: &[u8]) -> Option<(u16, u16)> {
    let bytes = payload.get(..4)?;
    Some((u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_be_bytes([bytes[2], bytes[3]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]);
        frame.extend([10, 77, 0, 11, 10, 77, 0, 12]);
        frame.extend(payload);
        frame
    }

    fn kind_of(frame: &[u8]) -> Option<Kind> {
        Packet::parse(frame).map(|packet| packet.kind)
    }

    #[test]
    fn kinds_of_ipv4() {
        let sealed = [0x16, 0xe9, 0x16, 0xe9, 0, 0, 0, 0];
        // A NAT gives who is behind it another port.
        let translated = [0x16, 0xe9, 0x4e, 0x20, 0, 0, 0, 0];
        let dns = [0x4e, 0x20, 0, 53, 0, 0, 0, 0];
        assert_eq!(kind_of(&ipv4(17, &sealed)), Some(Kind::Sealed));
        assert_eq!(kind_of(&ipv4(17, &translated)), Some(Kind::Sealed));
        assert_eq!(kind_of(&ipv4(17, &dns)), Some(Kind::Udp));
        assert_eq!(kind_of(&ipv4(6, &[0; 20])), Some(Kind::Tcp));
        assert_eq!(kind_of(&ipv4(47, &[0; 20])), Some(Kind::Other));
        let mut echo = vec![8, 0, 0, 0, 0, 1, 0, 1];
        assert_eq!(kind_of(&ipv4(1, &echo)), Some(Kind::Icmp));
        echo.extend(NEGOTIATION_MAGIC);
        assert_eq!(kind_of(&ipv4(1, &echo)), Some(Kind::Negotiation));
        let mut error = vec![3, 3, 0, 0, 0, 0, 0, 0];
        error.extend(&ipv4(17, &sealed)[14..]);
        assert_eq!(kind_of(&ipv4(1, &error)), Some(Kind::AgentError));
    }

    #[test]
    fn a_short_frame_is_nothing() {
        let whole = ipv4(17, &[0x16, 0xe9, 0x16, 0xe9]);
        for length in 0..34 {
            assert_eq!(kind_of(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_trailing_fragment_counts_as_clear() {
        let mut frame = ipv4(17, &[0x16, 0xe9, 0x16, 0xe9]);
        frame[21] = 1;
        let packet = Packet::parse(&frame).unwrap();
        assert_eq!(packet.kind, Kind::Other);
        assert_eq!(packet.fragment, Some(Fragment { id: 0, is_first: false }));
    }
}
