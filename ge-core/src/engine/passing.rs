//! What passes a router between two other agents: their negotiation messages, and what they seal.
//!
//! | message | this router |
//! |---|---|
//! | DDE | lets it pass; keeps a copy if it stands for the destination |
//! | DDE reflected by an ordinary machine | is the last agent on the path: answers, refuses, or lets it pass |
//! | RGI | appends its record |
//! | NOMATCH | takes over if it can; a closed router that could not be content says so instead |
//! | MPIT, CDN | learns what both ends signed: a `Transit` row |
//!
//! Only agents that stand for the destination answer, the farthest first, so that two agents
//! protect as much of the path as they can. Source: PROTOCOL.md 2.2, 2.3; DESIGN.md section 5.

use super::Engine;
use super::incoming::Arrival;
use super::row::{Row, RowState, SealedPath, Transit};
use crate::addr::{FlowAddr, WireAddr};
use crate::dprp::{Answered, Committed, Reject, SeenDde, SessionParameters, Tentative, Witness};
use crate::flow::HostPair;
use crate::icmp_error::{parse_error, quoted_parse};
use crate::id::{NegotiationId, SessionIndex};
use crate::io::{Output, Transmit};
use crate::limits::{
    DATA_PORT, NOMATCH_PER_SECOND, PASSING, REJECT_AFTER_TIME, TENTATIVE_LIFETIME,
    UNANSWERED_AGAIN, UNANSWERED_REPEATS, UNANSWERED_WAIT,
};
use crate::membership::Secret32;
use crate::now::Instant;
use crate::shim::Shim;
use crate::timer::Timer;
use crate::wire::dprp::{self, Header, Kind, Place};
use crate::wire::ip::{HEADER_MAX, IpView, emit_header};
use crate::wire::protocol;
use crate::{DropReason, Mode, Now, Role};
use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

/// What a router remembers of other agents' negotiations.
pub(super) struct Passing {
    /// By which it knows its own records again. Never leaves the engine.
    secret: Secret32,
    /// DDEs for machines it stands for, until somebody behind it answers.
    asked: BTreeMap<NegotiationId, Asked>,
    /// Sessions whose CDN has not passed yet.
    tentative: BTreeMap<NegotiationId, (Tentative, Instant)>,
    /// Sessions that pass, by where their datagrams go.
    sealed: BTreeMap<SealedPath, HostPair>,
}

struct Asked {
    message: Vec<u8>,
    arrival: Arrival,
    since: Instant,
    /// How often the question was repeated inwards.
    repeats: u32,
}

/// What becomes of somebody else's message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// It goes on as it came.
    On,
    /// It ends here, or something else went on in its place.
    Stop,
}

impl Passing {
    pub(super) fn new(secret: Secret32) -> Self {
        Self { secret, asked: BTreeMap::new(), tentative: BTreeMap::new(), sealed: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.asked.len().max(self.tentative.len())
    }
}

impl Engine {
    pub(super) fn is_router(&self) -> bool {
        self.membership.as_ref().is_some_and(|own| matches!(own.role, Role::Router { .. }))
    }

    /// This machine's own address, or one of a machine it is certified to stand for.
    pub(super) fn stands_for(&self, addr: IpAddr) -> bool {
        self.is_local(addr) || self.keyring.as_ref().is_some_and(|own| own.stands_for(addr))
    }

    /// Whose side of a flow this agent is on. Both ends inside: it speaks for whoever sends.
    fn place(&self, arrival: Arrival) -> Place {
        let HostPair { local: FlowAddr(source), remote: FlowAddr(destination) } = arrival.flow();
        if self.stands_for(source) {
            Place::Source
        } else if self.stands_for(destination) {
            Place::Destination
        } else {
            Place::Between
        }
    }

