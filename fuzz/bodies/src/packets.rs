//! Parsers of packets and of the kernel's headers. What must hold is shared with the noise loops
//! of `ge-core/tests/packets`.

use crate::properties;
use ge_core::io::{ETHERNET_LEN, VNET_LEN};
use ge_core::limits::MESSAGE_MAX;
use ge_core::now::Instant;
use ge_core::reassembly::{EchoReassembly, Reassembled};
use ge_core::translate::{Place, translate};
use ge_core::unmerge::{unmerge, unmerge_frame};
use ge_core::wire::dprp::MAGIC;
use ge_core::wire::icmp::ECHO_LEN;
use ge_core::wire::ip::{Fragment, parse};
use ge_core::wire::udp::{emit_udp, parse_udp};
use ge_core::wire::vnet::VnetHeader;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// An IP packet: header chain, ports, echo, MSS option, TOS.
pub fn ip_parse(data: &[u8]) {
    properties::ip_parse(data);
}

/// An IP packet, as an ICMP error and as what one is about.
pub fn icmp_error(data: &[u8]) {
    properties::icmp_error(data);
}

/// An IP packet as a UDP datagram with a message in it: what is read is what would be made, and stays
/// right when a NAT's address takes the place of its source's.
pub fn datagram(data: &[u8]) {
    let mut packet = data.to_vec();
    let Ok(view) = parse(&packet) else { return };
    let new: IpAddr = match view.source {
        IpAddr::V4(_) => [203, 0, 113, 9].into(),
        IpAddr::V6(_) => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 9].into(),
    };
    let Some(read) = parse_udp(data, &view) else {
        translate(&mut packet, &view, Place::Source, (view.source, new), false);
        return;
    };
    let (from, to) = ((view.source, read.source), (view.destination, read.destination));
    let made = emit_udp(from, to, read.payload);
    // All ones and zero are one number; only one of them is written.
    let summed = [&made[..6], &made[8..]].concat();
    let whole = &data[view.header_len..view.total_len];
    assert_eq!(summed, [&whole[..6], &whole[8..]].concat());
    translate(&mut packet, &view, Place::Source, (view.source, new), false);
    let view = parse(&packet).expect("only an address was changed");
    assert_eq!(view.source, new);
    let after = parse_udp(&packet, &view).expect("the checksum was right");
    assert_eq!((after.payload, after.source), (read.payload, read.source));
}

/// `| vnet header 10 | packet |`.
pub fn vnet_hdr(data: &[u8]) {
    properties::vnet_hdr(data);
}

/// `| limit 16 | vnet header 10 | packet |`: cut, and put together again; and taken apart as what a
/// kernel refused, as a packet and as a captured frame.
pub fn segment(data: &[u8]) {
    let Some((limit, rest)) = data.split_first_chunk::<2>() else { return };
    let Some((vnet, packet)) = rest.split_at_checked(VNET_LEN) else { return };
    let Ok(vnet) = VnetHeader::parse(vnet) else { return };
    properties::segment(&vnet, packet, usize::from(u16::from_be_bytes(*limit)));
    let mut pieces = 0;
    if let Ok(count) = unmerge(&vnet, packet, &mut |piece, bytes| {
        pieces += 1;
        assert!(piece.gso.is_none() && bytes.len() <= packet.len());
    }) {
        assert_eq!(count, pieces);
    }
    let frame = [&rest[..VNET_LEN], &[0; ETHERNET_LEN], packet].concat();
    let _ = unmerge_frame(&frame, &mut |bytes| assert!(bytes.len() > ETHERNET_LEN));
}

/// Arrived packets, `| length 16 | packet |` each: what comes out whole is one packet of the size
/// of a message, begins like one, and has every fragment at its place.
pub fn reassembly(data: &[u8]) {
    let (mut table, mut rest, mut kept) = (EchoReassembly::default(), data, BTreeMap::new());
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (packet, after) = after.split_at(length);
        rest = after;
        let Ok(view) = parse(packet) else { continue };
        let payload = &packet[view.header_len..view.total_len];
        let outcome = table.push(packet, &view, Instant::from_micros(1));
        if outcome == Reassembled::NotOurs {
            continue;
        }
        let run: &mut Vec<u8> = kept
            .entry((view.source, view.destination, view.protocol, packet[4..6].to_vec()))
            .or_default();
        if view.fragment == Fragment::First {
            run.clear();
        }
        let flags = u16::from_be_bytes([packet[6], packet[7]]);
        let place = usize::from(flags & 0x1fff) * 8;
        run.resize(run.len().max(place + payload.len()), 0);
        run[place..place + payload.len()].copy_from_slice(payload);
        if let Reassembled::Whole(whole) = outcome {
            check_whole(&whole, run);
        }
    }
}

fn check_whole(whole: &[u8], kept: &[u8]) {
    let view = parse(whole).expect("a packet");
    assert_eq!((view.fragment, view.total_len), (Fragment::None, whole.len()), "whole");
    let payload = &whole[view.header_len..];
    assert!(payload.len() <= ECHO_LEN + MESSAGE_MAX, "no longer than a message");
    assert!(payload[ECHO_LEN..].starts_with(&MAGIC), "begins like a message");
    assert_eq!(payload, kept, "each at its place");
}
