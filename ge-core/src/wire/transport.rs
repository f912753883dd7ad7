//! The two upper layers whose packets are cut and merged: TCP segments and UDP datagrams.

use super::vnet::PartialChecksum;
use super::{protocol, tcp, udp};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// By its IP protocol number.
    pub(crate) const fn of(ip_protocol: u8) -> Option<Self> {
        match ip_protocol {
            protocol::TCP => Some(Self::Tcp),
            protocol::UDP => Some(Self::Udp),
            _ => None,
        }
    }

    /// Where in its header the checksum is.
    pub(crate) const fn checksum(self) -> usize {
        match self {
            Self::Tcp => tcp::CHECKSUM,
            Self::Udp => udp::CHECKSUM,
        }
    }

    /// Where it is in a whole packet whose IP header has so many bytes. `None` if that is no length
    /// of an IP header.
    pub(crate) fn checksum_place(self, ip_header_len: usize) -> Option<PartialChecksum> {
        let start = u16::try_from(ip_header_len).ok()?;
        Some(PartialChecksum { start, offset: self.checksum() as u16 })
    }

    /// Its shortest header.
    pub(crate) const fn shortest(self) -> usize {
        match self {
            Self::Tcp => tcp::HEADER_LEN,
            Self::Udp => udp::UDP_LEN,
        }
    }

    /// Length of the header of `upper`, options included. `None` if it is not whole.
    pub(crate) fn header_len(self, upper: &[u8]) -> Option<usize> {
        match self {
            Self::Tcp => tcp::header_len(upper),
            Self::Udp => Some(self.shortest()).filter(|len| upper.len() >= *len),
        }
    }
}
