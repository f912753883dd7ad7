//! Negotiations others start: DDE and MPIT come in, RGI, CDN and NOMATCH go out.

use super::Engine;
use super::carrier::Numbers;
use super::early::Early;
use super::incoming::Arrival;
use super::row::{Negotiation, Phase, Protected, Row, RowState, Via};
use super::seen::Seen;
use crate::addr::WireAddr;
use crate::dprp::{Agreement, Fault, ReceivedDde, Responder, SessionParameters, Word, consume_dde};
use crate::flow::HostPair;
use crate::id::Interface;
use crate::io::{Output, Transmit};
use crate::limits::{
    ANSWERED_LIFETIME, CDN_WAIT, DATA_PORT, GLARE_WAIT, NAT_OWNER_HEARD_WITHIN, NEGOTIATIONS,
    OWNER_HEARD_WITHIN, REFUSED_PER_NEGOTIATION, REPEATS, RESPONDER_LIFETIME,
};
use crate::now::Instant;
use crate::origin::Source;
use crate::timer::Timer;
use crate::wire::dprp::dde::lasting;
use crate::wire::dprp::{self, Kind};
use crate::{DropReason, NegotiationId, Now, SessionIndex};
use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

/// What this agent remembers as responder.
#[derive(Default)]
pub(super) struct Answers {
    /// By the number the initiator gave: repeats of its DDE get the same RGI or NOMATCH, repeats of
    /// its MPIT the same CDN.
    by_initiator: BTreeMap<NegotiationId, Answer>,
    seen: Seen,
    pub(super) early: Early,
}

struct Answer {
    pair: HostPair,
    /// The initiator knows itself by another address than the pair's: a NAT stands between.
    translated: Option<IpAddr>,
    interface: Interface,
    via: Via,
    started: Instant,
    /// The request last answered and what was answered.
    request: Vec<u8>,
    reply: Vec<u8>,
    repeats: u32,
    /// The request came with proof that its sender receives what is sent to it.
    proven: bool,
    /// Messages that had a right `mac1` and were refused.
    refused: u32,
    /// An agent further in that shares no group with the initiator, by its certificate.
    beyond: Option<[u8; 8]>,
    state: AnswerState,
}

impl Answer {
    /// True if who asked may be where a packet of this pair came from: where the first copy of the
    /// question came from, or the address that the question itself names, if a copy with another
    /// source was quicker. Anywhere else did not ask.
    fn is_asked_by(&self, pair: HostPair) -> bool {
        let own = pair.local == self.pair.local && Some(pair.remote.0) == self.translated;
        pair == self.pair || own
    }
}

enum AnswerState {
    /// RGI was sent.
    ExpectMpit { responder: Box<Responder>, index: SessionIndex },
    /// CDN was sent, or is to be sent where this request came from.
    Confirmed { unsent: Option<Arrival> },
    /// NOMATCH was sent.
    Refused,
}

impl Answers {
    pub(super) fn len(&self) -> usize {
        self.by_initiator.len()
    }

    /// True if a request with this number was answered.
    pub(super) fn has(&self, id: NegotiationId) -> bool {
        self.by_initiator.contains_key(&id)
    }

    /// True if this request, in a packet of this pair, was answered.
    pub(super) fn answered(&self, request: &[u8], pair: HostPair) -> bool {
        self.answer_to(request, pair).is_some()
    }

    fn answer_to(&self, request: &[u8], pair: HostPair) -> Option<&Answer> {
        let answer = self.by_initiator.get(&dprp::peek(request)?.sid_i)?;
        let same = lasting(&answer.request) == lasting(request) && answer.is_asked_by(pair);
        same.then_some(answer)
    }

    /// True if this request was answered once with proof of where it comes from.
    pub(super) fn is_proven(&self, request: &[u8], pair: HostPair) -> bool {
        self.answer_to(request, pair).is_some_and(|answer| answer.proven && answer.pair == pair)
    }

    fn prove(&mut self, id: NegotiationId) {
        if let Some(answer) = self.by_initiator.get_mut(&id) {
            answer.proven = true;
        }
    }

    /// A negotiation was answered in place of an agent further in that shares no group with its
    /// initiator.
    pub(super) fn note_beyond(&mut self, id: NegotiationId, from: [u8; 8]) {
        if let Some(answer) = self.by_initiator.get_mut(&id) {
            answer.beyond = Some(from);
        }
    }

    /// A new policy may see a common group where the old one saw none.
    pub(super) fn forget_refusals(&mut self) {
        self.by_initiator.retain(|_, answer| !matches!(answer.state, AnswerState::Refused));
    }

