//! Negotiations this agent starts: DDE and MPIT go out, RGI, CDN and NOMATCH come back.

use super::Engine;
use super::row::{Agreed, Negotiation, Phase, Plain, Protected, Row, RowState, Via};
use crate::dprp::{
    Agreement, Binding, Initiator, NoMatch, Proposal, Purpose, Reject, SessionParameters,
};
use crate::flow::{HostPair, Ports};
use crate::id::Interface;
use crate::io::{Event, HeldFrame, NegotiationResult, PACKET_AT};
use crate::limits::{
    ASK_AGAIN_LAST, COOKIES_PER_NEGOTIATION, DATA_PORT, NEGATIVE_LIFETIME, NEGOTIATIONS,
    REFUSED_LIFETIME, REFUSED_PER_NEGOTIATION, RETRY_JITTER_PERCENT, RETRY_LADDER,
};
use crate::timer::Timer;
use crate::{ClearReason, DropReason, Mode, NegotiationId, Now, SessionIndex};
use core::time::Duration;
use rand_core::Rng as _;

impl Engine {
    /// A fresh negotiation outside a session. `None` without keys, or at the limit.
    pub(super) fn new_negotiation(
        &mut self,
        pair: HostPair,
        ports: Ports,
        interface: Interface,
        now: Now,
    ) -> Option<Negotiation> {
        let via = self.clear_via(pair.remote.0, now);
        self.create_negotiation(pair, ports, via, Purpose::Protect, interface, now)
    }

    pub(super) fn create_negotiation(
        &mut self,
        pair: HostPair,
        ports: Ports,
        via: Via,
        purpose: Purpose,
        interface: Interface,
        now: Now,
    ) -> Option<Negotiation> {
        if self.negotiations.len() >= NEGOTIATIONS {
            return None;
        }
        let index = self.sessions.free_index(&mut self.rng)?;
        let binding = self.binding(via)?;
        let mode = self.mode();
        let wire = self.own_wire(pair, interface);
        let (source, router) = match purpose {
            Purpose::Protect => (pair, !self.is_local(pair.local.0)),
            Purpose::Survey => (pair.reversed(), true),
        };
        let keyring = self.keyring.as_ref()?;
        let proposal = Proposal { pair: source, ports, mode, router, purpose };
        let parameters = SessionParameters { index, data_port: DATA_PORT, wire };
        let rng = &mut self.rng;
        let ephemeral = self.ephemerals.take(rng);
        let (initiator, mut message) = Initiator::create_dde(
            keyring, &proposal, binding, parameters, ephemeral, rng, now.unix,
        )
        .ok()?;
        let mut echo_id = (self.rng.next_u32() & 0xffff) as u16;
        if let Some((cookie, id)) = self.load.known_cookie(pair, via.carrier(), now.mono) {
            cookie.sign(&mut message);
            echo_id = id; // it counts for no other
        }
        Some(Negotiation {
            initiator,
            via,
            message,
            phase: Phase::ExpectRgi,
            index,
            agreed: None,
            attempts: 0,
            next_attempt: now.mono,
            started: now.mono,
            yielded: false,
            echo_id,
            echo_seq: 0,
            cookies: 0,
            refused: 0,
            other_at: None,
            reflected: false,
            keyless: None,
        })
    }

    /// What ties a negotiation to the session it travels in.
    pub(super) fn binding(&self, via: Via) -> Option<Binding> {
        match via {
            Via::Echo | Via::Udp => Some(Binding::Fresh),
            Via::Session(index) => {
                Some(Binding::Rekey { previous: self.sessions.get(index)?.handshake_hash })
            }
        }
    }

    /// Sends the current message of the pair's negotiation and sets the next deadline.
    pub(super) fn send_attempt(&mut self, pair: HostPair, now: Now) {
        let jitter = self.jitter();
        let Some(row) = self.pit.get_mut(pair) else { return };
        let Some(negotiation) = row.negotiation_mut() else { return };
        let step = negotiation.attempts.min(RETRY_LADDER.len() - 1);
        let wait = RETRY_LADDER[step];
        negotiation.next_attempt =
            now.mono + wait * (100 - RETRY_JITTER_PERCENT as u32) / 100 + wait * jitter / 100;
        negotiation.attempts += 1;
        self.timers.set(negotiation.next_attempt, Timer::Retransmit(pair));
        self.send_message(pair, now);
    }

