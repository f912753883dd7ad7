//! What an engine's public tables show: I6, I7, I11, I12.

use super::{Checker, Invariant, PerNode};
use crate::packet::NodeId;
use ge_core::engine::Engine;
use ge_core::flow::HostPair;
use ge_core::io::Snapshot;
use ge_core::limits::{
    CARRIERS, COOKIES_KEPT, HELD_BYTES, NEGOTIATIONS, OBSERVED_FLOWS, PASSING, PIT_ROWS_HOST,
    SESSIONS, STICKY_ENTRIES,
};
use ge_core::{Epoch, GroupId, Now};
use std::collections::BTreeMap;

/// Limits of [`Engine::table_sizes`], in its order.
const LIMITS: [usize; 10] = [
    PIT_ROWS_HOST,
    SESSIONS,
    NEGOTIATIONS,
    NEGOTIATIONS,
    STICKY_ENTRIES,
    HELD_BYTES,
    PASSING,
    CARRIERS,
    COOKIES_KEPT,
    OBSERVED_FLOWS,
];
const TABLES: [&str; 10] = [
    "rows",
    "sessions",
    "negotiations",
    "answers",
    "sticky entries",
    "held bytes",
    "passing",
    "carriers",
    "cookies",
    "observed",
];

#[derive(Default)]
pub(super) struct Books {
    reached: PerNode<Reached>,
}

/// How far an agent has come.
#[derive(Default)]
struct Reached {
    version: u64,
    epochs: BTreeMap<GroupId, Epoch>,
}

impl Books {
    pub(super) fn forget(&mut self, node: NodeId) {
        self.reached.remove(&node);
    }
}

/// Everything of an engine that strangers must not change: rows with their verdicts, and the sizes
/// of all tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    rows: Vec<(HostPair, &'static str)>,
    sizes: [usize; 10],
}

/// Takes the fingerprint of an engine.
#[must_use]
pub fn fingerprint(engine: &Engine, now: Now) -> Fingerprint {
    let rows = engine
        .pairs()
        .into_iter()
        .filter_map(|pair| Some((pair, engine.flow_snapshot(pair, now)?.verdict)))
        .collect();
    let mut sizes = engine.table_sizes();
    sizes[9] = 0; // what observe mode lists is for people, as counters are
    Fingerprint { rows, sizes }
}

impl Checker {
    /// I6.
    pub fn tables(&mut self, node: NodeId, sizes: [usize; 10]) {
        for ((size, limit), table) in sizes.iter().zip(LIMITS).zip(TABLES) {
            if *size > limit {
                self.fail(
                    Invariant::I6Bounded,
                    format!("{node:?} keeps {size} {table}, limit {limit}"),
                );
            }
        }
    }

    /// I11: the policy and the epochs used for sending.
    pub fn progress(&mut self, node: NodeId, snapshot: &Snapshot) {
        let mut back = None;
        let reached = self.state.reached.entry(node).or_default();
        if snapshot.version < reached.version {
            back = Some(format!("policy went from {} to {}", reached.version, snapshot.version));
        }
        reached.version = reached.version.max(snapshot.version);
        for &(group, _, epoch, _) in &snapshot.groups {
            let known = reached.epochs.entry(group).or_insert(epoch);
            if epoch < *known {
                back = Some(format!(
                    "epoch of group {} went from {} to {}",
                    group.0, known.0, epoch.0
                ));
            }
            *known = epoch.max(*known);
        }
        if let Some(back) = back {
            self.fail(Invariant::I11NoGoingBack, format!("{node:?}: {back}"));
        }
    }

    /// I11: a flow is protected under an epoch that ended `ago` seconds ago by the agent's clock.
    pub fn used_ended_epoch(&mut self, node: NodeId, epoch: Epoch, ago: u64) {
        let detail =
            format!("{node:?} still sends under epoch {}, which ended {ago} s ago", epoch.0);
        self.fail(Invariant::I11NoGoingBack, detail);
    }

    /// I7 and I12: nobody vouches for what `node` was given, and this is what came of it.
    pub fn unauthenticated(
        &mut self,
        node: NodeId,
        what: &str,
        (before, after): (&Fingerprint, &Fingerprint),
        sent: usize,
    ) {
        if before != after {
            let detail = format!("{what} changed the tables of {node:?}: {before:?}, {after:?}");
            self.fail(Invariant::I7OnlyCounters, detail);
        }
        if sent > 0 {
            self.fail(
                Invariant::I12Silence,
                format!("{node:?} answered {what} with {sent} packets"),
            );
        }
    }
}