    /// Removes answers to this pair given until `started` that still wait for an MPIT, and gives
    /// the indices they offered.
    fn take_older(&mut self, pair: HostPair, started: Instant) -> Vec<SessionIndex> {
        let mut indices = Vec::new();
        self.by_initiator.retain(|_, answer| match answer.state {
            AnswerState::ExpectMpit { index, .. }
                if answer.pair == pair && answer.started <= started =>
            {
                indices.push(index);
                false
            }
            _ => true,
        });
        indices
    }
}

impl Engine {
    /// A negotiation message, from whichever carrier. Its kind must fit the carrier's direction.
    pub(super) fn consume_message(
        &mut self,
        message: &[u8],
        via: Via,
        arrival: Option<Arrival>,
        now: Now,
    ) {
        let Some(header) = dprp::peek(message) else {
            return self.dropped_in(DropReason::BadMessage);
        };
        let is_request = header.kind.is_request();
        if arrival.is_some_and(|arrival| arrival.request != is_request) {
            // An ordinary machine reflects our own request: that means no more than silence.
            return self.reflected(header.sid_i, message);
        }
        if !is_request {
            if header.kind == Kind::Cdn && self.is_late_cdn(header.sid_i, arrival) {
                return; // data under the new keys was quicker; the CDN says nothing new
            }
            return self.consume_answer(header.sid_i, message, header.kind, via, now);
        }
        let result = if header.kind == Kind::Dde {
            self.consume_question(header.sid_i, message, via, arrival, now)
        } else if self.repeats_answered(header.sid_i, message, arrival) {
            Ok(())
        } else {
            self.consume_mpit(header.sid_i, message, arrival, now)
        };
        if let Err(reason) = result {
            self.dropped_in(reason);
        }
    }

    /// A DDE at this end, whether new or a repeat: first what it may cost, then what it says.
    pub(super) fn consume_question(
        &mut self,
        id: NegotiationId,
        message: &[u8],
        via: Via,
        arrival: Option<Arrival>,
        now: Now,
    ) -> Result<(), DropReason> {
        let proven = self.admit_question(message, via, arrival, now)?;
        if !self.repeats_answered(id, message, arrival) {
            self.consume_dde(message, via, arrival, now)?;
        }
        if proven {
            self.answers.prove(id);
        }
        Ok(())
    }

    /// True for the CDN of a negotiation that data confirmed.
    pub(super) fn is_late_cdn(&self, id: NegotiationId, arrival: Option<Arrival>) -> bool {
        let row = arrival.and_then(|arrival| self.pit.get(arrival.pair));
        row.and_then(Row::protected).is_some_and(|protected| protected.confirmed == Some(id))
    }

    /// A repeat of a request already answered, byte by byte the same but for its `mac2`, gets the
    /// same answer again, so often and no oftener. True if the request is such a repeat.
    pub(super) fn repeats_answered(
        &mut self,
        id: NegotiationId,
        message: &[u8],
        arrival: Option<Arrival>,
    ) -> bool {
        let Some(answer) = self.answers.by_initiator.get_mut(&id) else { return false };
        // In a packet of another flow it is no repeat: the answer would go to who did not ask.
        let same = lasting(&answer.request) == lasting(message);
        if !same || arrival.is_some_and(|at| !answer.is_asked_by(at.pair)) {
            return false;
        }
        if let (Some(at), AnswerState::ExpectMpit { responder, index }) = (arrival, &answer.state)
            && at.pair != answer.pair
        {
            // From the address that the question names, behind a copy from elsewhere. It gets an RGI of
            // its own: whoever got the other has not shown that it receives here.
            let (theirs, index) = (responder.ephemeral(), *index);
            self.answers.by_initiator.remove(&id);
            self.answers.seen.forget(&theirs);
            self.forget_early(index);
            return false;
        }
        answer.repeats += 1;
        if answer.repeats <= REPEATS {
            let (reply, via, interface) = (answer.reply.clone(), answer.via, answer.interface);
            self.send_reply(reply, via, interface, arrival);
        }
        true
    }

    /// Answers or refuses a DDE.
    pub(super) fn consume_dde(
        &mut self,
        message: &[u8],
        via: Via,
        arrival: Option<Arrival>,
        now: Now,
    ) -> Result<(), DropReason> {
        let Some(dde) = self.admit_dde(message, via, arrival, now)? else { return Ok(()) };
        let (pair, interface) = self.carried_pair(via, arrival).ok_or(DropReason::NoSession)?;
        if dde.common_groups().is_empty() {
            return self.refuse_dde(&dde, message, via, pair, interface, arrival, now);
        }
        self.answer_dde(dde, message, via, pair, interface, arrival, now)
    }

