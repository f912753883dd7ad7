//! An outsider who draws what to do from the seed: records what passes anywhere, and sends it again,
//! changed, cut, or made up, from whatever address it likes. It has no key of the domain.

use super::Origin;
use crate::net::{below, hit};
use crate::packet::{
    APP_PORT, Class, DATAGRAM_MIN, HEAD_LEN, MARKER, class, ip_packet, refresh, udp_packet,
};
use ge_core::NegotiationId;
use ge_core::icmp_error::{administratively_prohibited, packet_too_big};
use ge_core::limits::DATA_PORT;
use ge_core::wire::dprp::{Header, Kind, MAC_LEN};
use ge_core::wire::icmp::emit_echo;
use ge_core::wire::{ip, protocol};
use rand_core::Rng;
use std::net::IpAddr;

/// Packets remembered.
const MEMORY: usize = 64;
/// ICMP error, UDP and sealed shim: this much behind the IP header is not under a MAC.
const UNPROTECTED: usize = 8;

/// The adversary and what it has seen.
#[derive(Default)]
pub struct Adversary {
    seen: Vec<Vec<u8>>,
    next: usize,
}

impl Adversary {
    /// Watches a packet pass.
    pub fn watch(&mut self, packet: &[u8]) {
        if self.seen.len() < MEMORY {
            self.seen.push(packet.to_vec());
        } else {
            self.seen[self.next % MEMORY] = packet.to_vec();
            self.next += 1;
        }
    }

    /// One packet for one of the `targets`.
    pub fn act(&self, targets: &[IpAddr], rng: &mut impl Rng) -> Option<(Vec<u8>, Origin)> {
        let any = |rng: &mut _| targets[below(rng, targets.len() as u64) as usize];
        let (from, to) = (any(rng), any(rng));
        if from == to || from.is_ipv4() != to.is_ipv4() {
            return None;
        }
        let recorded = (!self.seen.is_empty())
            .then(|| self.seen[below(rng, self.seen.len() as u64) as usize].clone());
        match below(rng, 10) {
            0..=2 => Some((recorded?, Origin::Replayed)),
            3..=5 => Some((mutate(recorded?, rng)?, Origin::Forged)),
            6 => Some((garbage(from, to, rng), Origin::Forged)),
            7 => Some((message_from_nobody(from, to, rng), Origin::Forged)),
            8 => Some((plaintext(from, to, rng), Origin::Forged)),
            _ => Some((error(&recorded?, rng)?, Origin::Forged)),
        }
    }
}

/// Changes bytes under the MAC of a recorded packet, or cuts it. Its checksum is right again, so that
/// the message reaches the MAC.
pub fn mutate(mut packet: Vec<u8>, rng: &mut impl Rng) -> Option<Vec<u8>> {
    let view = ip::parse(&packet).ok()?;
    if matches!(class(&packet), Class::IcmpError | Class::Clear) {
        return None;
    }
    let start = view.header_len + UNPROTECTED;
    // mac2 of a DDE is not under mac1: it tells its destination, and nobody else, something.
    let tail = if matches!(class(&packet), Class::Message(Kind::Dde, _)) { MAC_LEN } else { 0 };
    let body = packet.len().checked_sub(start + tail).filter(|len| *len > 0)?;
    if hit(rng, 200) {
        let keep = start + below(rng, body as u64) as usize;
        let upper = packet[view.header_len..keep].to_vec();
        packet = ip_packet(view.source, view.destination, view.protocol, view.tos, &upper);
    } else {
        for _ in 0..=below(rng, 3) {
            let at = start + below(rng, body as u64) as usize;
            packet[at] = packet[at].wrapping_add(1 + below(rng, 84) as u8);
        }
    }
    refresh(&mut packet);
    Some(packet)
}

fn bytes(len: usize, rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Noise on the data port, or of any protocol.
fn garbage(from: IpAddr, to: IpAddr, rng: &mut impl Rng) -> Vec<u8> {
    let len = below(rng, 1200) as usize;
    let noise = bytes(len, rng);
    if hit(rng, 600) {
        return udp_packet((from, DATA_PORT), (to, DATA_PORT), 0, &noise);
    }
    let protocol = below(rng, 256) as u8;
    ip_packet(from, to, protocol, 0, &noise)
}

/// A right header around noise.
fn message_from_nobody(from: IpAddr, to: IpAddr, rng: &mut impl Rng) -> Vec<u8> {
    let kinds = [Kind::Dde, Kind::Rgi, Kind::Mpit, Kind::Cdn, Kind::NoMatch, Kind::Cookie];
    let kind = kinds[below(rng, 6) as usize];
    let len = below(rng, 1100) as usize;
    let body = bytes(len, rng);
    let mut id = || {
        let mut id = [0; 8];
        rng.fill_bytes(&mut id);
        NegotiationId(id)
    };
    let (sid_i, sid_r) = (id(), id());
    let header = Header { kind, records: 0, length: 24 + len as u16, sid_i, sid_r };
    let message = [&header.emit()[..], &body].concat();
    let icmp = emit_echo(kind.is_request(), 7, 7, &message, from, to);
    let protocol = if from.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
    ip_packet(from, to, protocol, 0, &icmp)
}

/// An application packet nobody sent.
fn plaintext(from: IpAddr, to: IpAddr, rng: &mut impl Rng) -> Vec<u8> {
    let mut payload = bytes(DATAGRAM_MIN + HEAD_LEN, rng);
    payload[..MARKER.len()].copy_from_slice(&MARKER);
    udp_packet((from, APP_PORT), (to, APP_PORT), 0, &payload)
}

/// An ICMP error about a packet as it passed, or about one that never was.
fn error(recorded: &[u8], rng: &mut impl Rng) -> Option<Vec<u8>> {
    let mut quoted = recorded.to_vec();
    let view = ip::parse(&quoted).ok()?;
    if hit(rng, 500) {
        let tail = quoted.split_off(view.header_len);
        quoted.extend(tail.iter().map(|byte| byte ^ 0x55));
    }
    let reporter = crate::net::router(view.source.is_ipv4());
    if hit(rng, 700) {
        let mtus = [0, 68, 575, 576, 1279, 1280, 1400, 65_535];
        let mtu = mtus[below(rng, mtus.len() as u64) as usize];
        packet_too_big(&quoted, &view, mtu, reporter)
    } else {
        administratively_prohibited(&quoted, &view, reporter)
    }
}
