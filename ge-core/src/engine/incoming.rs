//! A frame that arrived in clear: a negotiation message, an ICMP error about our own packets, or
//! plaintext that the mode lets in or not. Unauthenticated, so it changes only counters, unless a
//! negotiation message proves itself.

use super::Engine;
use super::outgoing::{PACKET_AT, is_many};
use super::row::{RowState, Via};
use crate::flow::{Direction, HostPair};
use crate::icmp_error::{ErrorKind, build_error_for, parse_error, quoted_parse};
use crate::id::{Interface, SessionIndex};
use crate::io::{Event, Frame, Incoming, Output};
use crate::limits::DATA_PORT;
use crate::reassembly::Reassembled;
use crate::shim::Shim;
use crate::wire::dprp;
use crate::wire::icmp::{is_link_control, parse_echo};
use crate::wire::ip::{self, IpView};
use crate::wire::protocol;
use crate::{DropReason, Mode, Now};
use core::net::IpAddr;

/// Where an echo message came from.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) pair: HostPair,
    pub(super) interface: Interface,
    pub(super) request: bool,
    pub(super) id: u16,
    pub(super) seq: u16,
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
        if self.is_negotiation(packet, &view, pair, interface, now) {
            return Incoming::Consumed;
        }
        if is_link_control(packet, &view) {
            return Incoming::Deliver;
        }
        if self.is_about_ours(packet, &view, now) {
            return Incoming::Consumed;
        }
        if is_many(view.destination) {
            return self.let_in(packet.len(), DropReason::Multicast);
        }
        self.plaintext(packet.len(), pair, now)
    }

    /// True if the packet was a negotiation message, or a piece of one.
    fn is_negotiation(
        &mut self,
        packet: &[u8],
        view: &IpView,
        pair: HostPair,
        interface: Interface,
        now: Now,
    ) -> bool {
        match self.reassembly.push(packet, view, now.mono) {
            Reassembled::NotOurs => {}
            Reassembled::Incomplete => return true,
            Reassembled::Whole(whole) => {
                if let Ok(view) = ip::parse(&whole) {
                    self.is_negotiation(&whole, &view, pair, interface, now);
                }
                return true;
            }
        }
        let Some(echo) = parse_echo(packet, view) else { return false };
        if dprp::peek(echo.payload).is_none() {
            return false;
        }
        let (request, id, seq) = (echo.request, echo.id, echo.seq);
        let arrival = Arrival { pair, interface, request, id, seq };
        self.consume_message(echo.payload, Via::Echo, Some(arrival), now);
        true
    }

    fn plaintext(&mut self, bytes: usize, pair: HostPair, now: Now) -> Incoming {
        match self.pit.get(pair).map(|row| &row.state) {
            Some(RowState::Protected(_)) => self.refuse_in(DropReason::ClearOnProtected),
            Some(RowState::Dropped(_)) => self.refuse_in(DropReason::Discarded),
            Some(RowState::Pending(_)) if !self.may_pass(pair.remote.0, now) => {
                self.refuse_in(DropReason::ClosedMode)
            }
            None if self.sticky.contains(pair.remote.0, now.mono) => {
                self.refuse_in(DropReason::ClearOnProtected)
            }
            Some(RowState::Pending(_) | RowState::Clear(_)) | None => {
                self.let_in(bytes, DropReason::ClosedMode)
            }
        }
    }

    fn let_in(&mut self, bytes: usize, otherwise: DropReason) -> Incoming {
        match self.mode() {
            Mode::Open => {
                self.counters.clear_in.0 += 1;
                self.counters.clear_in.1 += bytes as u64;
                Incoming::Deliver
            }
            Mode::Closed => self.refuse_in(otherwise),
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
        let pair = HostPair::new(quoted.source, quoted.destination);
        // Eight quoted bytes are the UDP header; routers quote more (RFC 1812), and without the
        // shim anybody could have made this up.
        let session = udp
            .get(8..)
            .and_then(Shim::parse)
            .and_then(|shim| self.sessions.find_sending(pair, shim.index, shim.counter_low));
        match session {
            Some(index) => self.outer_error(index, error.kind, error.reporter, now),
            None => self.dropped_in(DropReason::BadIcmp),
        }
        true
    }

    fn outer_error(&mut self, index: SessionIndex, kind: ErrorKind, reporter: IpAddr, now: Now) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let pair = session.pair;
        if kind.is_port_unreachable(reporter) {
            // About our port, which no program knows; and so about the peer's agent.
            session.doubt(now.mono);
        } else if let ErrorKind::TooBig { mtu } = kind {
            // The next packet that is too large is cut or answered by the sealing path.
            if session.narrow_path(mtu, now.mono) {
                self.event(Event::PathMtu { pair, mtu });
            }
        } else if let Some(error) = build_error_for(kind, reporter, session.last_inner()) {
            self.emit(Output::Deliver(error));
        }
    }
}
