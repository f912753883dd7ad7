//! Somebody with a place on the path and a script.

use super::craft::{Craft, Deed};
use super::insider::Insider;
use super::{Origin, mutate};
use crate::net::{below, hit};
use crate::packet::{Class, NodeId, class, ip_packet, message, udp_packet};
use ge_core::crypto::Rng;
use ge_core::now::UnixTime;
use ge_core::wire::icmp::{emit_echo, parse_echo};
use ge_core::wire::ip::{self, IpView};
use ge_core::wire::udp::parse_udp;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Packets remembered for repeating.
const MEMORY: usize = 32;

/// What an intruder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// On the path, without a key.
    Outsider,
    /// On the path, an agent of the domain in none of the ends' groups.
    Member,
    /// On the path, a member of a group of the ends, and neither of them.
    Fellow,
    /// A router on the path with an agent, which it has under its control, keys and all.
    Transit,
}

/// Somebody on the path.
pub struct Intruder {
    /// What it is, for people.
    pub position: Position,
    insider: Option<Insider>,
    /// Links it sees and alters, by direction. Empty: all.
    links: BTreeSet<(NodeId, NodeId)>,
    script: Vec<Craft>,
    /// In how many of 1,000 packets it does something.
    share: u32,
    seen: Vec<Vec<u8>>,
    /// It does no more than so many things.
    deeds: usize,
    /// Deeds done, by craft, for tests that must have happened.
    done: Vec<Craft>,
}

/// A packet as the intruder sees it.
pub struct Watched<'a> {
    /// Sender and receiver of the link.
    pub link: (NodeId, NodeId),
    /// Its bytes.
    pub packet: &'a [u8],
    /// Who made it.
    pub origin: Origin,
    /// Addresses of all machines.
    pub addresses: &'a [IpAddr],
    /// Wall time.
    pub unix: UnixTime,
}

/// A packet the intruder puts on a link.
pub struct Sending {
    /// Its bytes.
    pub packet: Vec<u8>,
    /// So many microseconds later than it would.
    pub late: u64,
    /// Who vouches for it.
    pub origin: Origin,
    /// It goes back to where the packet came from, not on.
    pub back: bool,
}

impl Intruder {
    /// Somebody who does what the script says, one craft drawn from it for each packet, on these
    /// links, or on all.
    #[must_use]
    pub fn new(
        position: Position,
        insider: Option<Insider>,
        links: impl IntoIterator<Item = (NodeId, NodeId)>,
        script: &[Craft],
        share: u32,
    ) -> Self {
        let links = links.into_iter().collect();
        let (script, seen, done) = (script.to_vec(), Vec::new(), Vec::new());
        Self { position, insider, links, script, share, seen, deeds: usize::MAX, done }
    }

    /// It stops after so many deeds.
    #[must_use]
    pub const fn at_most(mut self, deeds: usize) -> Self {
        self.deeds = deeds;
        self
    }

    /// What it has done.
    #[must_use]
    pub fn done(&self) -> &[Craft] {
        &self.done
    }

    /// What goes on in place of a packet. `None`: the packet as it is.
    pub fn meet(&mut self, watched: &Watched<'_>, rng: &mut Rng) -> Option<Vec<Sending>> {
        if !self.links.is_empty() && !self.links.contains(&watched.link) {
            return None;
        }
        let class = class(watched.packet);
        let fair = matches!(class, Class::Message(..) | Class::Sealed(_));
        let wants = !self.script.is_empty() && self.done.len() < self.deeds;
        let act = fair && wants && hit(rng, self.share);
        let sendings = if act {
            let craft = self.script[below(rng, self.script.len() as u64) as usize];
            let sendings = self.commit(craft, watched, rng);
            if sendings.is_some() {
                self.done.push(craft);
            }
            sendings
        } else {
            None
        };
        if fair {
            self.remember(watched.packet, rng);
        }
        sendings
    }

    fn remember(&mut self, packet: &[u8], rng: &mut Rng) {
        if self.seen.len() < MEMORY {
            self.seen.push(packet.to_vec());
        } else {
            self.seen[below(rng, MEMORY as u64) as usize] = packet.to_vec();
        }
    }

