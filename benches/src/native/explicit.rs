//! The same shape with the stream's own numbers sealed beside the data: eight bytes more, and what the
//! wire shows is a stream of its own, in which nothing is ever sent twice.
//!
//! ```text
//! IP | TCP header: wire numbers | shim 8 | sealed{ sequence 4, acknowledgement 4, data } | tag 16 |
//! ```
//! No blocks, no overlap: every segment follows the last one on the wire, pure acknowledgements too,
//! so that the kernel merges them. What the wire acknowledges is what has arrived, lost or not.

use super::count::Count;
use super::header::{
    self, ACK, ACKNOWLEDGEMENT, FIN, FLAGS, PSH, SEQUENCE, SYN, WINDOW, read_u16, read_u32,
    write_u16, write_u32,
};
use super::stretch::Stretch;
use super::tcp_shaped::finish_header;
use super::wire_frame::{IP_LEN, TCP_AT, WireFrame, vnet};
use ge_core::io::PACKET_AT;
use ge_core::traffic::{OVERHEAD, Opener, Sealer};
use ge_core::wire::ip::IpView;
use ge_core::wire::tcp::clamp_mss;
use ge_core::wire::vnet::VnetHeader;
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::ops::Range;

/// The two numbers.
const NUMBERS: usize = 8;
/// Payload of a full segment on a link of 1,500 bytes, headers with timestamps.
const BLOCK: u16 = 1500 - 52 - OVERHEAD as u16 - NUMBERS as u16;
const MSS: u16 = BLOCK + 12;

/// A connection's numbers on the wire.
#[derive(Default)]
struct Flow {
    /// Number of position zero, and the position of the next byte to send.
    first: u32,
    next: u64,
    /// Behind the furthest byte that came.
    arrived: u32,
}

/// A segment that came: its own numbers, and where its data is.
#[derive(Clone)]
struct Piece {
    numbers: [u8; NUMBERS],
    data: Range<usize>,
}

/// Every connection of one agent.
#[derive(Default)]
pub(super) struct Explicit {
    flows: HashMap<(u16, u16), Flow>,
    frame: WireFrame,
    header: Vec<u8>,
    pieces: Vec<Piece>,
    pub(super) count: Count,
}

impl Explicit {
    /// Seals a captured frame of TCP in IPv4.
    pub(super) fn outgoing(
        &mut self,
        frame: &mut [u8],
        view: &IpView,
        sealer: &mut Sealer,
        mut send: impl FnMut(&[u8]),
    ) -> Option<()> {
        let given = VnetHeader::parse(frame).ok()?;
        let header_len = header::length(frame.get(TCP_AT..PACKET_AT + view.total_len)?)?;
        clamp_mss(&mut frame[PACKET_AT..], view, MSS, given.partial.is_some());
        let (head, mut left) =
            frame[..PACKET_AT + view.total_len].split_at_mut(TCP_AT + header_len);
        let tcp = &mut head[TCP_AT..];
        let flow = self.flows.entry((read_u16(tcp, 0), read_u16(tcp, 2))).or_default();
        let (flags, mut sequence) = (tcp[FLAGS], read_u32(tcp, SEQUENCE));
        let acknowledged = read_u32(tcp, ACKNOWLEDGEMENT).to_be_bytes();
        let opens = flags & SYN != 0;
        if opens {
            // The SYN's own number is one before.
            (flow.first, flow.next) = (sequence.wrapping_add(1), 0);
        } else {
            let window = Stretch::new(0, BLOCK, false).wire_window(read_u16(tcp, WINDOW));
            write_u16(tcp, WINDOW, window);
        }
        if flags & ACK != 0 {
            write_u32(tcp, ACKNOWLEDGEMENT, flow.arrived);
        }
        let size = given.gso.map_or(usize::MAX, |gso| usize::from(gso.size));
        loop {
            let len = left.len().min(size);
            if opens || !self.frame.is_continued_by(head, flow.next, len + NUMBERS) {
                self.count.flush(&mut self.frame, &mut send);
                let number = flow.first.wrapping_add(flow.next as u32);
                let number = if opens { number.wrapping_sub(1) } else { number };
                self.frame.begin(head, number, len + NUMBERS);
            }
            let (now, later) = left.split_at_mut(len);
            let [s0, s1, s2, s3] = sequence.to_be_bytes();
            let [a0, a1, a2, a3] = acknowledged;
            let numbers = [s0, s1, s2, s3, a0, a1, a2, a3];
            self.frame.push(&numbers, now, flow.next, sealer).then_some(())?;
            flow.next += (OVERHEAD + NUMBERS + len) as u64;
            self.frame.followed_by(flow.next);
            sequence = sequence.wrapping_add(len as u32);
            left = later;
            if left.is_empty() {
                break;
            }
        }
        flow.next += u64::from(flags & FIN != 0);
        self.frame.mark(flags);
        Some(())
    }

