//! A frame that is about to leave: look the flow up, act on its row, or start a negotiation.

use super::Engine;
use super::incoming::Message;
use super::row::{Pending, Plain, Row, RowState};
use crate::batch::SealedBatch;
use crate::flow::{Direction, FlowKey, HostPair, Ports};
use crate::held::HeldFrames;
use crate::icmp_error::administratively_prohibited;
use crate::id::Interface;
use crate::io::{Event, Frame, HeldFrame, NegotiationResult, Outgoing, Output, PACKET_AT};
use crate::limits::{
    ASK_AGAIN_FIRST, NEGATIVE_LIFETIME, OFFLOAD_LIFETIME, OPEN_HOLD, PIT_ROWS_PER_SOURCE,
    REFUSED_LIFETIME, TRANSIT_GRACE,
};
use crate::now::Instant;
use crate::pit::RowId;
use crate::timer::Timer;
use crate::wire::icmp::is_link_control;
use crate::wire::ip::{self, IpView};
use crate::wire::protocol;
use crate::{ClearReason, DropReason, Mode, Now};
use core::net::IpAddr;

/// Rows looked at for one that can make room. Whoever fills a table fills it with plain rows, which
/// are then everywhere in it.
const EVICTION_SAMPLE: usize = 64;

/// What a row says about a packet, read before anything is changed.
enum Found {
    Nothing,
    Pending,
    Protected(RowId),
    Clear,
    Dropped,
    Transit,
}

impl Engine {
    /// Decides about one frame a local program sent. Sealed datagrams are added to `batch`.
    pub fn outgoing(
        &mut self,
        frame: &mut Frame<'_>,
        batch: &mut SealedBatch,
        now: Now,
    ) -> Outgoing {
        let Some(view) = frame.bytes.get(PACKET_AT..).and_then(|p| ip::parse(p).ok()) else {
            self.dropped_out(DropReason::Malformed);
            return Outgoing::Consumed;
        };
        let packet = &frame.bytes[PACKET_AT..];
        if is_link_control(packet, &view) {
            return Outgoing::PutBack;
        }
        let pair = HostPair::new(view.source, view.destination);
        if is_many(view.destination) {
            return self.unless_closed(packet.len(), pair, ClearReason::Multicast, now);
        }
        if self.is_router()
            && let Some(verdict) = self.others_leave(frame, &view, pair, now)
        {
            return verdict;
        }
        let packet = &frame.bytes[PACKET_AT..];
        match self.find_row(pair) {
            Found::Protected(row) => self.protect(frame, &view, (pair, row), batch, now),
            // A host agent stands for its own addresses only; what it forwards is not its to seal.
            _ if !self.is_ours(pair, now) => {
                self.unless_closed(packet.len(), pair, ClearReason::Forwarded, now)
            }
            Found::Nothing => self.first_packet(frame, &view, pair, now),
            Found::Pending => {
                self.hold(pair, frame);
                Outgoing::Consumed
            }
            Found::Clear => self.pass(pair, packet.len(), now),
            Found::Transit => self.beside_transit(frame, &view, pair, now),
            Found::Dropped => self.refuse(pair, packet.to_vec(), &view, now),
        }
    }

    /// An address may be missing from the list for a moment, or for good while a program still
    /// sends from it: what was ours stays ours.
    fn is_ours(&self, pair: HostPair, now: Now) -> bool {
        self.pit.find(pair).is_some()
            || self.stands_for(pair.local.0)
            || self.sticky.contains_pair(pair, now.mono)
    }

    fn find_row(&self, pair: HostPair) -> Found {
        let found = self.pit.find(pair).and_then(|id| Some((id, self.pit.at(id)?)));
        let Some((id, row)) = found else { return Found::Nothing };
        match &row.state {
            RowState::Pending(_) => Found::Pending,
            RowState::Protected(_) => Found::Protected(id),
            // A stranger's packet came in, perhaps in somebody's name: for what leaves, nobody was
            // asked yet.
            RowState::Clear(plain) if plain.reason == NegotiationResult::Unasked => Found::Nothing,
            RowState::Clear(_) => Found::Clear,
            RowState::Dropped(_) => Found::Dropped,
            RowState::Transit(_) => Found::Transit,
        }
    }

