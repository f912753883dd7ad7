//! The engine's state for people and metrics.

use super::Engine;
use super::observe::Entry;
use super::row::{Plain, Protected, Row, RowState};
use crate::cert::CertRole;
use crate::flow::{FlowKey, HostPair, Ports};
use crate::id::Interface;
use crate::io::{Denial, FlowSnapshot, PathAgent, PeerSnapshot, Snapshot};
use crate::now::Instant;
use crate::wire::dprp::rgi::Record;
use crate::{Epoch, GroupId, Now};
use core::time::Duration;

impl Engine {
    /// Everything `ges status` and `ges flows` show.
    #[must_use]
    pub fn snapshot(&self, now: Now) -> Snapshot {
        Snapshot {
            agent: self.membership.as_ref().map(|membership| membership.agent),
            mode: self.mode(),
            observe: self.observes(),
            version: self.membership.as_ref().map_or(0, |membership| membership.version),
            groups: self.group_snapshots(now),
            certificate_left: self
                .keyring
                .as_ref()
                .map_or(0, |k| k.certificate_not_after().0.saturating_sub(now.unix.0)),
            flows: self.flows(now.mono),
            sessions: self.sessions.len(),
            negotiations: self.negotiations.len() + self.answers.len(),
            held: self.held.frames(),
            under_load: self.load.is_under_load(now.mono),
            counters: self.all_counters(),
            threads: self.thread_snapshots(),
        }
    }

    /// The row between a local address and `remote`, if there is one.
    #[must_use]
    pub fn flow_snapshot(&self, pair: HostPair, now: Now) -> Option<FlowSnapshot> {
        self.pit.get(pair).map(|row| self.flow(pair, row, now.mono))
    }

    /// Starts the negotiation of a pair as a first packet would, if it has no row: `ges ping`.
    pub fn probe(&mut self, pair: HostPair, interface: Interface, now: Now) {
        if self.pit.get(pair).is_none() && self.in_scope(pair.remote.0) {
            self.start_pending(pair, Ports::default(), interface, now);
        }
    }

    /// Sizes of the bounded tables: rows, sessions, negotiations, answers, sticky entries, held
    /// bytes, negotiations of others that pass, carriers, cookies, flows observed. For the invariant
    /// that no table outgrows its limit.
    #[must_use]
    pub fn table_sizes(&self) -> [usize; 10] {
        [
            self.pit.len(),
            self.sessions.len(),
            self.negotiations.len(),
            self.answers.len(),
            self.sticky.len(),
            self.held.bytes(),
            self.passing.len(),
            self.carriers.len(),
            self.load.len(),
            self.observed.len(),
        ]
    }

    /// All rows' pairs, for whoever checks them one by one.
    #[must_use]
    pub fn pairs(&self) -> Vec<HostPair> {
        self.pit.iter().map(|(FlowKey { pair, .. }, _)| *pair).collect()
    }

    fn group_snapshots(&self, now: Now) -> Vec<(GroupId, String, Epoch, u64)> {
        let Some(keyring) = &self.keyring else { return Vec::new() };
        keyring
            .groups()
            .filter_map(|(id, name, _)| {
                let (epoch, until) = keyring.sending_epoch(id, now.unix)?;
                Some((id, name.to_owned(), epoch, until.0.saturating_sub(now.unix.0)))
            })
            .collect()
    }

    /// All rows, and in observe mode strangers that open mode lets in without one.
    fn flows(&self, now: Instant) -> Vec<FlowSnapshot> {
        let mut flows: Vec<FlowSnapshot> =
            self.pit.iter().map(|(key, row)| self.flow(key.pair, row, now)).collect();
        let without_row = self.observed.iter().filter(|(pair, _)| self.pit.get(*pair).is_none());
        flows.extend(without_row.map(|(pair, entry)| stranger(pair, entry, now)));
        flows
    }

