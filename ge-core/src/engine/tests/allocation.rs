//! Once a flow runs, no packet of it makes the engine or a thread beside it allocate memory.

use super::threads::{Threads, meta};
use super::*;
use crate::io::{DatagramMeta, ETHERNET_LEN, Received};
use crate::wire::checksum::{fold, length_sum, pseudo_header};
use crate::wire::ip::emit_header;
use crate::wire::vnet::{Gso, GsoKind, PartialChecksum, VnetHeader};
use allocation_counter::measure;

/// TCP payload per segment.
const SEGMENT: usize = 1400;

/// What is sent over and over.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// 64 KiB less a little, to be cut.
    SuperPacket,
    SmallDatagram,
    /// An IPv4 header with an option: the whole packet is sealed.
    Options,
}

impl Load {
    fn frame(self) -> Vec<u8> {
        let (protocol, upper, checksum) = match self {
            Self::SuperPacket => {
                let mut header = [0; 20];
                header[12..14].copy_from_slice(&[5 << 4, 0x10]);
                (6, [header.as_slice(), &[7; 44 * SEGMENT]].concat(), 16)
            }
            Self::SmallDatagram | Self::Options => {
                (17, [[0, 9, 0, 9, 0, 72, 0, 0].as_slice(), &[7; 64]].concat(), 6)
            }
        };
        let (from, to) = (pair(0).local.0, pair(0).remote.0);
        let mut header = [0; 40];
        let len = emit_header(&mut header, from, to, protocol, upper.len(), 0, 64);
        let mut header = header[..len].to_vec();
        if matches!(self, Self::Options) {
            header[0] = 0x46;
            header.extend_from_slice(&[1, 1, 1, 0]);
            let total = ((header.len() + upper.len()) as u16).to_be_bytes();
            header[2..4].copy_from_slice(&total);
            crate::wire::ipv4::refresh_checksum(&mut header);
        }
        let start = (ETHERNET_LEN + header.len()) as u16;
        let mut packet = [header.as_slice(), &upper].concat();
        let sum = fold(pseudo_header(from, to, protocol, 0) + length_sum(upper.len()));
        packet[header.len() + checksum..][..2].copy_from_slice(&sum.to_be_bytes());
        let gso = matches!(self, Self::SuperPacket).then_some(Gso {
            kind: GsoKind::TcpV4,
            size: SEGMENT as u16,
            ecn: false,
        });
        let partial = Some(PartialChecksum { start, offset: checksum as u16 });
        let vnet = VnetHeader { gso, hdr_len: start + 20, partial, ..VnetHeader::default() };
        [vnet.emit().as_slice(), &[0; ETHERNET_LEN], &packet].concat()
    }
}

/// Allocations of sending and receiving it a hundred times, after some times without counting; and
/// how many packets were sealed and handed on.
fn allocations(load: Load, by_engine: bool) -> (u64, usize, usize) {
    let mut threads = Threads::agreed();
    threads.ends.b.merge_datagrams(true);
    threads.b[0].merge_datagrams(true);
    let (pattern, mut batch) = (load.frame(), SealedBatch::default());
    let (mut bytes, mut received) = (pattern.clone(), Vec::with_capacity(1 << 16));
    let (mut sealed, mut opened) = (0, 0);
    let now = threads.ends.now();
    let mut turn = || {
        bytes.copy_from_slice(&pattern);
        let mut frame = Frame { direction: Direction::Outgoing(ETH0), bytes: &mut bytes };
        if by_engine {
            assert_eq!(threads.ends.a.outgoing(&mut frame, &mut batch, now), Outgoing::Sealed);
        } else {
            threads.a[0].outgoing(&mut frame, 1500, &mut batch, now.mono);
        }
        for run in batch.runs() {
            sealed += run.count();
            received.clear();
            received.extend_from_slice(&run.bytes);
            let runs = [Received::alone(&received, run.segment, meta())];
            let mut sink = |_: crate::coalesce::Gather<'_>| opened += 1;
            if by_engine {
                let b = &mut threads.ends.b;
                b.datagrams(&mut received, &runs, now, &mut sink);
            } else {
                let b = &mut threads.b[0];
                let mut others = |_: u8, _: &[u8], _: &DatagramMeta| panic!("lane 1");
                b.datagrams(&mut received, &runs, now.mono, &mut sink, &mut others);
            }
        }
        batch.clear();
    };
    (0..10).for_each(|_| turn());
    let counted = measure(|| (0..100).for_each(|_| turn())).count_total;
    (counted, sealed, opened)
}

#[test]
fn no_packet_of_a_running_flow_allocates() {
    for by_engine in [true, false] {
        for (load, datagrams, packets) in
            [(Load::SuperPacket, 44, 1), (Load::SmallDatagram, 1, 1), (Load::Options, 1, 1)]
        {
            let (allocated, sealed, opened) = allocations(load, by_engine);
            assert_eq!((sealed, opened), (110 * datagrams, 110 * packets), "{load:?}");
            assert_eq!(allocated, 0, "{load:?}, by the engine: {by_engine}");
        }
    }
}