    /// Sends the current message of the pair's negotiation.
    fn send_message(&mut self, pair: HostPair, now: Now) {
        let row = self.pit.get_mut(pair).and_then(Row::negotiation_mut);
        let Some(negotiation) = row else { return };
        negotiation.echo_seq = negotiation.echo_seq.wrapping_add(1);
        let (id, seq, via) = (negotiation.echo_id, negotiation.echo_seq, negotiation.via);
        let message = negotiation.message.clone();
        let purpose = negotiation.initiator.proposal().purpose;
        match via {
            Via::Echo | Via::Udp if purpose == Purpose::Survey => {
                self.send_survey(pair, (id, seq), &message);
            }
            Via::Echo | Via::Udp => {
                self.send_clear(pair, via.carrier().unwrap_or_default());
                self.plan_other_carrier(pair, now);
            }
            Via::Session(index) => self.send_control_message(index, &message, now),
        }
    }

    /// 0 to twice the jitter, in percent of a step.
    fn jitter(&mut self) -> u32 {
        self.rng.next_u32() % (2 * RETRY_JITTER_PERCENT as u32 + 1)
    }

    /// A retransmission deadline fired.
    pub(super) fn retransmit(&mut self, pair: HostPair, now: Now) {
        let Some(negotiation) = self.pit.get(pair).and_then(Row::negotiation) else { return };
        if negotiation.next_attempt > now.mono {
            return; // an older deadline of the same negotiation
        }
        let over = negotiation.attempts >= RETRY_LADDER.len();
        let lost_carrier = match negotiation.via {
            Via::Echo | Via::Udp => false,
            Via::Session(index) => self.sessions.get(index).is_none(),
        };
        if over || lost_carrier {
            self.ladder_over(pair, now);
        } else {
            self.send_attempt(pair, now);
        }
    }

    /// Nobody answered the whole ladder.
    fn ladder_over(&mut self, pair: HostPair, now: Now) {
        let Some(row) = self.pit.get_mut(pair) else { return };
        if row.protected().is_none() && row.waits_for_key() {
            return self.turn_dropped(pair, NegotiationResult::Refused, now);
        }
        match &mut row.state {
            RowState::Pending(pending) => {
                let took = now.mono.since(pending.negotiation.started);
                let result = NegotiationResult::NoAnswer;
                self.event(Event::Negotiated { pair, result, took });
                if self.may_pass(pair.remote.0, now) {
                    self.settle_clear(pair, result, false, now);
                } else {
                    self.settle_dropped(pair, result, now);
                }
            }
            RowState::Clear(plain) | RowState::Dropped(plain) => {
                if let Some(negotiation) = plain.background.take() {
                    self.abandon(&negotiation);
                }
                self.still_clear(pair, now);
            }
            RowState::Protected(_) => self.rekey_failed(pair, now),
            RowState::Transit(_) => {}
        }
    }

    /// A plain destination that did not agree in the background stays plain: it stalls once, not
    /// every five minutes. It is asked less and less often.
    fn still_clear(&mut self, pair: HostPair, now: Now) {
        if let Some(Row { state: RowState::Clear(plain), .. }) = self.pit.get_mut(pair) {
            let reason = ClearReason::of(plain.reason);
            plain.until = now.mono + NEGATIVE_LIFETIME;
            plain.ask_again = now.mono + plain.patience;
            plain.patience = (2 * plain.patience).min(ASK_AGAIN_LAST);
            self.timers.set(plain.ask_again, Timer::AskAgain(pair));
            // Closed mode has come to its verdict by now.
            self.would_drop(pair, reason, now);
        }
    }

    /// Open mode has held the first packet long enough.
    pub(super) fn hold_over(&mut self, pair: HostPair, now: Now) {
        let Some(row) = self.pit.get(pair) else { return };
        let RowState::Pending(pending) = &row.state else { return };
        let held_long_enough =
            now.mono.since(pending.negotiation.started) >= crate::limits::OPEN_HOLD;
        if held_long_enough && !row.waits_for_key() && self.may_pass(pair.remote.0, now) {
            self.settle_clear(pair, NegotiationResult::NoAnswer, true, now);
        }
    }

