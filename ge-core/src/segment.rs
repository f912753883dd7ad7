//! Segmentation: from one IP packet of the local stack, which may be a super-packet with a partial
//! checksum, to segments that fit the path.
//!
//! The kernel hands TCP and UDP over in pieces of up to 64 KiB with the request to cut them.
//! [`Segmenter`] does that while it copies the payload into the send buffer, which has to happen
//! anyway, and never sums the payload: each segment leaves with a *partial* checksum, the sum of
//! its own pseudo-header, and the receiver's kernel completes it. The bit that says so travels
//! authenticated. A packet that came with a complete checksum, as from a network card that merges
//! nothing, leaves with a partial one too if whoever sends it vouches for it ([`Segmenter::vouch`]).
//!
//! A TCP packet too large for the path is cut further, whether it was meant to be cut or not;
//! nothing else may be, and is reported as too big.

use crate::wire::checksum::{fold, length_sum, pseudo_header, transport_is_valid};
use crate::wire::ip::{Fragment, IpView};
use crate::wire::ipv4::{self, IDENTIFICATION, TOTAL_LENGTH};
use crate::wire::ipv6::{self, PAYLOAD_LENGTH};
use crate::wire::tcp::{self, CWR, FIN, FLAGS, PSH, SEQUENCE, SYN, URG};
use crate::wire::transport::Transport;
use crate::wire::udp;
use crate::wire::vnet::{GsoKind, PartialChecksum, VnetHeader, complete_checksum};
use crate::wire::{Malformed, protocol, read_u16, read_u32, write_u16, write_u32};

/// Why a packet cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Larger than the limit and not allowed to be cut.
    #[error("too large and not to be cut")]
    TooBig,
    /// The packet does not fit its headers or its vnet header.
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
}

/// Cuts one packet. See the module.
pub struct Segmenter<'a> {
    packet: &'a [u8],
    header_len: usize,
    plan: Plan,
    next: usize,
}

enum Plan {
    /// One segment: the bytes as they are.
    Whole(Checksum),
    /// One segment whose complete checksum is right, and is replaced.
    Vouched(Replacement),
    /// Several.
    Split(Split),
}

/// A complete checksum becomes the sum of the pseudo-header.
struct Replacement {
    /// Offset of the field in the packet.
    field: usize,
    sum: u16,
}

/// State of the checksum of a packet that is not cut.
enum Checksum {
    /// Complete, or none at all: not touched.
    Complete,
    /// The upper layer's own field holds the pseudo-header sum.
    Partial,
    /// Partial somewhere the receiver would not look (inside a tunnel of the sender's own, say):
    /// completed here.
    Elsewhere(VnetHeader),
}

struct Split {
    transport: Transport,
    /// TCP or UDP header, options included, in bytes.
    header_len: usize,
    /// Payload bytes of each segment but the last.
    size: usize,
    count: usize,
    /// Pseudo-header sum without the length.
    sum: u32,
}

impl<'a> Segmenter<'a> {
    /// Plans how `packet` is cut so that no segment's upper layer (TCP or UDP header and payload)
    /// exceeds `limit` bytes. Offsets in `vnet` count from the IP header.
    ///
    /// # Errors
    /// `TooBig` for what is larger than `limit` and cannot be cut: anything but TCP, UDP
    /// super-packets whose datagrams are too large, fragments, SYN, URG and signed TCP segments.
    /// `Malformed` if lengths, offsets or a checksum we would have to vouch for are wrong.
    pub fn new(
        vnet: &VnetHeader,
        packet: &'a [u8],
        view: &IpView,
        limit: usize,
    ) -> Result<Self, SegmentError> {
        let packet = packet.get(..view.total_len).ok_or(Malformed::TooShort)?;
        let transport = packet.get(view.header_len..).ok_or(Malformed::Length)?;
        let checksum = Checksum::of(vnet, packet, view)?;
        let split = match gso_transport(vnet, view)? {
            Some((kind, size)) => Split::plan(kind, transport, size, limit)?,
            None if transport.len() > limit => {
                if view.protocol != protocol::TCP || view.fragment != Fragment::None {
                    return Err(SegmentError::TooBig);
                }
                Split::plan(Transport::Tcp, transport, usize::MAX, limit)?
            }
            None => None,
        };
        let plan = match split {
            None => Plan::Whole(checksum),
            Some(split) => {
                let sum = pseudo_sum(&checksum, packet, view)?;
                Plan::Split(Split { sum, ..split })
            }
        };
        Ok(Self { packet, header_len: view.header_len, plan, next: 0 })
    }

