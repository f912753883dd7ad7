//! Sessions: the traffic keys two agents share for one flow, from agreement to retirement.
//!
//! Five sentences, which the rest of the file is:
//! 1. A session is rekeyed after `REKEY_AFTER_TIME`, or when its epoch is no longer the one used
//!    for sending, and is not used after `REJECT_AFTER_TIME` or when its epoch has ended.
//! 2. The initiator rekeys first; the responder only if the initiator did not.
//! 3. New keys take over when the other end is known to have them; the old ones still open for
//!    `OLD_KEYS_GRACE`.
//! 4. A session that received data and has nothing to send says so after `KEEPALIVE_AFTER`.
//! 5. A session that sent data and heard nothing asks, and after `LIVENESS` negotiates anew.

mod liveness;
mod looks;

use super::Engine;
use super::beside::SessionThreads;
use super::carrier::Carrier;
use super::row::{Row, RowState, Via};
use crate::addr::WireAddr;
use crate::crypto::Rng;
use crate::data::Ends;
use crate::dprp::{Agreement, Purpose};
use crate::fast_path::Seen;
use crate::flow::{FlowKey, HostPair, Ports};
use crate::id::{Epoch, GroupId, Interface, SessionIndex};
use crate::io::{Event, KernelVerdict, NegotiationResult, Output};
use crate::keyring::Keyring;
use crate::limits::{
    DOUBT_HEEDED_EVERY, IN_USE, KEEPALIVE_AFTER, KeyLimits, MIN_PMTU_V4, MIN_PMTU_V6,
    NAT_KEEPALIVE, OFFLOAD_LIFETIME, OLD_KEYS_GRACE, PIT_IDLE, PMTU_LIFETIME, REJECT_AFTER_TIME,
    REKEY_AFTER_TIME, REKEY_HANDOVER, SESSIONS,
};
use crate::now::Instant;
use crate::shim::Shim;
use crate::timer::Timer;
use crate::traffic::{AeadKind, Openers, Sealer};
use crate::wire::dprp::rgi::Record;
use crate::{GeId, Mode, Now};
use core::net::IpAddr;
use core::time::Duration;
use rand_core::Rng as _;
use std::collections::{BTreeMap, BTreeSet};

/// One set of traffic keys.
pub(super) struct Session {
    pub(super) pair: HostPair,
    pub(super) peer: GeId,
    pub(super) peer_certificate: crate::cert::Certificate,
    pub(super) peer_port: u16,
    /// Under which address we send and receive, and the peer.
    pub(super) wire: [WireAddr; 2],
    /// Agents between the two, the one nearest the responder first.
    pub(super) between: Vec<Record>,
    pub(super) group: GroupId,
    pub(super) epoch: Epoch,
    pub(super) aead: AeadKind,
    pub(super) sealer: Sealer,
    pub(super) openers: Openers,
    pub(super) handshake_hash: [u8; 32],
    pub(super) created: Instant,
    initiator: bool,
    retire_at: Option<Instant>,
    /// When it is looked at next. A deadline that fires at another time was set aside since.
    next_check: Instant,
    last_received: Instant,
    last_sent: Instant,
    /// First data sent since something was last received.
    unanswered_since: Option<Instant>,
    /// Prompts sent since then.
    prompts: u32,
    /// First data received since something was last sent.
    unacknowledged_since: Option<Instant>,
    /// The peer said that another agent may take the flow over.
    pub(super) yielded: bool,
    /// Somebody who saw our datagrams said that nobody takes them, and nothing was received since.
    doubted: bool,
    /// When to move on to the newer epoch even without traffic, once there is one.
    leave_epoch_at: Option<Instant>,
    /// Start of the last inner packet sealed: what an ICMP error about our outer packet, whose
    /// quote is sealed, is about for the local program.
    last_inner: InnerHead,
    pub(super) path: KnownPath,
    /// The peer is known to have the keys.
    pub(super) proven: bool,
    pub(super) threads: SessionThreads,
}

