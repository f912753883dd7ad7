//! A stack's reassembly of IP fragments: those the engine makes of packets that do not fit through
//! a seal. Only plain headers and, in IPv6, one fragment header behind the fixed one.

use crate::packet::{NodeId, ip_packet};
use ge_core::wire::ip::{Fragment, IpView};
use std::collections::BTreeMap;
use std::net::IpAddr;

const V4_FIXED: usize = 20;
const V6_FIXED: usize = 40;
const V6_FRAGMENT: usize = 8;
/// Pieces without the rest are forgotten after this many microseconds, as Linux does
/// (`ipfrag_time`): whoever numbers packets may use a number again.
const LIFETIME: u64 = 30_000_000;

/// Fragments that wait for the rest.
#[derive(Default)]
pub struct Reassembly {
    waiting: BTreeMap<(NodeId, IpAddr, u32), (u64, Vec<Piece>)>,
}

struct Piece {
    offset: usize,
    last: bool,
    bytes: Vec<u8>,
}

impl Reassembly {
    /// Takes what arrived at a machine; gives a packet back once it is whole, which an unfragmented
    /// one is at once.
    pub fn add(&mut self, at: NodeId, packet: &[u8], view: &IpView, now: u64) -> Option<Vec<u8>> {
        if view.fragment == Fragment::None {
            return Some(packet[..view.total_len].to_vec());
        }
        let (id, protocol, piece) = read(packet, view)?;
        let key = (at, view.source, id);
        let (since, pieces) = self.waiting.entry(key).or_default();
        if *since + LIFETIME < now {
            pieces.clear();
        }
        if pieces.is_empty() {
            *since = now;
        }
        pieces.push(piece);
        pieces.sort_by_key(|piece| piece.offset);
        let mut upper = Vec::new();
        for piece in pieces.iter() {
            if piece.offset != upper.len() {
                return None;
            }
            upper.extend_from_slice(&piece.bytes);
        }
        if !pieces.last()?.last {
            return None;
        }
        self.waiting.remove(&key);
        Some(ip_packet(view.source, view.destination, protocol, view.tos, &upper))
    }
}

/// Identification, upper protocol and content of a fragment.
fn read(packet: &[u8], view: &IpView) -> Option<(u32, u8, Piece)> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    if view.source.is_ipv4() {
        let field = word(6)?;
        let piece = Piece {
            offset: usize::from(field & 0x1fff) * 8,
            last: field & 0x2000 == 0,
            bytes: packet.get(V4_FIXED..view.total_len)?.to_vec(),
        };
        return Some((u32::from(word(4)?), *packet.get(9)?, piece));
    }
    let field = word(V6_FIXED + 2)?;
    let piece = Piece {
        offset: usize::from(field & !7),
        last: field & 1 == 0,
        bytes: packet.get(V6_FIXED + V6_FRAGMENT..view.total_len)?.to_vec(),
    };
    let id = u32::from(word(V6_FIXED + 4)?) << 16 | u32::from(word(V6_FIXED + 6)?);
    Some((id, *packet.get(V6_FIXED)?, piece))
}
