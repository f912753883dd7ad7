//! The simulated world: machines, their agents, the network between them, one virtual clock.
//!
//! # Driving contract
//! 1. Set the stage: [`Sim::group`], [`Sim::agent`], [`Sim::host`], then [`Sim::start`].
//! 2. Say what happens: [`Sim::flow`], [`Sim::send`], [`Sim::at`], [`Sim::tamper`].
//! 3. [`Sim::run_for`]; it ends early, with the [`Violation`], when an invariant does not hold.
//!
//! Everything follows from the seed: one generator, drawn from in the order of events, and no
//! other source of chance or time. The same seed is the same run, byte for byte.

mod drive;
mod events;
mod forward;
mod intrude;
mod outputs;
mod stack;
mod threads;

use crate::adversary::{Adversary, Intruder, Origin};
use crate::check::{Checker, Violation};
use crate::fault::Fault;
use crate::mgmt::{Admission, Mgmt};
use crate::nat::Nat;
use crate::net::{Net, below};
use crate::node::{Agent, Node, START};
use crate::packet::{Class, NodeId, Parcel, frame, parcel_packet};
use crate::queue::{Event, Queue};
use crate::reassembly::Reassembly;
use crate::sabotage::Sabotage;
use ge_core::crypto::Rng;
use ge_core::flow::HostPair;
use ge_core::io::FlowSnapshot;
use ge_core::now::UnixTime;
use ge_core::{ClearReason, GroupId, Mode};
use rand_core::{Rng as _, SeedableRng as _};
use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The world. See the module.
pub struct Sim {
    /// The network.
    pub net: Net,
    /// The management server.
    pub mgmt: Mgmt,
    /// The invariants' books.
    pub check: Checker,
    /// Something broken on purpose, to see that its check fires.
    pub sabotage: Option<Sabotage>,
    /// Prints what happens, line by line.
    pub trace: bool,
    /// Most microseconds a bundle of the server takes to an agent.
    pub bundle_delay: u64,
    nodes: Vec<Node>,
    nat: Option<Nat>,
    flows: Vec<Flow>,
    queue: Queue,
    adversary: Adversary,
    reassembly: Reassembly,
    /// How often the adversary acts, while it does.
    attack_every: Option<u64>,
    tamper: Option<Tamper>,
    intruders: Vec<Intruder>,
    rng: Rng,
    /// Draws what becomes of threads, so that the same world can have more of them or none.
    threads_rng: Rng,
    now: u64,
    events: u64,
    instances: u32,
    parcels: u32,
    v4: bool,
}

/// The NAT's address is that of a machine so many numbers after the last.
const NAT_AFTER: u16 = 100;

/// What an application sends, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// A datagram of so many bytes, as an IP packet.
    Datagrams(usize),
    /// So many bytes of a TCP stream, as one super-packet.
    Stream(usize),
}

/// How the agents of a world are run; it changes nothing of what is drawn besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Open agents observe.
    pub observe: bool,
    /// Agents have as many threads as the seed says.
    pub threads: bool,
}

struct Flow {
    from: NodeId,
    to: NodeId,
    traffic: Traffic,
    every: u64,
    offset: u32,
}

/// A packet on its way, for whoever tampers with it.
pub struct Passing<'a> {
    /// Sender.
    pub from: NodeId,
    /// Receiver.
    pub to: NodeId,
    /// What it is.
    pub class: Class,
    /// Its bytes.
    pub packet: &'a [u8],
}

/// What becomes of a packet on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As the link's conditions say.
    Carry,
    /// It is lost.
    Lose,
    /// It arrives twice.
    Twice,
    /// It arrives so many microseconds later than it would.
    Late(u64),
}

