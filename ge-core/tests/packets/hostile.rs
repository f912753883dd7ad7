//! Nothing a stranger sends, cut anywhere or made of noise, panics or escapes its bounds.

use crate::build::{
    ACK, Built, PSH, SYN, TIMESTAMPS, ip_packet, payload, tcp, tcp_gso, udp_gso, v4, v6,
};
use ge_core::coalesce::{Coalescer, Gather};
use ge_core::fragment::fragment_ipv4;
use ge_core::icmp_error::{build_error_for, packet_too_big, parse_error, quoted_parse};
use ge_core::io::VNET_LEN;
use ge_core::segment::Segmenter;
use ge_core::wire::icmp::{emit_echo, is_link_control, parse_echo};
use ge_core::wire::ip::{self, parse, parse_truncated, ports, set_tos};
use ge_core::wire::tcp::clamp_mss;
use ge_core::wire::vnet::{VnetHeader, complete_checksum};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// Everything that reads a packet, on these bytes. True if they were a packet at all.
fn read_all(vnet: &VnetHeader, packet: &[u8], limit: usize) -> bool {
    let _ = quoted_parse(packet);
    let reporter = v4().1;
    let _ = build_error_for(ge_core::icmp_error::ErrorKind::TooBig { mtu: 1300 }, reporter, packet);
    let _ = complete_checksum(vnet, &mut packet.to_vec());
    if let Ok(view) = parse_truncated(packet) {
        assert!(view.header_len <= packet.len() && view.header_len <= view.total_len);
    }
    let Ok(view) = parse(packet) else { return false };
    assert!(view.header_len <= view.total_len && view.total_len <= packet.len());
    let _ = ports(packet, &view);
    let _ = is_link_control(packet, &view);
    let _ = parse_echo(packet, &view);
    if let Some(error) = parse_error(packet, &view) {
        let _ = quoted_parse(error.quoted);
    }
    for from in [v4().1, v6().1] {
        if let Some(error) = packet_too_big(packet, &view, 1300, from) {
            assert!(error.len() <= 1280 && parse(&error).is_ok());
        }
    }
    let mut changed = packet.to_vec();
    clamp_mss(&mut changed, &view, 536, false);
    set_tos(&mut changed, 3);
    assert_eq!(parse(&changed), Ok(ip::IpView { tos: 3, ..view }));
    let _ = fragment_ipv4(packet, &view, limit, &mut |piece| assert!(piece.len() <= limit));
    segment_and_coalesce(vnet, packet, &view, limit);
    true
}

fn segment_and_coalesce(vnet: &VnetHeader, packet: &[u8], view: &ip::IpView, limit: usize) {
    let Ok(mut segmenter) = Segmenter::new(vnet, packet, view, limit) else { return };
    let partial = segmenter.partial_checksum();
    let mut buffer = Vec::new();
    let mut coalescer = Coalescer::new();
    let mut total = 0;
    let mut sink = |gather: Gather<'_>| total += gather.packet_len();
    for number in 0.. {
        buffer.clear();
        if !segmenter.next_packet(&mut buffer) {
            assert_eq!(number, segmenter.count());
            break;
        }
        assert!(buffer.len() <= view.header_len + limit);
        let segment = parse(&buffer).unwrap();
        let place = segment.header_len..segment.total_len;
        coalescer.push(&buffer, &buffer[..segment.header_len], place, partial, &mut sink);
        coalescer.flush(&buffer, &mut sink);
    }
    assert!(total >= view.total_len);
}

/// One packet of each kind the code knows.
fn specimens() -> Vec<Built> {
    let plain = |bytes| Built { vnet: VnetHeader::default(), bytes };
    let (from4, to4) = v4();
    let (from6, to6) = v6();
    let mss = [2, 4, 5, 0xB4, 1, 3, 3, 7];
    let echo4 = ip_packet(v4(), 1, &emit_echo(true, 1, 2, b"message", from4, to4));
    let echo6 = ip_packet(v6(), 58, &emit_echo(false, 1, 2, b"message", from6, to6));
    let offending = tcp(v4(), ACK, &[], &payload(60)).bytes;
    let error4 = packet_too_big(&offending, &parse(&offending).unwrap(), 1300, to4).unwrap();
    let offending = tcp(v6(), ACK, &[], &payload(60)).bytes;
    let error6 = packet_too_big(&offending, &parse(&offending).unwrap(), 1300, to6).unwrap();
    let mut extended = vec![60, 0, 5, 2, 0, 0, 1, 0, 44, 0, 1, 4, 0, 0, 0, 0];
    extended.extend([6, 0, 0, 1, 0, 0, 0, 9]);
    extended.extend(&tcp(v6(), ACK, &[], &payload(40)).bytes[40..]);
    vec![
        tcp(v4(), SYN, &mss, &[]),
        tcp(v6(), SYN | ACK, &mss, &[]),
        tcp_gso(v4(), ACK | PSH, &TIMESTAMPS, &payload(300), 100),
        tcp_gso(v6(), ACK, &TIMESTAMPS, &payload(300), 100),
        udp_gso(v4(), &payload(300), 100),
        udp_gso(v6(), &payload(300), 100),
        plain(echo4),
        plain(echo6),
        plain(error4),
        plain(error6),
        plain(ip_packet(v6(), 0, &extended)),
    ]
}

#[test]
fn every_truncation_of_every_kind() {
    for built in specimens() {
        assert!(read_all(&built.vnet, &built.bytes, 150));
        for len in 0..built.bytes.len() {
            // As it is, and with the length field made to agree.
            assert!(!read_all(&built.vnet, &built.bytes[..len], 150));
            let mut agreed = built.bytes[..len].to_vec();
            if agreed.len() >= 40 {
                let (at, value) = if agreed[0] >> 4 == 4 { (2, len) } else { (4, len - 40) };
                agreed[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
            }
            read_all(&built.vnet, &agreed, 150);
        }
    }
}

#[test]
fn random_changes_and_random_bytes() {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let specimens = specimens();
    let mut readable = 0;
    for round in 0..100_000 {
        let mut built = specimens[round % specimens.len()].clone();
        for _ in 0..rng.next_u32() % 4 {
            let at = rng.next_u32() as usize % built.bytes.len();
            built.bytes[at] = rng.next_u32() as u8;
        }
        let mut vnet = built.vnet.emit();
        if rng.next_u32() & 1 == 0 {
            vnet[rng.next_u32() as usize % VNET_LEN] = rng.next_u32() as u8;
        }
        let vnet = VnetHeader::parse(&vnet).unwrap_or_default();
        let limit = rng.next_u32() as usize % 400;
        readable += u32::from(read_all(&vnet, &built.bytes, limit));
    }
    assert!(readable > 50_000, "most changes leave a readable packet: {readable}");
    for _ in 0..100_000 {
        let mut bytes = vec![0; rng.next_u32() as usize % 120];
        rng.fill_bytes(&mut bytes);
        if let Some(first) = bytes.first_mut() {
            *first = if *first & 1 == 0 { 0x45 } else { 0x60 };
        }
        let mut vnet = [0; VNET_LEN];
        rng.fill_bytes(&mut vnet);
        vnet[1] %= 6;
        let vnet = VnetHeader::parse(&vnet).unwrap_or_default();
        read_all(&vnet, &bytes, 60);
    }
}
