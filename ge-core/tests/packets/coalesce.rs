//! Coalescing: what may be merged, what closes a chain, what passes singly and in order.

use crate::build::{ACK, CWR, FIN, PSH, TIMESTAMPS, URG, payload, tcp_gso, udp_gso, v4, v6};
use ge_core::coalesce::{Coalescer, Gather, PIECES_MAX};
use ge_core::wire::ip::parse;
use ge_core::wire::vnet::VnetHeader;
use std::net::IpAddr;

/// A gathered packet, its pieces joined.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) vnet: VnetHeader,
    pub(crate) bytes: Vec<u8>,
    pub(crate) pieces: usize,
}

pub(crate) fn written(gather: &Gather<'_>) -> Written {
    let mut bytes = gather.header.to_vec();
    for range in gather.payload {
        bytes.extend_from_slice(&gather.buffer[range.clone()]);
    }
    assert_eq!(bytes.len(), gather.packet_len());
    let vnet = VnetHeader::parse(&gather.vnet).unwrap();
    Written { vnet, bytes, pieces: gather.payload.len() }
}

/// Pushes whole IP packets that lie behind each other in one buffer.
pub(crate) fn coalesce(packets: &[(Vec<u8>, bool)]) -> Vec<Written> {
    let mut buffer = Vec::new();
    let mut places = Vec::new();
    for (packet, partial) in packets {
        let view = parse(packet).unwrap();
        // Something lies between the packets, as shim and tag do.
        buffer.extend([0xEE; 24]);
        let start = buffer.len() + view.header_len;
        buffer.extend_from_slice(packet);
        places.push((packet[..view.header_len].to_vec(), start..buffer.len(), *partial));
    }
    let mut out = Vec::new();
    let mut coalescer = Coalescer::new();
    coalescer.merge_datagrams(true);
    let mut sink = |gather: Gather<'_>| out.push(written(&gather));
    for (header, place, partial) in places {
        coalescer.push(&buffer, &header, place, partial, &mut sink);
    }
    coalescer.flush(&buffer, &mut sink);
    coalescer.flush(&buffer, &mut |_| panic!("nothing is left"));
    out
}

/// A data segment `offset` bytes into the stream.
fn segment(pair: (IpAddr, IpAddr), offset: u32, len: usize, flags: u8) -> Vec<u8> {
    let mut packet = tcp_gso(pair, flags, &TIMESTAMPS, &payload(len), 65_000).bytes;
    let at = if pair.0.is_ipv4() { 24 } else { 44 };
    packet[at..at + 4].copy_from_slice(&offset.to_be_bytes());
    packet
}

fn pieces(packets: &[Vec<u8>]) -> Vec<usize> {
    let packets: Vec<_> = packets.iter().map(|packet| (packet.clone(), true)).collect();
    coalesce(&packets).iter().map(|written| written.pieces).collect()
}

/// A name, the byte of the second packet that changes, counted from its IP header, its new value, and how
/// many pieces each packet that comes out has.
type Change<'a> = (&'a str, usize, u8, &'a [usize]);

