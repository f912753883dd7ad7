//! What waits for an MPIT, how much of it, and what becomes of it.

use super::*;
use crate::Interface;
use crate::addr::WireAddr;
use crate::batch::SealedBatch;
use crate::coalesce::Gather;
use crate::dprp::domain::{Domain, NOW};
use crate::flow::Direction;
use crate::io::{ETHERNET_LEN, Frame, InterfaceInfo, VNET_LEN};
use crate::limits::RESPONDER_LIFETIME;
use crate::now::Instant;
use crate::wire::checksum::{fold, pseudo_header, transport_is_valid};
use crate::wire::ip::{self, emit_header};
use crate::wire::vnet::PartialChecksum;

fn meta(from: [u8; 4]) -> DatagramMeta {
    let to = WireAddr([10, 0, 0, 1].into());
    let from = WireAddr(from.into());
    DatagramMeta { from, from_port: 5865, to, tos: 0, interface: Interface(2) }
}

const PEER: [u8; 4] = [10, 0, 0, 2];

#[test]
fn only_what_is_expected_waits_and_only_so_much() {
    let mut early = Early::default();
    assert!(!early.keep(SessionIndex(1), &[0; 100], &meta(PEER)), "nobody asked");
    early.expect(SessionIndex(1), PEER.into());
    assert!(!early.keep(SessionIndex(1), &[0; 100], &meta([10, 0, 0, 3])), "somebody else");
    for _ in 0..EARLY_PER_ANSWER {
        assert!(early.keep(SessionIndex(1), &[0; 100], &meta(PEER)));
    }
    assert!(!early.keep(SessionIndex(1), &[0; 100], &meta(PEER)));
    assert_eq!(early.take(SessionIndex(1)).len(), EARLY_PER_ANSWER);
    assert_eq!(early.bytes, 0);
    assert!(!early.keep(SessionIndex(1), &[0; 100], &meta(PEER)), "no longer expected");
}

#[test]
fn all_answers_together_keep_so_many_bytes() {
    let mut early = Early::default();
    let large = vec![0; 60_000];
    let mut kept = 0;
    for index in 1..1000 {
        early.expect(SessionIndex(index), PEER.into());
        kept += usize::from(early.keep(SessionIndex(index), &large, &meta(PEER)));
    }
    assert_eq!(kept, EARLY_BYTES / large.len());
    early.take(SessionIndex(1));
    assert!(early.keep(SessionIndex(900), &large, &meta(PEER)), "room again");
}

const LINK: usize = VNET_LEN + ETHERNET_LEN;

fn at(millis: u64) -> Now {
    Now { mono: Instant::from_micros(millis * 1_000), unix: NOW }
}

fn address(number: u8) -> IpAddr {
    [10, 0, 0, number].into()
}

/// A closed agent of group 1 at an address of the same number.
fn agent(number: u8) -> Engine {
    let member = Domain::new(1).member(number, &[1]);
    let mut engine = Engine::new(member.identity.clone(), [number; 32]);
    let interface = InterfaceInfo {
        interface: Interface(2),
        name: String::new(),
        mac: [number; 6],
        mtu: 1500,
        addresses: vec![(address(number), 24)],
    };
    engine.set_interfaces(vec![interface], &[address(number)]);
    engine.install(member.membership, at(0)).unwrap();
    engine
}

fn packet(from: u8, to: u8, protocol: u8, upper: &[u8]) -> Vec<u8> {
    let mut header = [0; 40];
    let (from, to) = (address(from), address(to));
    let len = emit_header(&mut header, from, to, protocol, upper.len(), 0, 64);
    [&header[..len], upper].concat()
}

fn frame(vnet: &VnetHeader, packet: &[u8]) -> Vec<u8> {
    [vnet.emit().as_slice(), &[0; ETHERNET_LEN], packet].concat()
}

