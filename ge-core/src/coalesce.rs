//! Coalescing: from consecutive decrypted segments back to one super-packet, without copying the
//! payload.
//!
//! The segments of one received buffer lie at fixed strides in it. As long as they continue one
//! TCP stream, or are equally long datagrams of one UDP flow, only their places are collected; then one
//! gathering write hands the kernel a single header and all the payloads, and the kernel walks its
//! stack once instead of forty times. For UDP the kernel must know how to cut datagrams again
//! ([`Coalescer::merge_datagrams`]).
//!
//! Only segments with a partial checksum are merged: the AEAD authenticated their bytes, so that
//! the merged packet's checksum may be partial too. A segment that left its sender with a complete
//! checksum is handed on alone and untouched.

use crate::io::VNET_LEN;
use crate::wire::checksum::{fold, length_sum, pseudo_header};
use crate::wire::ip::{Fragment, IpView, parse_truncated};
use crate::wire::ipv4::{self, CHECKSUM, DONT_FRAGMENT, FLAGS, IDENTIFICATION, TOTAL_LENGTH};
use crate::wire::ipv6::{self, PAYLOAD_LENGTH};
use crate::wire::tcp::{self, ACK, PSH, SEQUENCE};
use crate::wire::transport::Transport;
use crate::wire::udp;
use crate::wire::vnet::{Gso, GsoKind, PartialChecksum, VnetHeader};
use crate::wire::{read_u16, read_u32, write_u16};
use core::array;
use core::ops::Range;

/// Pieces of one super-packet: what `UDP_SEGMENT` puts in one send, and far below `IOV_MAX`.
pub const PIECES_MAX: usize = 64;

/// Largest IP packet: the IPv4 length field. IPv6 could take 40 bytes more; the same bound keeps
/// the kernel's own limit for both (`GSO_LEGACY_MAX_SIZE`).
const PACKET_MAX: usize = u16::MAX as usize;

/// Plain IP header and TCP header.
const HEADER_MAX: usize = ipv6::HEADER_LEN + tcp::HEADER_MAX;

/// One packet for the local stack, in pieces: write `vnet`, `header`, then the `payload` ranges
/// of `buffer` with one gathering write.
#[derive(Debug, PartialEq, Eq)]
pub struct Gather<'a> {
    /// vnet header, offsets relative to the IP header.
    pub vnet: [u8; VNET_LEN],
    /// IP header, and TCP header where segments were merged.
    pub header: &'a [u8],
    /// Where the payload lies.
    pub buffer: &'a [u8],
    /// What follows the header: ranges of `buffer`, in order.
    pub payload: &'a [Range<usize>],
}

impl Gather<'_> {
    /// Whether it was merged from several packets.
    #[must_use]
    pub const fn is_merged(&self) -> bool {
        self.payload.len() > 1
    }

    /// The IP packet in one piece.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(self.packet_len());
        packet.extend_from_slice(self.header);
        for range in self.payload {
            packet.extend_from_slice(&self.buffer[range.clone()]);
        }
        packet
    }

    /// Length of the IP packet in bytes.
    #[must_use]
    pub fn packet_len(&self) -> usize {
        self.header.len() + self.payload.iter().map(ExactSizeIterator::len).sum::<usize>()
    }
}

/// Merges segments of one buffer. Give it every packet of the buffer in order, then flush; order
/// is kept.
#[derive(Debug, Default)]
pub struct Coalescer {
    /// The packet under construction.
    chain: Option<Chain>,
    /// Its payloads. Outside of it so that the memory is reused.
    pieces: Vec<Range<usize>>,
    /// UDP too.
    datagrams: bool,
    /// Not even TCP.
    segments_apart: bool,
}

/// A super-packet as far as it has come.
#[derive(Debug)]
struct Chain {
    transport: Transport,
    /// Headers of the first segment.
    header: [u8; HEADER_MAX],
    ip_len: usize,
    header_len: usize,
    /// Payload bytes of the first segment: all but the last have as many.
    size: usize,
    payload_len: usize,
    /// A short segment or PSH was the last: nothing follows.
    closed: bool,
}

/// A segment that may begin or continue a chain: headers and the place of its payload.
struct Candidate<'a> {
    transport: Transport,
    ip_header: &'a [u8],
    upper_header: &'a [u8],
    payload: Range<usize>,
    /// TCP's PSH: nothing shall wait behind it.
    pushes: bool,
}

impl Coalescer {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether datagrams of one UDP flow are merged too: the kernel cuts them since Linux 6.2.
    pub const fn merge_datagrams(&mut self, on: bool) {
        self.datagrams = on;
    }

    /// Whether segments of one TCP stream are merged; they are until this is called.
    pub const fn merge_segments(&mut self, on: bool) {
        self.segments_apart = !on;
    }