    /// An answer to a negotiation of ours.
    pub(super) fn consume_answer(
        &mut self,
        id: NegotiationId,
        message: &[u8],
        kind: crate::wire::dprp::Kind,
        via: Via,
        now: Now,
    ) {
        use crate::wire::dprp::Kind;
        let Some(&pair) = self.negotiations.get(&id) else {
            return self.dropped_in(DropReason::Stale);
        };
        let negotiation = self.pit.get(pair).and_then(Row::negotiation);
        if negotiation.is_some_and(|own| own.refused >= REFUSED_PER_NEGOTIATION) {
            return self.dropped_in(DropReason::TooMany);
        }
        if self.is_inquiry(pair, id) {
            return self.consume_inquiry(pair, message, kind, now);
        }
        let result = match kind {
            Kind::Rgi => self.consume_rgi(pair, message, via, now),
            Kind::Cdn => self.consume_cdn(pair, message, now),
            Kind::NoMatch => self.consume_nomatch(pair, message, via, now),
            Kind::Cookie => self.consume_cookie(pair, message, via, now),
            Kind::Dde | Kind::Mpit => Err(DropReason::BadMessage),
        };
        if let Err(reason) = result {
            self.dropped_in(reason);
        }
    }

    fn consume_rgi(
        &mut self,
        pair: HostPair,
        message: &[u8],
        via: Via,
        now: Now,
    ) -> Result<(), DropReason> {
        let Self { keyring, pit, rng, .. } = self;
        let keyring = keyring.as_ref().ok_or(DropReason::BadMessage)?;
        let row = pit.get_mut(pair).ok_or(DropReason::Stale)?;
        let negotiation = row.negotiation_mut().ok_or(DropReason::Stale)?;
        if negotiation.phase != Phase::ExpectRgi {
            return Err(DropReason::Stale);
        }
        let read = negotiation.initiator.consume_rgi(keyring, message, rng, now.unix);
        if let Err(Reject::NotContent(_)) = read {
            if let Some(refused) = negotiation.initiator.take_refused() {
                self.note_refused(pair, refused);
            }
            self.turn_dropped(pair, NegotiationResult::Refused, now);
            return Ok(());
        }
        let (agreement, mpit) = read.map_err(|reject| negotiation.refuse(&reject))?;
        negotiation.phase = Phase::ExpectCdn;
        negotiation.message = mpit;
        negotiation.attempts = 0;
        let index = negotiation.index;
        let started = negotiation.started;
        self.carrier_answered(pair, via, now);
        self.agreed_as_initiator(pair, agreement, index, now.mono.since(started), now);
        Ok(())
    }

    /// RGI told us the session keys. Without an older session and without agents between they are
    /// used at once, right behind the MPIT (one round trip). With an older one they wait for the
    /// peer's confirmation; with agents between, until these have heard both ends.
    fn agreed_as_initiator(
        &mut self,
        pair: HostPair,
        agreement: Agreement,
        index: SessionIndex,
        took: Duration,
        now: Now,
    ) {
        let agreed = Agreed { peer: agreement.peer.agent, peer_mode: agreement.peer_mode, took };
        let direct = agreement.path.is_empty();
        let mut path = self.known_path(pair);
        let via = self.pit.get(pair).and_then(Row::negotiation).map(|negotiation| negotiation.via);
        path.found(via);
        path.seen_as = agreement.seen_as;
        let Some(interface) = self.pit.get(pair).map(|row| row.interface) else { return };
        self.add_session(pair, (index, interface), agreement, true, path, None, now);
        let Some(row) = self.pit.get_mut(pair) else { return };
        if let Some(protected) = row.protected_mut() {
            protected.next = Some(index);
            self.send_attempt(pair, now);
        } else if direct {
            let held = self.protect_row(pair, agreed, index);
            self.send_attempt(pair, now); // MPIT first, then the data behind it
            self.became_protected(pair, took, now);
            if held.is_empty() && path.seen_as.is_some() {
                // The peer learns from the first datagram where to send its own.
                self.send_keepalive(index, now);
            }
            self.release_sealed(held, now);
        } else {
            // What went in clear until now waits as well: the pair is protected from here on.
            row.hold_rest();
            if let Some(negotiation) = row.negotiation_mut() {
                negotiation.agreed = Some(agreed);
            }
            self.send_attempt(pair, now);
        }
    }

    /// Turns a row protected, its negotiation unconfirmed as yet. Gives what was held.
    fn protect_row(
        &mut self,
        pair: HostPair,
        agreed: Agreed,
        index: SessionIndex,
    ) -> Vec<HeldFrame> {
        let Some(row) = self.pit.get_mut(pair) else { return Vec::new() };
        let Agreed { peer, peer_mode, took } = agreed;
        let protected = Protected::new(peer, peer_mode, index, took);
        let (negotiation, held) =
            match std::mem::replace(&mut row.state, RowState::Protected(protected)) {
                RowState::Pending(mut pending) => {
                    (Some(pending.negotiation), pending.held.take(&mut self.held))
                }
                RowState::Clear(plain) | RowState::Dropped(plain) => (plain.background, Vec::new()),
                RowState::Protected(protected) => (protected.rekey, Vec::new()),
                RowState::Transit(_) => (None, Vec::new()),
            };
        if let Some(protected) = row.protected_mut() {
            protected.rekey = negotiation;
        }
        held
    }