    /// What a router sees leave that is between other agents: their messages, their datagrams.
    fn others_leave(
        &mut self,
        frame: &Frame<'_>,
        view: &IpView,
        pair: HostPair,
        now: Now,
    ) -> Option<Outgoing> {
        let Direction::Outgoing(interface) = frame.direction else { return None };
        if view.protocol == protocol::TCP {
            return None; // neither travels in it
        }
        let packet = &frame.bytes[PACKET_AT..];
        match self.message_in(packet, view, pair, (interface, true), now) {
            Message::Used => return Some(Outgoing::Consumed),
            Message::Passes => return Some(Outgoing::PutBack),
            Message::None => {}
        }
        if self.is_local(view.source) {
            return None;
        }
        match self.sealed_passes(packet, view, true, now)? {
            Ok(()) => Some(Outgoing::PutBack),
            Err(reason) => {
                self.dropped_out(reason);
                Some(Outgoing::Consumed)
            }
        }
    }

    /// Plaintext of a flow for which two other agents hold a session. It may have been under way;
    /// later it comes from a machine that has no agent any more.
    fn beside_transit(
        &mut self,
        frame: &Frame<'_>,
        view: &IpView,
        pair: HostPair,
        now: Now,
    ) -> Outgoing {
        let packet = &frame.bytes[PACKET_AT..];
        let Some(Row { state: RowState::Transit(transit), .. }) = self.pit.get(pair) else {
            return Outgoing::Consumed;
        };
        if self.mode() == Mode::Closed {
            self.dropped_out(DropReason::ClearOnProtected);
            self.prohibit(packet, view);
            return Outgoing::Consumed;
        }
        let fresh = now.mono.since(transit.since) < TRANSIT_GRACE;
        if fresh && self.may_pass(pair.remote.0, now) {
            self.count_clear_out(packet.len());
            self.note_clear(pair, ClearReason::BesideTransit, now);
            return Outgoing::PutBack;
        }
        self.forget_row(pair);
        self.first_packet(frame, view, pair, now)
    }

    fn unless_closed(
        &mut self,
        bytes: usize,
        pair: HostPair,
        reason: ClearReason,
        now: Now,
    ) -> Outgoing {
        match (self.mode(), reason) {
            (Mode::Open, _) => {
                self.count_clear_out(bytes);
                self.note_clear(pair, reason, now);
                Outgoing::PutBack
            }
            (Mode::Closed, ClearReason::Multicast) => {
                self.dropped_out(DropReason::Multicast);
                Outgoing::Consumed
            }
            (Mode::Closed, _) => {
                self.dropped_out(DropReason::ClosedMode);
                Outgoing::Consumed
            }
        }
    }

    /// The flow has no row: ask the other side, or decide at once where asking makes no sense.
    pub(super) fn first_packet(
        &mut self,
        frame: &Frame<'_>,
        view: &IpView,
        pair: HostPair,
        now: Now,
    ) -> Outgoing {
        let Direction::Outgoing(interface) = frame.direction else {
            return Outgoing::Consumed;
        };
        let packet = &frame.bytes[PACKET_AT..];
        if !self.in_scope(view.destination) {
            let verdict = self.out_of_scope(pair, interface, packet.len(), now);
            if verdict == Outgoing::Consumed {
                self.prohibit(packet, view);
            }
            return verdict;
        }
        if !self.can_ask(now) {
            return self.unasked(packet, view, pair, now);
        }
        let ports = ip::ports(packet, view);
        self.forget_row(pair); // a survey's
        if self.start_pending(pair, ports, interface, now) {
            self.hold(pair, frame);
        } else {
            self.dropped_out(DropReason::TableFull);
        }
        Outgoing::Consumed
    }