/// Decides about every packet on every link.
pub type Tamper = Box<dyn FnMut(&Passing<'_>) -> Fate>;

impl Sim {
    /// An empty world with IPv4 addresses.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_family(seed, true)
    }

    /// An empty world with IPv4 or IPv6 addresses.
    #[must_use]
    pub fn with_family(seed: u64, v4: bool) -> Self {
        let mut rng = Rng::seed_from_u64(seed);
        let mgmt = Mgmt::new(Rng::seed_from_u64(rng.next_u64()), START);
        Self {
            net: Net::default(),
            mgmt,
            check: Checker::default(),
            sabotage: None,
            trace: false,
            bundle_delay: 0,
            nodes: Vec::new(),
            nat: None,
            flows: Vec::new(),
            queue: Queue::default(),
            adversary: Adversary::default(),
            reassembly: Reassembly::default(),
            attack_every: None,
            tamper: None,
            intruders: Vec::new(),
            rng,
            threads_rng: Rng::seed_from_u64(seed ^ 0x7468_7264),
            now: 0,
            events: 0,
            instances: 0,
            parcels: 0,
            v4,
        }
    }

    /// A new group.
    pub fn group(&mut self) -> GroupId {
        let unix = self.unix();
        self.mgmt.add_group(unix)
    }

    /// An ordinary host.
    pub fn host(&mut self) -> NodeId {
        self.host_at(self.address(NodeId(self.nodes.len() as u16)))
    }

    /// An ordinary host with this address.
    pub fn host_at(&mut self, addr: IpAddr) -> NodeId {
        let id = NodeId(self.nodes.len() as u16);
        self.nodes.push(Node::new(id, addr));
        id
    }

    /// A host with an agent, a member of `groups`, not yet started.
    pub fn agent(&mut self, mode: Mode, groups: &[GroupId]) -> NodeId {
        let id = self.host();
        self.admit(id, Admission::host(mode, groups));
        id
    }

    /// Gives a machine an agent, not yet started.
    pub fn admit(&mut self, id: NodeId, admission: Admission) {
        let identity = self.mgmt.add_member(id, admission);
        self.node_mut(id).identity = Some(identity);
        self.node_mut(id).agent = Agent::Dead;
    }

    /// Puts machines in a row: each reaches the others through its neighbours.
    pub fn line_up(&mut self, path: &[NodeId]) {
        for (at, id) in path.iter().enumerate() {
            for (to, other) in path.iter().enumerate() {
                let next = match to.cmp(&at) {
                    Ordering::Less => path[at - 1],
                    Ordering::Equal => continue,
                    Ordering::Greater => path[at + 1],
                };
                self.route(*id, *other, next);
            }
        }
    }

    /// What `at` has for `to`, it hands to `next`.
    pub fn route(&mut self, at: NodeId, to: NodeId, next: NodeId) {
        let addr = self.node(to).addr;
        self.node_mut(at).routes.insert(addr, next);
    }

    /// Makes a machine a router whose hook is between it and these neighbours.
    pub fn outside(&mut self, router: NodeId, neighbours: &[NodeId]) {
        self.node_mut(router).outside = Some(neighbours.iter().copied().collect());
    }

    /// Puts a NAT without an agent between a machine and all others, who see it under another address
    /// from now on.
    pub fn behind_nat(&mut self, inside: NodeId) {
        let own = self.node(inside).addr;
        let address = self.address(NodeId(self.nodes.len() as u16 + NAT_AFTER));
        for node in &mut self.nodes {
            if let Some(next) = node.routes.get(&own).copied() {
                node.routes.insert(address, next);
            }
        }
        self.nat = Some(Nat::new(inside, own, address));
    }

    /// The NAT forgets what it knows.
    pub fn forget_mappings(&mut self) {
        if let Some(nat) = &mut self.nat {
            nat.forget();
        }
    }

    /// The address under which one machine knows another.
    fn seen(&self, from: NodeId, to: NodeId) -> IpAddr {
        match &self.nat {
            Some(nat) if nat.inside == to && from != to => nat.address,
            Some(_) | None => self.node(to).addr,
        }
    }

    /// Whether a machine answers pings, as it does unless told not to.
    pub fn answers_ping(&mut self, node: NodeId, answers: bool) {
        self.node_mut(node).ignores_ping = !answers;
    }

    /// The server's bundles no longer reach an agent.
    pub fn deafen(&mut self, node: NodeId) {
        self.node_mut(node).deaf = true;
    }

    /// Sets by how many seconds a machine's wall clock is wrong.
    pub fn skew(&mut self, node: NodeId, seconds: i64) {
        self.node_mut(node).skew = seconds;
    }

    /// Starts all agents, with their keys.
    pub fn start(&mut self) {
        for index in 0..self.nodes.len() {
            let id = NodeId(index as u16);
            let unix = self.unix();
            self.node_mut(id).cached = self.mgmt.membership(id, unix);
            if self.node(id).identity.is_some() {
                self.start_agent(id, true);
            }
        }
    }

    /// An application that sends on a schedule, from now on.
    pub fn flow(&mut self, from: NodeId, to: NodeId, traffic: Traffic, every: Duration) {
        self.flow_from(from, to, traffic, every, self.now);
    }

    /// The same, from `start` microseconds on.
    pub fn flow_from(
        &mut self,
        from: NodeId,
        to: NodeId,
        traffic: Traffic,
        every: Duration,
        start: u64,
    ) {
        let every = every.as_micros() as u64;
        self.flows.push(Flow { from, to, traffic, every, offset: 1 });
        self.queue.add(start, Event::Traffic(self.flows.len() - 1));
    }

    /// Whether addresses are IPv4.
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.v4
    }

    /// Stops all applications.
    pub fn hush(&mut self) {
        self.flows.clear();
    }

    /// One datagram of `size` bytes from an application, at this moment.
    pub fn send(&mut self, from: NodeId, to: NodeId, size: usize) -> Parcel {
        self.parcels += 1;
        let parcel = Parcel { from, to, number: self.parcels };
        self.check.now = self.now;
        self.check.sent_parcel(parcel);
        let (from_addr, to_addr) = (self.node(from).addr, self.seen(from, to));
        let size = size.min(usize::from(self.node(from).mtu_to(to_addr)));
        let packet = parcel_packet(parcel, (from_addr, self.port_of(parcel)), to_addr, size);
        self.leave(from, frame(&packet), Origin::Genuine);
        parcel
    }

    /// A fault at this moment plus `after`.
    pub fn at(&mut self, after: Duration, fault: Fault) {
        self.at_micros(self.now + after.as_micros() as u64, fault);
    }

    /// A fault at `at` microseconds.
    pub fn at_micros(&mut self, at: u64, fault: Fault) {
        self.queue.add(at, Event::Fault(fault));
    }

    /// Lets the adversary act on average every so often from now on; `None`: no longer.
    pub fn attack(&mut self, every: Option<Duration>) {
        let idle = self.attack_every.is_none();
        self.attack_every = every.map(|every| every.as_micros() as u64);
        if idle && self.attack_every.is_some() {
            self.queue.add(self.now, Event::Attack);
        }
    }

    /// Sets who decides about every packet on every link.
    pub fn tamper(&mut self, tamper: impl FnMut(&Passing<'_>) -> Fate + 'static) {
        self.tamper = Some(Box::new(tamper));
    }

    /// Nobody tampers any more.
    pub fn untamper(&mut self) {
        self.tamper = None;
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// The first violation of an invariant; the world is left as it was then.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Violation> {
        let until = self.now + time.as_micros() as u64;
        self.verdict()?;
        while let Some((at, event)) = self.queue.pop(until) {
            self.now = at;
            self.check.now = at;
            self.events += 1;
            self.happen(event);
            self.verdict()?;
        }
        self.now = until;
        self.check.now = until;
        Ok(())
    }

    /// The first violation so far.
    ///
    /// # Errors
    /// That violation.
    pub fn verdict(&self) -> Result<(), Violation> {
        self.check.violation().cloned().map_or(Ok(()), Err)
    }

    /// Virtual time in microseconds.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// Events so far.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// A machine.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[usize::from(id.0)]
    }

    /// What the agent of `at` thinks of its flow with `remote`.
    #[must_use]
    pub fn row(&self, at: NodeId, remote: NodeId) -> Option<FlowSnapshot> {
        self.row_between(at, at, remote)
    }

    /// What the agent of `at` thinks of the flow of `local`, a machine inside, with `remote`.
    #[must_use]
    pub fn row_between(&self, at: NodeId, local: NodeId, remote: NodeId) -> Option<FlowSnapshot> {
        let node = self.node(at);
        node.engine()?.flow_snapshot(self.pair(local, remote), node.now(self.now))
    }

    /// Why the agent of `at`, observing, would drop that flow if it were closed.
    #[must_use]
    pub fn would_drop(&self, at: NodeId, local: NodeId, remote: NodeId) -> Option<ClearReason> {
        self.node(at).engine()?.would_drop_reason(self.pair(local, remote))
    }

    /// The verdict of that row, `none` without one.
    #[must_use]
    pub fn row_verdict(&self, at: NodeId, remote: NodeId) -> &'static str {
        self.row(at, remote).map_or("none", |row| row.verdict)
    }

    /// Sizes of an agent's tables; all zero if it does not run.
    #[must_use]
    pub fn table_sizes(&self, at: NodeId) -> [usize; 10] {
        self.node(at).engine().map_or([0; 10], ge_core::engine::Engine::table_sizes)
    }

    /// Wall time as the server sees it.
    #[must_use]
    pub const fn unix(&self) -> UnixTime {
        START.plus(self.now / 1_000_000)
    }

    fn pair(&self, local: NodeId, remote: NodeId) -> HostPair {
        HostPair::new(self.node(local).addr, self.seen(local, remote))
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[usize::from(id.0)]
    }

    fn node_by_addr(&self, addr: IpAddr) -> Option<NodeId> {
        let behind = self.nat.as_ref().filter(|nat| nat.address == addr).map(|nat| nat.inside);
        behind.or_else(|| self.nodes.iter().find(|node| node.addr == addr).map(|node| node.id))
    }

    fn address(&self, id: NodeId) -> IpAddr {
        if self.v4 {
            Ipv4Addr::from(0x0a00_0001 + u32::from(id.0)).into()
        } else {
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, id.0 + 1).into()
        }
    }

    fn start_agent(&mut self, id: NodeId, cached: bool) {
        self.instances += 1;
        let (instance, now) = (self.instances, self.now);
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        if self.sabotage == Some(Sabotage::SameSeed) {
            seed = [7; 32];
        }
        self.check.now = now;
        self.check.started(id);
        self.node_mut(id).start(instance, seed, cached, now);
        self.after(id);
        let delay = 1 + below(&mut self.rng, self.bundle_delay + 1);
        self.queue.add(now + delay, Event::Bundle(id));
    }

    fn note(&self, line: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>12.6}  {}", self.now as f64 / 1e6, line());
        }
    }
}
