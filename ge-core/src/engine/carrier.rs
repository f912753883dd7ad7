//! What negotiation messages travel in outside a session: ICMP echo, or UDP where the path filters
//! echo.
//!
//! ```text
//! echo  | ICMP header 8 | message |      a request or a reply; reflected by ordinary machines
//! udp   | UDP header 8 | message |       from and to the data port, unless a NAT rewrote one
//! ```
//! The message begins with "GE", whose first byte is no kind of the shim: that tells it from sealed
//! data. Which carrier passes is not known beforehand. A question goes out in one at once, and in the
//! other [`CARRIER_DELAY`] later unless there was an answer or a reflection; the first right answer
//! decides, and is remembered per destination.

use super::Engine;
use super::incoming::Arrival;
use super::row::{Negotiation, Phase, Row, Via};
use crate::addr::WireAddr;
use crate::dprp::Purpose;
use crate::flow::HostPair;
use crate::id::Interface;
use crate::io::{DatagramMeta, Output, Transmit};
use crate::limits::{CARRIER_DELAY, CARRIER_LIFETIME, CARRIERS, DATA_PORT};
use crate::now::Instant;
use crate::recent::Recent;
use crate::timer::Timer;
use crate::wire::dprp::dde::lasting;
use crate::wire::dprp::{MAGIC, peek};
use crate::wire::icmp::{emit_echo, parse_echo};
use crate::wire::ip::IpView;
use crate::wire::protocol;
use crate::wire::udp::{emit_udp, parse_udp};
use crate::{NegotiationId, Now};
use core::net::IpAddr;

/// What a message travels in outside a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Carrier {
    /// ICMP echo.
    #[default]
    Echo,
    /// UDP, from and to the data port.
    Udp,
}

impl Carrier {
    const fn other(self) -> Self {
        match self {
            Self::Echo => Self::Udp,
            Self::Udp => Self::Echo,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Udp => "udp",
        }
    }
}

impl Via {
    /// The carrier, outside a session.
    pub(super) const fn carrier(self) -> Option<Carrier> {
        match self {
            Self::Echo => Some(Carrier::Echo),
            Self::Udp => Some(Carrier::Udp),
            Self::Session(_) => None,
        }
    }

    /// Outside a session.
    pub(super) const fn is_clear(self) -> bool {
        self.carrier().is_some()
    }
}

impl From<Carrier> for Via {
    fn from(carrier: Carrier) -> Self {
        match carrier {
            Carrier::Echo => Self::Echo,
            Carrier::Udp => Self::Udp,
        }
    }
}

/// The numbers by which NATs and firewalls tell an answer from a stranger's packet: an answer repeats
/// those of its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Identifier and sequence number.
    Echo { id: u16, seq: u16 },
    /// Ports of the pair's two ends.
    Udp { local: u16, remote: u16 },
}

impl Numbers {
    pub(super) const fn carrier(self) -> Carrier {
        match self {
            Self::Echo { .. } => Carrier::Echo,
            Self::Udp { .. } => Carrier::Udp,
        }
    }

    /// Both on the data port: what this agent starts.
    const DATA_PORTS: Self = Self::Udp { local: DATA_PORT, remote: DATA_PORT };

    /// The IP protocol, and the transport message with a negotiation message in it. `leaving`: from
    /// the pair's local end to its remote end.
    pub(super) fn pack(
        self,
        request: bool,
        leaving: bool,
        message: &[u8],
        (from, to): (IpAddr, IpAddr),
    ) -> (u8, Vec<u8>) {
        match self {
            Self::Echo { id, seq } => {
                let icmp = if from.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
                (icmp, emit_echo(request, id, seq, message, from, to))
            }
            Self::Udp { local, remote } => {
                let (source, destination) = if leaving { (local, remote) } else { (remote, local) };
                (protocol::UDP, emit_udp((from, source), (to, destination), message))
            }
        }
    }
}

/// Destinations whose paths filter echo, as far as is known. Forgetting one costs one
/// [`CARRIER_DELAY`].
pub(super) struct Carriers {
    udp: Recent<IpAddr, ()>,
}

impl Default for Carriers {
    fn default() -> Self {
        Self { udp: Recent::new(CARRIERS, CARRIER_LIFETIME) }
    }
}

impl Carriers {
    /// What to begin with.
    fn first(&self, remote: IpAddr, now: Instant) -> Carrier {
        if self.udp.has(&remote, now) { Carrier::Udp } else { Carrier::Echo }
    }

