//! The echo carrier and what counts as link control.

use crate::build::{ip_packet, v4, v6};
use crate::reference;
use ge_core::wire::icmp::{Echo, emit_echo, is_link_control, parse_echo};
use ge_core::wire::ip::parse;

/// The echo request that Windows' `ping` sends first.
const WINDOWS_PING: [u8; 8] = [8, 0, 0x4d, 0x5a, 0, 1, 0, 1];
const WINDOWS_PAYLOAD: &[u8] = b"abcdefghijklmnopqrstuvwabcdefghi";

#[test]
fn writes_a_literal_echo_request() {
    let (from, to) = v4();
    let message = emit_echo(true, 1, 1, WINDOWS_PAYLOAD, from, to);
    assert_eq!(message[..8], WINDOWS_PING);
    assert_eq!(&message[8..], WINDOWS_PAYLOAD);
}

#[test]
fn echo_survives_the_way_and_damage_does_not() {
    for (protocol, pair) in [(1, v4()), (58, v6())] {
        for request in [true, false] {
            let message = emit_echo(request, 0xBEEF, 7, b"message", pair.0, pair.1);
            if protocol == 58 {
                assert!(reference::is_right(pair.0, pair.1, 58, &message));
            } else {
                assert_eq!(reference::sum(&message), 0xFFFF);
            }
            let packet = ip_packet(pair, protocol, &message);
            let view = parse(&packet).unwrap();
            let echo = Echo { request, id: 0xBEEF, seq: 7, payload: b"message" };
            assert_eq!(parse_echo(&packet, &view), Some(echo));
            for bit in 0..message.len() * 8 {
                let mut damaged = packet.clone();
                damaged[view.header_len + bit / 8] ^= 1 << (bit % 8);
                assert_eq!(parse_echo(&damaged, &view), None, "bit {bit}");
            }
        }
    }
}

#[test]
fn not_an_echo_truth_table() {
    let (from, to) = v4();
    let echo = emit_echo(true, 1, 1, b"x", from, to);
    let view_of = |packet: &[u8]| parse(packet).unwrap();
    // ICMP in IPv6 and ICMPv6 in IPv4.
    let wrong_version = ip_packet(v6(), 1, &echo);
    assert_eq!(parse_echo(&wrong_version, &view_of(&wrong_version)), None);
    // Code 1, with the checksum made right for it.
    let mut code = echo.clone();
    code[1] = 1;
    code[3] = code[3].wrapping_sub(1);
    assert_eq!(reference::sum(&code), 0xFFFF);
    let packet = ip_packet(v4(), 1, &code);
    assert_eq!(parse_echo(&packet, &view_of(&packet)), None);
    // A fragment.
    let mut fragment = ip_packet(v4(), 1, &echo);
    fragment[6] = 0x20;
    assert_eq!(parse_echo(&fragment, &view_of(&fragment)), None);
    // Too short for its header.
    let short = ip_packet(v4(), 1, &[8, 0, 0xF7, 0xFF]);
    assert_eq!(reference::sum(&short[20..]), 0xFFFF);
    assert_eq!(parse_echo(&short, &view_of(&short)), None);
}

#[test]
fn link_control_truth_table() {
    let udp = |from: u16, to: u16| {
        let mut datagram = [from.to_be_bytes(), to.to_be_bytes()].concat();
        datagram.extend([0, 8, 0, 0]);
        datagram
    };
    let icmp = |kind: u8| vec![kind, 0, 0, 0, 0, 0, 0, 0];
    let cases = [
        (1, v6(), 58, icmp(135), 255, true),
        (2, v6(), 58, icmp(133), 255, true),
        (3, v6(), 58, icmp(137), 255, true),
        (4, v6(), 58, icmp(135), 254, false),
        (5, v6(), 58, icmp(143), 1, true),
        (6, v6(), 58, icmp(130), 1, true),
        (7, v6(), 58, icmp(143), 64, false),
        (8, v6(), 58, icmp(128), 255, false),
        (9, v6(), 58, icmp(138), 255, false),
        (10, v4(), 2, icmp(0x22), 1, true),
        (11, v4(), 2, icmp(0x22), 2, false),
        (12, v4(), 17, udp(68, 67), 64, true),
        (13, v4(), 17, udp(67, 68), 64, true),
        (14, v4(), 17, udp(67, 53), 64, false),
        (15, v4(), 17, udp(4000, 67), 64, false),
        (16, v6(), 17, udp(546, 547), 64, true),
        (17, v6(), 17, udp(547, 546), 64, true),
        (18, v6(), 17, udp(68, 67), 64, false),
        (19, v4(), 17, udp(546, 547), 64, false),
        (20, v4(), 58, icmp(135), 255, false),
        (21, v4(), 6, udp(68, 67), 64, false),
        (22, v6(), 58, vec![], 255, false),
    ];
    for (number, pair, protocol, upper, hop_limit, expected) in cases {
        let mut packet = ip_packet(pair, protocol, &upper);
        packet[if pair.0.is_ipv4() { 8 } else { 7 }] = hop_limit;
        let view = parse(&packet).unwrap();
        assert_eq!(is_link_control(&packet, &view), expected, "case {number}");
    }
}