    /// A negotiation message between other agents.
    pub(super) fn message_passes(&mut self, message: &[u8], arrival: Arrival, now: Now) -> Passage {
        let Some(header) = dprp::peek(message) else { return Passage::On };
        let place = self.place(arrival);
        let passed = match (header.kind, arrival.request) {
            (Kind::Dde, true) => self.dde_passes(message, place, arrival, now),
            (Kind::Dde, false) => self.reflection_passes(message, place, arrival, now),
            (Kind::Rgi, false) => self.rgi_passes(message, &header, place, arrival, now),
            (Kind::Mpit, true) => self.mpit_passes(message, place, arrival, now),
            (Kind::Cdn, false) => self.cdn_passes(message, &header, arrival, now),
            (Kind::NoMatch, false) => self.nomatch_passes(message, &header, place, arrival, now),
            _ => Err(DropReason::BadMessage),
        };
        passed.unwrap_or_else(|reason| {
            // An open router is in nobody's way, whatever it thinks of the message.
            self.dropped_in(reason);
            match self.mode() {
                Mode::Open => Passage::On,
                Mode::Closed => Passage::Stop,
            }
        })
    }

    fn dde_passes(
        &mut self,
        message: &[u8],
        place: Place,
        arrival: Arrival,
        now: Now,
    ) -> Result<Passage, DropReason> {
        let SeenDde { id, .. } = self.see_dde(message, now)?;
        match place {
            Place::Source => {
                self.yield_to_inner(arrival.pair, now);
                return Ok(Passage::On);
            }
            Place::Between => return Ok(Passage::On),
            Place::Destination => {}
        }
        if self.repeats_answered(id, message, Some(arrival)) {
            return Ok(Passage::Stop);
        }
        if self.passing.asked.len() < PASSING && !self.passing.asked.contains_key(&id) {
            let asked = Asked { message: message.to_vec(), arrival, since: now.mono, repeats: 0 };
            self.passing.asked.insert(id, asked);
            let wait = self.unanswered_wait(arrival.flow().remote.0);
            self.timers.set(now.mono + wait, Timer::Unanswered(id));
            self.timers.set(now.mono + TENTATIVE_LIFETIME, Timer::Unanswered(id));
        }
        Ok(Passage::On)
    }

    fn see_dde(&self, message: &[u8], now: Now) -> Result<SeenDde, DropReason> {
        let keyring = self.keyring.as_ref().ok_or(DropReason::BadMac)?;
        SeenDde::read(keyring, message, now.unix).map_err(|reject| reject.drop_reason())
    }

    /// An agent behind this router asks for a flow that the router protects itself: it came up or
    /// moved in. The other end must know that the flow may change hands.
    fn yield_to_inner(&mut self, pair: HostPair, now: Now) {
        let current = self.pit.get(pair).and_then(Row::protected).map(|own| own.current);
        if let Some(index) = current {
            self.send_yield(index, now);
        }
    }

    /// The narrower the prefix an agent stands for, the nearer it is to the destination, and the
    /// sooner it speaks.
    fn unanswered_wait(&self, destination: IpAddr) -> Duration {
        let bits = if destination.is_ipv4() { 32 } else { 128 };
        let own = match self.membership.as_ref().map(|own| &own.role) {
            Some(Role::Router { prefixes }) => prefixes
                .iter()
                .filter(|prefix| prefix.contains(destination))
                .map(|prefix| u32::from(prefix.length))
                .max(),
            Some(Role::Host) | None => None,
        };
        UNANSWERED_WAIT + UNANSWERED_WAIT * (bits - own.unwrap_or(bits).min(bits)) / (bits / 4)
    }

    /// Nobody behind us answered. The question or the answer may be lost, so that it is asked again
    /// inwards first; then the machine is one that answers no ping.
    pub(super) fn unanswered(&mut self, id: NegotiationId, now: Now) {
        let Some(asked) = self.passing.asked.get_mut(&id) else { return };
        if now.mono.since(asked.since) >= TENTATIVE_LIFETIME {
            self.passing.asked.remove(&id);
            return;
        }
        asked.repeats += 1;
        let again = asked.repeats <= UNANSWERED_REPEATS;
        let (message, arrival) = (asked.message.clone(), asked.arrival);
        if again {
            self.send_along(arrival, &message);
            self.timers.set(now.mono + UNANSWERED_AGAIN, Timer::Unanswered(id));
        } else if let Err(reason) = self.consume_dde(&message, arrival.via(), Some(arrival), now) {
            self.dropped_in(reason);
        }
    }

