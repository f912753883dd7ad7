//! Reassembly of negotiation messages, in ICMP echo or UDP, that a narrow IPv4 path cut (RFC 791
//! 3.2).
//!
//! A negotiation message has up to 1,200 bytes. IPv6 paths carry that; an IPv4 path of 576 bytes
//! fragments it, and the hook sees packets before the kernel joins them. Only what begins like
//! one of our messages is kept, and only in order: whatever is lost, doubled or overtaken drops
//! the whole, and the retry ladder sends it again. So nothing can overlap, and an attacker gets
//! no more than the few slots there are.

use crate::limits::{MESSAGE_MAX, REASSEMBLY_LIFETIME, REASSEMBLY_SLOTS};
use crate::now::Instant;
use crate::wire::dprp::MAGIC;
use crate::wire::icmp::ECHO_LEN;
use crate::wire::ip::{Fragment, IpView};
use crate::wire::ipv4::{self, FLAGS, IDENTIFICATION, MORE_FRAGMENTS, OFFSET_MASK, TOTAL_LENGTH};
use crate::wire::{protocol, read_u16, write_u16};
use core::net::IpAddr;

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub enum Reassembled {
    /// No fragment of a message of ours.
    NotOurs,
    /// Kept; more must come.
    Incomplete,
    /// The whole packet.
    Whole(Vec<u8>),
}

/// Messages being put together.
#[derive(Default)]
pub struct EchoReassembly {
    slots: Vec<Slot>,
}

struct Slot {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    identification: u16,
    since: Instant,
    header_len: usize,
    packet: Vec<u8>,
}

impl EchoReassembly {
    /// Takes one arrived IPv4 packet.
    pub fn push(&mut self, packet: &[u8], view: &IpView, now: Instant) -> Reassembled {
        if view.fragment == Fragment::None
            || ![protocol::ICMP, protocol::UDP].contains(&view.protocol)
            || !view.source.is_ipv4()
        {
            return Reassembled::NotOurs;
        }
        self.try_push(packet, view, now).unwrap_or(Reassembled::NotOurs)
    }

