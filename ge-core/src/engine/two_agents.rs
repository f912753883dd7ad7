//! Two closed agents of one group, 10.0.0.1 and 10.0.0.2, and the wire between them, by hand: a test
//! decides what arrives, and in which order.

use super::*;
use crate::addr::WireAddr;
use crate::coalesce::Gather;
use crate::dprp::domain::{Domain, Member, NOW};
use crate::flow::Direction;
use crate::io::{DatagramMeta, ETHERNET_LEN, Frame, PACKET_AT, Received, VNET_LEN};
use crate::now::Instant;
use crate::wire::checksum::{fold, pseudo_header};
use crate::wire::ip::emit_header;
use crate::wire::vnet::{PartialChecksum, VnetHeader};
use crate::{Interface, Now};

pub(super) const ETH0: Interface = Interface(2);

/// So many microseconds after the start.
pub(super) fn at(micros: u64) -> Now {
    Now { mono: Instant::from_micros(micros), unix: NOW }
}

pub(super) fn address(number: u8) -> IpAddr {
    [10, 0, 0, number].into()
}

/// How a datagram from this agent arrives.
pub(super) fn meta(from: u8) -> DatagramMeta {
    let (from, to) = (WireAddr(address(from)), WireAddr(address(3 - from)));
    DatagramMeta { from, from_port: 5865, to, tos: 0, interface: ETH0 }
}

pub(super) fn agent(number: u8) -> Engine {
    engine(number, Domain::new(1).member(number, &[1]))
}

/// A member at the address of this number, with one interface.
pub(super) fn engine(number: u8, member: Member) -> Engine {
    let mut engine = Engine::new(member.identity.clone(), [number; 32]);
    let interface = InterfaceInfo {
        interface: ETH0,
        name: String::new(),
        mac: [number; 6],
        mtu: 1500,
        addresses: vec![(address(number), 24)],
    };
    engine.set_interfaces(vec![interface], &[address(number)]);
    engine.install(member.membership, at(0)).unwrap();
    engine
}

/// A program sends "word" to the other host. The stack leaves the checksum to the interface.
pub(super) fn send(engine: &mut Engine, (from, to): (u8, u8)) -> Vec<Output> {
    let (start, offset) = ((ETHERNET_LEN + 20) as u16, 6);
    let partial = Some(PartialChecksum { start, offset });
    let vnet = VnetHeader { partial, hdr_len: start + 8, ..VnetHeader::default() };
    let pseudo = fold(pseudo_header(address(from), address(to), 17, 12)).to_be_bytes();
    let udp = [[0, 9, 0, 9, 0, 12].as_slice(), &pseudo, b"word"].concat();
    let mut bytes = frame(&vnet, &packet((from, to), 17, &udp));
    let mut frame = Frame { direction: Direction::Outgoing(ETH0), bytes: &mut bytes };
    let mut batch = SealedBatch::default();
    engine.outgoing(&mut frame, &mut batch, at(1));
    engine.emit_batch(&mut batch);
    outputs(engine)
}

pub(super) fn outputs(engine: &mut Engine) -> Vec<Output> {
    std::iter::from_fn(|| Some(engine.poll_output()))
        .take_while(|output| !matches!(output, Output::Idle { .. }))
        .collect()
}

/// Hands every message among the outputs to the other engine. Gives what that one wants done.
pub(super) fn carry(sent: &[Output], ends: (u8, u8), engine: &mut Engine) -> Vec<Output> {
    for output in sent {
        if let Output::Transmit(transmit) = output {
            let mut bytes =
                frame(&VnetHeader::default(), &packet(ends, transmit.protocol, &transmit.bytes));
            let direction = Direction::Incoming(ETH0);
            engine.incoming(&Frame { direction, bytes: &mut bytes }, at(2));
        }
    }
    outputs(engine)
}

/// Hands every datagram among the outputs to the other engine. Gives how many were opened at once.
pub(super) fn carry_data(sent: &[Output], from: u8, engine: &mut Engine) -> usize {
    let mut opened = 0;
    for output in sent {
        if let Output::Datagrams(run) = output {
            let mut bytes = run.bytes.clone();
            let mut sink = |_: Gather<'_>| opened += 1;
            let received = Received::alone(&bytes, run.segment, meta(from));
            engine.datagrams(&mut bytes, &[received], at(2), &mut sink);
        }
    }
    opened
}

/// Agents 1 and 2, and what 1 sent last: its MPIT and the data behind it.
pub(super) fn agreed_by_one() -> (Engine, Engine, Vec<Output>) {
    let (mut one, mut other) = (agent(1), agent(2));
    let dde = send(&mut one, (1, 2));
    let rgi = carry(&dde, (1, 2), &mut other);
    let sent = carry(&rgi, (2, 1), &mut one);
    (one, other, sent)
}

pub(super) fn packet((from, to): (u8, u8), protocol: u8, upper: &[u8]) -> Vec<u8> {
    let mut header = [0; 40];
    let (from, to) = (address(from), address(to));
    let len = emit_header(&mut header, from, to, protocol, upper.len(), 0, 64);
    [&header[..len], upper].concat()
}

pub(super) fn frame(vnet: &VnetHeader, packet: &[u8]) -> Vec<u8> {
    let link = [0; PACKET_AT];
    [vnet.emit().as_slice(), &link[VNET_LEN..], packet].concat()
}
