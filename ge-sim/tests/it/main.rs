//! The simulator's tests: worlds set up by hand, worlds drawn from seeds, and checks that must fire.
#![allow(clippy::unwrap_used)]

mod adversaries;
mod blackholes;
mod carriers;
mod chains;
mod clear;
mod controls;
mod crossings;
mod epochs;
mod floods;
mod forgeries;
mod impaired;
mod late;
mod losses;
mod matrix;
mod nats;
mod path_change;
mod paths;
mod route_change;
mod rule;
mod seeds;
mod sessions;
mod spoofing;
mod threads;

use ge_core::limits::RETRY_LADDER;
use ge_core::{GroupId, Mode};
use ge_sim::{NodeId, Sim};
use std::time::Duration;

/// Two agents of one group, started, on a quiet network (5 ms each way).
fn pair(seed: u64, one: Mode, other: Mode) -> (Sim, NodeId, NodeId, GroupId) {
    let mut sim = Sim::new(seed);
    let group = sim.group();
    let (a, b) = (sim.agent(one, &[group]), sim.agent(other, &[group]));
    sim.start();
    (sim, a, b, group)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How long a lost message may hold a negotiation up.
fn ladder() -> Duration {
    RETRY_LADDER.iter().sum()
}

/// Both ends have one row, one session, and nothing under way.
fn assert_settled(sim: &Sim, nodes: [NodeId; 2]) {
    for (node, other) in [(nodes[0], nodes[1]), (nodes[1], nodes[0])] {
        assert_eq!(sim.row_verdict(node, other), "protected", "{node:?}");
        assert_eq!(sim.table_sizes(node)[..3], [1, 1, 0], "{node:?}");
    }
}