    /// False while no certificate or key of ours is in force: new ones are late, or our clock is
    /// wrong.
    fn can_ask(&self, now: Now) -> bool {
        self.keyring.as_ref().is_some_and(|keyring| keyring.can_ask(now.unix))
    }

    /// The flow ought to be asked about and cannot be. An open agent passes it, so that a machine
    /// whose clock is wrong still reaches whoever knows the time; no row, since the next packet may
    /// be asked about.
    fn unasked(&mut self, packet: &[u8], view: &IpView, pair: HostPair, now: Now) -> Outgoing {
        if self.may_pass(pair.remote.0, now) {
            self.count_clear_out(packet.len());
            self.note_clear(pair, ClearReason::CannotAsk, now);
            return Outgoing::PutBack;
        }
        self.dropped_out(DropReason::CannotAsk);
        self.prohibit(packet, view);
        Outgoing::Consumed
    }

    /// Makes a pending row and sends its first DDE. False if a table is full or there are no keys.
    pub(super) fn start_pending(
        &mut self,
        pair: HostPair,
        ports: Ports,
        interface: Interface,
        now: Now,
    ) -> bool {
        let Some(negotiation) = self.new_negotiation(pair, ports, interface, now) else {
            return false;
        };
        let id = negotiation.initiator.id();
        let pending = Pending { negotiation, held: HeldFrames::default() };
        let row = Row::new(RowState::Pending(pending), interface, now.mono);
        let row = self.count_inside(pair, row);
        if self.insert_row(pair, row).is_err() {
            return false;
        }
        self.negotiations.insert(id, pair);
        self.changed(pair);
        if self.may_pass(pair.remote.0, now) {
            self.timers.set(now.mono + OPEN_HOLD, Timer::HoldOver(pair));
        }
        self.send_attempt(pair, now);
        true
    }

    pub(super) fn hold(&mut self, pair: HostPair, frame: &Frame<'_>) {
        let Some(Row { state: RowState::Pending(pending), .. }) = self.pit.get_mut(pair) else {
            return;
        };
        let copy = HeldFrame { direction: frame.direction, bytes: frame.bytes.to_vec() };
        if !pending.held.push(copy, &mut self.held) {
            self.counters.held[2] += 1;
            self.dropped_out(DropReason::HeldOverflow);
        }
    }

    /// Asking every host of the Internet would be slow and rude: the policy names whom to ask.
    pub(super) fn in_scope(&self, remote: IpAddr) -> bool {
        if self.keyring.is_none() {
            return false; // nothing to ask with
        }
        let policy = self.membership.as_ref().is_some_and(|membership| {
            membership.search_scope.iter().any(|prefix| prefix.contains(remote))
        });
        policy || self.must_protect(remote) || self.is_connected(remote)
    }

    fn is_connected(&self, remote: IpAddr) -> bool {
        self.interfaces.iter().flat_map(|interface| &interface.addresses).any(
            |&(address, length)| {
                length != 0 && crate::mode::Prefix { address, length }.contains(remote)
            },
        )
    }

    fn out_of_scope(
        &mut self,
        pair: HostPair,
        interface: Interface,
        bytes: usize,
        now: Now,
    ) -> Outgoing {
        if !self.may_pass(pair.remote.0, now) {
            self.dropped_out(DropReason::ClosedMode);
            return Outgoing::Consumed;
        }
        let until = now.mono + NEGATIVE_LIFETIME;
        let plain = Plain::until(NegotiationResult::OutOfScope, until);
        let row = self.count_inside(pair, Row::new(RowState::Clear(plain), interface, now.mono));
        // The row only spares the kernel the question.
        if !self.pit.is_crowded() && self.insert_row(pair, row).is_ok() {
            self.timers.set(until, Timer::RowAge(pair));
            self.changed(pair);
            self.offload_bypass(pair);
        }
        self.count_clear_out(bytes);
        self.note_clear(pair, ClearReason::OutOfScope, now);
        Outgoing::PutBack
    }

