//! The 8 bytes in front of every sealed packet.
//!
//! ```text
//!  0       1               4                      8
//! +----+----+-+-------------+----------------------+----------------------
//! |kind|lane|p|receiver index| counter, low 32 bits | sealed ... | tag 16
//! +----+----+-+-------------+----------------------+----------------------
//!   4    3   1      24                 32    bits, big-endian
//! ```
//! p: the inner transport checksum is partial. The lane is in the first byte so that the kernel can
//! hand the datagram to the thread that owns it by looking at nothing else (decision 0018).
//!
//! The whole shim is authenticated (it is the AEAD's associated data), so that no bit of it can be
//! changed on the way. Source: DESIGN.md section 4.

use crate::id::{Lane, SessionIndex};

/// Length of the shim.
pub const SHIM_LEN: usize = 8;
/// Length of the tag after the sealed part.
pub const TAG_LEN: usize = 16;
/// The largest receiver index: 24 bits.
pub const INDEX_MAX: u32 = (1 << 24) - 1;

/// Flag: the transport checksum of the inner packet is partial and is completed by the receiver.
const PARTIAL_CHECKSUM: u8 = 1;
/// Where in the first byte the lane begins.
const LANE_SHIFT: u8 = 1;

/// What is sealed behind the shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Transport header, data and protocol number; the outer IP header is the flow's own.
    Transport,
    /// A whole inner IP packet.
    Tunnel,
    /// A message between the two agents of the session.
    Control,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Transport => 1,
            Self::Tunnel => 2,
            Self::Control => 3,
        }
    }
}

/// The shim's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shim {
    /// What is sealed.
    pub kind: Kind,
    /// Whose counter it is.
    pub lane: Lane,
    /// The inner transport checksum is partial.
    pub partial_checksum: bool,
    /// The session, as the receiver numbers it.
    pub index: SessionIndex,
    /// Low 32 bits of the packet's counter.
    pub counter_low: u32,
}

impl Shim {
    /// Reads the shim of a datagram. `None` if the datagram is too short for a shim and a tag, the
    /// kind is unknown, or the index is zero.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let (shim, rest) = datagram.split_first_chunk::<SHIM_LEN>()?;
        if rest.len() < TAG_LEN {
            return None;
        }
        let [first, i0, i1, i2, c0, c1, c2, c3] = *shim;
        let kind = match first >> 4 {
            1 => Kind::Transport,
            2 => Kind::Tunnel,
            3 => Kind::Control,
            _ => return None,
        };
        let flags = first & 0xf;
        let index = u32::from_be_bytes([0, i0, i1, i2]);
        if index == 0 {
            return None;
        }
        Some(Self {
            kind,
            lane: Lane::of(flags >> LANE_SHIFT),
            partial_checksum: flags & PARTIAL_CHECKSUM != 0,
            index: SessionIndex(index),
            counter_low: u32::from_be_bytes([c0, c1, c2, c3]),
        })
    }

    /// The 8 bytes. Only the low 24 bits of the index travel.
    #[must_use]
    pub const fn emit(&self) -> [u8; SHIM_LEN] {
        let partial = if self.partial_checksum { PARTIAL_CHECKSUM } else { 0 };
        let flags = self.lane.number() << LANE_SHIFT | partial;
        let [_, i0, i1, i2] = self.index.0.to_be_bytes();
        let [c0, c1, c2, c3] = self.counter_low.to_be_bytes();
        [self.kind.code() << 4 | flags, i0, i1, i2, c0, c1, c2, c3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(shim: [u8; 8]) -> Vec<u8> {
        [&shim[..], &[0; TAG_LEN]].concat()
    }

    #[test]
    fn layout() {
        let shim = Shim {
            kind: Kind::Tunnel,
            lane: Lane::of(5),
            partial_checksum: true,
            index: SessionIndex(0x01_0203),
            counter_low: 0xa0b0_c0d0,
        };
        let bytes = [0x2b, 0x01, 0x02, 0x03, 0xa0, 0xb0, 0xc0, 0xd0];
        assert_eq!(shim.emit(), bytes);
        assert_eq!(Shim::parse(&datagram(bytes)), Some(shim));
    }

    #[test]
    fn every_first_byte() {
        let known = 0x10..0x40;
        for first in 0..=255 {
            let parsed = Shim::parse(&datagram([first, 0, 0, 1, 0, 0, 0, 0]));
            assert_eq!(parsed.is_some(), known.contains(&first), "{first:#x}");
            assert!(parsed.is_none_or(|shim| shim.emit()[0] == first));
        }
    }

    #[test]
    fn short_datagrams_and_index_zero() {
        let whole = datagram([0x10, 0, 0, 1, 0, 0, 0, 0]);
        for length in 0..whole.len() {
            assert_eq!(Shim::parse(&whole[..length]), None, "{length} bytes");
        }
        assert!(Shim::parse(&whole).is_some());
        assert_eq!(Shim::parse(&datagram([0x10, 0, 0, 0, 9, 9, 9, 9])), None);
    }
}