    /// Has a whole packet whose complete checksum is right leave with a partial one, since only such
    /// segments are merged again at the other end ([`crate::coalesce`]). What is wrong or not ours to
    /// replace is not touched. `vnet` and `view` as in [`new`](Self::new).
    #[must_use]
    pub fn vouch(mut self, vnet: &VnetHeader, view: &IpView) -> Self {
        if matches!(self.plan, Plan::Whole(Checksum::Complete))
            && let Some(replacement) = Replacement::of(vnet, self.packet, view)
        {
            self.plan = Plan::Vouched(replacement);
        }
        self
    }

    /// True: every segment carries only the sum of its own pseudo-header in its TCP or UDP
    /// checksum field, and the receiver completes it. False: the field is complete.
    #[must_use]
    pub const fn partial_checksum(&self) -> bool {
        matches!(self.plan, Plan::Split(_) | Plan::Vouched(_) | Plan::Whole(Checksum::Partial))
    }

    /// Number of segments, those already taken included.
    #[must_use]
    pub const fn count(&self) -> usize {
        match &self.plan {
            Plan::Whole(_) | Plan::Vouched(_) => 1,
            Plan::Split(split) => split.count,
        }
    }

    /// Upper-layer length of each segment but the last, which may be shorter, in bytes: what
    /// [`next_transport`](Self::next_transport) appends. A packet is longer by its IP header.
    #[must_use]
    pub const fn segment_len(&self) -> usize {
        match &self.plan {
            Plan::Whole(_) | Plan::Vouched(_) => self.packet.len() - self.header_len,
            Plan::Split(split) => split.header_len + split.size,
        }
    }

    /// Length of what [`next_transport`](Self::next_transport) will append, in bytes.
    #[must_use]
    pub fn next_len(&self) -> Option<usize> {
        if self.next >= self.count() {
            return None;
        }
        let transport = self.packet.len() - self.header_len;
        Some(match &self.plan {
            Plan::Whole(_) | Plan::Vouched(_) => transport,
            Plan::Split(split) => {
                let left = transport - split.header_len - self.next * split.size;
                split.header_len + left.min(split.size)
            }
        })
    }

    /// Appends upper-layer header and payload of the next segment. False, and nothing appended,
    /// after the last.
    pub fn next_transport(&mut self, out: &mut Vec<u8>) -> bool {
        if self.next >= self.count() {
            return false;
        }
        match &self.plan {
            Plan::Whole(checksum) => {
                append_whole(checksum, self.packet, self.header_len, out);
            }
            Plan::Vouched(replacement) => replacement.append(self.packet, self.header_len, out),
            Plan::Split(split) => split.append(&self.packet[self.header_len..], self.next, out),
        }
        self.next += 1;
        true
    }

    /// Appends the next segment as a whole IP packet: the original header (with its options or
    /// extension headers), lengths, IPv4 identification and header checksum made right. False,
    /// and nothing appended, after the last.
    pub fn next_packet(&mut self, out: &mut Vec<u8>) -> bool {
        if self.next >= self.count() {
            return false;
        }
        match &self.plan {
            Plan::Whole(checksum) => append_whole(checksum, self.packet, 0, out),
            Plan::Vouched(replacement) => replacement.append(self.packet, 0, out),
            Plan::Split(split) => {
                let start = out.len();
                let (header, transport) = self.packet.split_at(self.header_len);
                out.extend_from_slice(header);
                split.append(transport, self.next, out);
                stamp_ip(&mut out[start..], self.header_len, self.next);
            }
        }
        self.next += 1;
        true
    }
}