    /// Hands on what waits for more.
    pub(super) fn flush(&mut self, mut send: impl FnMut(&[u8])) {
        self.count.flush(&mut self.frame, &mut send);
    }

    /// Opens a captured frame and hands what it was to `deliver`, in as many packets as it must be.
    pub(super) fn incoming(
        &mut self,
        frame: &mut [u8],
        view: &IpView,
        opener: &mut Opener,
        mut deliver: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Option<()> {
        let pieces = &mut self.pieces;
        pieces.clear();
        let payload = self.count.open(frame, view, opener, |frame, plain| {
            let numbers = *frame[plain.clone()].first_chunk()?;
            pieces.push(Piece { numbers, data: plain.start + NUMBERS..plain.end });
            Some(())
        })?;
        let tcp = &frame[TCP_AT..payload.start];
        let flow = self.flows.entry((read_u16(tcp, 2), read_u16(tcp, 0))).or_default();
        let flags = tcp[FLAGS];
        let wire_end = read_u32(tcp, SEQUENCE)
            .wrapping_add(payload.len() as u32)
            .wrapping_add(u32::from(flags & FIN != 0));
        if flags & SYN != 0 {
            flow.arrived = read_u32(tcp, SEQUENCE).wrapping_add(1);
        } else if wire_end.wrapping_sub(flow.arrived).cast_signed() > 0 {
            flow.arrived = wire_end;
        }
        let mut rest = &self.pieces[..];
        while let Some(group) = rest.len().checked_sub(1).map(|_| together(rest)) {
            let (now, later) = rest.split_at(group);
            rest = later;
            let last = if rest.is_empty() { 0 } else { FIN | PSH };
            self.header.clear();
            self.header.extend_from_slice(&frame[PACKET_AT..payload.start]);
            restore(&mut self.header[IP_LEN..], now[0].numbers, last);
            let len: usize = now.iter().map(|piece| piece.data.len()).sum();
            finish_header(&mut self.header, view, len)?;
            let vnet = vnet(0, payload.start - TCP_AT, now.len() as u64, now[0].data.len());
            let mut parts = Vec::with_capacity(2 + now.len());
            parts.extend([IoSlice::new(&vnet), IoSlice::new(&self.header)]);
            parts.extend(now.iter().map(|piece| IoSlice::new(&frame[piece.data.clone()])));
            deliver(&parts).ok()?;
        }
        Some(())
    }
}

/// How many of the first segments are one super-packet.
fn together(pieces: &[Piece]) -> usize {
    let first = &pieces[0];
    let (size, mut end) = (first.data.len(), read_u32(&first.numbers, 0));
    let mut count = 0;
    for piece in pieces {
        let len = piece.data.len();
        let follows = read_u32(&piece.numbers, 0) == end
            && piece.numbers[4..] == first.numbers[4..]
            && (1..=size).contains(&len);
        if count > 0 && !follows {
            break;
        }
        end = end.wrapping_add(len as u32);
        count += 1;
        if len < size {
            break;
        }
    }
    count
}

/// The header as the sender's stack wrote it. `without`: flags of a later segment.
fn restore(tcp: &mut [u8], numbers: [u8; NUMBERS], without: u8) {
    let flags = tcp[FLAGS];
    tcp[FLAGS] &= !without;
    write_u32(tcp, SEQUENCE, read_u32(&numbers, 0));
    if flags & ACK != 0 {
        write_u32(tcp, ACKNOWLEDGEMENT, read_u32(&numbers, 4));
    }
    if flags & SYN == 0 {
        let window = Stretch::new(0, BLOCK, false).window(read_u16(tcp, WINDOW));
        write_u16(tcp, WINDOW, window);
    }
}
