//! Segmentation: limits, flags, checksums, and the round trip back through coalescing.

use crate::build::{
    ACK, Built, CWR, FIN, PSH, SYN, TIMESTAMPS, URG, ip_packet, payload, tcp, tcp_gso, udp_gso, v4,
    v6,
};
use crate::reference;
use ge_core::segment::{SegmentError, Segmenter};
use ge_core::wire::Malformed;
use ge_core::wire::ip::{IpView, parse};
use ge_core::wire::vnet::{Gso, GsoKind, PartialChecksum, VnetHeader};

/// Number of segments and whether the checksum is partial.
type Plan = Result<(usize, bool), SegmentError>;

fn plan(built: &Built, limit: usize) -> Plan {
    let view = built.view();
    let segmenter = Segmenter::new(&built.vnet, &built.bytes, &view, limit)?;
    let segmenter = segmenter.vouch(&built.vnet, &view);
    Ok((segmenter.count(), segmenter.partial_checksum()))
}

fn packets(built: &Built, limit: usize) -> Vec<Vec<u8>> {
    let view = built.view();
    let segmenter = Segmenter::new(&built.vnet, &built.bytes, &view, limit).unwrap();
    let mut segmenter = segmenter.vouch(&built.vnet, &view);
    let mut packets = Vec::new();
    let mut out = Vec::new();
    while segmenter.next_packet(&mut out) {
        packets.push(std::mem::take(&mut out));
    }
    assert!(out.is_empty());
    assert_eq!(packets.len(), segmenter.count());
    packets
}

/// The upper layer of `packet`, its partial checksum completed and checked.
fn completed(packet: &[u8], view: &IpView, field: usize) -> Vec<u8> {
    let mut upper = packet[view.header_len..].to_vec();
    reference::complete(&mut upper, field);
    assert!(reference::is_right(view.source, view.destination, view.protocol, &upper));
    upper
}

