//! What a kernel refuses merged goes out again as the packets it was made of.

use crate::build::{ACK, Built, CWR, PSH, TIMESTAMPS, payload, tcp, tcp_gso, udp_gso, v4, v6};
use crate::coalesce::coalesce;
use crate::reference;
use ge_core::unmerge::{unmerge, unmerge_frame};
use ge_core::wire::ip::parse;
use ge_core::wire::vnet::VnetHeader;

fn pieces(vnet: &VnetHeader, packet: &[u8]) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut out = Vec::new();
    let count = unmerge(vnet, packet, &mut |vnet, bytes| out.push((*vnet, bytes.to_vec())));
    assert_eq!(count.unwrap(), out.len());
    out
}

/// Cut by this, merged, cut again: the same packets in the same order, each with the checksum it
/// came with.
#[test]
fn merged_packets_come_apart_as_they_were() {
    for pair in [v4(), v6()] {
        for built in [
            tcp_gso(pair, ACK | PSH, &TIMESTAMPS, &payload(9_000), 1400),
            tcp_gso(pair, ACK, &[], &payload(64 * 10), 10),
            udp_gso(pair, &payload(20_050), 1200),
        ] {
            let apart = pieces(&built.vnet, &built.bytes);
            assert!(apart.len() > 1);
            let packets: Vec<_> = apart.iter().map(|(_, bytes)| (bytes.clone(), true)).collect();
            let merged = coalesce(&packets);
            assert_eq!(merged.len(), 1);
            assert!(merged[0].pieces > 1, "nothing was merged");
            assert!(pieces(&merged[0].vnet, &merged[0].bytes) == apart);
        }
    }
}

#[test]
fn what_is_not_to_be_cut_is_one_piece_as_it_was() {
    let partial = tcp(v4(), ACK, &TIMESTAMPS, &payload(700));
    let plain = Built { vnet: VnetHeader::default(), ..partial.clone() };
    for built in [partial, plain] {
        let apart = pieces(&built.vnet, &built.bytes);
        assert_eq!(apart.len(), 1);
        assert_eq!(apart[0].1, built.bytes);
        assert_eq!(apart[0].0.partial, built.vnet.partial);
        assert_eq!(apart[0].0.gso, None);
    }
}

/// Frames for a device that neither cuts nor sums: every checksum is complete. CWR of a segment
/// that answers congestion is on the first alone (RFC 3168 6.1.2).
#[test]
fn frames_come_apart_complete() {
    let ethernet = [2; 14];
    for (built, count) in [
        (tcp_gso(v4(), ACK | CWR, &[], &payload(3_000), 1400), 3),
        (tcp_gso(v6(), ACK | CWR, &[], &payload(3_000), 1400), 3),
        (udp_gso(v4(), &payload(3_000), 1400), 3),
        (udp_gso(v6(), &payload(900), 1400), 1),
    ] {
        let vnet = built.vnet.shifted(14).unwrap().emit();
        let frame = [&vnet[..], &ethernet, &built.bytes].concat();
        let mut seen = Vec::new();
        unmerge_frame(&frame, &mut |bytes| seen.push(bytes.to_vec())).unwrap();
        assert_eq!(seen.len(), count);
        for (index, bytes) in seen.iter().enumerate() {
            assert_eq!(bytes[..14], ethernet);
            let packet = &bytes[14..];
            let view = parse(packet).unwrap();
            assert_eq!(packet.len(), view.total_len);
            let upper = &packet[view.header_len..];
            let right = reference::is_right(view.source, view.destination, view.protocol, upper);
            assert!(right, "piece {index}");
            if view.protocol == 6 {
                assert_eq!(upper[13] & CWR != 0, index == 0, "piece {index}");
            }
        }
    }
}

#[test]
fn broken_frames_are_refused() {
    let built = tcp_gso(v4(), ACK, &[], &payload(3_000), 1400);
    let frame = [&built.vnet.shifted(14).unwrap().emit()[..], &[2; 14], &built.bytes].concat();
    for len in [0, 9, 23, 24, 40, 44, 60] {
        let refused = unmerge_frame(&frame[..len], &mut |_| panic!("handed on"));
        assert!(refused.is_err(), "{len} bytes");
    }
}