    /// The destination is an ordinary machine and echoed the question: this is the last agent.
    fn reflection_passes(
        &mut self,
        message: &[u8],
        place: Place,
        arrival: Arrival,
        now: Now,
    ) -> Result<Passage, DropReason> {
        let seen = self.see_dde(message, now)?;
        match (place, self.mode()) {
            (Place::Destination, _) => {
                self.passing.asked.remove(&seen.id);
                if !self.repeats_answered(seen.id, message, Some(arrival)) {
                    self.consume_dde(message, arrival.via(), Some(arrival), now)?;
                }
                Ok(Passage::Stop)
            }
            (_, Mode::Closed) => self.refuse_passing(&seen, place, arrival, now),
            (Place::Source | Place::Between, Mode::Open) => Ok(Passage::On),
        }
    }

    fn rgi_passes(
        &mut self,
        message: &[u8],
        header: &Header,
        place: Place,
        arrival: Arrival,
        now: Now,
    ) -> Result<Passage, DropReason> {
        self.passing.asked.remove(&header.sid_i);
        let Self { keyring, passing, rng, .. } = self;
        let keyring = keyring.as_ref().ok_or(DropReason::BadMac)?;
        let witness = Witness { keyring, secret: &passing.secret, place };
        let longer =
            witness.add_record(message, rng, now.unix).map_err(|reject| reject.drop_reason())?;
        if longer == message {
            return Ok(Passage::On);
        }
        self.send_along(arrival, &longer);
        Ok(Passage::Stop)
    }

    fn nomatch_passes(
        &mut self,
        message: &[u8],
        header: &Header,
        place: Place,
        arrival: Arrival,
        now: Now,
    ) -> Result<Passage, DropReason> {
        let keyring = self.keyring.as_ref().ok_or(DropReason::BadMac)?;
        let answered =
            Answered::read(keyring, message, now.unix).map_err(|reject| reject.drop_reason())?;
        let asked = self.passing.asked.remove(&header.sid_i);
        match (place, answered.mode) {
            (Place::Destination, Mode::Open) => {
                if let Some(Asked { message, .. }) = asked
                    && self.take_over(&message, arrival, now)?
                {
                    return Ok(Passage::Stop);
                }
            }
            // We can protect the rest of the path ourselves, and shall be asked to by the first
            // packet in clear: whoever asked now must not be told to give up.
            (Place::Source, Mode::Open) if answered.shares => return Ok(Passage::On),
            (Place::Source, Mode::Closed) if answered.shares => return Ok(Passage::Stop),
            (Place::Source | Place::Destination | Place::Between, _) => {}
        }
        // A refusal stays who refused's: in our own name, tags would offer what it has ruled out.
        if self.mode() == Mode::Open || answered.mode == Mode::Closed {
            return Ok(Passage::On);
        }
        self.refuse_passing(&answered.dde, place, arrival, now)
    }

    fn mpit_passes(
        &mut self,
        message: &[u8],
        place: Place,
        arrival: Arrival,
        now: Now,
    ) -> Result<Passage, DropReason> {
        let Self { keyring, passing, .. } = self;
        let keyring = keyring.as_ref().ok_or(DropReason::BadMac)?;
        let witness = Witness { keyring, secret: &passing.secret, place };
        let tentative = witness
            .consume_mpit(message, arrival.flow(), now.unix)
            .map_err(|reject| reject.drop_reason())?;
        let id = tentative.id();
        if passing.tentative.len() >= PASSING && !passing.tentative.contains_key(&id) {
            return Err(DropReason::TableFull);
        }
        passing.tentative.insert(id, (tentative, now.mono));
        self.timers.set(now.mono + TENTATIVE_LIFETIME, Timer::Tentative(id));
        Ok(Passage::On)
    }

