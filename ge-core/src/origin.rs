//! Where a message came from, as this agent sees it. A NAT on the way may have changed both parts;
//! what counts is that an answer sent there arrives at whoever asked.

use core::net::IpAddr;

/// Address and carrier number of a request as they arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Source address of the packet.
    pub address: IpAddr,
    /// What tells requests of one address apart.
    pub number: Number,
}

/// The number of a carrier that a NAT keeps for one requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Identifier of an ICMP echo.
    Echo(u16),
    /// Source port of a UDP datagram.
    Udp(u16),
}

impl Origin {
    /// Who is counted: see [`Source`].
    #[must_use]
    pub fn source(&self) -> Source {
        Source::of(self.address)
    }

    /// The bytes that a cookie covers: `source 16 | carrier 1 (1 echo, 2 UDP) | number 2`.
    #[must_use]
    pub fn emit(&self) -> [u8; 19] {
        let (carrier, number) = match self.number {
            Number::Echo(id) => (1, id),
            Number::Udp(port) => (2, port),
        };
        let mut bytes = [carrier; 19];
        bytes[..16].copy_from_slice(&self.source().0.to_be_bytes());
        bytes[17..].copy_from_slice(&number.to_be_bytes());
        bytes
    }
}

/// Whoever is counted as one: an IPv4 address, or an IPv6 network of 64 bits, since a single
/// machine has all addresses of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(u128);

impl Source {
    /// The source an address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self(u128::from(v4.to_ipv6_mapped())),
            IpAddr::V6(v6) => Self(u128::from(v6) >> 64 << 64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::of(address.parse().unwrap())
    }

    #[test]
    fn a_network_of_ipv6_is_one_source_and_an_ipv4_address_is_one() {
        assert_eq!(source("fd00:1:2:3::1"), source("fd00:1:2:3:ffff::2"));
        assert_ne!(source("fd00:1:2:3::1"), source("fd00:1:2:4::1"));
        assert_ne!(source("10.0.0.1"), source("10.0.0.2"));
    }

    #[test]
    fn every_part_is_covered() {
        let origin = |address: &str, number| Origin { address: address.parse().unwrap(), number };
        let origins = [
            origin("10.0.0.1", Number::Echo(7)),
            origin("10.0.0.1", Number::Echo(8)),
            origin("10.0.0.1", Number::Udp(7)),
            origin("10.0.0.2", Number::Echo(7)),
            origin("fd00::1", Number::Echo(7)),
        ];
        for (at, one) in origins.iter().enumerate() {
            assert!(origins[..at].iter().all(|other| other.emit() != one.emit()), "{one:?}");
        }
        assert_eq!(origins[4].emit(), origin("fd00::2", Number::Echo(7)).emit());
    }
}