/// What is known of the way to a peer: new keys do not change it.
#[derive(Clone, Copy, Default)]
pub(super) struct KnownPath {
    /// Narrower than the interface, and since when we know.
    narrow: Option<(u16, Instant)>,
    /// When somebody on it last made us doubt that the peer is there.
    last_doubt: Option<Instant>,
    /// As the last negotiation measured it.
    round_trip: Duration,
    /// What the last negotiation outside a session travelled in.
    pub(super) carrier: Carrier,
    /// We are behind a NAT: under which address the peer sees us.
    pub(super) seen_as: Option<IpAddr>,
    /// The peer is behind a NAT: by which address it knows itself. The flow's is what we see.
    pub(super) translated: Option<IpAddr>,
}

impl KnownPath {
    /// A negotiation came to an end by `via`.
    pub(super) fn found(&mut self, via: Option<Via>) {
        if let Some(carrier) = via.and_then(Via::carrier) {
            self.carrier = carrier;
        }
    }
}

impl Session {
    /// Outer packet size the path takes.
    pub(super) fn path_mtu(&self, link_mtu: u16, now: Instant) -> u16 {
        self.narrow_mtu(now).map_or(link_mtu, |mtu| mtu.min(link_mtu))
    }

    /// The same where it is known to be less than some interface's.
    pub(super) fn narrow_mtu(&self, now: Instant) -> Option<u16> {
        let (mtu, since) = self.path.narrow?;
        (now.since(since) < PMTU_LIFETIME).then_some(mtu)
    }

    /// A router reported a narrower path. Never widens, never below the floor of the IP version.
    /// True if this is news.
    pub(super) fn narrow_path(&mut self, mtu: u16, now: Instant) -> bool {
        let floor = match self.pair.remote.0 {
            IpAddr::V4(_) => MIN_PMTU_V4,
            IpAddr::V6(_) => MIN_PMTU_V6,
        };
        let mtu = mtu.max(floor);
        let news = match self.path.narrow {
            Some((known, since)) => mtu < known || now.since(since) >= PMTU_LIFETIME,
            None => true,
        };
        if news {
            self.path.narrow = Some((mtu, now));
        }
        news
    }

    /// The addresses on the wire are the flow's own: its IP header need not travel twice.
    pub(super) fn wire_is_flow(&self) -> bool {
        self.ends().wire_is_flow()
    }

    /// What sealing and opening need to know of it.
    pub(super) const fn ends(&self) -> Ends {
        let Self { pair, wire, peer_port, .. } = *self;
        Ends { pair, wire, peer_port, translated: self.path.translated }
    }

    pub(super) fn sent(&mut self, packet: &[u8], now: Instant) {
        self.last_inner.remember(packet);
        self.last_sent = now;
        self.unanswered_since.get_or_insert(now);
        self.unacknowledged_since = None;
    }

    pub(super) fn received(&mut self, now: Instant, data: bool) {
        self.last_received = now;
        self.unanswered_since = None;
        self.prompts = 0;
        self.doubted = false;
        if data {
            self.unacknowledged_since.get_or_insert(now);
        }
    }

    pub(super) const fn last_received(&self) -> Instant {
        self.last_received
    }

    /// Other threads sent and received under it.
    pub(super) fn heard_beside(&mut self, seen: &Seen) {
        if let Some(received) = seen.last_received.filter(|at| *at > self.last_received) {
            self.received(received, false);
            if received > self.last_sent {
                self.unacknowledged_since.get_or_insert(received);
            }
        }
        if let Some(sent) = seen.last_sent.filter(|at| *at > self.last_sent) {
            self.last_sent = sent;
            self.unacknowledged_since.take_if(|since| *since <= sent);
        }
        if let Some(since) = seen.unanswered_since {
            let earlier = self.unanswered_since.map_or(since, |own| own.min(since));
            self.unanswered_since = Some(earlier);
        }
    }

    pub(super) fn last_inner(&self) -> &[u8] {
        &self.last_inner.bytes[..self.last_inner.len]
    }