/// A datagram from 1 to 2 whose checksum the local stack left to the interface.
fn first_packet(engine: &mut Engine) {
    let (start, offset) = (LINK as u16 - VNET_LEN as u16 + 20, 6);
    let partial = Some(PartialChecksum { start, offset });
    let vnet = VnetHeader { partial, hdr_len: start + 8, ..VnetHeader::default() };
    let pseudo = pseudo_header(address(1), address(2), 17, 12);
    let [high, low] = fold(pseudo).to_be_bytes();
    let udp = [0, 9, 0, 9, 0, 12, high, low, b'w', b'o', b'r', b'd'];
    let mut bytes = frame(&vnet, &packet(1, 2, 17, &udp));
    let mut frame = Frame { direction: Direction::Outgoing(Interface(2)), bytes: &mut bytes };
    engine.outgoing(&mut frame, &mut SealedBatch::default(), at(1));
}

fn outputs(engine: &mut Engine) -> Vec<Output> {
    std::iter::from_fn(|| Some(engine.poll_output()))
        .take_while(|output| !matches!(output, Output::Idle { .. }))
        .collect()
}

/// Hands every message among the outputs to the other engine.
fn carry(outputs: &[Output], (from, to): (u8, u8), engine: &mut Engine) {
    for output in outputs {
        if let Output::Transmit(transmit) = output {
            let mut bytes = frame(&VnetHeader::default(), &packet(from, to, 1, &transmit.icmp));
            let direction = Direction::Incoming(Interface(2));
            engine.incoming(&Frame { direction, bytes: &mut bytes }, at(2));
        }
    }
}

/// Both ends, and what the initiator sent last: its MPIT and the data behind it.
fn agreed_by_one() -> (Engine, Vec<Output>) {
    let (mut one, mut other) = (agent(1), agent(2));
    first_packet(&mut one);
    carry(&outputs(&mut one), (1, 2), &mut other);
    carry(&outputs(&mut other), (2, 1), &mut one);
    (other, outputs(&mut one))
}

fn give_data(engine: &mut Engine, outputs: &[Output]) {
    for output in outputs {
        if let Output::Datagrams(run) = output {
            let mut bytes = run.bytes.clone();
            let meta = meta([10, 0, 0, 1]);
            let mut sink = |_: Gather<'_>| panic!("opened without a key");
            engine.datagrams(&mut bytes, run.segment, &meta, at(2), &mut sink);
        }
    }
}

fn no_session(engine: &Engine) -> u64 {
    engine.counters().dropped_in[DropReason::NoSession as usize]
}

#[test]
fn data_that_overtakes_the_mpit_is_opened_behind_it() {
    let (mut engine, sent) = agreed_by_one();
    give_data(&mut engine, &sent);
    assert!(outputs(&mut engine).is_empty());
    carry(&sent, (1, 2), &mut engine);
    let opened: Vec<_> = outputs(&mut engine)
        .into_iter()
        .filter_map(|output| if let Output::Opened(packet) = output { Some(packet) } else { None })
        .collect();
    let [packet] = opened.as_slice() else { panic!("{} packets", opened.len()) };
    let view = ip::parse(packet).unwrap();
    assert_eq!((view.source, view.destination), (address(1), address(2)));
    assert!(packet.ends_with(b"word") && transport_is_valid(packet, &view));
    assert_eq!((no_session(&engine), engine.counters().opened.0), (0, 1));
}

#[test]
fn data_whose_mpit_never_comes_is_dropped_and_counted() {
    let (mut engine, sent) = agreed_by_one();
    give_data(&mut engine, &sent);
    assert_eq!(no_session(&engine), 0);
    let over = 3 + RESPONDER_LIFETIME.as_millis() as u64;
    engine.tick(at(over));
    assert_eq!((no_session(&engine), engine.answers.early.bytes), (1, 0));
    give_data(&mut engine, &sent);
    assert_eq!(no_session(&engine), 2, "no longer expected");
}