    /// Takes the next packet: its IP header, and where its upper layer lies in `buffer`. `sink`
    /// gets what is complete. Between a push and the next flush `buffer` must stay the same. A
    /// range outside the buffer is ignored.
    pub fn push(
        &mut self,
        buffer: &[u8],
        ip_header: &[u8],
        l4: Range<usize>,
        partial_checksum: bool,
        sink: &mut impl FnMut(Gather<'_>),
    ) {
        let Some(segment) = buffer.get(l4.clone()) else { return };
        let view = parse_truncated(ip_header).ok();
        let candidate = view
            .filter(|_| partial_checksum)
            .and_then(|view| Candidate::of(ip_header, &view, segment, &l4))
            .filter(|next| match next.transport {
                Transport::Tcp => !self.segments_apart,
                Transport::Udp => self.datagrams,
            });
        let Some(candidate) = candidate else {
            self.flush(buffer, sink);
            let partial = view.filter(|_| partial_checksum).and_then(|v| usual_place(&v, segment));
            let vnet = VnetHeader { partial, ..VnetHeader::default() }.emit();
            let payload = array::from_ref(&l4);
            sink(Gather { vnet, header: ip_header, buffer, payload });
            return;
        };
        let continues = self.pieces.len() < PIECES_MAX
            && self
                .chain
                .as_ref()
                .is_some_and(|chain| chain.is_continued_by(&candidate, &self.pieces));
        if !continues {
            self.flush(buffer, sink);
        }
        match &mut self.chain {
            Some(chain) => chain.extend(&candidate),
            None => self.chain = Some(Chain::begin(&candidate)),
        }
        self.pieces.push(candidate.payload);
        if self.chain.as_ref().is_some_and(|chain| chain.closed) {
            self.flush(buffer, sink);
        }
    }

    /// Hands on what is under construction.
    pub fn flush(&mut self, buffer: &[u8], sink: &mut impl FnMut(Gather<'_>)) {
        if let Some(mut chain) = self.chain.take() {
            let vnet = chain.finish(self.pieces.len());
            let header = &chain.header[..chain.header_len];
            sink(Gather { vnet, header, buffer, payload: &self.pieces });
            self.pieces.clear();
        }
    }
}

impl<'a> Candidate<'a> {
    /// A TCP data segment with nothing unusual, flags ACK and perhaps PSH, or a whole UDP datagram, both
    /// with data and behind a plain IP header of the right length.
    fn of(
        ip_header: &'a [u8],
        view: &IpView,
        segment: &'a [u8],
        l4: &Range<usize>,
    ) -> Option<Self> {
        let fits = view.plain_header
            && view.fragment == Fragment::None
            && ip_header.len() == view.header_len
            && view.total_len == view.header_len + segment.len();
        let transport = Transport::of(view.protocol)?;
        let upper_header = segment.get(..transport.header_len(segment)?)?;
        let (usual, pushes) = match transport {
            Transport::Tcp => {
                let flags = upper_header[tcp::FLAGS];
                (flags & !PSH == ACK, flags & PSH != 0)
            }
            Transport::Udp => {
                (read_u16(upper_header, udp::LENGTH).map(usize::from) == Some(segment.len()), false)
            }
        };
        let payload = l4.start + upper_header.len()..l4.end;
        let is_candidate = fits && usual && !payload.is_empty();
        is_candidate.then_some(Self { transport, ip_header, upper_header, payload, pushes })
    }
}

impl Chain {
    fn begin(first: &Candidate<'_>) -> Self {
        let (ip_len, size) = (first.ip_header.len(), first.payload.len());
        let header_len = ip_len + first.upper_header.len();
        let mut header = [0; HEADER_MAX];
        header[..ip_len].copy_from_slice(first.ip_header);
        header[ip_len..header_len].copy_from_slice(first.upper_header);
        let (transport, closed) = (first.transport, first.pushes);
        Self { transport, header, ip_len, header_len, size, payload_len: size, closed }
    }

    fn is_continued_by(&self, next: &Candidate<'_>, pieces: &[Range<usize>]) -> bool {
        let (ip, upper) = self.header[..self.header_len].split_at(self.ip_len);
        self.transport == next.transport
            && next.payload.len() <= self.size
            && self.header_len + self.payload_len + next.payload.len() <= PACKET_MAX
            && same_ip_flow(ip, next.ip_header, pieces.len())
            && match self.transport {
                Transport::Tcp => {
                    same_tcp_flow(upper, next.upper_header)
                        && self.next_sequence() == read_u32(next.upper_header, SEQUENCE)
                }
                // The ports.
                Transport::Udp => upper[..udp::LENGTH] == next.upper_header[..udp::LENGTH],
            }
    }

    fn extend(&mut self, next: &Candidate<'_>) {
        self.payload_len += next.payload.len();
        if next.pushes {
            self.header[self.ip_len + tcp::FLAGS] |= PSH;
        }
        self.closed = next.pushes || next.payload.len() < self.size;
    }

    fn next_sequence(&self) -> Option<u32> {
        // At most 64 KiB of payload.
        let sequence = read_u32(&self.header, self.ip_len + SEQUENCE)?;
        Some(sequence.wrapping_add(self.payload_len as u32))
    }

    /// Makes the headers those of the whole packet and returns its vnet header. A chain of one is
    /// the segment as it came.
    fn finish(&mut self, pieces: usize) -> [u8; VNET_LEN] {
        let partial = self.transport.checksum_place(self.ip_len);
        let single = VnetHeader { partial, ..VnetHeader::default() };
        if pieces == 1 {
            return single.emit();
        }
        // Headers are at most 100 bytes, the packet at most 65,535.
        let len = self.header_len + self.payload_len;
        let header = &mut self.header[..self.ip_len];
        let tcp_kind = if header[0] >> 4 == 6 {
            write_u16(header, PAYLOAD_LENGTH, (len - ipv6::HEADER_LEN) as u16);
            GsoKind::TcpV6
        } else {
            write_u16(header, TOTAL_LENGTH, len as u16);
            ipv4::refresh_checksum(header);
            GsoKind::TcpV4
        };
        if let Ok(view) = parse_truncated(header) {
            let pseudo = pseudo_header(view.source, view.destination, view.protocol, 0);
            let sum = fold(pseudo + length_sum(len - self.ip_len));
            write_u16(&mut self.header, self.ip_len + self.transport.checksum(), sum);
        }
        let kind = match self.transport {
            Transport::Tcp => tcp_kind,
            Transport::Udp => {
                write_u16(&mut self.header, self.ip_len + udp::LENGTH, (len - self.ip_len) as u16);
                GsoKind::UdpDatagrams
            }
        };
        let gso = Some(Gso { kind, size: self.size as u16, ecn: false });
        VnetHeader { gso, hdr_len: self.header_len as u16, ..single }.emit()
    }
}

/// Plain headers equal in all but length, checksum and, where fragmenting is forbidden and it
/// means nothing (RFC 6864 4.1), identification; else the identification counts on.
fn same_ip_flow(first: &[u8], next: &[u8], index: usize) -> bool {
    if first.len() != next.len() {
        return false;
    }
    if first.len() == ipv6::HEADER_LEN {
        let length = PAYLOAD_LENGTH..PAYLOAD_LENGTH + 2;
        return first[..length.start] == next[..length.start]
            && first[length.end..] == next[length.end..];
    }
    let fragmentable = read_u16(first, FLAGS).is_none_or(|flags| flags & DONT_FRAGMENT == 0);
    let expected = read_u16(first, IDENTIFICATION).map(|id| id.wrapping_add(index as u16));
    first[..TOTAL_LENGTH] == next[..TOTAL_LENGTH]
        && first[FLAGS..CHECKSUM] == next[FLAGS..CHECKSUM]
        && first[CHECKSUM + 2..] == next[CHECKSUM + 2..]
        && (!fragmentable || expected == read_u16(next, IDENTIFICATION))
}

/// Headers equal in all but sequence number, PSH and checksum. Same window too: a changed window
/// is news that the sender's stack wants to be told in order.
fn same_tcp_flow(first: &[u8], next: &[u8]) -> bool {
    let flags_differ = |a: &[u8], b: &[u8]| (a[tcp::FLAGS] ^ b[tcp::FLAGS]) & !PSH != 0;
    first.len() == next.len()
        && first[..SEQUENCE] == next[..SEQUENCE]
        && first[SEQUENCE + 4..tcp::FLAGS] == next[SEQUENCE + 4..tcp::FLAGS]
        && !flags_differ(first, next)
        && first[tcp::FLAGS + 1..tcp::CHECKSUM] == next[tcp::FLAGS + 1..tcp::CHECKSUM]
        && first[tcp::CHECKSUM + 2..] == next[tcp::CHECKSUM + 2..]
}

/// Where a whole TCP or UDP segment has its checksum. `None` for everything else, whose checksum
/// cannot be partial: then the kernel verifies what stands there.
fn usual_place(view: &IpView, segment: &[u8]) -> Option<PartialChecksum> {
    let transport = Transport::of(view.protocol)?;
    let whole = view.fragment == Fragment::None && segment.len() >= transport.shortest();
    transport.checksum_place(view.header_len).filter(|_| whole)
}
