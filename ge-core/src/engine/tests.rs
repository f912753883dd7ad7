//! The engine from inside: tables, two engines that talk, keys, and what may never pass.

mod allocation;
mod beyond;
mod ends;
mod epochs;
mod keys;
mod leak;
mod liveness;
mod nat;
mod negotiation;
mod policy;
mod rest;
mod rows;
mod sessions;
mod shares;
mod shortcut;
mod threads;

use super::*;
use crate::batch::SealedBatch;
use crate::dprp::domain::{Domain, NOW};
use crate::flow::Direction;
use crate::io::{Frame, Incoming, Outgoing, PACKET_AT};
use crate::now::Instant;
use crate::wire::ip::emit_header;
use crate::{Interface, Now};
use core::time::Duration;
use std::net::Ipv4Addr;

const ETH0: Interface = Interface(2);

fn local() -> IpAddr {
    [10, 0, 0, 1].into()
}

fn pair(n: u32) -> HostPair {
    HostPair::new(local(), Ipv4Addr::from(0x0a01_0000 + n).into())
}

fn at(seconds: u64) -> Now {
    at_millis(seconds * 1000)
}

fn at_millis(millis: u64) -> Now {
    Now { mono: Instant::from_micros(millis * 1000), unix: NOW.plus(millis / 1000) }
}

fn interface(interface: Interface) -> InterfaceInfo {
    let addresses = vec![(local(), 8)];
    InterfaceInfo { interface, name: String::new(), mac: [2; 6], mtu: 1500, addresses }
}

/// An open agent of group 1 with a table of eight rows.
fn engine() -> Engine {
    let member = Domain::new(1).member(1, &[1]);
    let mut engine = Engine::new(member.identity.clone(), [1; 32]);
    engine.set_interfaces(vec![interface(ETH0)], &[local()]);
    engine.install(member.membership, at(0)).unwrap();
    engine.pit.set_capacity(8);
    engine
}

/// A frame with a whole IP packet behind empty vnet and Ethernet headers.
fn frame(from: IpAddr, to: IpAddr, protocol: u8, upper: &[u8]) -> Vec<u8> {
    let mut header = [0; 40];
    let len = emit_header(&mut header, from, to, protocol, upper.len(), 0, 64);
    [[0; PACKET_AT].as_slice(), &header[..len], upper].concat()
}

/// A program sends an empty datagram.
fn seal(engine: &mut Engine, to: HostPair, batch: &mut SealedBatch, now: Now) -> Outgoing {
    let mut bytes = frame(to.local.0, to.remote.0, 17, &[0, 9, 0, 9, 0, 8, 0, 0]);
    let mut frame = Frame { direction: Direction::Outgoing(ETH0), bytes: &mut bytes };
    engine.outgoing(&mut frame, batch, now)
}

fn send(engine: &mut Engine, to: HostPair, now: Now) -> Outgoing {
    seal(engine, to, &mut SealedBatch::default(), now)
}

/// A whole packet arrives in clear.
fn arrive(engine: &mut Engine, mut bytes: Vec<u8>, now: Now) -> Incoming {
    let frame = Frame { direction: Direction::Incoming(ETH0), bytes: &mut bytes };
    engine.incoming(&frame, now)
}

fn outputs(engine: &mut Engine) -> Vec<Output> {
    engine.outputs.drain(..).collect()
}
