//! IPv4 fragmentation: lengths, offsets, flags, options, and joining back to the original.

use crate::build::{ip_packet, payload, v4, v6};
use crate::reference;
use ge_core::fragment::{FragmentError, fragment_ipv4};
use ge_core::wire::ip::{self, parse};

/// A UDP packet without DF, with identification 0x1234.
fn fragmentable(len: usize, flags: u16) -> Vec<u8> {
    let mut packet = ip_packet(v4(), 17, &payload(len));
    packet[4..6].copy_from_slice(&[0x12, 0x34]);
    packet[6..8].copy_from_slice(&flags.to_be_bytes());
    packet
}

fn cut(packet: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, FragmentError> {
    let mut fragments = Vec::new();
    let view = parse(packet).unwrap();
    fragment_ipv4(packet, &view, limit, &mut |fragment| fragments.push(fragment.to_vec()))?;
    Ok(fragments)
}

/// Offset in bytes, MF, payload.
fn parts(fragment: &[u8]) -> (usize, bool, &[u8]) {
    let view = parse(fragment).unwrap();
    assert_eq!(view.total_len, fragment.len());
    assert_eq!(reference::sum(&fragment[..view.header_len]), 0xFFFF);
    let field = u16::from_be_bytes([fragment[6], fragment[7]]);
    assert_eq!(field & 0xC000, 0);
    let offset = usize::from(field & 0x1FFF) * 8;
    (offset, field & 0x2000 != 0, &fragment[view.header_len..])
}

#[test]
fn fragments_fit_and_reassemble() {
    for len in [9, 100, 1000, 1480, 1481, 3000, 65_515] {
        for limit in [28, 68, 576, 1372, 1500] {
            for (start, more) in [(0, false), (0, true), (3, true), (3, false)] {
                let flags = start | if more { 0x2000 } else { 0 };
                let packet = fragmentable(len, flags);
                let first = usize::from(start) * 8;
                if first + len / 8 * 8 > 8191 * 8 {
                    assert_eq!(cut(&packet, limit), Err(FragmentError::NoRoom));
                    continue;
                }
                let fragments = cut(&packet, limit).unwrap();
                let mut at = first;
                let mut whole = Vec::new();
                for (index, fragment) in fragments.iter().enumerate() {
                    let (offset, more_here, data) = parts_or_whole(fragment, &packet);
                    let last = index + 1 == fragments.len();
                    assert!(fragment.len() <= limit);
                    assert_eq!(offset, at);
                    assert_eq!(more_here, more || !last);
                    assert!(last || data.len().is_multiple_of(8));
                    assert_eq!(fragment[4..6], [0x12, 0x34]);
                    at += data.len();
                    whole.extend_from_slice(data);
                }
                assert_eq!(whole, payload(len));
            }
        }
    }
}

/// A packet that fits is handed on with the bytes it came with.
fn parts_or_whole<'a>(fragment: &'a [u8], packet: &[u8]) -> (usize, bool, &'a [u8]) {
    if fragment == packet {
        let field = u16::from_be_bytes([packet[6], packet[7]]);
        return (usize::from(field & 0x1FFF) * 8, field & 0x2000 != 0, &fragment[20..]);
    }
    parts(fragment)
}

#[test]
fn only_copied_options_are_repeated() {
    // Record route (7, not copied), NOP, strict source route (137, copied), padding.
    let options = [7, 7, 4, 0, 0, 0, 0, 1, 137, 7, 4, 10, 0, 0, 9, 0];
    let mut packet = fragmentable(100, 0);
    packet.splice(20..20, options);
    packet[0] = 0x49;
    let total = packet.len() as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    let fragments = cut(&packet, 76).unwrap();
    assert_eq!(fragments[0][20..36], options);
    assert_eq!(fragments.len(), 3);
    for later in &fragments[1..] {
        let view = parse(later).unwrap();
        assert_eq!(view.header_len, 28);
        assert_eq!(later[20..28], [137, 7, 4, 10, 0, 0, 9, 0]);
    }
    let data: Vec<u8> = fragments.iter().flat_map(|f| parts(f).2.to_vec()).collect();
    assert_eq!(data, payload(100));
}

#[test]
fn broken_options_end_the_list() {
    for options in [[0x87, 0, 0, 0], [0x87, 9, 0, 0], [1, 1, 1, 0x87], [0x87, 1, 0x87, 2]] {
        let mut packet = fragmentable(100, 0);
        packet.splice(20..20, options);
        packet[0] = 0x46;
        let total = packet.len() as u16;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        let data: Vec<u8> =
            cut(&packet, 76).unwrap().iter().flat_map(|f| parts(f).2.to_vec()).collect();
        assert_eq!(data, payload(100), "{options:?}");
    }
}

#[test]
fn refusals_truth_table() {
    let six = ip_packet(v6(), 17, &payload(2000));
    let cases = [
        (1, fragmentable(2000, 0x4000), 1500, FragmentError::DontFragment),
        (2, six, 1500, FragmentError::DontFragment),
        (3, fragmentable(2000, 0), 27, FragmentError::NoRoom),
        (4, fragmentable(2000, 0), 0, FragmentError::NoRoom),
        (5, fragmentable(2000, 0x1FFF), 1500, FragmentError::NoRoom),
    ];
    for (number, packet, limit, error) in cases {
        assert_eq!(cut(&packet, limit), Err(error), "case {number}");
    }
    let packet = fragmentable(100, 0);
    let view = parse(&packet).unwrap();
    let foreign = ip::IpView { total_len: 4000, ..view };
    let got = fragment_ipv4(&packet, &foreign, 60, &mut |_| panic!("nothing to hand on"));
    assert_eq!(got, Err(FragmentError::Malformed));
    assert_eq!(cut(&fragmentable(10, 0x4000), 30).unwrap().len(), 1, "fits: DF does not matter");
}