#[test]
fn rules_truth_table() {
    let data = payload(4000);
    let md5 = [1, 1, 19, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let small = &data[..1000];
    let too_big = Err(SegmentError::TooBig);
    let cases: [(u32, Built, usize, Plan); 20] = [
        // Not to be cut, and fits.
        (1, tcp(v4(), ACK, &[], small), 1400, Ok((1, true))),
        (2, tcp_gso(v4(), ACK, &[], small, 1448), 1400, Ok((1, true))),
        (3, tcp(v4(), ACK, &[], &data[..1380]), 1400, Ok((1, true))),
        // Cut as asked.
        (4, tcp_gso(v4(), ACK, &[], &data, 1000), 1400, Ok((4, true))),
        (5, tcp_gso(v6(), ACK, &TIMESTAMPS, &data, 1000), 1400, Ok((4, true))),
        (6, tcp_gso(v4(), ACK, &[], &data, 1000), 5000, Ok((4, true))),
        // The segments asked for do not fit: smaller ones.
        (7, tcp_gso(v4(), ACK, &[], &data, 1448), 1220, Ok((4, true))),
        (8, tcp_gso(v4(), ACK, &[], &data, 1448), 1020, Ok((4, true))),
        // Nobody asked, but it does not fit.
        (9, tcp(v4(), ACK, &[], &data[..1381]), 1400, Ok((2, true))),
        (10, tcp(v6(), ACK, &[], &data[..1381]), 1400, Ok((2, true))),
        // Never cut.
        (11, tcp(v4(), SYN, &[], &data[..1381]), 1400, too_big),
        (12, tcp(v4(), ACK | URG, &[], &data[..1381]), 1400, too_big),
        (13, tcp(v4(), ACK, &md5, &data[..1381]), 1400, too_big),
        (14, tcp_gso(v4(), SYN, &[], &data, 1000), 5000, Ok((1, true))),
        // No room for even one byte.
        (15, tcp(v4(), ACK, &[], small), 20, too_big),
        (16, tcp(v4(), ACK, &[], small), 0, too_big),
        // UDP is cut as asked or not at all.
        (17, udp_gso(v4(), &data, 1000), 1008, Ok((4, true))),
        (18, udp_gso(v4(), &data, 1000), 1007, too_big),
        (19, udp_gso(v6(), &data, 1500), 1508, Ok((3, true))),
        (20, udp_gso(v4(), small, 1000), 1008, Ok((1, true))),
    ];
    for (number, built, limit, expected) in cases {
        assert_eq!(plan(&built, limit), expected, "case {number}");
    }
}

#[test]
fn only_tcp_and_only_whole_packets_are_cut_unasked() {
    for protocol in [17, 47, 132] {
        let bytes = ip_packet(v4(), protocol, &payload(1500));
        let built = Built { vnet: VnetHeader::default(), bytes };
        assert_eq!(plan(&built, 1400), Err(SegmentError::TooBig));
        assert_eq!(plan(&built, 1500), Ok((1, false)));
    }
    let mut fragment = tcp(v4(), ACK, &[], &payload(1500));
    fragment.bytes[6] = 0x20;
    assert_eq!(plan(&fragment, 1400), Err(SegmentError::TooBig));
}

#[test]
fn tcp_headers_of_the_segments() {
    for pair in [v4(), v6()] {
        let flags = ACK | PSH | FIN | CWR;
        let built = tcp_gso(pair, flags, &TIMESTAMPS, &payload(2500), 1000);
        let segments = packets(&built, 1400);
        let expected = [(ACK | CWR, 1000), (ACK, 1000), (ACK | PSH | FIN, 500)];
        assert_eq!(segments.len(), expected.len());
        for (index, (packet, (flags, len))) in segments.iter().zip(expected).enumerate() {
            let view = parse(packet).unwrap();
            assert_eq!(view.total_len, packet.len());
            let upper = completed(packet, &view, 16);
            let sequence = 0xFFFF_F000_u32.wrapping_add(index as u32 * 1000);
            assert_eq!(upper[4..8], sequence.to_be_bytes());
            assert_eq!(upper[8..13], built.bytes[view.header_len + 8..view.header_len + 13]);
            assert_eq!(upper[13], flags, "segment {index}");
            assert_eq!(upper[20..32], TIMESTAMPS);
            assert_eq!(upper[32..], payload(2500)[index * 1000..index * 1000 + len]);
            if pair.0.is_ipv4() {
                assert_eq!(reference::sum(&packet[..20]), 0xFFFF);
                assert_eq!(packet[4..6], (index as u16).to_be_bytes(), "identification");
            }
        }
    }
}

#[test]
fn sequence_numbers_wrap() {
    let built = tcp_gso(v4(), ACK, &[], &payload(9000), 1000);
    let last = packets(&built, 1400).pop().unwrap();
    assert_eq!(last[24..28], 0xFFFF_F000_u32.wrapping_add(8000).to_be_bytes());
}

#[test]
fn udp_headers_of_the_segments() {
    for pair in [v4(), v6()] {
        let built = udp_gso(pair, &payload(2500), 1000);
        let segments = packets(&built, 1400);
        for (index, (packet, len)) in segments.iter().zip([1000_u16, 1000, 500]).enumerate() {
            let view = parse(packet).unwrap();
            let upper = completed(packet, &view, 6);
            assert_eq!(upper[4..6], (len + 8).to_be_bytes());
            let from = index * 1000;
            assert_eq!(upper[8..], payload(2500)[from..from + usize::from(len)]);
        }
        assert_eq!(segments.len(), 3);
    }
}

#[test]
fn next_transport_is_next_packet_without_its_header() {
    for built in [
        tcp_gso(v4(), ACK | PSH, &TIMESTAMPS, &payload(5000), 1348),
        tcp_gso(v6(), ACK, &[], &payload(500), 1348),
        udp_gso(v6(), &payload(5000), 1200),
    ] {
        let view = built.view();
        let mut segmenter = Segmenter::new(&built.vnet, &built.bytes, &view, 1400).unwrap();
        let segment_len = segmenter.segment_len();
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        while let Some(len) = segmenter.next_len() {
            let before = out.len();
            assert!(segmenter.next_transport(&mut out));
            assert_eq!(out.len() - before, len);
            ends.push(out.len());
        }
        assert!(!segmenter.next_transport(&mut out), "the last one was the last");
        let expected: Vec<u8> =
            packets(&built, 1400).iter().flat_map(|p| p[view.header_len..].to_vec()).collect();
        assert_eq!(out, expected);
        // All but the last are equally long, the last is not longer.
        let count = ends.len();
        assert_eq!(count, segmenter.count());
        assert!(ends[..count - 1].iter().enumerate().all(|(i, end)| *end == (i + 1) * segment_len));
        assert!(out.len() <= count * segment_len && out.len() > (count - 1) * segment_len);
    }
}

/// Only segments with a partial one are merged at the other end.
#[test]
fn a_right_checksum_becomes_a_partial_one() {
    let udp = |pair| {
        let mut built = udp_gso(pair, &payload(100), 1000);
        let head = built.view().header_len;
        let upper = completed(&built.bytes, &built.view(), 6);
        built.bytes[head..].copy_from_slice(&upper);
        (Built { vnet: VnetHeader::default(), ..built }, 6)
    };
    let flags = ACK | URG | FIN;
    for (built, field) in [
        (tcp(v4(), flags, &TIMESTAMPS, &payload(100)), 16),
        (tcp(v6(), ACK, &[], &[]), 16),
        udp(v4()),
        udp(v6()),
    ] {
        let view = built.view();
        assert_eq!(plan(&built, 1400), Ok((1, true)));
        let sent = packets(&built, 1400).remove(0);
        assert_ne!(sent, built.bytes);
        assert_eq!(completed(&sent, &view, field), built.bytes[view.header_len..]);

        let mut broken = built.clone();
        broken.bytes[view.header_len + field] ^= 1;
        assert_eq!(plan(&broken, 1400), Ok((1, false)));
        assert_eq!(packets(&broken, 1400), [broken.bytes.clone()], "the receiver will see");
        // A card that looked at it is believed, as the kernel does.
        broken.vnet.data_valid = true;
        assert_eq!(plan(&broken, 1400), Ok((1, true)));
    }
}

#[test]
fn what_fits_and_is_not_ours_to_change_is_not_touched() {
    let mut without = udp_gso(v4(), &payload(100), 1000);
    without.vnet = VnetHeader::default();
    without.bytes[26..28].fill(0);
    for built in [
        without,
        tcp_gso(v6(), ACK, &TIMESTAMPS, &payload(100), 1448),
        Built { vnet: VnetHeader::default(), bytes: ip_packet(v4(), 47, &payload(33)) },
    ] {
        let mut padded = built.clone();
        padded.bytes.extend([0xEE; 10]);
        assert_eq!(packets(&padded, 1400), [built.bytes]);
    }
}

#[test]
fn a_broken_packet_is_not_made_whole() {
    for pair in [v4(), v6()] {
        let mut built = tcp(pair, ACK, &[], &payload(3000));
        *built.bytes.last_mut().unwrap() ^= 1;
        let error = SegmentError::Malformed(Malformed::Checksum);
        assert_eq!(plan(&built, 1400), Err(error));
        assert_eq!(plan(&built, 4000), Ok((1, false)), "handed on, the receiver will see");
    }
}

#[test]
fn behind_a_routing_header_only_the_sender_knows_the_checksummed_address() {
    let segment = tcp(v6(), ACK, &[], &payload(1400)).bytes[40..].to_vec();
    let routed = [vec![6, 0, 0, 0, 0, 0, 0, 0], segment].concat();
    let built = Built { vnet: VnetHeader::default(), bytes: ip_packet(v6(), 43, &routed) };
    assert_eq!(plan(&built, 1400), Err(SegmentError::TooBig));

    // A partial one was begun by the sender, and is carried on.
    let mut super_packet = tcp_gso(v6(), ACK, &[], &payload(3000), 1000);
    super_packet.bytes.splice(40..40, [6, 0, 0, 0, 0, 0, 0, 0]);
    super_packet.bytes[6] = 43;
    let len = (super_packet.bytes.len() - 40) as u16;
    super_packet.bytes[4..6].copy_from_slice(&len.to_be_bytes());
    super_packet.vnet = super_packet.vnet.shifted(8).unwrap();
    for packet in packets(&super_packet, 1400) {
        let view = parse(&packet).unwrap();
        assert_eq!((view.header_len, view.total_len), (48, packet.len()));
        completed(&packet, &view, 16);
    }
}

#[test]
fn a_checksum_inside_a_tunnel_is_completed_here() {
    // VXLAN, say: the outer UDP has no checksum, the inner TCP's is partial.
    let inner = tcp_gso(v4(), ACK, &[], &payload(100), 1448);
    let upper = [vec![0x30, 0x39, 0x12, 0xB5, 0, 156, 0, 0], inner.bytes].concat();
    let partial = Some(PartialChecksum { start: 20 + 8 + 20, offset: 16 });
    let vnet = VnetHeader { partial, ..VnetHeader::default() };
    let built = Built { vnet, bytes: ip_packet(v4(), 17, &upper) };
    assert_eq!(plan(&built, 1400), Ok((1, false)));
    let sent = packets(&built, 1400).remove(0);
    assert!(reference::is_right(v4().0, v4().1, 6, &sent[48..]));
    assert_eq!(sent[..64], built.bytes[..64]);
}

#[test]
fn offload_requests_that_do_not_fit_the_packet_are_refused() {
    let good = tcp_gso(v4(), ACK, &[], &payload(3000), 1000);
    let with = |change: &dyn Fn(&mut VnetHeader)| {
        let mut built = good.clone();
        change(&mut built.vnet);
        plan(&built, 1400)
    };
    let gso = |kind| Some(Gso { kind, size: 1000, ecn: false });
    let offload = Err(SegmentError::Malformed(Malformed::Offload));
    assert_eq!(with(&|v| v.gso = gso(GsoKind::TcpV6)), offload);
    assert_eq!(with(&|v| v.gso = gso(GsoKind::UdpDatagrams)), offload);
    let at = |start, offset| Some(PartialChecksum { start, offset });
    assert_eq!(with(&|v| v.partial = at(20, 6)), offload);
    assert_eq!(with(&|v| v.partial = at(34, 16)), offload);
    assert_eq!(with(&|v| v.partial = at(3050, 16)), offload);
    // Not into the IP header either, whose own checksum the kernel never leaves to us.
    assert_eq!(with(&|v| v.partial = at(0, 10)), offload);
    assert_eq!(with(&|v| v.partial = at(19, 17)), offload);
    assert_eq!(with(&|v| v.partial = at(u16::MAX, u16::MAX)), offload);
    // The hint is never believed.
    for hdr_len in [0, 20, 54, 1500, u16::MAX] {
        assert_eq!(with(&|v| v.hdr_len = hdr_len), Ok((3, true)));
    }
    // Both bytes of a data offset that lies.
    for offset in [0x00, 0x40] {
        let mut built = good.clone();
        built.bytes[32] = offset;
        assert_eq!(plan(&built, 1400), Err(SegmentError::Malformed(Malformed::Length)));
    }
}

#[test]
fn zero_checksum_udp_stays_valid_when_cut() {
    let mut built = udp_gso(v4(), &payload(2500), 1000);
    built.vnet.partial = None;
    built.bytes[26..28].fill(0);
    for packet in packets(&built, 1400) {
        completed(&packet, &parse(&packet).unwrap(), 6);
    }
    let mut six = udp_gso(v6(), &payload(2500), 1000);
    six.vnet.partial = None;
    six.bytes[46..48].fill(0);
    assert_eq!(plan(&six, 1400), Err(SegmentError::Malformed(Malformed::Checksum)));
}