    /// An error said that the peer's port is closed: its agent may be gone. The error is not
    /// authenticated, so that it may only make us ask, and not more often than silence would.
    pub(super) fn doubt(&mut self, now: Instant) {
        if self.path.last_doubt.is_none_or(|last| now.since(last) >= DOUBT_HEEDED_EVERY) {
            self.doubted = true;
            self.path.last_doubt = Some(now);
        }
    }

    /// A newer epoch than the session's is in use, and the session's ends in `left` seconds: all
    /// idle sessions would ask at once, so that each waits for a moment of its own, or for traffic.
    fn plan_leave(&mut self, index: SessionIndex, left: u64, now: Instant) {
        let spread = if left <= EPOCH_ENDS_SOON.as_secs() {
            EPOCH_SPREAD_SOON
        } else {
            EPOCH_SPREAD.min(Duration::from_secs(left) - EPOCH_ENDS_SOON)
        };
        self.leave_epoch_at.get_or_insert(now + spread * (index.0 & 0xff) / 256);
    }

    /// A keepalive went out: the peer knows that we are there.
    pub(super) fn kept_alive(&mut self, now: Instant) {
        self.last_sent = now;
        self.unacknowledged_since = None;
    }

    /// True if the peer was heard so recently that nobody else can be the owner of its address.
    pub(super) fn heard_within(&self, span: Duration, now: Instant) -> bool {
        now.since(self.last_received) < span
    }

    fn wants_rekey(&self, limits: &KeyLimits, now: Instant) -> bool {
        // The responder gives the initiator a head start, so that they rarely collide.
        let patience = if self.initiator { Duration::ZERO } else { REKEY_HANDOVER };
        let age = now.since(self.created);
        let idle = self.unanswered_since.is_none() && !self.heard_within(REKEY_AFTER_TIME, now);
        let old = age >= REKEY_AFTER_TIME + patience && !idle;
        let in_use = self.unanswered_since.is_some() || self.heard_within(IN_USE, now);
        let epoch_over = self.leave_epoch_at.is_some_and(|at| in_use || at <= now)
            && (self.initiator || age >= patience);
        old || epoch_over
            || self.most_sent() >= limits.rekey_after_messages
            || self.failed_openings() >= limits.failed_open_rekey
    }
}

/// Headers and a little more of a packet: an IPv6 header and a TCP header without options.
struct InnerHead {
    bytes: [u8; 64],
    len: usize,
}

impl InnerHead {
    const EMPTY: Self = Self { bytes: [0; 64], len: 0 };

    fn remember(&mut self, packet: &[u8]) {
        self.len = packet.len().min(self.bytes.len());
        self.bytes[..self.len].copy_from_slice(&packet[..self.len]);
    }
}

/// All sessions of this agent, by the index it receives under.
#[derive(Default)]
pub(super) struct Sessions {
    by_index: BTreeMap<SessionIndex, Session>,
    /// The same by flow: what is asked about one flow must not cost a walk over all sessions.
    by_pair: BTreeSet<(HostPair, SessionIndex)>,
    /// The same by the addresses of the datagrams.
    by_wire: BTreeSet<([WireAddr; 2], SessionIndex)>,
}

impl Sessions {
    /// A random index that is not in use, never zero. `None` at the limit.
    pub(super) fn free_index(&self, rng: &mut Rng) -> Option<SessionIndex> {
        if self.by_index.len() >= SESSIONS {
            return None;
        }
        loop {
            let index = SessionIndex(rng.next_u32() & 0x00ff_ffff);
            if index.0 != 0 && !self.by_index.contains_key(&index) {
                return Some(index);
            }
        }
    }

    pub(super) fn get(&self, index: SessionIndex) -> Option<&Session> {
        self.by_index.get(&index)
    }

    pub(super) fn get_mut(&mut self, index: SessionIndex) -> Option<&mut Session> {
        self.by_index.get_mut(&index)
    }

    pub(super) fn len(&self) -> usize {
        self.by_index.len()
    }

