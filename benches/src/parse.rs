//! What every packet pays before anything is decided: its headers read.

use crate::figure::{Figure, time};
use crate::negotiation;
use anyhow::{Context, Result};
use ge_core::io::VNET_LEN;
use ge_core::shim::{SHIM_LEN, Shim};
use ge_core::wire::dprp::dde::DdeParts;
use ge_core::wire::dprp::peek;
use ge_core::wire::dprp::rgi::RgiParts;
use ge_core::wire::ip::{self, HEADER_MAX, emit_header};
use ge_core::wire::protocol;
use ge_core::wire::vnet::VnetHeader;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const RUNS: usize = 51;
const PACKETS: usize = 10_000;
const PAYLOAD: usize = 1400;

pub(crate) fn figures() -> Result<Vec<Figure>> {
    let v4 = |last| IpAddr::from(Ipv4Addr::new(10, 0, 0, last));
    let v6 = |last| IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
    let (v4, v6) = (tcp(v4(1), v4(2)), tcp(v6(1), v6(2)));
    let mut datagram = vec![0x10, 0, 0, 5];
    datagram.resize(SHIM_LEN + PAYLOAD, 0);
    Shim::parse(&datagram).context("no shim")?;
    let [dde, rgi] = negotiation::messages()?;
    DdeParts::parse(&dde)?;
    let header = peek(&rgi).context("no header")?;
    RgiParts::parse(&header, &rgi)?;
    Ok(vec![
        figure("parse vnet header", || VnetHeader::parse(black_box(&[0; VNET_LEN])).is_ok()),
        figure("parse IPv4 and TCP ports", || addressed(&v4)),
        figure("parse IPv6 and TCP ports", || addressed(&v6)),
        figure("parse shim", || Shim::parse(black_box(&datagram)).is_some()),
        figure("parse DDE", || {
            let dde = black_box(&dde);
            peek(dde).is_some() && DdeParts::parse(dde).is_ok()
        }),
        figure("parse RGI", || {
            let rgi = black_box(&rgi);
            peek(rgi).is_some_and(|header| RgiParts::parse(&header, rgi).is_ok())
        }),
    ])
}

/// An IP packet with a TCP header's worth of ports.
fn tcp(from: IpAddr, to: IpAddr) -> Vec<u8> {
    let mut header = [0; HEADER_MAX];
    let length = emit_header(&mut header, from, to, protocol::TCP, PAYLOAD, 0, 64);
    let mut packet = header[..length].to_vec();
    packet.resize(length + PAYLOAD, 0x50);
    packet
}

fn addressed(packet: &[u8]) -> bool {
    let packet = black_box(packet);
    ip::parse(packet).is_ok_and(|view| black_box(ip::ports(packet, &view)).remote != 0)
}

fn figure(name: &str, work: impl Fn() -> bool) -> Figure {
    let run = || (0..PACKETS).filter(|_| work()).count();
    let samples = (0..RUNS).map(|_| time(|| black_box(run())).0).collect();
    Figure::median(name.to_owned(), samples, PACKETS)
}
