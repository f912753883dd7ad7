//! ICMP errors: made, read, quoted, turned into errors about inner packets.

use crate::build::{ACK, ip_packet, payload, tcp, v4, v6};
use crate::reference;
use ge_core::icmp_error::{
    ErrorKind, administratively_prohibited, build_error_for, packet_too_big, parse_error,
    quoted_parse,
};
use ge_core::wire::ip::parse;
use std::net::IpAddr;

#[test]
fn too_big_is_laid_out_as_rfc_1191_says() {
    let (sender, target) = v4();
    let offending = tcp(v4(), ACK, &[], &payload(1400)).bytes;
    let error = packet_too_big(&offending, &parse(&offending).unwrap(), 1372, target).unwrap();
    let view = parse(&error).unwrap();
    assert_eq!((view.source, view.destination, view.protocol), (target, sender, 1));
    assert_eq!((error.len(), view.total_len), (576, 576));
    assert_eq!(reference::sum(&error[..20]), 0xFFFF);
    assert_eq!(reference::sum(&error[20..]), 0xFFFF);
    assert_eq!(error[20..22], [3, 4]);
    assert_eq!(error[24..28], [0, 0, 0x05, 0x5C]);
    assert_eq!(error[28..], offending[..548]);
}

#[test]
fn too_big_is_laid_out_as_rfc_4443_says() {
    let (sender, target) = v6();
    let offending = tcp(v6(), ACK, &[], &payload(1400)).bytes;
    let error = packet_too_big(&offending, &parse(&offending).unwrap(), 1420, target).unwrap();
    let view = parse(&error).unwrap();
    assert_eq!((view.source, view.destination, view.protocol), (target, sender, 58));
    assert_eq!((error.len(), view.total_len), (1280, 1280));
    assert!(reference::is_right(target, sender, 58, &error[40..]));
    assert_eq!(error[40..42], [2, 0]);
    assert_eq!(error[44..48], [0, 0, 0x05, 0x8C]);
    assert_eq!(error[48..], offending[..1232]);
}

#[test]
fn small_packets_are_quoted_whole_and_without_link_padding() {
    let mut offending = tcp(v4(), ACK, &[], &[]).bytes;
    let len = offending.len();
    offending.extend([0xEE; 6]);
    let view = parse(&offending).unwrap();
    let error = administratively_prohibited(&offending, &view, v4().1).unwrap();
    assert_eq!(error[20..22], [3, 13]);
    assert_eq!(error[28..], offending[..len]);
    let offending = tcp(v6(), ACK, &[], &[]).bytes;
    let view = parse(&offending).unwrap();
    let error = administratively_prohibited(&offending, &view, v6().1).unwrap();
    assert_eq!(error[40..42], [1, 1]);
}

