//! A path: a source machine, routers in a row, a destination machine.
//!
//! ```text
//!  source - N> - N> - N> - >N - >N - destination
//!       the source's side | the destination's side
//! ```
//! Routers of the source's side have their hook towards the destination, those of the destination's
//! side towards the source. A router's prefix holds the machine it stands for and the routers
//! between, their own addresses included, as it is where departments lie within sites.

use crate::matrix::oracle::{Agent, Standing};
use crate::mgmt::Admission;
use crate::packet::NodeId;
use crate::sim::Sim;
use ge_core::ClearReason;
use ge_core::flow::HostPair;
use ge_core::io::FlowSnapshot;
use ge_core::mode::{Prefix, Role};
use ge_core::{Mode, Transit};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most routers of a path: as many agents between two hosts as a message has room for.
pub const ROUTERS_MAX: usize = ge_core::limits::PATH_RECORDS;

/// Which of a router's two links has the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// The one towards the source.
    Source,
    /// The one towards the destination.
    Destination,
}

/// A router to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Router {
    /// Its agent.
    pub agent: Agent,
    /// Where its hook is.
    pub outside: Outside,
}

impl Router {
    /// A router whose hook is where its side asks for it; one of neither side looks ahead.
    #[must_use]
    pub const fn new(agent: Agent) -> Self {
        let outside = match agent.standing {
            Standing::Source | Standing::Transit => Outside::Destination,
            Standing::Destination => Outside::Source,
        };
        Self { agent, outside }
    }
}

/// A path to be. Ends without an agent are ordinary machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The agent on the source machine.
    pub source: Option<Agent>,
    /// Routers in path order, at most [`ROUTERS_MAX`].
    pub routers: Vec<Router>,
    /// The agent on the destination machine.
    pub destination: Option<Agent>,
}

impl Plan {
    /// All agents in path order.
    #[must_use]
    pub fn agents(&self) -> Vec<Agent> {
        let routers = self.routers.iter().map(|router| router.agent.clone());
        self.source.clone().into_iter().chain(routers).chain(self.destination.clone()).collect()
    }

    /// Gives all agents, in path order, their modes.
    pub fn set_modes(&mut self, modes: impl IntoIterator<Item = Mode>) {
        let routers = self.routers.iter_mut().map(|router| &mut router.agent);
        let agents = self.source.iter_mut().chain(routers).chain(&mut self.destination);
        for (agent, mode) in agents.zip(modes) {
            agent.mode = mode;
        }
    }
}

/// As DESIGN.md section 5 draws paths: `S` a host agent, `N>` a router of the source's side, `>N` of
/// the destination's, `T` of neither, `t` an ordinary machine; `strict` and `any` where a closed
/// agent is not vouched.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut stops = Vec::new();
        let host = |agent: &Option<Agent>| {
            agent.as_ref().map_or_else(|| "t".to_owned(), |agent| format!("S{}", brief(agent)))
        };
        stops.push(host(&self.source));
        for Router { agent, outside } in &self.routers {
            let letter = if agent.standing == Standing::Transit { 'T' } else { 'N' };
            stops.push(match outside {
                Outside::Destination => format!("{letter}>{}", brief(agent)),
                Outside::Source => format!(">{letter}{}", brief(agent)),
            });
        }
        stops.push(host(&self.destination));
        f.write_str(&stops.join(" - "))
    }
}

fn brief(agent: &Agent) -> String {
    let groups: Vec<_> = agent.groups.iter().map(|group| group.0.to_string()).collect();
    let transit = match (agent.mode, agent.transit) {
        (Mode::Open, _) | (_, Transit::Vouched) => "",
        (Mode::Closed, Transit::Strict) => " strict",
        (Mode::Closed, Transit::Any) => " any",
    };
    format!("{{{}}}{}{transit}", groups.join(","), agent.mode.as_str())
}

/// A path in a simulation.
#[derive(Clone, Debug)]
pub struct Chain {
    /// All machines in path order.
    pub path: Vec<NodeId>,
    /// Those with an agent, in path order, and whether they face the destination.
    pub agents: Vec<(NodeId, Outside)>,
}

impl Chain {
    /// Puts a path into a world. Its agents are not yet started.
    #[must_use]
    pub fn build(sim: &mut Sim, plan: &Plan) -> Self {
        let v4 = sim.is_v4();
        let count = plan.routers.len();
        let side = |outside| match outside {
            Outside::Destination => Side { v4, of_source: true },
            Outside::Source => Side { v4, of_source: false },
        };
        let depth = |at: usize, outside| match outside {
            Outside::Destination => at + 1,
            Outside::Source => count - at,
        };
        let source = sim.host_at(side(Outside::Destination).machine());
        let mut path = vec![source];
        for (at, router) in plan.routers.iter().enumerate() {
            let addr = side(router.outside).router(depth(at, router.outside));
            path.push(sim.host_at(addr));
        }
        let destination = sim.host_at(side(Outside::Source).machine());
        path.push(destination);
        sim.line_up(&path);
        let mut agents = Vec::new();
        if let Some(agent) = &plan.source {
            sim.admit(source, admission(agent, Role::Host));
            agents.push((source, Outside::Destination));
        }
        for (at, Router { agent, outside }) in plan.routers.iter().enumerate() {
            let neighbour = if *outside == Outside::Source { path[at] } else { path[at + 2] };
            sim.outside(path[at + 1], &[neighbour]);
            let prefixes = match agent.standing {
                Standing::Transit => Vec::new(),
                Standing::Source | Standing::Destination => {
                    vec![side(*outside).prefix(depth(at, *outside))]
                }
            };
            sim.admit(path[at + 1], admission(agent, Role::Router { prefixes }));
            agents.push((path[at + 1], *outside));
        }
        if let Some(agent) = &plan.destination {
            sim.admit(destination, admission(agent, Role::Host));
            agents.push((destination, Outside::Source));
        }
        Self { path, agents }
    }