    fn commit(&self, craft: Craft, watched: &Watched<'_>, rng: &mut Rng) -> Option<Vec<Sending>> {
        let Watched { packet, origin, addresses, unix, .. } = *watched;
        let on = |packet: Vec<u8>, origin| Sending { packet, late: 0, origin, back: false };
        let as_is = || on(packet.to_vec(), origin);
        let view = ip::parse(packet).ok()?;
        Some(match craft {
            Craft::Drop => Vec::new(),
            Craft::Twice => vec![as_is(), as_is()],
            Craft::Late(late) => vec![Sending { late, ..as_is() }],
            Craft::Replay => {
                let again = self.seen.get(below(rng, self.seen.len().max(1) as u64) as usize)?;
                vec![as_is(), on(again.clone(), Origin::Replayed)]
            }
            Craft::Flip => vec![on(mutate(packet.to_vec(), rng)?, Origin::Forged)],
            Craft::Cut => vec![on(cut(packet, &view, rng)?, Origin::Forged)],
            Craft::Reflect => vec![as_is(), reflect(packet, &view)?],
            Craft::Rename | Craft::Redirect => {
                let other = addresses[below(rng, addresses.len() as u64) as usize];
                let mut ends = (view.source, view.destination);
                let end = if craft == Craft::Rename { &mut ends.0 } else { &mut ends.1 };
                if *end == other || other.is_ipv4() != end.is_ipv4() {
                    return None;
                }
                *end = other;
                vec![on(readdress(packet, &view, ends)?, Origin::Replayed)]
            }
            lie => {
                let (_, text) = message(packet, &view)?;
                let insider = self.insider.as_ref();
                let deed = Deed { insider, message: text, others: addresses, unix };
                let lied = deed.lie(lie, rng)?;
                let no = matches!(lie, Craft::Deny | Craft::Refuse);
                let sending = carry(packet, &view, &lied, no)?;
                // The answer of somebody else does not keep the question from going on.
                if no { vec![sending, as_is()] } else { vec![sending] }
            }
        })
    }
}

/// Another message in the same kind of packet; `back`: as the answer to it.
#[must_use]
pub fn carry(packet: &[u8], view: &IpView, message: &[u8], back: bool) -> Option<Sending> {
    let (mut from, mut to) = (view.source, view.destination);
    if back {
        std::mem::swap(&mut from, &mut to);
    }
    let packet = repack(packet, view, message, (from, to), back)?;
    Some(Sending { packet, late: 0, origin: Origin::Insider, back })
}

/// A payload in a packet like this one, an echo or a datagram, between these addresses; `back`: in
/// the other direction.
fn repack(
    packet: &[u8],
    view: &IpView,
    payload: &[u8],
    (from, to): (IpAddr, IpAddr),
    back: bool,
) -> Option<Vec<u8>> {
    if let Some(echo) = parse_echo(packet, view) {
        let icmp = emit_echo(echo.request != back, echo.id, echo.seq, payload, from, to);
        return Some(ip_packet(from, to, view.protocol, view.tos, &icmp));
    }
    let udp = parse_udp(packet, view)?;
    let ports = if back { (udp.destination, udp.source) } else { (udp.source, udp.destination) };
    Some(udp_packet((from, ports.0), (to, ports.1), view.tos, payload))
}

/// As an ordinary machine answers a ping.
fn reflect(packet: &[u8], view: &IpView) -> Option<Sending> {
    let echo = parse_echo(packet, view).filter(|echo| echo.request)?;
    let ends = (view.destination, view.source);
    let packet = repack(packet, view, echo.payload, ends, true)?;
    Some(Sending { packet, late: 0, origin: Origin::Replayed, back: true })
}

/// The same content between other addresses.
#[must_use]
pub fn readdress(packet: &[u8], view: &IpView, ends: (IpAddr, IpAddr)) -> Option<Vec<u8>> {
    let payload = match parse_echo(packet, view) {
        Some(echo) => echo.payload,
        None => parse_udp(packet, view)?.payload,
    };
    repack(packet, view, payload, ends, false)
}

/// The packet without its end, right in every other respect.
fn cut(packet: &[u8], view: &IpView, rng: &mut Rng) -> Option<Vec<u8>> {
    let payload = match parse_echo(packet, view) {
        Some(echo) => echo.payload,
        None => parse_udp(packet, view)?.payload,
    };
    let keep = below(rng, payload.len().max(1) as u64) as usize;
    let ends = (view.source, view.destination);
    repack(packet, view, &payload[..keep.min(payload.len())], ends, false)
}
