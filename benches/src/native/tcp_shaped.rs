//! TCP sealed in its own shape: header kept, each segment longer by shim and tag.

use super::count::Count;
use super::flow::{Flow, Shape};
use super::header::{self, CHECKSUM, FLAGS, SYN, read_u16, write_u16};
use super::wire_frame::{IP_LEN, TCP_AT, WireFrame, vnet};
use ge_core::io::PACKET_AT;
use ge_core::traffic::{OVERHEAD, Opener, Sealer};
use ge_core::wire::checksum::{checksum, fold, pseudo_header};
use ge_core::wire::ip::IpView;
use ge_core::wire::tcp::clamp_mss;
use ge_core::wire::vnet::VnetHeader;
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::ops::Range;

/// Payload of a full segment on a link of 1,500 bytes: 20 for IP, 32 for TCP with its timestamps, and
/// what sealing adds.
const BLOCK: u16 = 1500 - 52 - OVERHEAD as u16;
/// Largest segment the stacks agree on, which does not count timestamps.
const MSS: u16 = BLOCK + 12;
/// What a SYN says, sealed, to the other agent: the block's length, and two bytes to spare.
const SYN_WORD: [u8; 4] = [BLOCK.to_be_bytes()[0], BLOCK.to_be_bytes()[1], 0, 0];
/// Offset of the two ports in a header, as the sender writes them.
const PORTS: usize = 0;

/// Every connection of one agent.
pub(super) struct TcpShaped {
    shape: Shape,
    flows: HashMap<(u16, u16), Flow>,
    frame: WireFrame,
    header: Vec<u8>,
    pieces: Vec<Range<usize>>,
    pub(super) count: Count,
}

impl TcpShaped {
    pub(super) fn new(own_numbers: bool, wide_windows: bool) -> Self {
        Self {
            shape: Shape { block: BLOCK, own_numbers, wide_windows },
            flows: HashMap::new(),
            frame: WireFrame::default(),
            header: Vec::new(),
            pieces: Vec::new(),
            count: Count::default(),
        }
    }

    /// Seals a captured frame of TCP in IPv4. What is complete goes to `send`, the rest with
    /// [`TcpShaped::flush`].
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
        let (head, payload) = frame[..PACKET_AT + view.total_len].split_at_mut(TCP_AT + header_len);
        let ports = (read_u16(head, TCP_AT + PORTS), read_u16(head, TCP_AT + PORTS + 2));
        let shape = self.shape;
        let flow = self.flows.entry(ports).or_insert_with(|| Flow::new(shape));
        let flags = head[TCP_AT + FLAGS];
        let mut position = flow.outgoing(&mut head[TCP_AT..]);
        let opens = flags & SYN != 0;
        let mut left: &[u8] = if opens { &SYN_WORD } else { payload };
        let size = given.gso.map_or(usize::MAX, |gso| usize::from(gso.size));
        loop {
            let len = left.len().min(size).min(flow.sent().left_in_block(position));
            // Within a block the next segment would overlap.
            let merges = !opens && !shape.own_numbers && flow.sent().begins_block(position);
            if !(merges && self.frame.is_continued_by(head, position, len)) {
                self.count.flush(&mut self.frame, &mut send);
                let number = flow.sent().wire_number(position);
                self.frame.begin(head, if opens { number.wrapping_sub(1) } else { number }, len);
            }
            let (now, later) = left.split_at(len);
            self.frame.push(&[], now, position, sealer).then_some(())?;
            (position, left) = (position + len as u64, later);
            if left.is_empty() {
                break;
            }
        }
        self.frame.mark(flags);
        if !opens {
            flow.sent().seen(position);
        }
        Some(())
    }

    /// Hands on what waits for more.
    pub(super) fn flush(&mut self, mut send: impl FnMut(&[u8])) {
        self.count.flush(&mut self.frame, &mut send);
    }

    /// Opens a captured frame and hands what it was to `deliver`. `None` if it is not what the other
    /// agent sent, or the stack did not take it.
    pub(super) fn incoming(
        &mut self,
        frame: &mut [u8],
        view: &IpView,
        opener: &mut Opener,
        deliver: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Option<()> {
        let pieces = &mut self.pieces;
        pieces.clear();
        let payload = self.count.open(frame, view, opener, |_, plain| {
            pieces.push(plain);
            Some(())
        })?;
        let size = pieces.first()?.len();
        self.header.clear();
        self.header.extend_from_slice(&frame[PACKET_AT..payload.start]);
        let tcp = &mut self.header[IP_LEN..];
        let ports = (read_u16(tcp, PORTS + 2), read_u16(tcp, PORTS));
        let shape = self.shape;
        let flow = self.flows.entry(ports).or_insert_with(|| Flow::new(shape));
        let position = flow.incoming(tcp)?;
        if tcp[FLAGS] & SYN != 0 {
            self.pieces.clear();
        }
        let len: usize = self.pieces.iter().map(ExactSizeIterator::len).sum();
        if len > 0 {
            flow.received().seen(position + len as u64);
        }
        finish_header(&mut self.header, view, len)?;
        let vnet = vnet(0, payload.start - TCP_AT, self.pieces.len() as u64, size);
        let mut parts = Vec::with_capacity(2 + self.pieces.len());
        parts.extend([IoSlice::new(&vnet), IoSlice::new(&self.header)]);
        parts.extend(self.pieces.iter().map(|piece| IoSlice::new(&frame[piece.clone()])));
        deliver(&parts).ok().map(drop)
    }
}

/// Lengths and checksums of a packet with so much payload.
pub(super) fn finish_header(packet: &mut [u8], view: &IpView, payload: usize) -> Option<()> {
    let len = packet.len() + payload;
    write_u16(packet, 2, u16::try_from(len).ok()?);
    write_u16(packet, 10, 0);
    let sum = checksum(&packet[..IP_LEN]);
    write_u16(packet, 10, sum);
    let pseudo = pseudo_header(view.source, view.destination, view.protocol, len - IP_LEN);
    write_u16(packet, IP_LEN + CHECKSUM, fold(pseudo));
    Some(())
}

/// Whether a captured frame is TCP behind a plain IPv4 header.
pub(super) fn is_tcp(frame: &[u8], view: &IpView) -> bool {
    frame.len() >= PACKET_AT + view.total_len
        && view.plain_header
        && view.source.is_ipv4()
        && view.protocol == ge_core::wire::protocol::TCP
}
