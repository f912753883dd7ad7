//! A frame that arrived in clear: a negotiation message, an ICMP error about our own packets, or
//! plaintext that the mode lets in or not. Unauthenticated, so it changes only counters, unless a
//! negotiation message proves itself.

use super::Engine;
use super::carrier::{Numbers, is_message, unpack};
use super::outgoing::is_many;
use super::passing::Passage;
use super::row::{RowState, Via};
use crate::addr::WireAddr;
use crate::flow::{Direction, HostPair};
use crate::icmp_error::{ErrorKind, build_error_for, parse_error, quoted_parse};
use crate::id::{Interface, Lane, SessionIndex};
use crate::io::{Event, Frame, Incoming, NegotiationResult, Output, PACKET_AT};
use crate::limits::DATA_PORT;
use crate::reassembly::Reassembled;
use crate::shim::Shim;
use crate::wire::dprp::{self, Kind};
use crate::wire::icmp::is_link_control;
use crate::wire::ip::{self, IpView};
use crate::wire::protocol;
use crate::{ClearReason, DropReason, Mode, Now};
use core::net::IpAddr;

/// Where a message outside a session came from.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) pair: HostPair,
    pub(super) interface: Interface,
    /// It leaves by the interface; otherwise it came in by it.
    pub(super) leaving: bool,
    pub(super) request: bool,
    pub(super) numbers: Numbers,
    pub(super) hop_limit: u8,
}

impl Arrival {
    /// What it came in.
    pub(super) fn via(&self) -> Via {
        self.numbers.carrier().into()
    }

    /// The two hosts as the initiator sees them: a reply goes back along the flow.
    pub(super) const fn flow(&self) -> HostPair {
        if self.leaving == self.request { self.pair } else { self.pair.reversed() }
    }

    /// Source and destination of the packet.
    pub(super) const fn ends(&self) -> (IpAddr, IpAddr) {
        let (local, remote) = (self.pair.local.0, self.pair.remote.0);
        if self.leaving { (local, remote) } else { (remote, local) }
    }
}

/// Whether a packet carried a negotiation message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// It did not.
    None,
    /// It did, and this agent used it, or sent something else in its place.
    Used,
    /// It did, and goes on as it came.
    Passes,
}

impl Engine {
    /// Decides about one frame that arrived.
    pub fn incoming(&mut self, frame: &Frame<'_>, now: Now) -> Incoming {
        let Some((packet, view)) =
            frame.bytes.get(PACKET_AT..).and_then(|p| Some((p, ip::parse(p).ok()?)))
        else {
            self.dropped_in(DropReason::Malformed);
            return Incoming::Consumed;
        };
        let Direction::Incoming(interface) = frame.direction else { return Incoming::Consumed };
        let pair = HostPair::new(view.destination, view.source);
        match self.message_in(packet, &view, pair, (interface, false), now) {
            Message::Used => return Incoming::Consumed,
            Message::Passes => return Incoming::Deliver,
            Message::None => {}
        }
        if is_link_control(packet, &view) {
            return Incoming::Deliver;
        }
        let others = self.is_router() && !self.is_local(view.destination);
        if !others && self.is_about_ours(packet, &view, now) {
            return Incoming::Consumed;
        }
        if is_many(view.destination) {
            let why = Some(ClearReason::Multicast);
            return self.let_in(packet.len(), pair, why, now);
        }
        if others {
            if let Some(passes) = self.sealed_passes(packet, &view, false, now) {
                return match passes {
                    Ok(()) => Incoming::Deliver,
                    Err(reason) => self.refuse_in(reason),
                };
            }
            self.survey_first(pair, interface, now);
        }
        self.plaintext(packet.len(), pair, now)
    }

    /// Looks for a negotiation message in a packet, or a piece of one, and acts on it. `way` is the
    /// interface and whether the packet leaves by it.
    pub(super) fn message_in(
        &mut self,
        packet: &[u8],
        view: &IpView,
        pair: HostPair,
        way: (Interface, bool),
        now: Now,
    ) -> Message {
        match self.reassembly.push(packet, view, now.mono) {
            Reassembled::NotOurs => {}
            Reassembled::Incomplete => return Message::Used,
            Reassembled::Whole(whole) => return self.whole_message(&whole, pair, way, now),
        }
        let Some((arrival, message)) = unpack(packet, view, pair, way) else {
            return Message::None;
        };
        let Some(header) = dprp::peek(message) else { return Message::None };
        if self.is_router() && !self.is_for_us(&header, arrival) {
            return match self.message_passes(message, arrival, now) {
                Passage::On => Message::Passes,
                Passage::Stop => Message::Used,
            };
        }
        self.consume_message(message, arrival.via(), Some(arrival), now);
        Message::Used
    }

    /// A message that came in fragments and was put together goes on whole.
    fn whole_message(
        &mut self,
        whole: &[u8],
        pair: HostPair,
        way: (Interface, bool),
        now: Now,
    ) -> Message {
        let Ok(view) = ip::parse(whole) else { return Message::Used };
        if self.message_in(whole, &view, pair, way, now) == Message::Passes
            && let Some((arrival, message)) = unpack(whole, &view, pair, way)
        {
            self.send_along(arrival, message);
        }
        Message::Used
    }