    fn insert(&mut self, index: SessionIndex, session: Session) {
        self.by_pair.insert((session.pair, index));
        self.by_wire.insert((session.wire, index));
        self.by_index.insert(index, session);
    }

    /// The peer's datagrams come from elsewhere now.
    pub(super) fn move_peer(&mut self, index: SessionIndex, from: WireAddr, port: u16) {
        let Some(session) = self.by_index.get_mut(&index) else { return };
        self.by_wire.remove(&(session.wire, index));
        session.wire[1] = from;
        session.peer_port = port;
        self.by_wire.insert((session.wire, index));
    }

    fn remove(&mut self, index: SessionIndex) -> Option<Session> {
        let session = self.by_index.remove(&index)?;
        self.by_pair.remove(&(session.pair, index));
        self.by_wire.remove(&(session.wire, index));
        Some(session)
    }

    /// All of them.
    pub(super) fn indices(&self) -> Vec<SessionIndex> {
        self.by_index.keys().copied().collect()
    }

    /// Sessions of one flow: the one in use, its successor, and those in their grace.
    pub(super) fn of_pair(&self, pair: HostPair) -> impl Iterator<Item = SessionIndex> {
        let range = (pair, SessionIndex(0))..=(pair, SessionIndex(u32::MAX));
        self.by_pair.range(range).map(|(_, index)| *index)
    }

    /// The session that sent the datagram with this shim between these hosts, if it
    /// was sent recently: an error about anything older is made up or useless.
    pub(super) fn find_sending(&self, wire: [WireAddr; 2], quoted: &Shim) -> Option<SessionIndex> {
        let range = (wire, SessionIndex(0))..=(wire, SessionIndex(u32::MAX));
        let between = self.by_wire.range(range).map(|(_, index)| *index);
        between.into_iter().find(|index| {
            self.by_index.get(index).is_some_and(|session| {
                let age = (session.sent_in(quoted.lane) as u32).wrapping_sub(quoted.counter_low);
                session.sealer.peer_index() == quoted.index && age <= RECENT_DATAGRAMS
            })
        })
    }
}

/// An ICMP error may quote any of so many datagrams last sent.
const RECENT_DATAGRAMS: u32 = 1 << 20;

impl Engine {
    /// What the session in use knows of its path.
    pub(super) fn known_path(&self, pair: HostPair) -> KnownPath {
        self.current_session(pair).map(|session| session.path).unwrap_or_default()
    }

    /// `peer`: where its NAT receives for it, in place of where it does itself.
    #[expect(clippy::too_many_arguments, reason = "everything a session is made of")]
    pub(super) fn add_session(
        &mut self,
        pair: HostPair,
        (index, interface): (SessionIndex, Interface),
        agreement: Agreement,
        initiator: bool,
        path: KnownPath,
        peer: Option<(WireAddr, u16)>,
        now: Now,
    ) {
        let peer_index = agreement.peer_parameters.index;
        let signed = (agreement.peer_parameters.wire, agreement.peer_parameters.data_port);
        let (peer_wire, peer_port) = peer.unwrap_or(signed);
        let session = Session {
            pair,
            peer: agreement.peer.agent,
            peer_port,
            wire: [self.own_wire(pair, interface), peer_wire],
            between: agreement.path,
            group: agreement.group,
            epoch: agreement.epoch,
            aead: agreement.aead,
            sealer: Sealer::new(&agreement.send, agreement.aead, peer_index),
            openers: Openers::new(&agreement.receive, agreement.aead),
            handshake_hash: agreement.handshake_hash,
            peer_certificate: agreement.peer,
            created: now.mono,
            initiator,
            retire_at: None,
            next_check: now.mono,
            last_received: now.mono,
            last_sent: now.mono,
            unanswered_since: None,
            prompts: 0,
            unacknowledged_since: None,
            yielded: false,
            doubted: false,
            leave_epoch_at: None,
            last_inner: InnerHead::EMPTY,
            path,
            proven: !initiator,
            threads: SessionThreads::default(),
        };
        self.sessions.insert(index, session);
        self.share_session(index, now);
        self.arm_next_look(index, now);
        self.remember(pair, now);
    }

