//! Things that go wrong, and a plan of them drawn from a seed.

use crate::mgmt::Rotation;
use crate::net::{Conditions, below, hit};
use crate::packet::NodeId;
use ge_core::{GroupId, Mode};
use rand_core::Rng;

/// One change of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Links behave like this from here on.
    Conditions(Conditions),
    /// Nothing passes between two nodes.
    Cut(NodeId, NodeId),
    /// Packets pass again.
    Heal(NodeId, NodeId),
    /// A link, one direction, takes packets up to this size.
    Mtu(NodeId, NodeId, u16),
    /// A machine hands what it has for another one to this neighbour from now on.
    Route {
        /// The machine whose route it is.
        at: NodeId,
        /// Whom it leads to.
        to: NodeId,
        /// The neighbour.
        next: NodeId,
    },
    /// An agent dies without a word.
    Crash(NodeId),
    /// An agent starts; `cached`: it still has its keys.
    Start {
        /// The node.
        node: NodeId,
        /// Keys are on disk.
        cached: bool,
    },
    /// An agent says goodbye and stops.
    Stop(NodeId),
    /// An agent changes its mode.
    Mode(NodeId, Mode),
    /// A group gets a new key.
    Rotate(GroupId, Rotation),
    /// A member is removed from the domain.
    Remove(NodeId),
    /// Links are good again.
    Quiet,
}

/// Who and what a plan can be about.
pub struct Cast {
    /// Nodes with an agent.
    pub agents: Vec<NodeId>,
    /// Groups.
    pub groups: Vec<GroupId>,
    /// Whether addresses are IPv4: the smallest MTU depends on it.
    pub v4: bool,
}

/// Faults with their times in microseconds, all between zero and `length`.
pub fn plan(rng: &mut impl Rng, cast: &Cast, length: u64) -> Vec<(u64, Fault)> {
    let mut plan = vec![(0, Fault::Conditions(conditions(rng, cast.v4)))];
    let count = 1 + below(rng, 7);
    for _ in 0..count {
        let at = below(rng, length);
        let rest = length - at;
        let end = at + below(rng, rest.clamp(1, 10_000_000));
        one(rng, cast, at, end, &mut plan);
    }
    plan
}

fn one(rng: &mut impl Rng, cast: &Cast, at: u64, end: u64, plan: &mut Vec<(u64, Fault)>) {
    let node = pick(rng, &cast.agents);
    let other = pick(rng, &cast.agents);
    let cached = hit(rng, 500);
    let mode = if hit(rng, 500) { Mode::Open } else { Mode::Closed };
    match below(rng, 10) {
        0 => plan.push((at, Fault::Conditions(conditions(rng, cast.v4)))),
        1 if node != other => {
            plan.extend([(at, Fault::Cut(node, other)), (end, Fault::Heal(node, other))]);
        }
        2 | 3 => {
            plan.extend([(at, Fault::Crash(node)), (end, Fault::Start { node, cached })]);
        }
        4 => plan.extend([(at, Fault::Stop(node)), (end, Fault::Start { node, cached })]),
        5 => plan.push((at, Fault::Mode(node, mode))),
        6 => plan.push((at, Fault::Rotate(pick(rng, &cast.groups), Rotation::Soft))),
        7 => plan.push((at, Fault::Rotate(pick(rng, &cast.groups), Rotation::Hard))),
        8 => {
            let smallest = if cast.v4 { 576 } else { 1280 };
            let mtu = smallest + below(rng, 1501 - u64::from(smallest)) as u16;
            plan.push((at, Fault::Mtu(node, other, mtu)));
        }
        9 if cast.agents.len() > 2 && hit(rng, 300) => plan.push((at, Fault::Remove(node))),
        _ => plan.push((at, Fault::Conditions(Conditions { loss: 1000, ..Conditions::QUIET }))),
    }
}

fn conditions(rng: &mut impl Rng, v4: bool) -> Conditions {
    let mut share = |of: u32, most: u64| if hit(rng, of) { below(rng, most) as u32 } else { 0 };
    let (loss, duplicate, reorder, corrupt) =
        (share(500, 501), share(300, 300), share(300, 500), share(300, 200));
    let smallest: u16 = if v4 { 576 } else { 1280 };
    let mtu =
        if hit(rng, 200) { smallest + below(rng, u64::from(9001 - smallest)) as u16 } else { 1500 };
    // Now and then a way so long that the retry ladder is over before an answer can come.
    let longest = if hit(rng, 50) { 2_500_000 } else { 80_000 };
    Conditions {
        latency: 100 + below(rng, longest),
        jitter: below(rng, 20_000),
        loss,
        duplicate,
        reorder,
        corrupt,
        mtu,
    }
}

fn pick<T: Copy>(rng: &mut impl Rng, from: &[T]) -> T {
    from[below(rng, from.len() as u64) as usize]
}