impl Checksum {
    fn of(vnet: &VnetHeader, packet: &[u8], view: &IpView) -> Result<Self, Malformed> {
        let Some(partial) = vnet.partial else { return Ok(Self::Complete) };
        if usize::from(partial.start) < view.header_len || partial.field(packet.len()).is_none() {
            return Err(Malformed::Offload);
        }
        let offset = Transport::of(view.protocol).map_or(usize::MAX, Transport::checksum);
        let PartialChecksum { start, offset: at } = partial;
        let usual = usize::from(start) == view.header_len && usize::from(at) == offset;
        Ok(if usual && view.fragment == Fragment::None {
            Self::Partial
        } else {
            Self::Elsewhere(*vnet)
        })
    }
}

impl Replacement {
    /// Where the network card said that the checksum is right, or it sums up. `None` also where it is
    /// not ours to replace: none at all, not TCP or UDP, not the whole of it.
    fn of(vnet: &VnetHeader, packet: &[u8], view: &IpView) -> Option<Self> {
        let transport = Transport::of(view.protocol)?;
        let field = view.header_len + transport.checksum();
        let is_there = read_u16(packet, field)? != 0 || transport == Transport::Tcp;
        let ours = view.plain_header && view.fragment == Fragment::None && is_there;
        let right = || vnet.data_valid || transport_is_valid(packet, view);
        let length = view.total_len.checked_sub(view.header_len)?;
        let sum = || pseudo_header(view.source, view.destination, view.protocol, length);
        (ours && right()).then(|| Self { field, sum: fold(sum()) })
    }

    /// Appends `packet` without its first `skip` bytes, which are before the field.
    fn append(&self, packet: &[u8], skip: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&packet[skip..]);
        write_u16(&mut out[start..], self.field - skip, self.sum);
    }
}

impl Split {
    /// `None` if one segment is enough.
    fn plan(
        kind: Transport,
        transport: &[u8],
        size: usize,
        limit: usize,
    ) -> Result<Option<Self>, SegmentError> {
        let header_len = kind.header_len(transport).ok_or(Malformed::Length)?;
        let payload_len = transport.len() - header_len;
        let room = limit.saturating_sub(header_len);
        if payload_len <= size.min(room) && transport.len() <= limit {
            return Ok(None);
        }
        let header = &transport[..header_len];
        let size = match kind {
            Transport::Tcp if header[FLAGS] & (SYN | URG) != 0 || tcp::is_signed(header) => {
                return if transport.len() <= limit { Ok(None) } else { Err(SegmentError::TooBig) };
            }
            Transport::Tcp => size.min(room),
            Transport::Udp if size > room => return Err(SegmentError::TooBig),
            Transport::Udp => size,
        };
        if size == 0 {
            return Err(SegmentError::TooBig);
        }
        let count = payload_len.div_ceil(size);
        Ok(Some(Self { transport: kind, header_len, size, count, sum: 0 }))
    }

    /// Appends header and payload of segment `index`, which is less than `count`.
    fn append(&self, transport: &[u8], index: usize, out: &mut Vec<u8>) {
        let (header, payload) = transport.split_at(self.header_len);
        let from = index * self.size;
        let chunk = &payload[from..payload.len().min(from + self.size)];
        let start = out.len();
        out.extend_from_slice(header);
        out.extend_from_slice(chunk);
        let len = self.header_len + chunk.len();
        let sum = fold(self.sum + length_sum(len));
        let header = &mut out[start..start + self.header_len];
        match self.transport {
            Transport::Tcp => {
                let sequence = read_u32(header, SEQUENCE).unwrap_or_default();
                // A super-packet is at most 64 KiB, so that the offset fits.
                write_u32(header, SEQUENCE, sequence.wrapping_add(from as u32));
                if index > 0 {
                    header[FLAGS] &= !CWR;
                }
                if index + 1 < self.count {
                    header[FLAGS] &= !(FIN | PSH);
                }
            }
            Transport::Udp => write_u16(header, udp::LENGTH, len as u16),
        }
        write_u16(header, self.transport.checksum(), sum);
    }
}

