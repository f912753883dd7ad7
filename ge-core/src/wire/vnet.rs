//! `struct virtio_net_hdr`, which precedes each packet on the TUN and on the packet socket
//! (VIRTIO 1.2, 5.1.6; the legacy layout without `num_buffers`, in host byte order).
//!
//! ```text
//! | flags 8 | gso_type 8 | hdr_len 16 | gso_size 16 | csum_start 16 | csum_offset 16 |
//! ```
//!
//! The kernel fills `hdr_len` with whatever part of the packet was linear, so it is carried but
//! never believed; header lengths come from the headers themselves.

use super::checksum::{fold, never_zero, sum};
use super::{Malformed, write_u16};
use crate::io::VNET_LEN;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_UDP: u8 = 3;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// What the kernel says about the packet that follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// The checksum that still has to be completed (`NEEDS_CSUM`).
    pub partial: Option<PartialChecksum>,
    /// The device verified the checksum (`DATA_VALID`).
    pub data_valid: bool,
    /// The packet is to be cut into segments.
    pub gso: Option<Gso>,
    /// A hint about the length of all headers, in bytes. Never to be relied on.
    pub hdr_len: u16,
}

/// Where a partial checksum is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Offset in the packet from which on bytes are summed.
    pub start: u16,
    /// Offset of the checksum field from `start`.
    pub offset: u16,
}

/// How a super-packet is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// By which protocol's rules.
    pub kind: GsoKind,
    /// Payload bytes of each segment but the last. Never zero.
    pub size: u16,
    /// The segments carry ECN CWR (`VIRTIO_NET_HDR_GSO_ECN`).
    pub ecn: bool,
}

/// By which protocol's rules a super-packet is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP in IPv4.
    TcpV4,
    /// TCP in IPv6.
    TcpV6,
    /// One UDP datagram, to be sent as IP fragments (UFO; not made by kernels we run on).
    UdpFragments,
    /// Many UDP datagrams (USO).
    UdpDatagrams,
}

impl VnetHeader {
    /// Reads the ten bytes.
    ///
    /// # Errors
    /// `TooShort`; `Offload` for an unknown segmentation type or a segment size of zero.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let header: &[u8; VNET_LEN] = bytes.first_chunk().ok_or(Malformed::TooShort)?;
        let [flags, gso_type, fields @ ..] = *header;
        let field = |at: usize| u16::from_ne_bytes([fields[at], fields[at + 1]]);
        let kind = match gso_type & !GSO_ECN {
            GSO_NONE if gso_type == GSO_NONE => None,
            GSO_TCPV4 => Some(GsoKind::TcpV4),
            GSO_TCPV6 => Some(GsoKind::TcpV6),
            GSO_UDP => Some(GsoKind::UdpFragments),
            GSO_UDP_L4 => Some(GsoKind::UdpDatagrams),
            _ => return Err(Malformed::Offload),
        };
        let gso = kind.map(|kind| Gso { kind, size: field(2), ecn: gso_type & GSO_ECN != 0 });
        if gso.is_some_and(|gso| gso.size == 0) {
            return Err(Malformed::Offload);
        }
        let partial = (flags & NEEDS_CSUM != 0)
            .then(|| PartialChecksum { start: field(4), offset: field(6) });
        Ok(Self { partial, data_valid: flags & DATA_VALID != 0, gso, hdr_len: field(0) })
    }

    /// The ten bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; VNET_LEN] {
        let mut bytes = [0; VNET_LEN];
        let mut field = |at: usize, value: u16| {
            bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        };
        field(2, self.hdr_len);
        if let Some(gso) = self.gso {
            field(4, gso.size);
        }
        if let Some(partial) = self.partial {
            field(6, partial.start);
            field(8, partial.offset);
        }
        bytes[0] = if self.partial.is_some() { NEEDS_CSUM } else { 0 }
            | if self.data_valid { DATA_VALID } else { 0 };
        bytes[1] = self.gso.map_or(GSO_NONE, |gso| {
            let kind = match gso.kind {
                GsoKind::TcpV4 => GSO_TCPV4,
                GsoKind::TcpV6 => GSO_TCPV6,
                GsoKind::UdpFragments => GSO_UDP,
                GsoKind::UdpDatagrams => GSO_UDP_L4,
            };
            kind | if gso.ecn { GSO_ECN } else { 0 }
        });
        bytes
    }

    /// The same header for a packet whose beginning moved by `delta` bytes: -14 when the Ethernet
    /// header is taken off, 14 when it is put back.
    ///
    /// # Errors
    /// `Offload` if the checksum would start outside the packet.
    pub fn shifted(self, delta: i16) -> Result<Self, Malformed> {
        let partial = match self.partial {
            None => None,
            Some(partial) => Some(PartialChecksum {
                start: partial.start.checked_add_signed(delta).ok_or(Malformed::Offload)?,
                ..partial
            }),
        };
        Ok(Self { partial, hdr_len: self.hdr_len.saturating_add_signed(delta), ..self })
    }
}

impl PartialChecksum {
    /// Offset of the checksum field in the packet, if the field lies inside its first `len` bytes.
    pub(crate) fn field(self, len: usize) -> Option<usize> {
        let at = usize::from(self.start) + usize::from(self.offset);
        (at + 2 <= len).then_some(at)
    }
}

/// Completes the checksum of `packet` (without link padding) if `vnet` says that it is partial.
/// Afterwards the packet needs no vnet header. Not for super-packets that are to be cut.
///
/// # Errors
/// `Offload` if the checksum field lies outside the packet.
pub fn complete_checksum(vnet: &VnetHeader, packet: &mut [u8]) -> Result<(), Malformed> {
    let Some(partial) = vnet.partial else { return Ok(()) };
    let at = partial.field(packet.len()).ok_or(Malformed::Offload)?;
    let covered = packet.get(usize::from(partial.start)..).ok_or(Malformed::Offload)?;
    let checksum = never_zero(!fold(sum(covered)));
    write_u16(packet, at, checksum);
    Ok(())
}