fn assert_second_changed(packets: &[Vec<u8>], cases: &[Change<'_>]) {
    for (name, at, value, expected) in cases {
        let mut packets = packets.to_vec();
        packets[1][*at] = *value;
        assert_eq!(pieces(&packets), *expected, "{name}");
    }
}

#[test]
fn what_differs_is_not_merged_truth_table() {
    let cases: [Change<'_>; 14] = [
        ("nothing", 0, 0x45, &[3]),
        ("TOS", 1, 0x02, &[1, 1, 1]),
        ("TTL", 8, 63, &[1, 1, 1]),
        ("DF", 6, 0x00, &[1, 1, 1]),
        ("identification of a DF packet", 5, 9, &[3]),
        ("source", 15, 9, &[1, 1, 1]),
        ("destination", 19, 9, &[1, 1, 1]),
        ("source port", 21, 9, &[1, 1, 1]),
        ("sequence", 27, 9, &[1, 1, 1]),
        ("acknowledgement", 31, 9, &[1, 1, 1]),
        ("flags", 33, ACK | 0x40, &[1, 1, 1]),
        ("window", 35, 9, &[1, 1, 1]),
        ("urgent pointer", 39, 9, &[1, 1, 1]),
        ("options", 47, 9, &[1, 1, 1]),
    ];
    let packets: Vec<_> = (0..3).map(|i| segment(v4(), i * 100, 100, ACK)).collect();
    assert_second_changed(&packets, &cases);
}

#[test]
fn ipv6_flow_label_and_class_are_compared() {
    for at in [1, 3, 7] {
        let mut packets: Vec<_> = (0..3).map(|i| segment(v6(), i * 100, 100, ACK)).collect();
        assert_eq!(pieces(&packets), [3]);
        packets[1][at] ^= 0x11;
        assert_eq!(pieces(&packets), [1, 1, 1], "byte {at}");
    }
}

#[test]
fn identification_of_fragmentable_packets_must_count_on() {
    let with_ids = |ids: [u16; 3]| {
        let mut packets: Vec<_> = (0..3).map(|i| segment(v4(), i * 100, 100, ACK)).collect();
        for (packet, id) in packets.iter_mut().zip(ids) {
            packet[6] = 0;
            packet[4..6].copy_from_slice(&id.to_be_bytes());
        }
        pieces(&packets)
    };
    assert_eq!(with_ids([7, 8, 9]), [3]);
    assert_eq!(with_ids([0xFFFF, 0, 1]), [3]);
    assert_eq!(with_ids([7, 7, 7]), [1, 1, 1]);
    assert_eq!(with_ids([7, 8, 10]), [2, 1]);
}

#[test]
fn chains_end_where_they_must() {
    let run = |parts: &[(u32, usize, u8)]| {
        let packets: Vec<_> =
            parts.iter().map(|(at, len, flags)| segment(v4(), *at, *len, *flags)).collect();
        pieces(&packets)
    };
    // PSH and a short segment are the last of a chain.
    assert_eq!(run(&[(0, 100, ACK), (100, 100, ACK | PSH), (200, 100, ACK)]), [2, 1]);
    assert_eq!(run(&[(0, 100, ACK), (100, 50, ACK), (150, 100, ACK)]), [2, 1]);
    assert_eq!(run(&[(0, 100, ACK | PSH), (100, 100, ACK)]), [1, 1]);
    // A longer one begins anew.
    assert_eq!(run(&[(0, 100, ACK), (100, 101, ACK), (201, 101, ACK)]), [1, 2]);
    // Pure acknowledgements and unusual flags go alone and keep their place.
    assert_eq!(run(&[(0, 100, ACK), (100, 0, ACK), (100, 100, ACK)]), [1, 1, 1]);
    for flags in [ACK | FIN, ACK | URG, ACK | CWR, ACK | 0x02, ACK | 0x04, 0] {
        assert_eq!(run(&[(0, 100, ACK), (100, 100, flags), (200, 100, ACK)]), [1, 1, 1]);
        assert_eq!(run(&[(0, 100, flags), (100, 100, flags)]), [1, 1], "flags {flags:#x}");
    }
    // Sequence numbers wrap.
    assert_eq!(run(&[(u32::MAX - 49, 100, ACK), (50, 100, ACK)]), [2]);
}

#[test]
fn a_header_of_another_length_is_not_merged() {
    let packets: Vec<_> = (0..2).map(|i| segment(v4(), i * 100, 100, ACK)).collect();
    let mut header = packets[0][..20].to_vec();
    header[3] += 1;
    let buffer = packets.concat();
    let mut out = Vec::new();
    let mut coalescer = Coalescer::new();
    let mut sink = |gather: Gather<'_>| out.push(written(&gather));
    coalescer.push(&buffer, &header, 20..152, true, &mut sink);
    coalescer.push(&buffer, &packets[1][..20], 172..304, true, &mut sink);
    coalescer.flush(&buffer, &mut sink);
    assert_eq!(out.len(), 2);
    assert_eq!(out[0].bytes, [header, packets[0][20..].to_vec()].concat());
    assert_eq!(out[1].bytes, packets[1]);
}

#[test]
fn limits_of_a_merged_packet() {
    let packets: Vec<_> = (0..130).map(|i| segment(v4(), i * 10, 10, ACK)).collect();
    assert_eq!(pieces(&packets), [PIECES_MAX, PIECES_MAX, 2]);
    // 46 segments of 1,400 bytes and 52 of headers are 64,452; one more would be 65,852.
    let packets: Vec<_> = (0..50).map(|i| segment(v4(), i * 1400, 1400, ACK)).collect();
    assert_eq!(pieces(&packets), [46, 4]);
}

#[test]
fn complete_checksums_are_handed_on_alone_and_untouched() {
    let packets: Vec<_> = (0..3).map(|i| (segment(v4(), i * 100, 100, ACK), i == 1)).collect();
    let out = coalesce(&packets);
    assert_eq!(out.len(), 3);
    for (written, (packet, partial)) in out.iter().zip(&packets) {
        assert_eq!(&written.bytes, packet);
        assert_eq!(written.vnet.partial.is_some(), *partial);
        assert_eq!(written.vnet.gso, None);
    }
}

#[test]
fn a_partial_checksum_that_cannot_be_is_left_to_the_kernel() {
    // GRE has no checksum field; a fragment of TCP has none of its own.
    let mut gre = segment(v4(), 0, 100, ACK);
    gre[9] = 47;
    let mut fragment = segment(v4(), 0, 100, ACK);
    fragment[6] = 0x20;
    let out = coalesce(&[(gre.clone(), true), (fragment.clone(), true)]);
    assert_eq!(out[0].bytes, gre);
    assert_eq!(out[1].bytes, fragment);
    assert!(out.iter().all(|written| written.vnet == VnetHeader::default()));
}

#[test]
fn a_range_outside_the_buffer_is_ignored() {
    let mut coalescer = Coalescer::new();
    let header = &segment(v4(), 0, 100, ACK)[..20];
    let mut sink = |_: Gather<'_>| panic!("there is nothing to hand on");
    coalescer.push(&[0; 10], header, 5..11, true, &mut sink);
    coalescer.push(&[0; 10], header, 11..12, false, &mut sink);
    coalescer.flush(&[0; 10], &mut sink);
}

fn datagram(pair: (IpAddr, IpAddr), len: usize) -> Vec<u8> {
    udp_gso(pair, &payload(len), 65_000).bytes
}

#[test]
fn datagrams_of_one_flow_are_merged_truth_table() {
    let cases: [Change<'_>; 7] = [
        ("nothing", 0, 0x45, &[3]),
        ("TOS", 1, 0x02, &[1, 1, 1]),
        ("TTL", 8, 63, &[1, 1, 1]),
        ("source", 15, 9, &[1, 1, 1]),
        ("source port", 21, 9, &[1, 1, 1]),
        ("destination port", 23, 9, &[1, 1, 1]),
        ("a length that is not the packet's", 25, 9, &[1, 1, 1]),
    ];
    assert_second_changed(&vec![datagram(v4(), 100); 3], &cases);
    assert_eq!(pieces(&vec![datagram(v6(), 64); PIECES_MAX + 1]), [PIECES_MAX, 1]);
}

/// The kernel cuts at one size: only the last datagram may be shorter. One without data has no place.
#[test]
fn datagrams_of_other_lengths_begin_anew() {
    for (lengths, expected) in [
        (&[100, 100, 60, 60][..], &[3, 1][..]),
        (&[60, 100, 100], &[1, 2]),
        (&[100, 0, 100], &[1, 1, 1]),
    ] {
        let packets: Vec<_> = lengths.iter().map(|len| datagram(v4(), *len)).collect();
        assert_eq!(pieces(&packets), expected, "{lengths:?}");
    }
}

#[test]
fn datagrams_with_a_complete_checksum_or_for_a_kernel_that_cannot_cut_them_stay_alone() {
    let packets: Vec<_> = (0..3).map(|_| (datagram(v4(), 100), false)).collect();
    assert_eq!(coalesce(&packets).len(), 3);
    let packet = datagram(v4(), 100);
    let mut coalescer = Coalescer::new();
    let mut count = 0;
    for _ in 0..3 {
        let mut sink = |gather: Gather<'_>| {
            count += 1;
            assert_eq!(written(&gather).bytes, packet);
        };
        coalescer.push(&packet, &packet[..20], 20..packet.len(), true, &mut sink);
    }
    coalescer.flush(&packet, &mut |_| panic!("nothing was kept"));
    assert_eq!(count, 3);
}