    /// A packet of a plaintext flow that still comes to userspace.
    fn pass(&mut self, pair: HostPair, bytes: usize, now: Now) -> Outgoing {
        self.count_clear_out(bytes);
        if let Some(row) = self.pit.get_mut(pair) {
            row.count_out(bytes, now.mono);
        }
        self.still_observed(pair, now);
        self.ask_again(pair, now);
        self.offload_bypass(pair);
        Outgoing::PutBack
    }

    /// A packet of a flow whose verdict is discard: the program hears of it at once.
    fn refuse(&mut self, pair: HostPair, packet: Vec<u8>, view: &IpView, now: Now) -> Outgoing {
        self.dropped_out(DropReason::Discarded);
        if let Some(row) = self.pit.get_mut(pair) {
            row.last_used = now.mono;
        }
        self.ask_again(pair, now);
        self.tell_inner(pair, now);
        self.prohibit(&packet, view);
        Outgoing::Consumed
    }

    pub(super) fn prohibit(&mut self, packet: &[u8], view: &IpView) {
        if let Some(error) = administratively_prohibited(packet, view, view.destination) {
            self.emit(Output::Deliver(error));
        }
    }

    /// Starts a background negotiation for a plain or dropped row whose answer is getting old and
    /// whose flow is in use. The kernel shows us a packet of an offloaded flow once in its
    /// lifetime there, so that an older row is not in use.
    pub(super) fn ask_again(&mut self, pair: HostPair, now: Now) {
        let Some(row) = self.pit.get(pair) else { return };
        let due = match &row.state {
            RowState::Clear(plain) | RowState::Dropped(plain) => {
                plain.background.is_none()
                    && plain.reason != NegotiationResult::Unasked
                    && plain.ask_again <= now.mono
                    && now.mono.since(row.last_used) <= 2 * OFFLOAD_LIFETIME
            }
            RowState::Pending(_) | RowState::Protected(_) | RowState::Transit(_) => false,
        };
        let interface = row.interface;
        if !due || !self.in_scope(pair.remote.0) {
            return;
        }
        let Some(negotiation) = self.new_negotiation(pair, Ports::default(), interface, now) else {
            return;
        };
        self.negotiations.insert(negotiation.initiator.id(), pair);
        if let Some(Row { state: RowState::Clear(plain) | RowState::Dropped(plain), .. }) =
            self.pit.get_mut(pair)
        {
            plain.background = Some(negotiation);
        }
        self.send_attempt(pair, now);
    }

    /// Gives a pending flow its plaintext verdict: the held packets leave, and the question goes
    /// on in the background.
    pub(super) fn settle_clear(
        &mut self,
        pair: HostPair,
        reason: NegotiationResult,
        keep_asking: bool,
        now: Now,
    ) {
        let Some(row) = self.pit.get_mut(pair) else { return };
        let until = now.mono + NEGATIVE_LIFETIME;
        let ask_again = now.mono + ASK_AGAIN_FIRST;
        let plain = Plain {
            reason,
            until,
            age_at: until,
            ask_again,
            patience: 2 * ASK_AGAIN_FIRST,
            background: None,
        };
        let RowState::Pending(mut pending) =
            std::mem::replace(&mut row.state, RowState::Clear(plain))
        else {
            return;
        };
        let held = pending.held.take(&mut self.held);
        if keep_asking {
            if let RowState::Clear(plain) = &mut row.state {
                plain.background = Some(pending.negotiation);
            }
        } else {
            self.abandon(&pending.negotiation);
        }
        self.timers.set(until, Timer::RowAge(pair));
        self.timers.set(ask_again, Timer::AskAgain(pair));
        self.changed(pair);
        self.counters.clear_fallbacks[ClearReason::of(reason) as usize] += 1;
        if !keep_asking {
            self.would_drop(pair, ClearReason::of(reason), now);
        }
        self.event(Event::ClearFallback { pair, result: reason });
        for frame in held {
            self.counters.held[0] += 1;
            self.count_clear_out(frame.bytes.len().saturating_sub(PACKET_AT));
            self.emit(Output::PutBack(frame));
        }
        self.offload_bypass(pair);
        self.release_withheld(pair, now);
    }