    fn try_push(&mut self, packet: &[u8], view: &IpView, now: Instant) -> Option<Reassembled> {
        let packet = packet.get(..view.total_len)?;
        let payload = packet.get(view.header_len..)?;
        let (identification, flags) = (read_u16(packet, IDENTIFICATION)?, read_u16(packet, FLAGS)?);
        self.slots.retain(|slot| now.since(slot.since) < REASSEMBLY_LIFETIME);
        let same = |slot: &Slot| {
            slot.source == view.source
                && slot.destination == view.destination
                && slot.protocol == view.protocol
                && slot.identification == identification
        };
        let known = self.slots.iter().position(same);
        if view.fragment == Fragment::First {
            // Both carriers have headers of eight bytes.
            if payload.get(ECHO_LEN..ECHO_LEN + MAGIC.len())? != MAGIC {
                return None;
            }
            // A doubled first fragment starts over.
            known.map(|at| self.slots.swap_remove(at));
            if self.slots.len() >= REASSEMBLY_SLOTS {
                return None;
            }
            self.slots.push(Slot {
                source: view.source,
                destination: view.destination,
                protocol: view.protocol,
                identification,
                since: now,
                header_len: view.header_len,
                packet: packet.to_vec(),
            });
            return Some(Reassembled::Incomplete);
        }
        let at = known?;
        let slot = &mut self.slots[at];
        let expected = slot.packet.len() - slot.header_len;
        let offset = usize::from(flags & OFFSET_MASK) * 8;
        let limit = slot.header_len + ECHO_LEN + MESSAGE_MAX;
        if offset != expected || slot.packet.len() + payload.len() > limit {
            self.slots.swap_remove(at);
            return Some(Reassembled::Incomplete);
        }
        slot.packet.extend_from_slice(payload);
        if flags & MORE_FRAGMENTS != 0 {
            return Some(Reassembled::Incomplete);
        }
        let Slot { mut packet, header_len, .. } = self.slots.swap_remove(at);
        // Fits: the limit is far below 65,535.
        let total_len = packet.len() as u16;
        write_u16(&mut packet, TOTAL_LENGTH, total_len);
        write_u16(&mut packet, FLAGS, 0);
        ipv4::refresh_checksum(&mut packet[..header_len]);
        Some(Reassembled::Whole(packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fragment::fragment_ipv4;
    use crate::wire::icmp::{emit_echo, parse_echo};
    use crate::wire::ip;

    const NOW: Instant = Instant::from_micros(1);

    fn packet(identification: u16, payload: &[u8]) -> Vec<u8> {
        let (from, to): (IpAddr, IpAddr) =
            ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let icmp = emit_echo(true, 7, 1, payload, from, to);
        let mut header = [0; ip::HEADER_MAX];
        let len = ip::emit_header(&mut header, from, to, protocol::ICMP, icmp.len(), 0, 64);
        write_u16(&mut header, IDENTIFICATION, identification);
        write_u16(&mut header, FLAGS, 0);
        ipv4::refresh_checksum(&mut header[..len]);
        [&header[..len], &icmp].concat()
    }

    fn fragments(identification: u16, payload: &[u8]) -> Vec<Vec<u8>> {
        let whole = packet(identification, payload);
        let view = ip::parse(&whole).unwrap();
        let mut cut = Vec::new();
        fragment_ipv4(&whole, &view, 576, &mut |part| cut.push(part.to_vec())).unwrap();
        cut
    }

    fn push(table: &mut EchoReassembly, packet: &[u8], now: Instant) -> Reassembled {
        table.push(packet, &ip::parse(packet).unwrap(), now)
    }

    fn message(len: usize) -> Vec<u8> {
        [&MAGIC[..], &vec![0x5a; len - MAGIC.len()]].concat()
    }

    #[test]
    fn a_cut_message_comes_out_whole() {
        let mut table = EchoReassembly::default();
        let parts = fragments(9, &message(MESSAGE_MAX));
        assert_eq!(parts.len(), 3);
        assert_eq!(push(&mut table, &parts[0], NOW), Reassembled::Incomplete);
        assert_eq!(push(&mut table, &parts[1], NOW), Reassembled::Incomplete);
        let Reassembled::Whole(whole) = push(&mut table, &parts[2], NOW) else { panic!() };
        let echo = parse_echo(&whole, &ip::parse(&whole).unwrap()).unwrap();
        assert_eq!(echo.payload, message(MESSAGE_MAX));
        assert!(table.slots.is_empty());
    }

    #[test]
    fn what_is_not_ours_or_out_of_order_is_not_kept() {
        let mut table = EchoReassembly::default();
        let foreign = fragments(1, &[0x5a; 900]);
        assert_eq!(push(&mut table, &foreign[0], NOW), Reassembled::NotOurs);
        assert_eq!(push(&mut table, &foreign[1], NOW), Reassembled::NotOurs);
        let ours = fragments(2, &message(MESSAGE_MAX));
        assert_eq!(push(&mut table, &ours[1], NOW), Reassembled::NotOurs);
        push(&mut table, &ours[0], NOW);
        assert_eq!(push(&mut table, &ours[2], NOW), Reassembled::Incomplete);
        assert!(table.slots.is_empty(), "a gap drops the whole");
        assert_eq!(push(&mut table, &packet(3, &message(40)), NOW), Reassembled::NotOurs);
    }

    #[test]
    fn slots_and_time_are_bounded() {
        let mut table = EchoReassembly::default();
        for id in 0..1000 {
            push(&mut table, &fragments(id, &message(900))[0], NOW);
        }
        assert_eq!(table.slots.len(), REASSEMBLY_SLOTS);
        let later = NOW + REASSEMBLY_LIFETIME;
        let parts = fragments(5000, &message(900));
        push(&mut table, &parts[0], later);
        assert_eq!(table.slots.len(), 1);
        let too_long = fragments(5001, &message(MESSAGE_MAX + 500));
        let results: Vec<_> = too_long.iter().map(|p| push(&mut table, p, later)).collect();
        assert!(!results.iter().any(|r| matches!(r, Reassembled::Whole(_))));
    }
}
