//! The threads beside the engine: what they are told, and what they have done.
//!
//! A session is shared with them from the start, since its peer may speak in any lane as soon as it
//! knows that its messages arrive. They seal under it once its peer is known to have the keys. Who is
//! behind a NAT moves with every whim of it, and a peer that is may be anywhere: such sessions stay
//! the engine's, whatever lane their packets are in.

use super::Engine;
use super::sessions::Session;
use crate::fast_path::{FastPath, FastSession, Seen, SessionTally, ThreadTally, Update};
use crate::flow::{FlowKey, HostPair};
use crate::id::{Lane, SessionIndex};
use crate::io::{Counters, DatagramMeta, Output, ThreadSnapshot};
use crate::now::Instant;
use crate::{DropReason, Now};
use rand_core::Rng as _;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The other threads, as the engine knows them.
#[derive(Default)]
pub(super) struct Beside {
    threads: Vec<Arc<ThreadTally>>,
    /// The session under which they seal a flow.
    handed: BTreeMap<HostPair, SessionIndex>,
}

/// What the other threads do with one session; empty if it is the engine's alone.
#[derive(Default)]
pub(super) struct SessionThreads {
    tallies: Vec<Arc<SessionTally>>,
    /// What was counted already, of all of them together.
    counted: Seen,
    /// The path MTU they were told of.
    path_mtu: Option<u16>,
}

impl SessionThreads {
    const fn is_shared(&self) -> bool {
        !self.tallies.is_empty()
    }

    fn of(&self, lane: Lane) -> Option<&SessionTally> {
        let at = usize::from(lane.number().checked_sub(1)?);
        self.tallies.get(at).map(Arc::as_ref)
    }

    /// What all of them have done, and what of that is news.
    fn news(&mut self, last_received: Instant) -> Option<(Seen, Seen)> {
        let lanes: Vec<Seen> = self.tallies.iter().map(|tally| tally.seen()).collect();
        let mut total = Seen::default();
        for seen in &lanes {
            total.packets_out += seen.packets_out;
            total.bytes_out += seen.bytes_out;
            total.packets_in += seen.packets_in;
            total.bytes_in += seen.bytes_in;
            total.last_sent = total.last_sent.max(seen.last_sent);
            total.last_received = total.last_received.max(seen.last_received);
        }
        // What one lane waits for may have come in another.
        let heard = total.last_received.unwrap_or_default().max(last_received);
        let waits = |seen: &Seen| {
            let since = seen.unanswered_since?.max(heard);
            (seen.last_sent? > heard).then_some(since)
        };
        total.unanswered_since = lanes.iter().filter_map(waits).min();
        let before = std::mem::replace(&mut self.counted, total);
        (total != before).then_some((before, total))
    }
}

impl Session {
    /// Packets sealed in the lane that has sealed most.
    pub(super) fn most_sent(&self) -> u64 {
        let others = self.threads.tallies.iter().map(|tally| tally.sealed());
        others.fold(self.sealer.sent(), u64::max)
    }

    /// Packets sealed in a lane.
    pub(super) fn sent_in(&self, lane: Lane) -> u64 {
        self.threads.of(lane).map_or_else(|| self.sealer.sent(), SessionTally::sealed)
    }

    /// Datagrams with a wrong tag, in all lanes.
    pub(super) fn failed_openings(&self) -> u64 {
        let others = self.threads.tallies.iter().map(|tally| tally.failed_openings());
        self.openers.failed_openings() + others.sum::<u64>()
    }

    /// Start of the last inner packet that was sealed in a lane.
    pub(super) fn last_inner_in(&self, lane: Lane) -> Vec<u8> {
        self.threads.of(lane).map_or_else(|| self.last_inner().to_vec(), SessionTally::head)
    }
}

impl Engine {
    /// Spreads the data path over `workers` threads, of which the one that drives the engine is the
    /// first. Gives what the others drive; tell each what [`Output::Beside`] says, in order. To be
    /// called once, before there are sessions.
    pub fn spread(&mut self, workers: u8) -> Vec<FastPath> {
        let workers = workers.clamp(1, Lane::COUNT);
        let beside = (1..workers).map(|worker| {
            let seed = std::array::from_fn(|_| self.rng.next_u64());
            let tally = Arc::new(ThreadTally::default());
            self.beside.threads.push(Arc::clone(&tally));
            FastPath::new(Lane::of(worker), workers, seed, tally)
        });
        beside.collect()
    }

    /// Threads of the data path, the engine's own among them.
    fn workers(&self) -> u8 {
        // At most as many as there are lanes.
        1 + self.beside.threads.len() as u8
    }

    /// Tells all other threads the same.
    pub(super) fn tell_beside(&mut self, update: impl Fn() -> Update) {
        for worker in 1..self.workers() {
            self.emit(Output::Beside(worker, update()));
        }
    }