/// Whether and how the kernel asks for the packet to be cut.
fn gso_transport(
    vnet: &VnetHeader,
    view: &IpView,
) -> Result<Option<(Transport, usize)>, Malformed> {
    let Some(gso) = vnet.gso else { return Ok(None) };
    let (kind, fits) = match gso.kind {
        GsoKind::TcpV4 => (Transport::Tcp, view.source.is_ipv4()),
        GsoKind::TcpV6 => (Transport::Tcp, view.source.is_ipv6()),
        GsoKind::UdpDatagrams => (Transport::Udp, true),
        // One datagram, to be sent in IP fragments: here one packet that may be too large.
        GsoKind::UdpFragments => return Ok(None),
    };
    if !fits || Transport::of(view.protocol) != Some(kind) || view.fragment != Fragment::None {
        return Err(Malformed::Offload);
    }
    Ok(Some((kind, usize::from(gso.size))))
}

/// Pseudo-header sum without the length. Taken from a partial checksum, which the kernel made
/// with the addresses that count (a routing header changes them). A complete checksum is replaced,
/// so it is verified first: we must not make a broken packet look whole.
fn pseudo_sum(checksum: &Checksum, packet: &[u8], view: &IpView) -> Result<u32, SegmentError> {
    let transport = packet.get(view.header_len..).ok_or(Malformed::Length)?;
    let (field, optional) = match view.protocol {
        protocol::TCP => (tcp::CHECKSUM, false),
        _ => (udp::CHECKSUM, view.source.is_ipv4()),
    };
    let field = read_u16(transport, field).ok_or(Malformed::Length)?;
    match checksum {
        Checksum::Partial => {
            let length = fold(length_sum(transport.len()));
            Ok(u32::from(field) + u32::from(!length))
        }
        Checksum::Elsewhere(_) => Err(Malformed::Offload.into()),
        Checksum::Complete if !view.plain_header => Err(SegmentError::TooBig),
        Checksum::Complete => {
            let absent = optional && field == 0;
            if !absent && !transport_is_valid(packet, view) {
                return Err(Malformed::Checksum.into());
            }
            Ok(pseudo_header(view.source, view.destination, view.protocol, 0))
        }
    }
}

/// Appends `packet` without its first `skip` bytes.
fn append_whole(checksum: &Checksum, packet: &[u8], skip: usize, out: &mut Vec<u8>) {
    let Checksum::Elsewhere(vnet) = checksum else {
        out.extend_from_slice(&packet[skip..]);
        return;
    };
    // Rare, so that one copy more does not matter. The field was checked to lie in the packet.
    let mut completed = packet.to_vec();
    if complete_checksum(vnet, &mut completed).is_ok() {
        out.extend_from_slice(&completed[skip..]);
    }
}

/// Makes lengths and IPv4 identification of segment `index` right.
fn stamp_ip(packet: &mut [u8], header_len: usize, index: usize) {
    // At most as long as the super-packet, whose length fitted.
    let len = packet.len();
    if packet[0] >> 4 == 6 {
        write_u16(packet, PAYLOAD_LENGTH, (len - ipv6::HEADER_LEN) as u16);
        return;
    }
    let header = &mut packet[..header_len];
    write_u16(header, TOTAL_LENGTH, len as u16);
    let id = read_u16(header, IDENTIFICATION).unwrap_or_default();
    write_u16(header, IDENTIFICATION, id.wrapping_add(index as u16));
    ipv4::refresh_checksum(header);
}