#[test]
fn fragments_options_and_extension_headers_stay_alone() {
    let three = |change: &dyn Fn(&mut Vec<u8>), pair| {
        let mut packets: Vec<_> = (0..3).map(|i| segment(pair, i * 100, 100, ACK)).collect();
        packets.iter_mut().for_each(change);
        packets
    };
    let grow = |packet: &mut Vec<u8>, at: usize, bytes: &[u8], length: usize| {
        packet.splice(at..at, bytes.iter().copied());
        let more = u16::from_be_bytes([packet[length], packet[length + 1]]) + bytes.len() as u16;
        packet[length..length + 2].copy_from_slice(&more.to_be_bytes());
    };
    let cases = [
        ("a fragment", three(&|packet| packet[6] = 0x20, v4())),
        (
            "options",
            three(
                &|packet| {
                    packet[0] = 0x46;
                    grow(packet, 20, &[1; 4], 2);
                },
                v4(),
            ),
        ),
        (
            "an extension header",
            three(
                &|packet| {
                    packet[6] = 0;
                    grow(packet, 40, &[6, 0, 1, 4, 0, 0, 0, 0], 4);
                },
                v6(),
            ),
        ),
    ];
    for (what, packets) in cases {
        assert_eq!(pieces(&packets), [1, 1, 1], "{what}");
    }
}