    fn cdn_passes(
        &mut self,
        message: &[u8],
        header: &Header,
        arrival: Arrival,
        now: Now,
    ) -> Result<Passage, DropReason> {
        let keyring = self.keyring.as_ref().ok_or(DropReason::BadMac)?;
        let Some((tentative, _)) = self.passing.tentative.get(&header.sid_i) else {
            // A repeat of one already committed; or this router is on one half of the path only.
            let known = self.pit.get(arrival.pair);
            let known = known.is_some_and(|row| matches!(row.state, RowState::Transit(_)));
            return if known { Ok(Passage::On) } else { Err(DropReason::Stale) };
        };
        let committed = tentative
            .consume_cdn(keyring, message, now.unix)
            .map_err(|reject: Reject| reject.drop_reason())?;
        self.passing.tentative.remove(&header.sid_i);
        self.commit(committed, arrival, now)?;
        Ok(Passage::On)
    }

    /// Both ends signed: their datagrams pass from now on.
    fn commit(
        &mut self,
        committed: Committed,
        arrival: Arrival,
        now: Now,
    ) -> Result<(), DropReason> {
        let pair = arrival.pair;
        let to = |end: SessionParameters| SealedPath { to: end.wire, index: end.index };
        let mut paths = [to(committed.initiator_parameters), to(committed.responder_parameters)];
        if committed.translated {
            // Its datagrams go where its NAT is.
            paths[0].to = WireAddr(committed.pair.local.0);
            let own = self.pit.get(pair).and_then(Row::protected).is_some();
            if own {
                return Err(DropReason::AddressTaken);
            }
        }
        let before = match self.pit.get_mut(pair) {
            Some(Row { state: RowState::Transit(transit), .. }) => Some(transit.current),
            Some(_) | None => None,
        };
        if before.is_none() {
            self.forget_row(pair);
        }
        let until = now.mono + REJECT_AFTER_TIME + TENTATIVE_LIFETIME;
        let transit = Transit {
            ends: [committed.initiator, committed.responder],
            path: committed.path,
            current: paths,
            previous: before.filter(|before| *before != paths),
            since: now.mono,
            until,
        };
        self.forget_older_paths(pair, &transit);
        if let Some(row) = self.pit.get_mut(pair) {
            row.state = RowState::Transit(Box::new(transit));
            row.last_used = now.mono;
        } else {
            let state = RowState::Transit(Box::new(transit));
            self.insert_row(pair, Row::new(state, arrival.interface, now.mono))?;
        }
        for path in paths {
            self.passing.sealed.insert(path, pair);
        }
        self.timers.set(until, Timer::RowAge(pair));
        Ok(())
    }

    /// Only the session in use and the one before it pass.
    fn forget_older_paths(&mut self, pair: HostPair, kept: &Transit) {
        let Some(Row { state: RowState::Transit(old), .. }) = self.pit.get(pair) else { return };
        let kept: Vec<SealedPath> = kept.paths().collect();
        let old: Vec<SealedPath> = old.paths().filter(|path| !kept.contains(path)).collect();
        for path in old {
            self.passing.sealed.remove(&path);
        }
    }

    /// A row of others' session goes: its datagrams no longer pass a closed router.
    pub(super) fn forget_transit(&mut self, transit: &Transit) {
        for path in transit.paths() {
            self.passing.sealed.remove(&path);
        }
    }

    pub(super) fn tentative_aged(&mut self, id: NegotiationId, now: Now) {
        let old = self
            .passing
            .tentative
            .get(&id)
            .is_some_and(|(_, since)| now.mono.since(*since) >= TENTATIVE_LIFETIME);
        if old {
            self.passing.tentative.remove(&id);
        }
    }

    /// Answers the DDE of a NOMATCH that passes, if a group is shared. False if none is.
    fn take_over(&mut self, dde: &[u8], arrival: Arrival, now: Now) -> Result<bool, DropReason> {
        let Some(dde_read) = self.admit_dde(dde, arrival.via(), Some(arrival), now)? else {
            return Ok(true); // our own question goes first
        };
        if dde_read.common_groups().is_empty() {
            return Ok(false);
        }
        self.answer_dde(
            dde_read,
            dde,
            arrival.via(),
            arrival.pair,
            arrival.interface,
            Some(arrival),
            now,
        )?;
        Ok(true)
    }