    fn consume_cdn(&mut self, pair: HostPair, message: &[u8], now: Now) -> Result<(), DropReason> {
        let keyring = self.keyring.as_ref().ok_or(DropReason::BadMessage)?;
        let row = self.pit.get_mut(pair).ok_or(DropReason::Stale)?;
        let negotiation = row.negotiation_mut().ok_or(DropReason::Stale)?;
        if negotiation.phase != Phase::ExpectCdn {
            return Err(DropReason::Stale);
        }
        let read = negotiation.initiator.consume_cdn(keyring, message, now.unix);
        read.map_err(|reject| negotiation.refuse(&reject))?;
        let index = negotiation.index;
        let Some(agreed) = negotiation.agreed.take() else {
            self.confirmed(pair, index, now);
            return Ok(());
        };
        let held = self.protect_row(pair, agreed, index);
        self.confirmed(pair, index, now);
        self.became_protected(pair, agreed.took, now);
        self.release_sealed(held, now);
        Ok(())
    }

    /// The other side is under load: the same DDE goes out again at once, with proof that we receive
    /// what is sent to us. Nothing else changes; a COOKIE moves no address.
    fn consume_cookie(
        &mut self,
        pair: HostPair,
        message: &[u8],
        via: Via,
        now: Now,
    ) -> Result<(), DropReason> {
        let keyring = self.keyring.as_ref().ok_or(DropReason::BadMessage)?;
        let row = self.pit.get_mut(pair).ok_or(DropReason::Stale)?;
        let negotiation = row.negotiation_mut().ok_or(DropReason::Stale)?;
        let (Phase::ExpectRgi, Some(carrier)) = (negotiation.phase, via.carrier()) else {
            return Err(DropReason::Stale);
        };
        let dde = &mut negotiation.message;
        let read = negotiation.initiator.consume_cookie(keyring, message, dde, now.unix);
        let cookie = read.map_err(|_| DropReason::BadCookie)?;
        if cookie.signed(dde) || negotiation.cookies >= COOKIES_PER_NEGOTIATION {
            return Err(DropReason::Stale);
        }
        cookie.sign(dde);
        negotiation.cookies += 1;
        let numbers = (carrier, negotiation.echo_id);
        self.load.keep_cookie(pair, cookie, numbers, now.mono);
        self.carrier_answered(pair, via, now);
        self.send_message(pair, now);
        Ok(())
    }

    /// A negotiation of ours is over without an agreement in use.
    pub(super) fn abandon(&mut self, negotiation: &Negotiation) {
        self.negotiations.remove(&negotiation.initiator.id());
        if negotiation.agreed.is_some() {
            self.drop_session(negotiation.index);
        }
    }

    /// The peer has the keys: CDN said so, or data under them arrived.
    pub(super) fn confirmed(&mut self, pair: HostPair, index: SessionIndex, now: Now) {
        let Some(protected) = self.pit.get_mut(pair).and_then(Row::protected_mut) else { return };
        if protected.rekey.as_ref().is_some_and(|n| n.index == index)
            && let Some(negotiation) = protected.rekey.take()
        {
            protected.confirmed = Some(negotiation.initiator.id());
            self.negotiations.remove(&negotiation.initiator.id());
            self.forget_older_answers(pair, now.mono);
            if let Some(session) = self.sessions.get_mut(index) {
                // Made when the RGI came, which the MPIT left right behind.
                session.measured(now.mono.since(session.created));
            }
        }
        if let Some(session) = self.sessions.get_mut(index) {
            session.proven = true;
        }
        let Some(protected) = self.pit.get_mut(pair).and_then(Row::protected_mut) else { return };
        if protected.next == Some(index) {
            protected.next = None;
            let old = std::mem::replace(&mut protected.current, index);
            self.retire(old, now);
            self.rekeyed(pair, index);
        }
        self.hand_over(pair);
    }