    /// Reads a DDE that this agent may answer. `None`: our own question goes first.
    pub(super) fn admit_dde(
        &mut self,
        message: &[u8],
        via: Via,
        arrival: Option<Arrival>,
        now: Now,
    ) -> Result<Option<ReceivedDde>, DropReason> {
        let binding = self.binding(via).ok_or(DropReason::NoSession)?;
        let keyring = self.keyring.as_ref().ok_or(DropReason::BadMac)?;
        let mut dde = consume_dde(keyring, message, binding, now.unix)
            .map_err(|reject| reject.drop_reason())?;
        let (pair, _) = self.carried_pair(via, arrival).ok_or(DropReason::NoSession)?;
        let asked = dde.proposal.pair.reversed();
        if asked.local != pair.local || !self.stands_for(pair.local.0) {
            return Err(DropReason::BadMessage);
        }
        if asked != pair && !self.may_be_translated(via, asked.remote.0) {
            return Err(DropReason::BadMessage);
        }
        dde.observed = pair.remote.0;
        if self.answers.by_initiator.len() >= NEGOTIATIONS {
            return Err(DropReason::TableFull);
        }
        // Only a request that was answered is remembered: the repeats of one that was not are its
        // sender's only way to an answer.
        if self.answers.seen.contains(&dde.ephemeral) {
            return Err(DropReason::Stale);
        }
        // What we asked the NAT itself, nobody answers.
        if asked == pair && self.we_go_first(pair, via, &dde.ephemeral, now) {
            return Ok(None);
        }
        Ok(Some(dde))
    }

    /// Whether somebody who knows itself as `own` may ask from another address: outside a session,
    /// since answers go where the packet came from; inside one if that is how the session began.
    fn may_be_translated(&self, via: Via, own: IpAddr) -> bool {
        match via {
            Via::Echo | Via::Udp => true,
            Via::Session(index) => {
                self.sessions.get(index).is_some_and(|session| session.path.translated == Some(own))
            }
        }
    }

    fn carried_pair(&self, via: Via, arrival: Option<Arrival>) -> Option<(HostPair, Interface)> {
        match (via, arrival) {
            (Via::Session(index), _) => {
                let pair = self.sessions.get(index)?.pair;
                Some((pair, self.session_interface(index)?))
            }
            (Via::Echo | Via::Udp, Some(arrival)) => Some((arrival.pair, arrival.interface)),
            (Via::Echo | Via::Udp, None) => None,
        }
    }

    /// Glare: both ends asked at once. The smaller ephemeral key goes on as initiator; the other
    /// answers. An initiator that already has its RGI always goes on. Between a question in the
    /// clear carrier and one inside a session the former goes first: whoever asks in the clear may
    /// have lost the session, and would never hear the other.
    fn we_go_first(&mut self, pair: HostPair, via: Via, theirs: &[u8; 32], now: Now) -> bool {
        let Some(row) = self.pit.get_mut(pair) else { return false };
        let Some(negotiation) = row.negotiation_mut() else { return false };
        let first = match (negotiation.via, via) {
            (Via::Session(_), Via::Echo | Via::Udp) => false,
            (Via::Echo | Via::Udp, Via::Session(_)) => true,
            (Via::Echo | Via::Udp, Via::Echo | Via::Udp) | (Via::Session(_), Via::Session(_)) => {
                negotiation.phase == Phase::ExpectCdn || negotiation.initiator.ephemeral() < *theirs
            }
        };
        if first {
            return true;
        }
        if !negotiation.yielded {
            negotiation.yielded = true;
            negotiation.next_attempt = now.mono + GLARE_WAIT;
            self.timers.set(now.mono + GLARE_WAIT, Timer::Retransmit(pair));
        }
        false
    }

