//! Segment, then coalesce: the receiving stack gets what the sending stack handed over.

use crate::build::{ACK, Built, PSH, TIMESTAMPS, payload, tcp_gso, udp_gso, v4, v6};
use crate::coalesce::{Written, coalesce, written};
use crate::reference;
use ge_core::coalesce::{Coalescer, Gather, PIECES_MAX};
use ge_core::segment::Segmenter;
use ge_core::wire::ip::{HEADER_MAX, emit_header, parse};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// The way of the `tunnel` format: whole packets.
fn through_tunnel(built: &Built, limit: usize) -> Vec<Written> {
    let view = built.view();
    let mut segmenter = Segmenter::new(&built.vnet, &built.bytes, &view, limit).unwrap();
    let partial = segmenter.partial_checksum();
    let mut packets = Vec::new();
    let mut packet = Vec::new();
    while segmenter.next_packet(&mut packet) {
        assert!(packet.len() <= view.header_len + limit);
        packets.push((std::mem::take(&mut packet), partial));
    }
    coalesce(&packets)
}

/// The way of the `transport` format: upper layers only, the IP header is rebuilt.
fn through_transport(built: &Built, limit: usize) -> Vec<Written> {
    let view = built.view();
    let mut segmenter = Segmenter::new(&built.vnet, &built.bytes, &view, limit).unwrap();
    let partial = segmenter.partial_checksum();
    let (mut buffer, mut ends) = (Vec::new(), vec![0]);
    while segmenter.next_transport(&mut buffer) {
        ends.push(buffer.len());
    }
    let mut out = Vec::new();
    let mut coalescer = Coalescer::new();
    coalescer.merge_datagrams(true);
    let mut sink = |gather: Gather<'_>| out.push(written(&gather));
    for place in ends.windows(2).map(|ends| ends[0]..ends[1]) {
        let mut header = [0; HEADER_MAX];
        let (source, destination) = (view.source, view.destination);
        let len = emit_header(
            &mut header,
            source,
            destination,
            view.protocol,
            place.len(),
            view.tos,
            view.hop_limit,
        );
        coalescer.push(&buffer, &header[..len], place, partial, &mut sink);
    }
    coalescer.flush(&buffer, &mut sink);
    out
}

#[test]
fn super_packets_come_back_as_they_were() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    for round in 0..2_000 {
        let pair = if rng.next_u32() & 1 == 0 { v4() } else { v6() };
        let flags = if rng.next_u32() & 1 == 0 { ACK } else { ACK | PSH };
        let options: &[u8] = if rng.next_u32() & 1 == 0 { &[] } else { &TIMESTAMPS };
        let size = 400 + (rng.next_u32() % 1_049) as u16;
        let most = (usize::from(size) * PIECES_MAX).min(65_000);
        let len = 1 + rng.next_u32() as usize % most;
        let mut built = tcp_gso(pair, flags, options, &payload(len), size);
        let limit = 20 + options.len() + usize::from(size) + rng.next_u32() as usize % 50;
        assert_same(&through_transport(&built, limit), &built, round);

        if pair.0.is_ipv4() {
            // The tunnel keeps what the transport format cannot: identification and no DF.
            let id = rng.next_u32() as u16;
            built.bytes[4..6].copy_from_slice(&id.to_be_bytes());
            built.bytes[6] = 0;
            built.bytes[10..12].fill(0);
            let checksum = !reference::sum(&built.bytes[..20]);
            built.bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        assert_same(&through_tunnel(&built, limit), &built, round);
    }
}

#[test]
fn super_packets_of_datagrams_come_back_as_they_were() {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    for round in 0..2_000 {
        let pair = if rng.next_u32() & 1 == 0 { v4() } else { v6() };
        let size = 1 + (rng.next_u32() % 1_449) as u16;
        let most = (usize::from(size) * PIECES_MAX).min(65_000);
        let len = usize::from(size) + 1 + rng.next_u32() as usize % (most - usize::from(size));
        let built = udp_gso(pair, &payload(len), size);
        let limit = 8 + usize::from(size) + rng.next_u32() as usize % 50;
        assert_same(&through_transport(&built, limit), &built, round);
    }
}

fn assert_same(out: &[Written], built: &Built, round: u32) {
    assert_eq!(out.len(), 1, "round {round}");
    assert!(out[0].bytes == built.bytes, "round {round}: packets differ");
    assert_eq!(out[0].vnet.partial, built.vnet.partial, "round {round}");
    assert_eq!(out[0].vnet.gso, built.vnet.gso, "round {round}");
}

/// Whatever the limit is, every segment fits it, completes to a right checksum, and the stream
/// that arrives is the stream that left.
#[test]
fn streams_survive_any_limit() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    for round in 0..1_000 {
        let pair = if rng.next_u32() & 1 == 0 { v4() } else { v6() };
        let len = 1 + rng.next_u32() as usize % 20_000;
        let size = 1 + (rng.next_u32() % 9_000) as u16;
        let limit = 100 + rng.next_u32() as usize % 2_000;
        let built = tcp_gso(pair, ACK | PSH, &TIMESTAMPS, &payload(len), size);
        let mut stream = Vec::new();
        for written in through_tunnel(&built, limit) {
            let view = parse(&written.bytes).unwrap();
            assert_eq!(view.total_len, written.bytes.len());
            let upper = &written.bytes[view.header_len..];
            let sequence = 0xFFFF_F000_u32.wrapping_add(stream.len() as u32);
            assert_eq!(upper[4..8], sequence.to_be_bytes(), "round {round}: order");
            let mut completed = upper.to_vec();
            reference::complete(&mut completed, 16);
            assert!(reference::is_right(pair.0, pair.1, 6, &completed), "round {round}");
            stream.extend_from_slice(&upper[32..]);
        }
        assert!(stream == payload(len), "round {round}: stream differs");
    }
}