    /// The machine that sends first.
    #[must_use]
    pub fn source(&self) -> NodeId {
        self.path[0]
    }

    /// The machine it sends to.
    #[must_use]
    pub fn destination(&self) -> NodeId {
        self.path[self.path.len() - 1]
    }

    /// What the agent at this place among the agents thinks of the flow.
    #[must_use]
    pub fn row(&self, sim: &Sim, at: usize) -> Option<FlowSnapshot> {
        let (inside, beyond) = self.sides(at);
        sim.row_between(self.agents[at].0, inside, beyond)
    }

    /// Whether the agent at this place once protected the flow, and has not heard since that it
    /// need not.
    #[must_use]
    pub fn is_wary(&self, sim: &Sim, at: usize) -> bool {
        let (inside, beyond) = self.sides(at);
        let pair = HostPair::new(sim.node(inside).addr, sim.node(beyond).addr);
        sim.check.is_secured(self.agents[at].0, pair)
    }

    /// Why this agent, observing, would drop the flow if it were closed.
    #[must_use]
    pub fn would_drop(&self, sim: &Sim, at: usize) -> Option<ClearReason> {
        let (inside, beyond) = self.sides(at);
        sim.would_drop(self.agents[at].0, inside, beyond)
    }

    /// The machine on the inner side of an agent's outside interface, and the other one.
    fn sides(&self, at: usize) -> (NodeId, NodeId) {
        match self.agents[at].1 {
            Outside::Destination => (self.source(), self.destination()),
            Outside::Source => (self.destination(), self.source()),
        }
    }
}

fn admission(agent: &Agent, role: Role) -> Admission {
    Admission { role, transit: agent.transit, ..Admission::host(agent.mode, &agent.groups) }
}

/// Addresses of one side.
#[derive(Clone, Copy)]
struct Side {
    v4: bool,
    of_source: bool,
}

impl Side {
    /// The machine at its end.
    fn machine(self) -> IpAddr {
        self.at(0)
    }

    /// The own address of the router at this depth, 1 being next to the machine: outside its
    /// prefix, inside that of the next one.
    fn router(self, depth: usize) -> IpAddr {
        self.at(1 << (self.bits() - self.length(depth)))
    }

    /// What the router at this depth stands for.
    fn prefix(self, depth: usize) -> Prefix {
        let length = self.length(depth);
        let address = match self.machine() {
            IpAddr::V4(addr) => {
                Ipv4Addr::from(u32::from(addr) & (u32::MAX << (32 - length))).into()
            }
            IpAddr::V6(addr) => {
                Ipv6Addr::from(u128::from(addr) & (u128::MAX << (128 - length))).into()
            }
        };
        Prefix { address, length: length as u8 }
    }

    const fn bits(self) -> u32 {
        if self.v4 { 32 } else { 128 }
    }

    /// /26, /24, ... /14, or /64, /56, ... /16.
    const fn length(self, depth: usize) -> u32 {
        if self.v4 { 28 - 2 * depth as u32 } else { 72 - 8 * depth as u32 }
    }

    fn at(self, offset: u128) -> IpAddr {
        if self.v4 {
            let base = if self.of_source { 0x0a40_0001 } else { 0x0a80_0001 };
            Ipv4Addr::from(base + offset as u32).into()
        } else {
            let base: u128 = if self.of_source { 0xfd40 } else { 0xfd80 };
            Ipv6Addr::from((base << 112) + 1 + offset).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_hold_what_lies_inside_and_nothing_else() {
        for v4 in [true, false] {
            let [source, destination] = [true, false].map(|of_source| Side { v4, of_source });
            for depth in 1..=ROUTERS_MAX {
                let prefix = source.prefix(depth);
                assert!(prefix.contains(source.machine()));
                assert!(!prefix.contains(destination.machine()));
                for other in 1..=ROUTERS_MAX {
                    assert_eq!(prefix.contains(source.router(other)), other < depth, "{other}");
                    assert!(!prefix.contains(destination.router(other)));
                }
            }
        }
        let addr = |side: Side, depth| side.router(depth).to_string();
        assert_eq!(addr(Side { v4: true, of_source: true }, 1), "10.64.0.65");
        assert_eq!(addr(Side { v4: false, of_source: false }, 2), "fd80:0:0:100::1");
    }
}