    #[expect(clippy::too_many_arguments, reason = "the whole context of one request")]
    fn refuse_dde(
        &mut self,
        dde: &ReceivedDde,
        message: &[u8],
        via: Via,
        pair: HostPair,
        interface: Interface,
        arrival: Option<Arrival>,
        now: Now,
    ) -> Result<(), DropReason> {
        self.may_refuse(Source::of(pair.remote.0), now)?;
        // Others may have taken the flow over, and a session whose other end is gone hides it.
        self.contest_in_clear(message, arrival, now);
        let router = !self.is_local(pair.local.0);
        let word = if self.is_wary(pair, now) { Word::AsClosed } else { Word::Own };
        let keyring = self.keyring.as_ref().ok_or(DropReason::BadMac)?;
        let reply = dde
            .refuse(keyring, router, word, &mut self.rng, now.unix)
            .ok_or(DropReason::BadMessage)?;
        let answer = Answer {
            pair,
            translated: None,
            interface,
            via,
            started: now.mono,
            request: message.to_vec(),
            reply: reply.clone(),
            repeats: 0,
            proven: false,
            refused: 0,
            beyond: None,
            state: AnswerState::Refused,
        };
        self.answers.by_initiator.insert(dde.id, answer);
        self.timers.set(now.mono + ANSWERED_LIFETIME, Timer::Answer(dde.id));
        self.send_reply(reply, via, interface, arrival);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the whole context of one request")]
    pub(super) fn answer_dde(
        &mut self,
        dde: ReceivedDde,
        message: &[u8],
        via: Via,
        pair: HostPair,
        interface: Interface,
        arrival: Option<Arrival>,
        now: Now,
    ) -> Result<(), DropReason> {
        let (id, theirs) = (dde.id, dde.ephemeral);
        let own = dde.proposal.pair.local.0;
        let translated = (own != pair.remote.0).then_some(own);
        let index = self.sessions.free_index(&mut self.rng).ok_or(DropReason::TableFull)?;
        let wire = self.own_wire(pair, interface);
        let router = !self.is_local(pair.local.0);
        let keyring = self.keyring.as_ref().ok_or(DropReason::BadMac)?;
        let parameters = SessionParameters { index, data_port: DATA_PORT, wire };
        let ephemeral = self.ephemerals.take(&mut self.rng);
        let (responder, reply) = dde
            .answer(keyring, router, parameters, ephemeral, &mut self.rng, now.unix)
            .map_err(|reject| reject.drop_reason())?;
        if via.is_clear() {
            // Inside a session the initiator uses the new keys only once we confirmed them.
            self.answers.early.expect(index, pair.remote.0);
        }
        let answer = Answer {
            pair,
            translated,
            interface,
            via,
            started: now.mono,
            request: message.to_vec(),
            reply: reply.clone(),
            repeats: 0,
            proven: false,
            refused: 0,
            beyond: None,
            state: AnswerState::ExpectMpit { responder: Box::new(responder), index },
        };
        self.answers.by_initiator.insert(id, answer);
        self.answers.seen.insert(&theirs, now.mono);
        self.timers.set(now.mono + RESPONDER_LIFETIME, Timer::Answer(id));
        self.send_reply(reply, via, interface, arrival);
        Ok(())
    }

    fn consume_mpit(
        &mut self,
        id: NegotiationId,
        message: &[u8],
        arrival: Option<Arrival>,
        now: Now,
    ) -> Result<(), DropReason> {
        let Self { keyring, answers, rng, pit, .. } = self;
        let keyring = keyring_of(keyring)?;
        let answer = answers.by_initiator.get_mut(&id).ok_or(DropReason::Stale)?;
        let AnswerState::ExpectMpit { responder, index } = &mut answer.state else {
            return Err(DropReason::Stale);
        };
        let own = pit.get(answer.pair).and_then(Row::negotiation);
        if own.is_some_and(|own| ours_survives(own, answer.via, &responder.ephemeral())) {
            return Err(DropReason::Stale);
        }
        if answer.refused >= REFUSED_PER_NEGOTIATION {
            return Err(DropReason::TooMany);
        }
        let (pair, translated) = (answer.pair, answer.translated);
        // From where its RGI went: nothing else shows that its sender receives there.
        if arrival.is_some_and(|at| at.pair != pair) {
            return Err(DropReason::BadMessage);
        }
        let read = responder.consume_mpit(keyring, message, rng, now.unix);
        let (agreement, cdn) = read.map_err(|reject| {
            answer.refused += u32::from(reject.fault() != Fault::Anybody);
            reject.drop_reason()
        })?;
        let index = *index;
        let (interface, started) = (answer.interface, answer.started);
        let beyond = answer.beyond;
        // The MPIT need not come by the carrier of the DDE that was answered first.
        let via = arrival.map_or(answer.via, |arrival| arrival.via());
        if self.owner_is_other(pair, &agreement, now) {
            self.give_back(id);
            return Err(DropReason::AddressTaken);
        }
        let nat = translated.map(|own| (own, self.peer_of_nat(pair, arrival)));
        let took = now.mono.since(started);
        // The peer may learn that we have the keys only once we have them.
        let before = self.use_agreement(pair, interface, index, agreement, took, via, nat, now);
        let before = before.inspect_err(|_| self.give_back(id))?;
        self.inherit_inner(pair, before.as_ref(), via, beyond, now);
        if let Some(answer) = self.answers.by_initiator.get_mut(&id) {
            answer.via = via;
            answer.state = AnswerState::Confirmed { unsent: arrival };
            answer.request = message.to_vec();
            answer.reply.clone_from(&cdn);
            answer.repeats = 0;
        }
        self.forget_older_answers(pair, started);
        self.timers.set(now.mono + ANSWERED_LIFETIME, Timer::Answer(id));
        match via {
            Via::Echo | Via::Udp => self.timers.set(now.mono + CDN_WAIT, Timer::Confirm(id)),
            Via::Session(_) => self.send_reply(cdn, via, interface, arrival),
        }
        self.end_state_before(before, pair, index, took, now);
        self.hand_over(pair);
        self.open_early(index, now);
        Ok(())
    }

    /// What was agreed cannot be used now, for a reason that may pass: the same MPIT may come again.
    fn give_back(&mut self, id: NegotiationId) {
        if let Some(answer) = self.answers.by_initiator.get_mut(&id)
            && let AnswerState::ExpectMpit { responder, .. } = &mut answer.state
        {
            answer.refused += 1;
            responder.give_back();
        }
    }

    /// The two ends now share newer keys than those that an MPIT to an answer given until
    /// `started` would bring: if it is still under way, its initiator has given up on it.
    pub(super) fn forget_older_answers(&mut self, pair: HostPair, started: Instant) {
        for index in self.answers.take_older(pair, started) {
            self.forget_early(index);
        }
    }

    /// Another agent claims an address whose present owner was heard a moment ago.
    fn owner_is_other(&self, pair: HostPair, agreement: &Agreement, now: Now) -> bool {
        self.current_session(pair).is_some_and(|session| {
            let span = match session.path.translated {
                Some(_) => NAT_OWNER_HEARD_WITHIN,
                None => OWNER_HEARD_WITHIN,
            };
            session.peer != agreement.peer.agent
                && !session.yielded
                && session.heard_within(span, now.mono)
        })
    }

    /// Where the NAT of a peer takes its datagrams, as far as is known before the first one came: from
    /// the session before; by the port of a message in UDP, which is the data's too; by the port that
    /// most NATs try to keep.
    fn peer_of_nat(&self, pair: HostPair, arrival: Option<Arrival>) -> (WireAddr, u16) {
        let seen = WireAddr(pair.remote.0);
        match (arrival.map(|arrival| arrival.numbers), self.current_session(pair)) {
            (Some(Numbers::Udp { remote, .. }), _) => (seen, remote),
            (None, Some(session)) => (session.wire[1], session.peer_port),
            (Some(Numbers::Echo { .. }), _) | (None, None) => (seen, DATA_PORT),
        }
    }

    /// Makes the session of an agreement the one the pair's row sends under. Gives the state the
    /// row had before.
    #[expect(clippy::too_many_arguments, reason = "everything that was agreed on")]
    fn use_agreement(
        &mut self,
        pair: HostPair,
        interface: Interface,
        index: SessionIndex,
        agreement: Agreement,
        took: Duration,
        via: Via,
        nat: Option<(IpAddr, (WireAddr, u16))>,
        now: Now,
    ) -> Result<Option<RowState>, DropReason> {
        let (peer, peer_mode) = (agreement.peer.agent, agreement.peer_mode);
        let mut path = self.known_path(pair);
        path.found(Some(via));
        path.seen_as = None;
        path.translated = nat.map(|(own, _)| own);
        let at = nat.map(|(_, at)| at);
        let protected = Protected::new(peer, peer_mode, index, took);
        let before = match self.pit.get_mut(pair) {
            Some(row) => Some(std::mem::replace(&mut row.state, RowState::Protected(protected))),
            None => {
                let row = Row::new(RowState::Protected(protected), interface, now.mono);
                let row = row.caused_by(pair.remote.0);
                self.insert_row(pair, row)?;
                None
            }
        };
        self.add_session(pair, (index, interface), agreement, false, path, at, now);
        if let Some(session) = self.sessions.get_mut(index) {
            session.measured(took); // from RGI to MPIT
        }
        Ok(before)
    }

    fn end_state_before(
        &mut self,
        before: Option<RowState>,
        pair: HostPair,
        index: SessionIndex,
        took: Duration,
        now: Now,
    ) {
        match before {
            Some(RowState::Protected(old)) => {
                self.supersede(old, now);
                self.rekeyed(pair, index);
            }
            Some(RowState::Pending(mut pending)) => {
                self.abandon(&pending.negotiation);
                self.became_protected(pair, took, now);
                let held = pending.held.take(&mut self.held);
                self.release_sealed(held, now);
            }
            Some(RowState::Clear(plain) | RowState::Dropped(plain)) => {
                if let Some(negotiation) = plain.background {
                    self.abandon(&negotiation);
                }
                self.became_protected(pair, took, now);
            }
            Some(RowState::Transit(transit)) => {
                self.forget_transit(&transit);
                self.became_protected(pair, took, now);
            }
            None => self.became_protected(pair, took, now),
        }
    }

    /// A protected flow got newer keys from the other side: the old ones retire, and whatever we
    /// were negotiating ourselves is moot.
    fn supersede(&mut self, old: Protected, now: Now) {
        self.retire(old.current, now);
        if let Some(next) = old.next {
            self.retire(next, now);
        }
        if let Some(negotiation) = old.rekey {
            self.negotiations.remove(&negotiation.initiator.id());
        }
    }

    pub(super) fn send_reply(
        &mut self,
        reply: Vec<u8>,
        via: Via,
        interface: Interface,
        arrival: Option<Arrival>,
    ) {
        match (via, arrival) {
            (Via::Session(index), _) => {
                self.send_control_message(index, &reply, Now::default());
            }
            // By the carrier that this request came in and to where it came from, which need not be
            // those of the first: whoever saw a question must not draw its answer to himself by
            // sending a copy before it arrives.
            (Via::Echo | Via::Udp, Some(arrival)) => {
                let (from, to) = (arrival.pair.local.0, arrival.pair.remote.0);
                let (protocol, bytes) = arrival.numbers.pack(false, true, &reply, (from, to));
                let (from, to) = (WireAddr(from), WireAddr(to));
                self.emit(Output::Transmit(Transmit { from, to, interface, protocol, bytes }));
            }
            (Via::Echo | Via::Udp, None) => {}
        }
    }

    /// The CDN has let packets go first long enough.
    pub(super) fn send_cdn(&mut self, id: NegotiationId) {
        let Some(answer) = self.answers.by_initiator.get_mut(&id) else { return };
        let AnswerState::Confirmed { unsent } = &mut answer.state else { return };
        let Some(arrival) = unsent.take() else { return };
        let (via, interface) = (answer.via, answer.interface);
        let reply = answer.reply.clone();
        self.send_reply(reply, via, interface, Some(arrival));
    }

    /// A stored answer has reached its deadline.
    pub(super) fn answer_aged(&mut self, id: NegotiationId, now: Now) {
        let Some(answer) = self.answers.by_initiator.get(&id) else { return };
        let lifetime = match answer.state {
            AnswerState::ExpectMpit { .. } => RESPONDER_LIFETIME,
            AnswerState::Confirmed { .. } | AnswerState::Refused => ANSWERED_LIFETIME,
        };
        if now.mono.since(answer.started) >= lifetime
            && let Some(answer) = self.answers.by_initiator.remove(&id)
            && let AnswerState::ExpectMpit { index, .. } = answer.state
        {
            self.forget_early(index);
        }
    }
}

/// Both ends finished a negotiation as initiator at the same time. Each end knows both and judges
/// alike, so that exactly one survives. Ours counts only once it is agreed on: before, the other
/// end goes on (see `we_go_first`).
fn ours_survives(own: &Negotiation, via: Via, theirs: &[u8; 32]) -> bool {
    own.phase == Phase::ExpectCdn
        && match (own.via, via) {
            (Via::Session(_), Via::Echo | Via::Udp) => false,
            (Via::Echo | Via::Udp, Via::Session(_)) => true,
            (Via::Echo | Via::Udp, Via::Echo | Via::Udp) | (Via::Session(_), Via::Session(_)) => {
                own.initiator.ephemeral() < *theirs
            }
        }
}

fn keyring_of(
    keyring: &Option<crate::keyring::Keyring>,
) -> Result<&crate::keyring::Keyring, DropReason> {
    keyring.as_ref().ok_or(DropReason::BadMac)
}

#[cfg(test)]
mod tests;