    pub(super) fn current_session(&self, pair: HostPair) -> Option<&Session> {
        let protected = self.pit.get(pair)?.protected()?;
        self.sessions.get(protected.current)
    }

    /// The flow's row turned protected.
    pub(super) fn became_protected(&mut self, pair: HostPair, took: Duration, now: Now) {
        self.observed.forget(pair);
        self.changed(pair);
        self.event(Event::Negotiated { pair, result: NegotiationResult::Protected, took });
        self.release_withheld(pair, now);
    }

    pub(super) fn rekeyed(&mut self, pair: HostPair, index: SessionIndex) {
        self.counters.rekeys += 1;
        if let Some(session) = self.sessions.get(index) {
            let (peer, epoch) = (session.peer, session.epoch);
            if let Some(protected) = self.pit.get_mut(pair).and_then(Row::protected_mut) {
                protected.peer = peer;
            }
            self.event(Event::Rekeyed { pair, epoch });
        }
    }

    /// Old keys: no longer sent under, still opened for the grace.
    pub(super) fn retire(&mut self, index: SessionIndex, now: Now) {
        let at = now.mono + OLD_KEYS_GRACE;
        if let Some(session) = self.sessions.get_mut(index) {
            session.retire_at.get_or_insert(at);
        }
        self.look_by(index, at);
    }

    /// Sets when a session is looked at next, in place of when it would have been.
    fn arm_check(&mut self, index: SessionIndex, at: Instant) {
        if let Some(session) = self.sessions.get_mut(index) {
            session.next_check = at;
            self.timers.set(at, Timer::Session(index));
        }
    }

    pub(super) fn drop_session(&mut self, index: SessionIndex) {
        if let Some(session) = self.sessions.remove(index) {
            self.unshare_session(&session, index);
        }
    }

    /// The periodic look at one session.
    pub(super) fn check_session(&mut self, index: SessionIndex, armed: Instant, now: Now) {
        self.look_beside(index, now);
        self.share_path_mtu(index, now);
        let Some(session) = self.sessions.get(index) else { return };
        if session.next_check != armed {
            return;
        }
        let pair = session.pair;
        if session.retire_at.is_some_and(|at| at <= now.mono) {
            self.drop_session(index);
            return;
        }
        let (group, epoch) = (session.group, session.epoch);
        let keyring = self.keyring.as_ref();
        let accepted = keyring.is_some_and(|k| k.accepts(group, epoch, now.unix));
        let revoked = keyring.is_some_and(|k| k.is_revoked(&session.peer_certificate));
        let too_old = now.mono.since(session.created) >= REJECT_AFTER_TIME;
        let worn_out = session.failed_openings() >= self.key_limits.failed_open_kill;
        if !accepted || revoked || too_old || worn_out {
            let reason = if revoked {
                "removed"
            } else if accepted {
                "key limit"
            } else {
                "epoch ended"
            };
            self.end_session(index, pair, reason);
            return;
        }
        if self.is_current(index, pair) {
            self.look_after(index, pair, now);
        }
        self.arm_next_look(index, now);
    }

    pub(super) fn is_current(&self, index: SessionIndex, pair: HostPair) -> bool {
        self.pit.get(pair).and_then(Row::protected).is_some_and(|p| p.current == index)
    }