    fn flow(&self, pair: HostPair, row: &Row, now: Instant) -> FlowSnapshot {
        let (verdict, reason) = match &row.state {
            RowState::Pending(_) => ("pending", "negotiating"),
            RowState::Protected(_) => ("protected", "group"),
            RowState::Clear(Plain { reason, .. }) => ("clear", reason.as_str()),
            RowState::Dropped(Plain { reason, .. }) => ("dropped", reason.as_str()),
            RowState::Transit(_) => ("transit", "session"),
        };
        let (peer, ends, path) = match &row.state {
            RowState::Protected(protected) => {
                let session = self.sessions.get(protected.current);
                let path = session.map_or(Vec::new(), |session| agents(&session.between));
                (self.peer(protected, now), None, path)
            }
            RowState::Transit(transit) => (None, Some(transit.ends), agents(&transit.path)),
            RowState::Pending(_) | RowState::Clear(_) | RowState::Dropped(_) => {
                (None, None, Vec::new())
            }
        };
        FlowSnapshot {
            local: pair.local,
            remote: pair.remote,
            verdict,
            reason,
            would_drop: self.would_drop_reason(pair),
            peer,
            ends,
            path,
            denial: denial(row),
            asking: row.negotiation().is_some() && row.protected().is_none(),
            ask_again: asked_again(row, now),
            left: left(row, now),
            age: now.since(row.created),
            idle: now.since(row.last_used),
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
            packets_in: row.packets_in,
            packets_out: row.packets_out,
        }
    }

    fn peer(&self, protected: &Protected, now: Instant) -> Option<PeerSnapshot> {
        let session = self.sessions.get(protected.current)?;
        let group_name = self
            .keyring
            .as_ref()
            .and_then(|k| k.groups().find(|(id, ..)| *id == session.group))
            .map(|(_, name, _)| name.to_owned())
            .unwrap_or_default();
        Some(PeerSnapshot {
            agent: protected.peer,
            router: session.peer_certificate.role == CertRole::Router,
            speaks_for: session.wire[1].0 != session.pair.remote.0,
            group: session.group,
            group_name,
            epoch: session.epoch,
            mode: protected.peer_mode,
            key_age: now.since(session.created),
            aead: session.aead.as_str(),
            negotiation: protected.took,
            carrier: session.path.carrier.as_str(),
            seen_as: session.path.seen_as,
            own_address: session.path.translated,
        })
    }
}

/// Only a row without a session tells who denied it one.
fn denial(row: &Row) -> Option<Denial> {
    match &row.state {
        RowState::Clear(_) | RowState::Dropped(_) => row.denial.as_deref().cloned(),
        RowState::Pending(_) | RowState::Protected(_) | RowState::Transit(_) => None,
    }
}

/// Until a plain row is asked about again, if it is used.
fn asked_again(row: &Row, now: Instant) -> Option<Duration> {
    match &row.state {
        RowState::Clear(plain) | RowState::Dropped(plain) if plain.background.is_none() => {
            Some(plain.ask_again.since(now))
        }
        _ => None,
    }
}

/// Until a row's verdict ends by itself.
fn left(row: &Row, now: Instant) -> Option<Duration> {
    match &row.state {
        RowState::Clear(plain) | RowState::Dropped(plain) => Some(plain.until.since(now)),
        RowState::Transit(transit) => Some(transit.until.since(now)),
        RowState::Pending(_) | RowState::Protected(_) => None,
    }
}

/// Records come with the one nearest the responder first; people read a path from its beginning.
pub(super) fn agents(records: &[Record]) -> Vec<PathAgent> {
    let agent = |record: &Record| PathAgent {
        certificate: record.certificate_ref,
        consent: record.consent,
        place: record.place,
        shares_group: record.matches != [0, 0],
    };
    records.iter().rev().map(agent).collect()
}

/// A flow that passes without a row.
fn stranger(pair: HostPair, entry: Entry, now: Instant) -> FlowSnapshot {
    FlowSnapshot {
        local: pair.local,
        remote: pair.remote,
        verdict: "clear",
        reason: entry.reason.as_str(),
        would_drop: Some(entry.reason),
        peer: None,
        ends: None,
        path: Vec::new(),
        denial: None,
        asking: false,
        ask_again: None,
        left: None,
        age: now.since(entry.first),
        idle: now.since(entry.last),
        bytes_in: 0,
        bytes_out: 0,
        packets_in: 0,
        packets_out: 0,
    }
}
