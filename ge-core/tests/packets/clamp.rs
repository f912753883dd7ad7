//! MSS clamping: only SYN segments, both kinds of checksum, numbered cases.

use crate::build::{ACK, SYN, tcp, tcp_gso, v4, v6};
use crate::reference;
use ge_core::wire::ip::parse;
use ge_core::wire::tcp::clamp_mss;

const MSS_1460: [u8; 4] = [2, 4, 0x05, 0xB4];

#[test]
fn lowers_the_mss_and_keeps_the_checksum_right() {
    // MSS first; after three NOPs; and at an odd offset, where its bytes straddle two words.
    let layouts: [&[u8]; 3] =
        [&MSS_1460, &[1, 1, 1, 1, 2, 4, 0x05, 0xB4], &[1, 2, 4, 0x05, 0xB4, 1, 1, 0]];
    for options in layouts {
        for (pair, flags) in [(v4(), SYN), (v4(), SYN | ACK), (v6(), SYN), (v6(), SYN | ACK)] {
            let mut packet = tcp(pair, flags, options, &[]).bytes;
            let view = parse(&packet).unwrap();
            assert!(clamp_mss(&mut packet, &view, 1372, false));
            let segment = &packet[view.header_len..];
            let at = options.iter().position(|byte| *byte == 0x05).unwrap() + 20;
            assert_eq!(segment[at..at + 2], 1372_u16.to_be_bytes());
            assert!(reference::is_right(pair.0, pair.1, 6, segment), "{options:?}");
            assert!(!clamp_mss(&mut packet, &view, 1372, false), "once is enough");
        }
    }
}

#[test]
fn a_partial_checksum_stays_and_completes_rightly() {
    let mut packet = tcp_gso(v4(), SYN, &MSS_1460, &[], 1448).bytes;
    let view = parse(&packet).unwrap();
    let before = packet[36..38].to_vec();
    assert!(clamp_mss(&mut packet, &view, 1300, true));
    assert_eq!(packet[36..38], before);
    reference::complete(&mut packet[20..], 16);
    assert!(reference::is_right(v4().0, v4().1, 6, &packet[20..]));
}

#[test]
fn untouched_truth_table() {
    let cases = [
        (1, ACK, MSS_1460.to_vec(), 1300),
        (2, SYN, MSS_1460.to_vec(), 1460),
        (3, SYN, vec![], 1300),
        (4, SYN, vec![0, 0, 0, 0, 2, 4, 5, 0xB4], 1300),
        (5, SYN, vec![2, 3, 0x05, 0xB4], 1300),
        (6, SYN, vec![2, 0, 0x05, 0xB4], 1300),
        (7, SYN, vec![1, 1, 2, 4], 1300),
        (8, SYN, vec![3, 40, 2, 4], 1300),
    ];
    for (number, flags, options, max) in cases {
        let mut packet = tcp(v4(), flags, &options, &[]).bytes;
        let before = packet.clone();
        let view = parse(&packet).unwrap();
        assert!(!clamp_mss(&mut packet, &view, max, false), "case {number}");
        assert_eq!(packet, before, "case {number}");
    }
}