    /// Rekey, keepalive and liveness of a session that sends.
    fn look_after(&mut self, index: SessionIndex, pair: HostPair, now: Now) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        if let Some(left) = superseded(self.keyring.as_ref(), session, now) {
            session.plan_leave(index, left, now.mono);
        }
        let silent = session.is_silent(now.mono);
        session.doubted = false;
        let owes_keepalive = session
            .unacknowledged_since
            .is_some_and(|since| now.mono.since(since) >= KEEPALIVE_AFTER)
            || session.path.seen_as.is_some() && now.mono.since(session.last_sent) >= NAT_KEEPALIVE;
        if silent {
            self.renegotiate(pair, self.clear_via(pair.remote.0, now), now);
        } else if session.wants_rekey(&self.key_limits, now.mono) {
            // Agents between must learn the new session, or a closed one drops it; and where a
            // router is an end, an agent nearer to the flow's end may have come up since.
            let direct = session.between.is_empty() && session.wire_is_flow();
            let via = if direct { Via::Session(index) } else { self.clear_via(pair.remote.0, now) };
            self.renegotiate(pair, via, now);
        }
        if owes_keepalive {
            self.send_keepalive(index, now);
        }
        self.prompt(index, now);
        self.inquire(pair, now);
        self.offload_protect(pair, now);
        self.expire_idle(pair, now);
    }

    fn expire_idle(&mut self, pair: HostPair, now: Now) {
        let idle = self.pit.get(pair).is_some_and(|row| now.mono.since(row.last_used) >= PIT_IDLE);
        if idle {
            self.forget_row(pair);
        }
    }

    /// Starts a negotiation for new keys of a protected flow, unless one is under way.
    pub(super) fn renegotiate(&mut self, pair: HostPair, via: Via, now: Now) {
        let Some(row) = self.pit.get(pair) else { return };
        if row.negotiation().is_some() || row.protected().is_none() {
            return;
        }
        // Who is behind a NAT is reached by nothing but the session, and begins every negotiation.
        if self.known_path(pair).translated.is_some() {
            return;
        }
        let (ports, purpose, interface) = (Ports::default(), Purpose::Protect, row.interface);
        let Some(negotiation) = self.create_negotiation(pair, ports, via, purpose, interface, now)
        else {
            return;
        };
        self.negotiations.insert(negotiation.initiator.id(), pair);
        if let Some(protected) = self.pit.get_mut(pair).and_then(Row::protected_mut) {
            protected.rekey = Some(negotiation);
        }
        self.send_attempt(pair, now);
    }

    /// The ladder of a protected flow's negotiation is over without confirmation.
    pub(super) fn rekey_failed(&mut self, pair: HostPair, now: Now) {
        let Some(protected) = self.pit.get_mut(pair).and_then(Row::protected_mut) else { return };
        let Some(negotiation) = protected.rekey.take() else { return };
        let unconfirmed = negotiation.index;
        let never_worked = protected.current == unconfirmed;
        let current = protected.current;
        protected.next = None;
        self.negotiations.remove(&negotiation.initiator.id());
        if never_worked {
            self.end_session(unconfirmed, pair, "never confirmed");
            return;
        }
        self.drop_session(unconfirmed);
        let heard = negotiation.keyless.is_some()
            || self
                .sessions
                .get(current)
                .is_some_and(|session| session.last_received >= negotiation.started);
        match negotiation.via {
            _ if heard => {}
            // The peer may have lost the session: ask where it need not have one.
            Via::Session(_) => {
                self.renegotiate(pair, self.clear_via(pair.remote.0, now), now);
            }
            // The peer neither answers nor speaks: back to the question whether anybody is there.
            Via::Echo | Via::Udp => self.end_session(current, pair, "silent"),
        }
    }

    /// Ends a session; if it was the one the flow sends under, the flow's row goes with it.
    pub(super) fn end_session(
        &mut self,
        index: SessionIndex,
        pair: HostPair,
        reason: &'static str,
    ) {
        let current = self.is_current(index, pair);
        self.drop_session(index);
        if current {
            self.forget_row(pair);
            self.event(Event::PeerGone { pair, reason });
        } else if let Some(protected) = self.pit.get_mut(pair).and_then(Row::protected_mut)
            && protected.next == Some(index)
        {
            protected.next = None;
            if let Some(negotiation) = protected.rekey.take_if(|rekey| rekey.index == index) {
                self.negotiations.remove(&negotiation.initiator.id());
            }
        }
    }

    /// Takes a row out with everything that belongs to it.
    pub(super) fn forget_row(&mut self, pair: HostPair) {
        let Some(row) = self.pit.remove(pair) else { return };
        self.changed(pair);
        row.caused_by.into_iter().for_each(|source| self.shares.remove(source));
        if let Some(negotiation) = row.negotiation() {
            self.negotiations.remove(&negotiation.initiator.id());
        }
        if let Some(asked) = row.protected().and_then(|own| own.inner.asked.as_ref()) {
            self.negotiations.remove(&asked.id());
        }
        match row.state {
            RowState::Pending(mut pending) => {
                self.passing.withheld.remove(&pair);
                let dropped = pending.held.take(&mut self.held).len() as u64;
                self.counters.held[1] += dropped;
            }
            RowState::Transit(transit) => self.forget_transit(&transit),
            RowState::Protected(_) | RowState::Clear(_) | RowState::Dropped(_) => {}
        }
        self.take_back(pair);
        self.forget_offload(pair);
        let gone: Vec<SessionIndex> = self.sessions.of_pair(pair).collect();
        for index in gone {
            self.drop_session(index);
        }
    }

    pub(super) fn drop_all_sessions(&mut self, reason: &'static str) {
        let pairs: Vec<HostPair> = self.pit.iter().map(|(FlowKey { pair, .. }, _)| *pair).collect();
        for pair in pairs {
            let protected = self.pit.get(pair).and_then(Row::protected).is_some();
            self.forget_row(pair);
            if protected {
                self.event(Event::PeerGone { pair, reason });
            }
        }
    }

    /// Sessions whose keys or peers a new policy has changed are looked at now, not at their next
    /// turn.
    pub(super) fn check_all_sessions(&mut self, now: Now) {
        for index in self.sessions.indices() {
            self.arm_check(index, now.mono);
        }
    }

    pub(super) fn offload_bypass(&mut self, pair: HostPair) {
        if self.mode() == Mode::Open {
            self.offloaded.insert(pair);
            let verdict = KernelVerdict::Bypass { pair, lifetime: OFFLOAD_LIFETIME };
            self.emit(Output::Kernel(verdict));
        }
    }

    /// Has the kernel hand a protected flow over without asking other rules, while it is in much use.
    fn offload_protect(&mut self, pair: HostPair, now: Now) {
        let Some(row) = self.pit.get_mut(pair) else { return };
        let packets_out = row.packets_out;
        let RowState::Protected(protected) = &mut row.state else { return };
        if protected.shortcut.look(packets_out, now.mono) {
            self.offloaded.insert(pair);
            let verdict = KernelVerdict::Protect { pair, lifetime: OFFLOAD_LIFETIME };
            self.emit(Output::Kernel(verdict));
        }
    }

    /// Takes a verdict back from the kernel, if it was given one: a transaction of its own is
    /// dear beside a negotiation.
    pub(super) fn forget_offload(&mut self, pair: HostPair) {
        if self.offloaded.remove(&pair) {
            self.emit(Output::Kernel(KernelVerdict::Forget { pair }));
        }
    }

    /// The interface the session's flow uses now; it may have moved since the keys were agreed.
    pub(super) fn session_interface(&self, index: SessionIndex) -> Option<Interface> {
        let pair = self.sessions.get(index)?.pair;
        self.pit.get(pair).map(|row| row.interface)
    }
}

/// Seconds until the session's epoch ends, if a newer one is already in use.
fn superseded(keyring: Option<&Keyring>, session: &Session, now: Now) -> Option<u64> {
    let (newest, _) = keyring?.sending_epoch(session.group, now.unix)?;
    let ends = keyring?.epoch_ends(session.group, session.epoch)?;
    (newest > session.epoch).then(|| ends.0.saturating_sub(now.unix.0))
}

/// An epoch that ends within this time is left by all its sessions within [`EPOCH_SPREAD_SOON`].
const EPOCH_ENDS_SOON: Duration = Duration::from_secs(10);
/// See [`EPOCH_ENDS_SOON`].
const EPOCH_SPREAD_SOON: Duration = Duration::from_secs(1);
/// Idle sessions leave an epoch that goes on for longer within this time.
const EPOCH_SPREAD: Duration = Duration::from_secs(60);
