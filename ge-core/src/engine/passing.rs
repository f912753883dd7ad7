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
use super::questions::Questions;
use super::repeated::Repeated;
use super::row::{Phase, Row, RowState, SealedPath};
use super::withheld::Withheld;
use crate::addr::{FlowAddr, WireAddr};
use crate::dprp::{
    Answered, Binding, Recorded, Reject, SeenDde, Tentative, Witness, Word, consume_dde,
};
use crate::flow::HostPair;
use crate::id::NegotiationId;
use crate::io::{Event, NegotiationResult, Output, Transmit};
use crate::limits::{
    BETWEEN_WAIT, HANDOVER, LATE_LIFETIME, PASSING, REFUSAL_LIFETIME, REFUSED_AGAIN_WAIT,
    TENTATIVE_LIFETIME, UNANSWERED_AGAIN, UNANSWERED_REPEATS, UNANSWERED_WAIT,
};
use crate::membership::Secret32;
use crate::now::Instant;
use crate::recent::Recent;
use crate::timer::Timer;
use crate::wire::dprp::{self, Header, Kind, Place};
use crate::wire::ip::{HEADER_MAX, emit_header};
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
    /// Questions of them that this router repeated itself.
    repeated: Repeated,
    /// Sessions whose CDN has not passed yet.
    tentative: BTreeMap<NegotiationId, (Tentative, Instant)>,
    /// Sessions that pass, by where their datagrams go.
    pub(super) sealed: BTreeMap<SealedPath, HostPair>,
    /// Answers that inner agents get when this router knows its own verdict.
    pub(super) withheld: BTreeMap<HostPair, Withheld>,
    /// Questions of inner agents that are on their way.
    pub(super) questions: Questions,
    /// Flows that somebody further in refused.
    refusals: Recent<HostPair, ()>,
    /// Flows whose innermost agent answered after this router's patience.
    late: Recent<HostPair, ()>,
}