    /// Gives the other threads their keys of a new session.
    pub(super) fn share_session(&mut self, index: SessionIndex, now: Now) {
        let workers = self.workers();
        let Some(session) = self.sessions.get_mut(index) else { return };
        if workers == 1 || session.path.translated.is_some() || session.path.seen_as.is_some() {
            return;
        }
        let path_mtu = session.narrow_mtu(now.mono);
        session.threads.path_mtu = path_mtu;
        for worker in 1..workers {
            let tally = Arc::new(SessionTally::default());
            session.threads.tallies.push(Arc::clone(&tally));
            let keys = (&session.sealer, &session.openers);
            let share = FastSession::new(Lane::of(worker), session.ends(), keys, path_mtu, tally);
            let update = Update::Session(index, Box::new(share));
            self.outputs.push_back(Output::Beside(worker, update));
        }
    }

    /// The session is gone, here and there.
    pub(super) fn unshare_session(&mut self, session: &Session, index: SessionIndex) {
        if !session.threads.is_shared() {
            return;
        }
        if self.beside.handed.get(&session.pair) == Some(&index) {
            self.take_back(session.pair);
        }
        self.tell_beside(|| Update::Gone(index));
    }

    /// Lets the other threads seal a flow under its present session, if the peer is known to have
    /// its keys.
    pub(super) fn hand_over(&mut self, pair: HostPair) {
        let Some(index) = self.pit.get(pair).and_then(|row| Some(row.protected()?.current)) else {
            return self.take_back(pair);
        };
        let Some(session) = self.sessions.get(index) else { return };
        if !session.threads.is_shared() {
            return self.take_back(pair);
        }
        if session.proven && self.beside.handed.insert(pair, index) != Some(index) {
            self.tell_beside(|| Update::Send(FlowKey::host_pair(pair), index));
        }
    }

    /// The flow is the engine's again.
    pub(super) fn take_back(&mut self, pair: HostPair) {
        if self.beside.handed.remove(&pair).is_some() {
            self.tell_beside(|| Update::Forget(pair));
        }
    }

    /// Adds what the other threads did since the last look to a session and its row.
    pub(super) fn look_beside(&mut self, index: SessionIndex, now: Now) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let Some((before, seen)) = session.threads.news(session.last_received()) else { return };
        session.heard_beside(&seen);
        let (pair, confirmed) = (session.pair, !session.proven && seen.packets_in > 0);
        if let Some(row) = self.pit.get_mut(pair) {
            let last = seen.last_sent.max(seen.last_received).unwrap_or_default();
            row.last_used = row.last_used.max(last);
            row.packets_out += seen.packets_out - before.packets_out;
            row.bytes_out += seen.bytes_out - before.bytes_out;
            row.packets_in += seen.packets_in - before.packets_in;
            row.bytes_in += seen.bytes_in - before.bytes_in;
        }
        if confirmed {
            self.confirmed(pair, index, now);
        }
    }

    /// Adds what the other threads did to all sessions: before somebody is shown the rows.
    pub fn look_at_threads(&mut self, now: Now) {
        if self.workers() > 1 {
            self.sessions.indices().into_iter().for_each(|index| self.look_beside(index, now));
        }
    }

    /// Tells the other threads what the path of a session takes now.
    pub(super) fn share_path_mtu(&mut self, index: SessionIndex, now: Now) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let mtu = session.narrow_mtu(now.mono);
        if session.threads.is_shared() && session.threads.path_mtu != mtu {
            session.threads.path_mtu = mtu;
            self.tell_beside(|| Update::PathMtu(index, mtu));
        }
    }

    /// Whether another thread opens what comes in this lane of the session; it gets it then.
    pub(super) fn opened_beside(
        &mut self,
        (index, lane): (SessionIndex, Lane),
        datagram: &[u8],
        meta: &DatagramMeta,
    ) -> bool {
        let worker = lane.worker(self.workers());
        let shared = self.sessions.get(index).is_some_and(|session| session.threads.is_shared());
        let elsewhere = worker != 0 && shared;
        if elsewhere {
            let datagram = datagram.to_vec();
            self.emit(Output::Elsewhere { worker, datagram, meta: *meta });
        }
        elsewhere
    }

    /// Counts a datagram of [`Output::Elsewhere`] that its thread had no room for.
    pub fn lost_elsewhere(&mut self) {
        self.dropped_in(DropReason::QueueFull);
    }

    /// All counters, those of the other threads among them.
    pub(super) fn all_counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        self.beside.threads.iter().for_each(|thread| thread.add_to(&mut counters));
        counters
    }

    /// What each thread of the data path has done, the engine's first.
    pub(super) fn thread_snapshots(&self) -> Vec<ThreadSnapshot> {
        let own = (self.counters.sealed.0, self.counters.opened.0);
        let others = self.beside.threads.iter().map(|thread| thread.packets());
        std::iter::once(own)
            .chain(others)
            .map(|(sealed, opened)| ThreadSnapshot { sealed, opened })
            .collect()
    }
}
