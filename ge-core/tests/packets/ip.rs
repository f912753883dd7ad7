//! The one parser for both IP versions: literal packets, truth tables, every truncation.

use crate::build::{ip_packet, v4, v6};
use crate::reference;
use ge_core::wire::Malformed;
use ge_core::wire::checksum;
use ge_core::wire::ip::{
    Fragment, HEADER_MAX, combine_ecn, emit_header, parse, parse_truncated, ports, set_tos,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// UDP from 192.168.0.1 to 192.168.0.199, total length 115, DF; header checksum 0xb861.
const V4_HEADER: [u8; 20] = [
    0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01,
    0xc0, 0xa8, 0x00, 0xc7,
];

#[test]
fn reads_and_writes_a_literal_ipv4_header() {
    let mut packet = V4_HEADER.to_vec();
    packet.resize(115, 0);
    let view = parse(&packet).unwrap();
    assert_eq!(view.source.to_string(), "192.168.0.1");
    assert_eq!(view.destination.to_string(), "192.168.0.199");
    assert_eq!((view.protocol, view.header_len, view.total_len), (17, 20, 115));
    assert_eq!((view.tos, view.hop_limit, view.fragment), (0, 64, Fragment::None));
    assert!(view.dont_fragment && view.plain_header);

    let mut header = [0; HEADER_MAX];
    let len = emit_header(&mut header, view.source, view.destination, 17, 95, 0, 64);
    assert_eq!(header[..len], V4_HEADER);
}

#[test]
fn reads_and_writes_a_literal_ipv6_header() {
    let mut literal = vec![0x6b, 0x80, 0, 0, 0, 8, 17, 63];
    literal.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    literal.extend([0x20, 1, 0xd, 0xb8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    let mut packet = literal.clone();
    packet.extend([0; 8]);
    let view = parse(&packet).unwrap();
    assert_eq!((view.source, view.destination), v6());
    assert_eq!((view.protocol, view.header_len, view.total_len), (17, 40, 48));
    assert_eq!((view.tos, view.hop_limit, view.fragment), (0xb8, 63, Fragment::None));
    assert!(view.dont_fragment && view.plain_header);

    let mut header = [0; HEADER_MAX];
    let len = emit_header(&mut header, view.source, view.destination, 17, 8, 0xb8, 63);
    assert_eq!(header[..len], literal);
}

#[test]
fn refuses_headers_it_cannot_write() {
    let mut header = [0; HEADER_MAX];
    let ((from4, to4), (from6, to6)) = (v4(), v6());
    assert_eq!(emit_header(&mut header, from4, to6, 6, 0, 0, 64), 0);
    assert_eq!(emit_header(&mut header, from6, to4, 6, 0, 0, 64), 0);
    assert_eq!(emit_header(&mut header, from4, to4, 6, 65_516, 0, 64), 0);
    assert_eq!(emit_header(&mut header, from6, to6, 6, 65_536, 0, 64), 0);
    assert_eq!(header, [0; HEADER_MAX]);
    assert_eq!(emit_header(&mut header, from4, to4, 6, 65_515, 0, 64), 20);
    assert_eq!(emit_header(&mut header, from6, to6, 6, 65_535, 0, 64), 40);
}

#[test]
fn malformed_ipv4_truth_table() {
    let good = ip_packet(v4(), 17, &[0; 8]);
    let with = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        packet
    };
    let cases = [
        (1, vec![], Malformed::TooShort),
        (2, with(0, 0x55), Malformed::Version),
        (3, with(0, 0x44), Malformed::Length),
        (4, with(0, 0x4F), Malformed::Length),
        (5, with(3, 19), Malformed::Length),
        (6, with(3, 29), Malformed::TooShort),
        (7, good[..19].to_vec(), Malformed::TooShort),
        // Linux "BIG TCP" says total length 0.
        (8, with(3, 0), Malformed::Length),
    ];
    for (number, packet, error) in cases {
        assert_eq!(parse(&packet), Err(error), "case {number}");
    }
    let mut padded = good;
    padded.extend([0; 18]);
    assert_eq!(parse(&padded).unwrap().total_len, 28, "link padding is not part of the packet");
}

#[test]
fn ipv4_flags_truth_table() {
    let cases = [
        (0x0000, Fragment::None, false, true),
        (0x4000, Fragment::None, true, true),
        (0x2000, Fragment::First, false, false),
        (0x2001, Fragment::Later, false, false),
        (0x0001, Fragment::Later, false, false),
        (0x1FFF, Fragment::Later, false, false),
        (0x8000, Fragment::None, false, true),
    ];
    for (flags, fragment, dont_fragment, plain) in cases {
        let mut packet = ip_packet(v4(), 17, &[0; 8]);
        packet[6..8].copy_from_slice(&u16::to_be_bytes(flags));
        let view = parse(&packet).unwrap();
        let got = (view.fragment, view.dont_fragment, view.plain_header);
        assert_eq!(got, (fragment, dont_fragment, plain), "{flags:#06x}");
    }
    let mut options = vec![0x46, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    options.extend([148, 4, 0, 0, 1, 2, 3, 4]);
    let view = parse(&options).unwrap();
    assert_eq!((view.header_len, view.plain_header), (24, false));
}

#[test]
fn extension_headers_truth_table() {
    const TCP: u8 = 6;
    let hop = |next: u8| vec![next, 0, 5, 2, 0, 0, 1, 0];
    let routing = |next: u8| vec![next, 0, 3, 0, 0, 0, 0, 0];
    let options = |next: u8| [vec![next, 1], vec![0; 14]].concat();
    let fragment = |next: u8, field: u16| {
        let [high, low] = field.to_be_bytes();
        vec![next, 0, high, low, 0, 0, 0, 1]
    };
    type Expected = Result<(u8, usize, Fragment), Malformed>;
    let cases: [(u32, u8, Vec<Vec<u8>>, Expected); 13] = [
        (1, 0, vec![hop(58)], Ok((58, 48, Fragment::None))),
        (2, 0, vec![hop(43), routing(60), options(TCP)], Ok((TCP, 72, Fragment::None))),
        (3, 44, vec![fragment(TCP, 1)], Ok((TCP, 48, Fragment::First))),
        (4, 44, vec![fragment(TCP, 0)], Ok((TCP, 48, Fragment::None))),
        (5, 44, vec![fragment(TCP, 8)], Ok((TCP, 48, Fragment::Later))),
        // The next header of a later fragment is not there to be walked.
        (6, 44, vec![fragment(60, 8)], Ok((60, 48, Fragment::Later))),
        (7, 44, vec![fragment(60, 1), options(TCP)], Ok((TCP, 64, Fragment::First))),
        (8, 44, vec![fragment(44, 0), fragment(TCP, 0)], Err(Malformed::ExtensionHeaders)),
        (9, 60, vec![options(0), hop(TCP)], Err(Malformed::ExtensionHeaders)),
        (10, 60, vec![options(60); 9], Err(Malformed::ExtensionHeaders)),
        (11, 43, vec![vec![TCP, 9, 0, 0, 0, 0, 0, 0]], Err(Malformed::TooShort)),
        (12, 60, vec![vec![TCP, 0, 0]], Err(Malformed::TooShort)),
        (13, 51, vec![vec![TCP, 4, 0, 0, 0, 0, 0, 0]], Ok((51, 40, Fragment::None))),
    ];
    for (number, first, headers, expected) in cases {
        let packet = ip_packet(v6(), first, &headers.concat());
        let got = parse(&packet).map(|view| (view.protocol, view.header_len, view.fragment));
        assert_eq!(got, expected, "case {number}");
        if let Ok(view) = parse(&packet) {
            assert_eq!(view.plain_header, view.header_len == 40, "case {number}");
        }
    }
}

#[test]
fn extension_headers_are_not_read_from_link_padding() {
    let mut packet = ip_packet(v6(), 60, &[6, 0, 0, 0, 0, 0, 0]);
    packet.extend([0; 9]);
    assert_eq!(parse(&packet), Err(Malformed::TooShort));
}

#[test]
fn refuses_mapped_addresses_and_jumbograms() {
    for at in [8, 24] {
        let mut packet = ip_packet(v6(), 6, &[0; 20]);
        packet[at..at + 16].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1]);
        assert_eq!(parse(&packet), Err(Malformed::MappedAddress));
    }
    let mut jumbo = ip_packet(v6(), 6, &[]);
    jumbo.resize(70_000, 0);
    assert_eq!(parse(&jumbo), Err(Malformed::Jumbogram));
}

#[test]
fn truncated_packets_keep_their_headers() {
    let packet = ip_packet(v4(), 6, &[7; 1000]);
    let view = parse_truncated(&packet[..28]).unwrap();
    assert_eq!((view.header_len, view.total_len), (20, 1020));
    assert_eq!(parse(&packet[..28]), Err(Malformed::TooShort));
}

#[test]
fn ports_truth_table() {
    let upper = [8, 0, 0, 80, 0x12, 0x34, 0, 1];
    let cases = [
        (1, v4(), 6, (0x0800, 80)),
        (2, v4(), 17, (0x0800, 80)),
        (3, v6(), 132, (0x0800, 80)),
        (4, v4(), 1, (0x1234, 0x1234)),
        (5, v6(), 58, (0, 0)),
        (6, v4(), 47, (0, 0)),
    ];
    for (number, pair, protocol, expected) in cases {
        let packet = ip_packet(pair, protocol, &upper);
        let got = ports(&packet, &parse(&packet).unwrap());
        assert_eq!((got.local, got.remote), expected, "case {number}");
        assert_eq!(got.protocol, protocol, "case {number}");
    }
    let echo = ip_packet(v6(), 58, &[128, 0, 0, 0, 0x12, 0x34, 0, 1]);
    assert_eq!(ports(&echo, &parse(&echo).unwrap()).local, 0x1234);
    let short = ip_packet(v4(), 6, &[0, 80, 1]);
    assert_eq!(ports(&short, &parse(&short).unwrap()).local, 0, "no half of a pair");
    let mut later = ip_packet(v4(), 6, &upper);
    later[7] = 1;
    assert_eq!(ports(&later, &parse(&later).unwrap()).local, 0);
}

#[test]
fn ecn_truth_table_of_rfc_6040() {
    const DROP: Option<u8> = None;
    // Rows: inner Not-ECT, ECT(1), ECT(0), CE. Columns: outer in the same order.
    let table = [
        [Some(0), Some(0), Some(0), DROP],
        [Some(1), Some(1), Some(1), Some(3)],
        [Some(2), Some(1), Some(2), Some(3)],
        [Some(3), Some(3), Some(3), Some(3)],
    ];
    for (inner, row) in (0_u8..).zip(table) {
        for (outer, expected) in (0_u8..).zip(row) {
            assert_eq!(combine_ecn(inner, outer), expected, "{inner:02b} {outer:02b}");
            // The inner DSCP stays, the outer one is not looked at.
            let got = combine_ecn(0xB8 | inner, 0x24 | outer);
            assert_eq!(got, expected.map(|ecn| 0xB8 | ecn), "{inner:02b} {outer:02b}");
        }
    }
}

#[test]
fn set_tos_keeps_the_rest() {
    for pair in [v4(), v6()] {
        let mut packet = ip_packet(pair, 6, &[1; 20]);
        let before = parse(&packet).unwrap();
        set_tos(&mut packet, 0xBB);
        let after = parse(&packet).unwrap();
        assert_eq!(after.tos, 0xBB);
        assert_eq!(ge_core::wire::ip::IpView { tos: 0, ..after }, before);
        if pair.0.is_ipv4() {
            assert_eq!(reference::sum(&packet[..20]), 0xFFFF);
        }
    }
}

#[test]
fn checksum_of_rfc_1071_and_of_the_reference() {
    let example = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(checksum::sum(&example), 0xddf2);
    assert_eq!(checksum::checksum(&example), 0x220d);

    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for len in (0..300).chain([1499, 1500, 65_535]) {
        let mut bytes = vec![0; len];
        rng.fill_bytes(&mut bytes);
        assert_eq!(checksum::sum(&bytes), u32::from(reference::sum(&bytes)), "{len} bytes");
    }
    assert_eq!(checksum::sum(&[0xFF; 65_534]), 0xFFFF, "carries do not get lost");
}

#[test]
fn incremental_update_equals_a_new_computation() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    for _ in 0..10_000 {
        let mut bytes = [0; 20];
        rng.fill_bytes(&mut bytes);
        let before = checksum::checksum(&bytes);
        let old = u16::from_be_bytes([bytes[6], bytes[7]]);
        let new = rng.next_u32() as u16;
        bytes[6..8].copy_from_slice(&new.to_be_bytes());
        // As a receiver sees it: data and checksum sum up to all ones.
        let updated = checksum::update(before, old, new);
        assert_eq!(reference::sum(&[&bytes[..], &updated.to_be_bytes()].concat()), 0xFFFF);
    }
}