    /// Gives a pending flow its discard verdict: the held packets die, their programs are told.
    pub(super) fn settle_dropped(&mut self, pair: HostPair, reason: NegotiationResult, now: Now) {
        let Some(row) = self.pit.get_mut(pair) else { return };
        let until = now.mono + REFUSED_LIFETIME;
        let plain = Plain::until(reason, until);
        let RowState::Pending(mut pending) =
            std::mem::replace(&mut row.state, RowState::Dropped(plain))
        else {
            return;
        };
        let held = pending.held.take(&mut self.held);
        self.abandon(&pending.negotiation);
        self.changed(pair);
        self.timers.set(until, Timer::RowAge(pair));
        for frame in held {
            self.counters.held[1] += 1;
            self.dropped_out(DropReason::HeldExpired);
            let packet = &frame.bytes[PACKET_AT..];
            if let Ok(view) = ip::parse(packet) {
                self.prohibit(packet, &view);
            }
        }
        self.release_withheld(pair, now);
    }

    /// The row's lifetime is over, or nobody used it.
    pub(super) fn row_aged(&mut self, pair: HostPair, armed: Instant, now: Instant) {
        let Some(row) = self.pit.get_mut(pair) else { return };
        if let RowState::Transit(transit) = &row.state {
            if transit.until <= now {
                self.forget_row(pair);
            }
            return;
        }
        let (RowState::Clear(plain) | RowState::Dropped(plain)) = &mut row.state else { return };
        if plain.age_at != armed {
            return;
        }
        if plain.until > now {
            plain.age_at = plain.until;
            self.timers.set(plain.until, Timer::RowAge(pair));
            return;
        }
        self.forget_row(pair);
    }

    /// Adds a row. In a full table a plain one that was long not used makes room, never a
    /// protected or pending one: programs that talk to very many hosts do not end what is
    /// protected, nor keep it from beginning. A source that has its share makes room among its own.
    pub(super) fn insert_row(&mut self, pair: HostPair, row: Row) -> Result<(), DropReason> {
        let (known, source) = (self.pit.get(pair).map(|old| old.caused_by), row.caused_by);
        let crowding = source.filter(|own| self.shares.is_full(*own, PIT_ROWS_PER_SOURCE));
        if known.is_none() && (crowding.is_some() || self.pit.is_full()) {
            let victim = self
                .pit
                .sample(EVICTION_SAMPLE)
                .filter(|(_, row)| matches!(row.state, RowState::Clear(_) | RowState::Dropped(_)))
                .filter(|(_, row)| crowding.is_none() || row.caused_by == crowding)
                .min_by_key(|(_, row)| row.last_used)
                .map(|(key, _)| key.pair);
            let full = crowding.map_or(DropReason::TableFull, |_| DropReason::TooMany);
            self.forget_row(victim.ok_or(full)?);
        }
        self.pit.insert(FlowKey::host_pair(pair), row).map_err(|_| DropReason::TableFull)?;
        known.flatten().into_iter().for_each(|source| self.shares.remove(source));
        source.into_iter().for_each(|source| self.shares.add(source));
        Ok(())
    }

    /// A row that a machine behind this router brings about counts for its share.
    fn count_inside(&self, pair: HostPair, row: Row) -> Row {
        let local = pair.local.0;
        if self.is_local(local) { row } else { row.caused_by(local) }
    }

    fn count_clear_out(&mut self, bytes: usize) {
        self.counters.clear_out.0 += 1;
        self.counters.clear_out.1 += bytes as u64;
    }
}

/// Multicast and limited broadcast. Subnet broadcasts carry an Ethernet group address, which the
/// hook's own rules tell apart.
pub(super) fn is_many(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}
