//! A frame on its way out: sealed segments of one connection, as one super-packet for the kernel to
//! cut. Segments of the next frame of the turn go into it if they continue it.

use super::header::{
    self, ACK, CHECKSUM, FIN, FLAGS, PSH, SEQUENCE, SYN, WINDOW, write_u16, write_u32,
};
use ge_core::io::{ETHERNET_LEN, PACKET_AT, VNET_LEN};
use ge_core::shim::{Kind, SHIM_LEN, TAG_LEN};
use ge_core::traffic::{OVERHEAD, Sealer};
use ge_core::wire::checksum::{checksum, fold, pseudo_header};
use ge_core::wire::ip;
use ge_core::wire::vnet::{Gso, GsoKind, PartialChecksum, VnetHeader};

/// IPv4 without options.
pub(super) const IP_LEN: usize = 20;
/// Where the TCP header is.
pub(super) const TCP_AT: usize = PACKET_AT + IP_LEN;
/// Longest packet, below the 64 KiB at which the kernel's merging ends; about what the product's runs
/// of datagrams come to.
const PACKET_MAX: usize = 64_500;
const IP_LENGTH: usize = PACKET_AT + 2;
const IP_CHECKSUM: usize = PACKET_AT + 10;
const IP_ADDRESSES: usize = PACKET_AT + 12;

/// See the module.
#[derive(Default)]
pub(super) struct WireFrame {
    bytes: Vec<u8>,
    /// Position that would continue it.
    next: u64,
    /// Payload bytes of the first segment: no other may have more.
    size: usize,
    segments: u64,
    /// A shorter segment, or one with FIN, was the last.
    closed: bool,
}

impl WireFrame {
    /// Whether a segment of `len` bytes at `position`, whose headers are `head`, would be cut off
    /// again just as it goes in.
    pub(super) fn is_continued_by(&self, head: &[u8], position: u64, len: usize) -> bool {
        self.segments > 0
            && !self.closed
            && self.next == position
            && (1..=self.size).contains(&len)
            && self.bytes.len() + len + OVERHEAD <= PACKET_AT + PACKET_MAX
            && same_flow(&self.bytes, head)
    }

    /// Begins a frame. `head` reaches from the vnet header to the end of the TCP header.
    pub(super) fn begin(&mut self, head: &[u8], number: u32, len: usize) {
        self.bytes.clear();
        self.bytes.extend_from_slice(head);
        write_u32(&mut self.bytes, TCP_AT + SEQUENCE, number);
        self.bytes[TCP_AT + FLAGS] &= !(FIN | PSH);
        (self.size, self.segments, self.closed) = (len, 0, false);
    }

    /// Seals one segment into it, `before` and then `payload`. False if the key is used up.
    pub(super) fn push(
        &mut self,
        before: &[u8],
        payload: &[u8],
        position: u64,
        sealer: &mut Sealer,
    ) -> bool {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; SHIM_LEN]);
        self.bytes.extend_from_slice(before);
        self.bytes.extend_from_slice(payload);
        self.bytes.extend_from_slice(&[0; TAG_LEN]);
        self.next = position + payload.len() as u64;
        self.segments += 1;
        let len = before.len() + payload.len();
        self.closed = len < self.size || len == 0;
        sealer.seal(Kind::Transport, true, &mut self.bytes[start..]).is_ok()
    }

    /// Where what follows would have to be, if not behind the payload.
    pub(super) fn followed_by(&mut self, position: u64) {
        self.next = position;
    }

    /// Marks the last segment as the last of the super-packet it came in.
    pub(super) fn mark(&mut self, flags: u8) {
        self.bytes[TCP_AT + FLAGS] |= flags & (FIN | PSH);
        self.closed |= flags & (FIN | SYN) != 0;
    }

    /// Makes headers and vnet header right and returns the frame and its number of segments.
    /// `None` if there is nothing in it.
    pub(super) fn finish(&mut self) -> Option<(&[u8], u64)> {
        let segments = std::mem::take(&mut self.segments);
        let view = ip::parse_truncated(self.bytes.get(PACKET_AT..)?).ok()?;
        if segments == 0 {
            return None;
        }
        let bytes = &mut self.bytes;
        let len = bytes.len() - PACKET_AT;
        write_u16(bytes, IP_LENGTH, u16::try_from(len).ok()?);
        write_u16(bytes, IP_CHECKSUM, 0);
        let sum = checksum(&bytes[PACKET_AT..TCP_AT]);
        write_u16(bytes, IP_CHECKSUM, sum);
        let pseudo = pseudo_header(view.source, view.destination, view.protocol, len - IP_LEN);
        write_u16(bytes, TCP_AT + CHECKSUM, fold(pseudo));
        let header_len = header::length(&bytes[TCP_AT..])?;
        let vnet = vnet(ETHERNET_LEN, header_len, segments, self.size + OVERHEAD);
        bytes[..VNET_LEN].copy_from_slice(&vnet);
        Some((bytes, segments))
    }
}

/// vnet header of a TCP packet in IPv4 whose IP header is at `at`.
pub(super) fn vnet(at: usize, header_len: usize, segments: u64, size: usize) -> [u8; VNET_LEN] {
    // Headers are at most 94 bytes, a segment at most 65,535.
    let start = (at + IP_LEN) as u16;
    VnetHeader {
        partial: Some(PartialChecksum { start, offset: CHECKSUM as u16 }),
        gso: (segments > 1).then_some(Gso { kind: GsoKind::TcpV4, size: size as u16, ecn: false }),
        hdr_len: start + header_len as u16,
        data_valid: false,
    }
    .emit()
}

/// Headers equal in all that the segments of a super-packet share.
fn same_flow(frame: &[u8], head: &[u8]) -> bool {
    let same = |from: usize, to: usize| frame[from..to] == head[from..to];
    let flags = frame[TCP_AT + FLAGS] & !PSH;
    header::length(&frame[TCP_AT..]) == header::length(&head[TCP_AT..])
        && same(VNET_LEN, IP_LENGTH)
        && same(IP_ADDRESSES, TCP_AT + SEQUENCE)
        && same(TCP_AT + SEQUENCE + 4, TCP_AT + FLAGS)
        && flags == head[TCP_AT + FLAGS] & !(FIN | PSH)
        && flags == ACK
        && same(TCP_AT + WINDOW, TCP_AT + CHECKSUM)
        && same(TCP_AT + CHECKSUM + 2, head.len())
}