#[test]
fn never_answered_truth_table() {
    let host4 = v4().1;
    let to = |text: &str| (v4().0, text.parse::<IpAddr>().unwrap());
    let from = |text: &str| (text.parse::<IpAddr>().unwrap(), v4().1);
    let cases = [
        (1, ip_packet(v4(), 6, &[0; 20]), true),
        (2, ip_packet(v4(), 1, &[8, 0, 0, 0, 0, 0, 0, 0]), true),
        (3, ip_packet(v4(), 1, &[3, 0, 0, 0, 0, 0, 0, 0]), false),
        (4, ip_packet(v4(), 1, &[4, 0, 0, 0, 0, 0, 0, 0]), false),
        (5, ip_packet(v4(), 1, &[5, 0, 0, 0, 0, 0, 0, 0]), false),
        (6, ip_packet(v4(), 1, &[11, 0, 0, 0, 0, 0, 0, 0]), false),
        (7, ip_packet(v4(), 1, &[12, 0, 0, 0, 0, 0, 0, 0]), false),
        (8, ip_packet(to("224.0.0.251"), 17, &[0; 8]), false),
        (9, ip_packet(to("255.255.255.255"), 17, &[0; 8]), false),
        (10, ip_packet(from("0.0.0.0"), 17, &[0; 8]), false),
        (11, ip_packet(from("224.0.0.1"), 17, &[0; 8]), false),
        (12, ip_packet(v4(), 17, &[0; 7]), false),
        (13, ip_packet(v6(), 17, &[0; 8]), false),
    ];
    for (number, packet, expected) in cases {
        let view = parse(&packet).unwrap();
        let answered = packet_too_big(&packet, &view, 1300, host4).is_some();
        assert_eq!(answered, expected, "case {number}");
    }
    let host6 = v6().1;
    for (kind, expected) in [(128, true), (135, true), (1, false), (127, false), (137, false)] {
        let packet = ip_packet(v6(), 58, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        let view = parse(&packet).unwrap();
        let answered = packet_too_big(&packet, &view, 1300, host6).is_some();
        assert_eq!(answered, expected, "ICMPv6 type {kind}");
    }
    for (flags, expected) in [(0x2000_u16, true), (0x2001, false), (0x0001, false)] {
        let mut packet = ip_packet(v4(), 17, &[0; 8]);
        packet[6..8].copy_from_slice(&flags.to_be_bytes());
        let view = parse(&packet).unwrap();
        let answered = packet_too_big(&packet, &view, 1300, host4).is_some();
        assert_eq!(answered, expected, "flags {flags:#06x}");
    }
}

/// An error message with its checksum made right.
fn error_packet(pair: (IpAddr, IpAddr), header: [u8; 8], quoted: &[u8]) -> Vec<u8> {
    let mut message = header.to_vec();
    message.extend(quoted);
    let (protocol, value) = if pair.0.is_ipv4() {
        (1, !reference::sum(&message))
    } else {
        (58, !reference::sum(&reference::covered(pair.0, pair.1, 58, &message)))
    };
    message[2..4].copy_from_slice(&value.to_be_bytes());
    ip_packet(pair, protocol, &message)
}

#[test]
fn reads_errors() {
    use ErrorKind::{Other, TimeExceeded, TooBig, Unreachable};
    let cases = [
        (1, v4(), [3, 4, 0, 0, 0, 0, 0x05, 0x78], TooBig { mtu: 1400 }),
        (2, v4(), [3, 4, 0, 0, 0, 0, 0, 0], TooBig { mtu: 0 }),
        (3, v4(), [3, 1, 0, 0, 0, 0, 0, 0], Unreachable { code: 1 }),
        (4, v4(), [11, 0, 0, 0, 0, 0, 0, 0], TimeExceeded { code: 0 }),
        (5, v4(), [12, 0, 0, 0, 0, 0, 0, 0], Other),
        (6, v4(), [5, 1, 0, 0, 10, 0, 0, 1], Other),
        (7, v6(), [2, 0, 0, 0, 0, 0, 0x05, 0x78], TooBig { mtu: 1400 }),
        (8, v6(), [2, 0, 0, 0, 0, 1, 0, 0], TooBig { mtu: u16::MAX }),
        (9, v6(), [1, 4, 0, 0, 0, 0, 0, 0], Unreachable { code: 4 }),
        (10, v6(), [3, 0, 0, 0, 0, 0, 0, 0], TimeExceeded { code: 0 }),
        (11, v6(), [4, 1, 0, 0, 0, 0, 0, 0], Other),
    ];
    for (number, pair, header, kind) in cases {
        let quoted = tcp((pair.1, pair.0), ACK, &[], &payload(9)).bytes;
        let packet = error_packet(pair, header, &quoted);
        let error = parse_error(&packet, &parse(&packet).unwrap()).unwrap();
        assert_eq!((error.kind, error.reporter), (kind, pair.0), "case {number}");
        assert_eq!(error.quoted, quoted, "case {number}");
        let inner = quoted_parse(error.quoted).unwrap();
        assert_eq!((inner.source, inner.destination), (pair.1, pair.0), "case {number}");

        let mut damaged = packet.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(parse_error(&damaged, &parse(&damaged).unwrap()), None, "case {number}");
    }
    for (pair, kind) in [(v4(), 8), (v4(), 0), (v6(), 128), (v6(), 135)] {
        let packet = error_packet(pair, [kind, 0, 0, 0, 0, 0, 0, 0], &[0; 28]);
        assert_eq!(parse_error(&packet, &parse(&packet).unwrap()), None);
    }
}

#[test]
fn extensions_are_not_part_of_the_quote() {
    // RFC 4884: the quote is padded to 128 bytes, an extension structure follows.
    let quoted = [vec![0x45; 128], vec![0x20, 0, 0, 0]].concat();
    let packet = error_packet(v4(), [11, 0, 0, 0, 0, 32, 0, 0], &quoted);
    let error = parse_error(&packet, &parse(&packet).unwrap()).unwrap();
    assert_eq!(error.quoted.len(), 128);
    let packet = error_packet(v6(), [3, 0, 0, 0, 16, 0, 0, 0], &quoted);
    let error = parse_error(&packet, &parse(&packet).unwrap()).unwrap();
    assert_eq!(error.quoted.len(), 128);
    // A length beyond the message is a lie.
    let packet = error_packet(v4(), [11, 0, 0, 0, 0, 255, 0, 0], &quoted);
    let error = parse_error(&packet, &parse(&packet).unwrap()).unwrap();
    assert_eq!(error.quoted.len(), 132);
}

#[test]
fn an_error_about_the_outer_packet_becomes_one_about_the_inner() {
    let router4: IpAddr = "203.0.113.9".parse().unwrap();
    let router6: IpAddr = "2001:db8:9::9".parse().unwrap();
    let inner4 = tcp(v4(), ACK, &[], &payload(64)).bytes;
    let inner6 = tcp(v6(), ACK, &[], &payload(64)).bytes;
    let too_big = ErrorKind::TooBig { mtu: 1300 };
    let prohibited = ErrorKind::Unreachable { code: 13 };
    let cases = [
        (1, too_big, router4, &inner4, router4, too_big),
        (2, too_big, router6, &inner6, router6, too_big),
        (3, too_big, router4, &inner6, v6().1, too_big),
        (4, too_big, router6, &inner4, v4().1, too_big),
        (5, prohibited, router4, &inner4, router4, prohibited),
        (6, prohibited, router4, &inner6, v6().1, ErrorKind::Unreachable { code: 3 }),
        (7, prohibited, router6, &inner4, v4().1, ErrorKind::Unreachable { code: 1 }),
    ];
    for (number, kind, reporter, inner, from, told) in cases {
        // The quote is usually cut: headers and eight bytes must be enough.
        let cut = &inner[..if inner[0] >> 4 == 4 { 28 } else { 48 }];
        for offending in [&inner[..], cut] {
            let packet = build_error_for(kind, reporter, offending).unwrap();
            let error = parse_error(&packet, &parse(&packet).unwrap()).unwrap();
            assert_eq!((error.kind, error.reporter), (told, from), "case {number}");
            assert_eq!(error.quoted, offending, "case {number}");
        }
        assert_eq!(build_error_for(kind, reporter, &cut[..cut.len() - 1]), None);
    }
    assert_eq!(build_error_for(ErrorKind::Other, router4, &inner4), None);
    assert_eq!(build_error_for(too_big, router4, &[]), None);
}