    /// An answer came in this carrier.
    fn remember(&mut self, remote: IpAddr, carrier: Carrier, now: Instant) {
        match carrier {
            Carrier::Echo => drop(self.udp.take(&remote, now)),
            Carrier::Udp => self.udp.put(remote, (), now),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.udp.len()
    }
}

/// A negotiation message in a packet: its bytes, and where it came from. `way` is the interface and
/// whether the packet leaves by it.
pub(super) fn unpack<'a>(
    packet: &'a [u8],
    view: &IpView,
    pair: HostPair,
    way: (Interface, bool),
) -> Option<(Arrival, &'a [u8])> {
    let (interface, leaving) = way;
    let hop_limit = view.hop_limit;
    let arrival =
        |request, numbers| Arrival { pair, interface, leaving, request, numbers, hop_limit };
    if let Some(echo) = parse_echo(packet, view) {
        peek(echo.payload)?;
        let numbers = Numbers::Echo { id: echo.id, seq: echo.seq };
        return Some((arrival(echo.request, numbers), echo.payload));
    }
    let udp = parse_udp(packet, view)?;
    if ![udp.source, udp.destination].contains(&DATA_PORT) {
        return None;
    }
    let request = peek(udp.payload)?.kind.is_request();
    let (local, remote) =
        if leaving { (udp.source, udp.destination) } else { (udp.destination, udp.source) };
    Some((arrival(request, Numbers::Udp { local, remote }), udp.payload))
}

impl Engine {
    /// What a question to this destination begins with.
    pub(super) fn clear_via(&self, remote: IpAddr, now: Now) -> Via {
        self.carriers.first(remote, now.mono).into()
    }

    /// The right answer to a question of ours came by `via`: the negotiation goes on there.
    pub(super) fn carrier_answered(&mut self, pair: HostPair, via: Via, now: Now) {
        let Some(carrier) = via.carrier() else { return };
        self.carriers.remember(pair.remote.0, carrier, now.mono);
        if let Some(negotiation) = self.pit.get_mut(pair).and_then(Row::negotiation_mut) {
            negotiation.via = via;
            negotiation.other_at = None;
        }
    }

    /// Sends the negotiation's present message in one carrier.
    pub(super) fn send_clear(&mut self, pair: HostPair, carrier: Carrier) {
        let Some(row) = self.pit.get(pair) else { return };
        let interface = row.interface;
        let Some(negotiation) = row.negotiation() else { return };
        let numbers = match carrier {
            Carrier::Echo => Numbers::Echo { id: negotiation.echo_id, seq: negotiation.echo_seq },
            Carrier::Udp => Numbers::DATA_PORTS,
        };
        let (from, to) = (pair.local.0, pair.remote.0);
        let (protocol, bytes) = numbers.pack(true, true, &negotiation.message, (from, to));
        let (from, to) = (WireAddr(from), WireAddr(to));
        self.emit(Output::Transmit(Transmit { from, to, interface, protocol, bytes }));
    }

    /// Plans to send the question that just went out in the other carrier as well.
    pub(super) fn plan_other_carrier(&mut self, pair: HostPair, now: Now) {
        let Some(negotiation) = self.pit.get_mut(pair).and_then(Row::negotiation_mut) else {
            return;
        };
        if negotiation.asks_in_both() {
            let at = now.mono + CARRIER_DELAY;
            negotiation.other_at = Some(at);
            self.timers.set(at, Timer::OtherCarrier(pair));
        }
    }

    /// Neither answer nor reflection so far.
    pub(super) fn other_carrier(&mut self, pair: HostPair, now: Now) {
        let Some(negotiation) = self.pit.get_mut(pair).and_then(Row::negotiation_mut) else {
            return;
        };
        let due = negotiation.other_at.take_if(|at| *at <= now.mono).is_some();
        if let Some(carrier) = negotiation.via.carrier()
            && due
            && negotiation.asks_in_both()
        {
            self.send_clear(pair, carrier.other());
        }
    }

    /// An ordinary machine reflected our question. Echo passes both ways, so that UDP would find
    /// nobody either: it is spared a packet that it did not ask for. Only who saw the question can
    /// reflect it, and who can see it could as well drop the other one.
    pub(super) fn reflected(&mut self, id: NegotiationId, message: &[u8]) {
        let Some(&pair) = self.negotiations.get(&id) else { return };
        if let Some(negotiation) = self.pit.get_mut(pair).and_then(Row::negotiation_mut)
            && lasting(&negotiation.message) == lasting(message)
        {
            negotiation.reflected = true;
            negotiation.other_at = None;
        }
    }

    /// A negotiation message on the data port.
    pub(super) fn message_on_port(&mut self, message: &[u8], meta: &DatagramMeta, now: Now) {
        let Some(header) = peek(message) else {
            return self.dropped_in(crate::DropReason::BadMessage);
        };
        let arrival = Arrival {
            pair: HostPair::new(meta.to.0, meta.from.0),
            interface: meta.interface,
            leaving: false,
            request: header.kind.is_request(),
            numbers: Numbers::Udp { local: DATA_PORT, remote: meta.from_port },
            hop_limit: crate::limits::HOP_LIMIT,
        };
        self.consume_message(message, Via::Udp, Some(arrival), now);
    }
}

impl Negotiation {
    /// Which carrier passes is not known yet.
    fn asks_in_both(&self) -> bool {
        self.phase == Phase::ExpectRgi
            && self.via.is_clear()
            && !self.reflected
            && self.initiator.proposal().purpose == Purpose::Protect
    }
}

/// True for what is no sealed datagram but a negotiation message.
pub(crate) fn is_message(datagram: &[u8]) -> bool {
    datagram.starts_with(&MAGIC)
}

#[cfg(test)]
mod tests;