    /// Sends this agent's own NOMATCH in place of what passes.
    fn refuse_passing(
        &mut self,
        seen: &SeenDde,
        place: Place,
        arrival: Arrival,
        now: Now,
    ) -> Result<Passage, DropReason> {
        if !self.answers.may_refuse(NOMATCH_PER_SECOND, now.mono) {
            return Err(DropReason::TableFull);
        }
        let Self { keyring, passing, rng, .. } = self;
        let keyring = keyring.as_ref().ok_or(DropReason::BadMac)?;
        let witness = Witness { keyring, secret: &passing.secret, place };
        let nomatch = seen.refuse(&witness, rng, now.unix).ok_or(DropReason::BadMessage)?;
        self.send_along(arrival, &nomatch);
        Ok(Passage::Stop)
    }

    /// Sends `message` on in the direction of what it replaces, under the same numbers.
    pub(super) fn send_along(&mut self, arrival: Arrival, message: &[u8]) {
        let Arrival { request, numbers, leaving, interface, hop_limit, .. } = arrival;
        let ends = arrival.ends();
        let (protocol, bytes) = numbers.pack(request, leaving, message, ends);
        if leaving {
            let (from, to) = (WireAddr(ends.0), WireAddr(ends.1));
            self.emit(Output::Transmit(Transmit { from, to, interface, protocol, bytes }));
        } else {
            self.deliver_inwards(ends, protocol, &bytes, hop_limit);
        }
    }

    /// Hands a transport message to the kernel, which forwards it inwards.
    pub(super) fn deliver_inwards(
        &mut self,
        (from, to): (IpAddr, IpAddr),
        protocol: u8,
        upper: &[u8],
        hop_limit: u8,
    ) {
        let mut header = [0; HEADER_MAX];
        let len = emit_header(&mut header, from, to, protocol, upper.len(), 0, hop_limit);
        self.emit(Output::Deliver([&header[..len], upper].concat()));
    }

    /// Whether a packet is a sealed datagram between other agents, and if so whether it passes.
    pub(super) fn sealed_passes(
        &mut self,
        packet: &[u8],
        view: &IpView,
        leaving: bool,
        now: Now,
    ) -> Option<Result<(), DropReason>> {
        let (path, on_port) = match parse_error(packet, view) {
            // The path has something to say about a sealed datagram to who sent it.
            Some(error) => {
                let quoted = quoted_parse(error.quoted)?;
                let udp = error.quoted.get(quoted.header_len..)?;
                sealed_path(udp, quoted.protocol, quoted.destination)?
            }
            None => {
                let udp = packet.get(view.header_len..view.total_len)?;
                sealed_path(udp, view.protocol, view.destination)?
            }
        };
        let Some(&pair) = self.passing.sealed.get(&path) else {
            if !on_port {
                return None;
            }
            return Some(match self.mode() {
                Mode::Open => Ok(()),
                Mode::Closed => Err(DropReason::NoSession),
            });
        };
        if let Some(row) = self.pit.get_mut(pair) {
            if leaving {
                row.count_out(packet.len(), now.mono);
            } else {
                row.count_in(1, packet.len(), now.mono);
            }
        }
        Some(Ok(()))
    }
}

/// Where a datagram goes, if it is a sealed one, and whether it goes to the data port; those that only
/// come from there may be for somebody behind a NAT, or a program's. `udp` may be cut short behind the
/// shim.
fn sealed_path(udp: &[u8], ip_protocol: u8, destination: IpAddr) -> Option<(SealedPath, bool)> {
    let port = DATA_PORT.to_be_bytes();
    let on_port = udp.get(2..4)? == port;
    if ip_protocol != protocol::UDP || !on_port && udp.get(..2)? != port {
        return None;
    }
    let shim = udp.get(8..).and_then(Shim::parse);
    let index = shim.map_or(SessionIndex(0), |shim| shim.index);
    Some((SealedPath { to: WireAddr(destination), index }, on_port))
}