    /// Whether this agent is one of the two ends of the message's negotiation.
    fn is_for_us(&self, header: &dprp::Header, arrival: Arrival) -> bool {
        if arrival.request && header.kind == Kind::Dde {
            return !arrival.leaving && self.is_local(arrival.pair.local.0);
        }
        if arrival.request {
            return self.answers.has(header.sid_i);
        }
        self.negotiations.contains_key(&header.sid_i)
            || self.is_late_cdn(header.sid_i, Some(arrival))
    }

    /// A stranger's first packet to a machine behind this open router passes at once; whether an
    /// agent further in refuses it is asked meanwhile.
    fn survey_first(&mut self, pair: HostPair, interface: Interface, now: Now) {
        let unknown = self.pit.get(pair).is_none() && self.may_pass(pair.remote.0, now);
        if unknown && self.stands_for(pair.local.0) {
            self.survey(pair, interface, now);
        }
    }

    fn plaintext(&mut self, bytes: usize, pair: HostPair, now: Now) -> Incoming {
        match self.pit.get(pair).map(|row| &row.state) {
            Some(RowState::Protected(_)) => self.refuse_in(DropReason::ClearOnProtected),
            Some(RowState::Dropped(_)) => self.refuse_in(DropReason::Discarded),
            Some(RowState::Pending(_)) if !self.may_pass(pair.remote.0, now) => {
                self.refuse_in(DropReason::ClosedMode)
            }
            Some(RowState::Transit(_)) | None
                if self.mode() == Mode::Open && !self.may_pass(pair.remote.0, now) =>
            {
                self.refuse_in(DropReason::ClearOnProtected)
            }
            // The verdict of the row stands for its packets, or will.
            Some(RowState::Pending(_)) => self.let_in(bytes, pair, None, now),
            Some(RowState::Clear(plain)) if plain.reason != NegotiationResult::Unasked => {
                self.let_in(bytes, pair, None, now)
            }
            Some(RowState::Transit(_)) => {
                self.let_in(bytes, pair, Some(ClearReason::BesideTransit), now)
            }
            Some(RowState::Clear(_)) | None => {
                self.let_in(bytes, pair, Some(ClearReason::Unasked), now)
            }
        }
    }

    /// What passes in open mode. `reason`: unless a row stands for it.
    fn let_in(
        &mut self,
        bytes: usize,
        pair: HostPair,
        reason: Option<ClearReason>,
        now: Now,
    ) -> Incoming {
        match (self.mode(), reason) {
            (Mode::Open, _) => {
                self.counters.clear_in.0 += 1;
                self.counters.clear_in.1 += bytes as u64;
                if let Some(reason) = reason {
                    self.note_clear(pair, reason, now);
                }
                Incoming::Deliver
            }
            (Mode::Closed, Some(ClearReason::Multicast)) => self.refuse_in(DropReason::Multicast),
            (Mode::Closed, _) => self.refuse_in(DropReason::ClosedMode),
        }
    }

    fn refuse_in(&mut self, reason: DropReason) -> Incoming {
        self.dropped_in(reason);
        Incoming::Consumed
    }

    /// An ICMP error that quotes one of our sealed datagrams: the local program must hear about
    /// its own packet, not about ours. True if the packet was such an error.
    fn is_about_ours(&mut self, packet: &[u8], view: &IpView, now: Now) -> bool {
        let Some(error) = parse_error(packet, view) else { return false };
        let Some(quoted) = quoted_parse(error.quoted) else { return false };
        let udp = error.quoted.get(quoted.header_len..).unwrap_or_default();
        if quoted.protocol != protocol::UDP || udp.get(2..4) != Some(&DATA_PORT.to_be_bytes()[..]) {
            return false;
        }
        let wire = [WireAddr(quoted.source), WireAddr(quoted.destination)];
        if udp.get(8..).is_some_and(is_message) {
            // Nobody takes messages there, or says so: no more than silence.
            return true;
        }
        // Eight quoted bytes are the UDP header; routers quote more (RFC 1812), and without the
        // shim anybody could have made this up.
        let sent = udp.get(8..).and_then(Shim::parse).and_then(|shim| {
            let index = self.sessions.find_sending(wire, &shim)?;
            Some((index, shim.lane))
        });
        match sent {
            Some(sent) => self.outer_error(sent, error.kind, error.reporter, now),
            None => self.dropped_in(DropReason::BadIcmp),
        }
        true
    }

    fn outer_error(
        &mut self,
        (index, lane): (SessionIndex, Lane),
        kind: ErrorKind,
        reporter: IpAddr,
        now: Now,
    ) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let pair = session.pair;
        if kind.is_port_unreachable(reporter) {
            // About our port, which no program knows; and so about the peer's agent.
            session.doubt(now.mono);
            self.keep_looking(index, now);
        } else if let ErrorKind::TooBig { mtu } = kind {
            // The next packet that is too large is cut or answered by the sealing path.
            if session.narrow_path(mtu, now.mono) {
                self.event(Event::PathMtu { pair, mtu });
                self.share_path_mtu(index, now);
            }
        } else if let Some(error) = build_error_for(kind, reporter, &session.last_inner_in(lane)) {
            self.emit(Output::Deliver(error));
        }
    }
}