struct Asked {
    message: Vec<u8>,
    arrival: Arrival,
    place: Place,
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
        Self {
            secret,
            asked: BTreeMap::new(),
            repeated: Repeated::default(),
            tentative: BTreeMap::new(),
            sealed: BTreeMap::new(),
            withheld: BTreeMap::new(),
            questions: Questions::new(),
            refusals: Recent::new(PASSING, REFUSAL_LIFETIME),
            late: Recent::new(PASSING, LATE_LIFETIME),
        }
    }

    /// Gives up a question that waits, if it was asked about this flow: its number can be named by
    /// whoever heard it, in a packet between any two others.
    fn take_asked(&mut self, id: NegotiationId, pair: HostPair) -> Option<Asked> {
        self.asked.get(&id).filter(|asked| asked.arrival.pair == pair)?;
        self.asked.remove(&id)
    }

    /// DDEs that wait for an answer from behind this router.
    pub(super) fn waiting(&self) -> usize {
        self.asked.len()
    }

    pub(super) fn len(&self) -> usize {
        let waiting = self.withheld.len().max(self.questions.len()).max(self.refusals.len());
        let waiting = waiting.max(self.late.len());
        self.asked.len().max(self.tentative.len()).max(waiting)
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
        let admitted = match header.kind {
            Kind::Cookie => Ok(()), // its seal is its MAC
            _ => self.admit_passing(message, &header, arrival, now),
        };
        let passed = admitted.and_then(|()| match (header.kind, arrival.request) {
            (Kind::Dde, true) => self.dde_passes(message, place, arrival, now),
            (Kind::Dde, false) => self.reflection_passes(message, place, arrival, now),
            (Kind::Rgi, false) => self.rgi_passes(message, &header, place, arrival, now),
            (Kind::Mpit, true) => self.mpit_passes(message, place, arrival, now),
            (Kind::Cdn, false) => self.cdn_passes(message, &header, arrival, now),
            (Kind::NoMatch, false) => self.nomatch_passes(message, &header, place, arrival, now),
            (Kind::Cookie, false) => self.cookie_passes(message, &header, now),
            _ => Err(DropReason::BadMessage),
        });
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
        self.passing.repeated.asked_again(id);
        self.contest(message, place, arrival, now);
        if place == Place::Source {
            self.note_question(message, arrival, now);
        }
        let wait = match (place, self.mode()) {
            (Place::Source, _) | (Place::Between, Mode::Open) => return Ok(Passage::On),
            (Place::Between, Mode::Closed) => BETWEEN_WAIT,
            // Else it would answer first again, each time the flow's ends are looked for.
            (Place::Destination, _) if self.is_late(arrival.pair, now) => BETWEEN_WAIT,
            (Place::Destination, _) => self.unanswered_wait(arrival.flow().remote.0),
        };
        if self.answers.answered(message, arrival.pair) {
            self.passing.repeated.answered(id, now.mono);
            self.consume_question(id, message, arrival.via(), Some(arrival), now)?;
            return Ok(Passage::Stop);
        }
        let room = self.passing.asked.len() < PASSING && !self.passing.asked.contains_key(&id);
        if self.may_keep(message, arrival, now) && room {
            let (message, since) = (message.to_vec(), now.mono);
            let asked = Asked { message, arrival, place, since, repeats: 0 };
            self.passing.asked.insert(id, asked);
            self.timers.set(now.mono + wait, Timer::Unanswered(id));
            self.timers.set(now.mono + TENTATIVE_LIFETIME, Timer::Unanswered(id));
        }
        Ok(Passage::On)
    }

    fn see_dde(&self, message: &[u8], now: Now) -> Result<SeenDde, DropReason> {
        let keyring = self.keyring.as_ref().ok_or(DropReason::BadMac)?;
        SeenDde::read(keyring, message, now.unix).map_err(|reject| reject.drop_reason())
    }

    /// Another agent asks for a flow that this router protects: it came up or moved in, or it is the
    /// other end that asks again. The router's session ends unless it is used from here on; and if
    /// the other agent is behind this router, the other end must know that the flow may change hands.
    fn contest(&mut self, message: &[u8], place: Place, arrival: Arrival, now: Now) {
        let pair = arrival.pair;
        let translated = self.known_path(pair).translated;
        let Some(keyring) = self.keyring.as_ref() else { return };
        let Some(own) = self.pit.get_mut(pair).and_then(Row::protected_mut) else { return };
        // An old question, or one about another flow, sent again by whoever heard it, is no news.
        let Ok(dde) = consume_dde(keyring, message, Binding::Fresh, now.unix) else { return };
        let (asked, came) = (dde.proposal.pair, arrival.flow());
        let source = asked.local == came.local || translated == Some(asked.local.0);
        if asked.remote != came.remote || !source {
            return;
        }
        own.contested = Some(now.mono);
        let index = own.current;
        self.timers.set(now.mono + HANDOVER, Timer::Handover(pair));
        if place == Place::Source {
            self.send_yield(index, now);
        }
    }

    /// The same by a question to this agent itself, which it answers with NOMATCH.
    pub(super) fn contest_in_clear(&mut self, message: &[u8], arrival: Option<Arrival>, now: Now) {
        if let Some(arrival) = arrival {
            self.contest(message, Place::Destination, arrival, now);
        }
    }

    /// Another agent asked for the flow a while ago. If no packet of it came here since, they take
    /// another way, or none: the row would only show what was.
    pub(super) fn handover_over(&mut self, pair: HostPair, now: Now) {
        let Some(row) = self.pit.get(pair) else { return };
        let Some(own) = row.protected() else { return };
        let Some(since) = own.contested.filter(|at| now.mono.since(*at) >= HANDOVER) else {
            return;
        };
        let (current, renewing) = (own.current, own.rekey.is_some());
        let created = self.sessions.get(current).map(|session| session.created);
        let used = row.last_used > since || created.is_some_and(|at| at > since);
        if !used && !renewing {
            self.send_end(current, now);
            self.forget_row(pair);
            self.event(Event::PeerGone { pair, reason: "another agent took over" });
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
        let arrival = asked.arrival;
        if self.is_way_back(arrival) {
            self.passing.asked.remove(&id);
            return;
        }
        let Some(asked) = self.passing.asked.get_mut(&id) else { return };
        asked.repeats += 1;
        let again = asked.place == Place::Destination && asked.repeats <= UNANSWERED_REPEATS;
        let (message, arrival, place) = (asked.message.clone(), asked.arrival, asked.place);
        if again {
            self.passing.repeated.note(id, now.mono);
            self.send_along(arrival, &message);
            self.timers.set(now.mono + UNANSWERED_AGAIN, Timer::Unanswered(id));
            return;
        }
        let refused = self.passing.refusals.has(&arrival.pair, now.mono);
        let could = refused && self.could_answer(&message, now);
        // Whoever refused answers itself, if it is still there, and later perhaps: an open NOMATCH before
        // its own would let packets go that are refused.
        let since = self.passing.asked.get(&id).map_or(now.mono, |asked| asked.since);
        let heard_by = since + REFUSED_AGAIN_WAIT;
        if place == Place::Destination
            && refused
            && !could
            && self.mode() == Mode::Open
            && now.mono < heard_by
        {
            self.timers.set(heard_by, Timer::Unanswered(id));
            return;
        }
        self.passing.repeated.answered(id, now.mono);
        let result = if place == Place::Destination && !could {
            self.consume_question(id, &message, arrival.via(), Some(arrival), now)
        } else {
            self.passing.asked.remove(&id);
            let word = if could { Word::ForGood } else { Word::Own };
            let back = Arrival { request: false, leaving: !arrival.leaving, ..arrival };
            self.see_dde(&message, now)
                .and_then(|seen| self.refuse_passing(&seen, place, word, back, now))
                .map(|_| ())
        };
        if let Err(reason) = result {
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
                self.passing.take_asked(seen.id, arrival.pair);
                // A refusal stops the echo too: to its machine's flow it would say no more than
                // silence does.
                if let Err(reason) =
                    self.consume_question(seen.id, message, arrival.via(), Some(arrival), now)
                {
                    self.dropped_in(reason);
                }
                Ok(Passage::Stop)
            }
            (_, Mode::Closed) => {
                self.passing.take_asked(seen.id, arrival.pair);
                self.refuse_passing(&seen, place, Word::Own, arrival, now)
            }
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
        let Self { keyring, passing, rng, .. } = self;
        let keyring = keyring.as_ref().ok_or(DropReason::BadMac)?;
        let witness = Witness { keyring, secret: &passing.secret, place };
        let Recorded { message: longer, content, refused } =
            witness.add_record(message, rng, now.unix).map_err(|reject| reject.drop_reason())?;
        // Of another flow it says nothing about this one: whoever heard it can send it again.
        let came = arrival.flow();
        let about = witness.flow_of_rgi(message, now.unix);
        let to_who_asked = about.is_some_and(|about| about.remote == came.remote);
        if to_who_asked {
            let asked = self.passing.take_asked(header.sid_i, arrival.pair);
            self.note_late(asked.as_ref(), header, place, arrival, now);
            self.passing.refusals.take(&arrival.pair, now.mono);
        }
        if self.passing.repeated.is_surplus(header.sid_i) {
            return Ok(Passage::Stop);
        }
        // Who asked comes before this router if it is further in, and is refused.
        let refused = refused
            && place == Place::Source
            && self.passing.questions.get(arrival.pair, header.sid_i, now.mono).is_some();
        if (refused || !content) && about == Some(came) {
            self.unfounded(arrival.pair, now);
        }
        if place == Place::Source && to_who_asked {
            self.give_way(arrival.pair, header.sid_i, now);
        }
        if longer == message {
            return Ok(Passage::On);
        }
        self.send_along(arrival, &longer);
        Ok(Passage::Stop)
    }

    /// An agent further in answers, and this router had answered in its place or would have soon.
    fn note_late(
        &mut self,
        asked: Option<&Asked>,
        header: &Header,
        place: Place,
        arrival: Arrival,
        now: Now,
    ) {
        let patience = self.unanswered_wait(arrival.flow().remote.0);
        let late = asked.is_some_and(|asked| now.mono.since(asked.since) >= patience);
        if place != Place::Destination || !(late || self.answers.has(header.sid_i)) {
            return;
        }
        self.passing.late.put(arrival.pair, (), now.mono);
    }

    fn is_late(&self, pair: HostPair, now: Now) -> bool {
        self.passing.late.has(&pair, now.mono)
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
        if self.passing.repeated.is_surplus(header.sid_i) {
            return Ok(Passage::Stop);
        }
        // Only of a question that passed here: whoever heard a NOMATCH can send it again elsewhere.
        let asked = self.passing.take_asked(header.sid_i, arrival.pair);
        if self.is_way_back(arrival) && answered.mode == Mode::Open {
            return Ok(Passage::On);
        }
        match (place, answered.mode) {
            (Place::Destination, Mode::Open) => {
                self.passing.refusals.take(&arrival.pair, now.mono);
                if let Some(Asked { message, .. }) = asked
                    && self.take_over(&message, arrival, now)?
                {
                    self.answers.note_beyond(header.sid_i, answered.from);
                    return Ok(Passage::Stop);
                }
            }
            // It will be the end, as soon as it can.
            (Place::Destination, Mode::Closed) if answered.lacks_key => {}
            (Place::Destination, Mode::Closed) => {
                if asked.is_some() {
                    self.heard_refusal(arrival.pair, now);
                }
                // Who asked can be protected up to here, and so the refusal is about the part in
                // clear: nobody nearer to the source may take the rest upon itself.
                if asked.is_some_and(|asked| self.could_answer(&asked.message, now)) {
                    return self.refuse_passing(&answered.dde, place, Word::ForGood, arrival, now);
                }
            }
            (Place::Source, _) => {
                if let Some(passage) = self.withhold(message, &answered, arrival, now)? {
                    return Ok(passage);
                }
            }
            (Place::Between, _) => {}
        }
        if answered.mode == Mode::Open && self.is_wary(arrival.pair, now) {
            return self.refuse_passing(&answered.dde, place, Word::AsClosed, arrival, now);
        }
        // A refusal stays who refused's: in our own name, tags would offer what it has ruled out.
        if self.mode() == Mode::Open || answered.mode == Mode::Closed {
            return Ok(Passage::On);
        }
        self.refuse_passing(&answered.dde, place, Word::Own, arrival, now)
    }

    /// An inner agent found its other end: it comes first, and what this router asks about the same
    /// flow would seal it twice. What it has agreed on already, it yields when that is confirmed.
    fn give_way(&mut self, pair: HostPair, id: NegotiationId, now: Now) {
        self.passing.questions.answered(pair, id, now.mono);
        let asking = self.pit.get(pair).is_some_and(|row| {
            let phase = row.negotiation().map(|negotiation| negotiation.phase);
            row.protected().is_none() && phase == Some(Phase::ExpectRgi)
        });
        if asking {
            self.forget_row(pair);
        }
    }

    /// Another agent asks for a flow that this router protects, and by the rule the flow is refused.
    /// Who asked first for it has to ask again, or has asked in vain.
    pub(super) fn unfounded(&mut self, pair: HostPair, now: Now) {
        let Some(own) = self.pit.get(pair).and_then(Row::protected) else { return };
        if own.theirs {
            self.send_news(own.current, now);
        } else {
            self.turn_dropped(pair, NegotiationResult::Refused, now);
        }
    }

    /// Whether a question offers a group of ours.
    fn could_answer(&self, dde: &[u8], now: Now) -> bool {
        let Some(keyring) = self.keyring.as_ref() else { return false };
        consume_dde(keyring, dde, Binding::Fresh, now.unix)
            .is_ok_and(|dde| !dde.common_groups().is_empty())
    }

    /// Somebody further in refuses a flow.
    pub(super) fn heard_refusal(&mut self, pair: HostPair, now: Now) {
        self.passing.refusals.put(pair, (), now.mono);
        self.unfounded(pair, now);
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
        // Nothing binds the packet to the message in it: whoever is on the path could have the row of
        // any other pair replaced.
        if committed.pair != arrival.flow() {
            return Err(DropReason::BadMessage);
        }
        self.passing.tentative.remove(&header.sid_i);
        self.commit(committed, arrival, now)?;
        Ok(Passage::On)
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
        if self.admit_question(dde, arrival.via(), Some(arrival), now).is_err() {
            return Ok(true); // it was asked for proof in place of the NOMATCH
        }
        let Some(dde_read) = self.admit_dde(dde, arrival.via(), Some(arrival), now)? else {
            return Ok(true); // our own question goes first
        };
        if dde_read.common_groups().is_empty() {
            return Ok(false);
        }
        self.passing.repeated.answered(dde_read.id, now.mono);
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

    /// Sends this agent's own NOMATCH in place of what passes. `word`: what it says of the
    /// flow.
    pub(super) fn refuse_passing(
        &mut self,
        seen: &SeenDde,
        place: Place,
        word: Word,
        arrival: Arrival,
        now: Now,
    ) -> Result<Passage, DropReason> {
        self.may_refuse_passing(arrival, now)?;
        let Self { keyring, passing, rng, .. } = self;
        let keyring = keyring.as_ref().ok_or(DropReason::BadMac)?;
        let witness = Witness { keyring, secret: &passing.secret, place };
        let nomatch = seen.refuse(&witness, word, rng, now.unix).ok_or(DropReason::BadMessage)?;
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
}

#[cfg(test)]
mod tests;