    fn consume_nomatch(
        &mut self,
        pair: HostPair,
        message: &[u8],
        via: Via,
        now: Now,
    ) -> Result<(), DropReason> {
        let keyring = self.keyring.as_ref().ok_or(DropReason::BadMessage)?;
        let row = self.pit.get_mut(pair).ok_or(DropReason::Stale)?;
        let negotiation = row.negotiation_mut().ok_or(DropReason::Stale)?;
        let read = negotiation.initiator.consume_nomatch(keyring, message, now.unix);
        let said = read.map_err(|reject| negotiation.refuse(&reject))?;
        if said.protects_beyond() {
            self.protected_beyond(pair, &said, now);
            return Ok(());
        }
        let took = now.mono.since(negotiation.started);
        let result = NegotiationResult::NoMatch;
        let pending = matches!(row.state, RowState::Pending(_));
        let protected = row.protected().is_some();
        self.note_nomatch(pair, &said);
        self.carrier_answered(pair, via, now);
        self.event(Event::Negotiated { pair, result, took });
        match said.mode {
            Mode::Open if protected => {} // its keys are good as long as they are
            Mode::Open if !self.may_pass(pair.remote.0, now) => {
                self.turn_dropped(pair, result, now);
            }
            Mode::Open if pending => self.settle_clear(pair, result, false, now),
            Mode::Open => self.background_nomatch(pair, now),
            Mode::Closed => self.turn_dropped(pair, result, now),
        }
        Ok(())
    }

    /// A router of our own side protects the flow from there on: packets need not wait if they may go in
    /// clear at all. It cannot know who is at the destination, so that the question goes on, as after
    /// `OPEN_HOLD`; and who does not stand for us is not heard.
    fn protected_beyond(&mut self, pair: HostPair, said: &NoMatch, now: Now) {
        let row = self.pit.get(pair);
        let pending = row
            .is_some_and(|row| matches!(row.state, RowState::Pending(_)) && !row.waits_for_key());
        if pending && said.peer.may_stand_for(pair.local.0) && self.may_pass(pair.remote.0, now) {
            self.settle_clear(pair, NegotiationResult::NoMatch, true, now);
        }
    }

    fn background_nomatch(&mut self, pair: HostPair, now: Now) {
        let Some(row) = self.pit.get_mut(pair) else { return };
        if let RowState::Clear(plain) | RowState::Dropped(plain) = &mut row.state {
            // What an agent inside says of a stranger is no answer to the machine's own question.
            if plain.reason != NegotiationResult::Unasked {
                plain.reason = NegotiationResult::NoMatch;
            }
            if let Some(negotiation) = plain.background.take() {
                self.abandon(&negotiation);
            }
            self.still_clear(pair, now);
        }
    }

    /// Somebody on the path refuses the flow: whatever its row was, it is dropped now.
    pub(super) fn turn_dropped(&mut self, pair: HostPair, reason: NegotiationResult, now: Now) {
        let Some(row) = self.pit.get_mut(pair) else { return };
        match &mut row.state {
            RowState::Pending(pending) => {
                let took = now.mono.since(pending.negotiation.started);
                if reason == NegotiationResult::Refused {
                    self.event(Event::Negotiated { pair, result: reason, took });
                }
                self.settle_dropped(pair, reason, now);
            }
            RowState::Clear(plain) | RowState::Dropped(plain) => {
                let background = plain.background.take();
                let until = now.mono + REFUSED_LIFETIME;
                row.state = RowState::Dropped(Plain::until(reason, until));
                if let Some(negotiation) = background {
                    self.abandon(&negotiation);
                }
                self.forget_offload(pair);
                self.changed(pair);
                self.timers.set(until, Timer::RowAge(pair));
                self.tell_inner(pair, now);
            }
            // New keys were refused; the next packet asks anew and hears why.
            RowState::Protected(protected) => {
                let current = protected.current;
                self.send_end(current, now);
                self.forget_row(pair);
            }
            RowState::Transit(_) => {}
        }
    }

    /// Seals frames that waited, now that there is a session.
    pub(super) fn release_sealed(&mut self, held: Vec<HeldFrame>, now: Now) {
        let mut batch = crate::batch::SealedBatch::default();
        for mut frame in held {
            self.counters.held[0] += 1;
            let direction = frame.direction;
            let Ok(view) = crate::wire::ip::parse(&frame.bytes[PACKET_AT..]) else { continue };
            let pair = HostPair::new(view.source, view.destination);
            let mut borrowed = crate::io::Frame { direction, bytes: &mut frame.bytes };
            if let Some(row) = self.pit.find(pair) {
                self.protect(&mut borrowed, &view, (pair, row), &mut batch, now);
            }
        }
        self.emit_batch(&mut batch);
    }
}
