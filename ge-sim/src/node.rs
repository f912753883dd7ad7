//! A machine: its address, its clock, the agent on it if there is one, and what its kernel does on
//! the agent's word.

use crate::packet::NodeId;
use crate::threads::Threads;
use ge_core::engine::Engine;
use ge_core::flow::HostPair;
use ge_core::id::Interface;
use ge_core::io::{InterfaceInfo, KernelVerdict};
use ge_core::membership::{Identity, Membership};
use ge_core::now::{Instant, UnixTime};
use ge_core::{Mode, Now};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The only interface of every machine.
pub const INTERFACE: Interface = Interface(2);

/// Wall time when the simulation starts.
pub const START: UnixTime = UnixTime(1_800_000_000);

/// One machine.
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its address.
    pub addr: IpAddr,
    /// Largest packet of its interface.
    pub mtu: u16,
    /// By how many seconds its wall clock is wrong.
    pub skew: i64,
    /// Its agent's long-lived keys, if it ever had one.
    pub identity: Option<Identity>,
    /// The membership its agent keeps on disk.
    pub cached: Option<Membership>,
    /// Version of the policy its agent was last handed, and when.
    pub installed: (u64, u64),
    /// The agent.
    pub agent: Agent,
    /// Threads of its agents' data path, the engine's among them.
    pub workers: u8,
    /// Those beside the engine, if there are any and the agent runs.
    pub threads: Option<Threads>,
    /// Which run of an agent this is, unique in the simulation.
    pub instance: u32,
    /// When the agent wants to be woken.
    pub wake: Option<u64>,
    /// What the kernel decides by itself, and until when.
    pub offload: BTreeMap<HostPair, (Offload, u64)>,
    /// What the stack knows about paths, from ICMP errors.
    pub path_mtu: BTreeMap<IpAddr, u16>,
    /// The neighbour to whom packets for an address go; everybody else is a neighbour.
    pub routes: BTreeMap<IpAddr, NodeId>,
    /// A router's neighbours outside, where its hook is. `None`: a host, hooked everywhere.
    pub outside: Option<BTreeSet<NodeId>>,
    /// It answers no ping.
    pub ignores_ping: bool,
    /// The server's bundles do not reach it.
    pub deaf: bool,
}

/// What runs on a machine.
pub enum Agent {
    /// No agent: an ordinary host.
    None,
    /// A running agent.
    Running(Box<Engine>),
    /// An agent that is gone while its kernel rules are not: nothing passes.
    Dead,
}

/// A verdict the kernel applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Pass.
    Bypass,
    /// Drop.
    Discard,
}

impl Node {
    /// An ordinary host.
    #[must_use]
    pub const fn new(id: NodeId, addr: IpAddr) -> Self {
        Self {
            id,
            addr,
            mtu: 1500,
            skew: 0,
            identity: None,
            cached: None,
            installed: (0, 0),
            agent: Agent::None,
            workers: 1,
            threads: None,
            instance: 0,
            wake: None,
            offload: BTreeMap::new(),
            path_mtu: BTreeMap::new(),
            routes: BTreeMap::new(),
            outside: None,
            ignores_ping: false,
            deaf: false,
        }
    }

    /// The machine's clocks at a moment of virtual time.
    #[must_use]
    pub fn now(&self, micros: u64) -> Now {
        let unix = UnixTime((START.0 + micros / 1_000_000).saturating_add_signed(self.skew));
        Now { mono: Instant::from_micros(micros), unix }
    }

    /// True if it hands on what is not for itself.
    #[must_use]
    pub const fn is_router(&self) -> bool {
        self.outside.is_some()
    }

    /// True if packets to and from a neighbour pass the hook.
    #[must_use]
    pub fn is_hooked(&self, neighbour: NodeId) -> bool {
        self.outside.as_ref().is_none_or(|outside| outside.contains(&neighbour))
    }

    /// The engine, if the agent runs.
    #[must_use]
    pub fn engine(&self) -> Option<&Engine> {
        match &self.agent {
            Agent::Running(engine) => Some(engine),
            Agent::None | Agent::Dead => None,
        }
    }

    /// The engine, if the agent runs.
    pub fn engine_mut(&mut self) -> Option<&mut Engine> {
        match &mut self.agent {
            Agent::Running(engine) => Some(engine),
            Agent::None | Agent::Dead => None,
        }
    }

    /// Starts the agent: no session, no row, and keys only if they are on disk and wanted.
    pub fn start(&mut self, instance: u32, seed: [u8; 32], cached: bool, micros: u64) {
        let Some(identity) = self.identity.clone() else { return };
        let mut engine = Engine::new(identity, seed);
        let interface = InterfaceInfo {
            interface: INTERFACE,
            name: "eth0".to_owned(),
            mac: [2; 6],
            mtu: self.mtu,
            addresses: vec![(self.addr, if self.addr.is_ipv4() { 24 } else { 64 })],
        };
        engine.set_interfaces(vec![interface], &[self.addr]);
        self.threads = Threads::spread(&mut engine, self.workers);
        if let Some(membership) = self.cached.clone().filter(|_| cached) {
            // A cached membership that cannot be used is as none: the agent stays closed.
            let _unusable = engine.install(membership, self.now(micros));
        }
        self.agent = Agent::Running(Box::new(engine));
        self.instance = instance;
        self.wake = None;
        self.offload.clear();
    }

    /// The agent is gone, and all its threads.
    pub fn end(&mut self, agent: Agent) {
        self.agent = agent;
        self.threads = None;
        self.wake = None;
    }

    /// The kernel's sets change.
    pub fn apply(&mut self, verdict: KernelVerdict, micros: u64) {
        match verdict {
            KernelVerdict::Bypass { pair, lifetime } => {
                self.offload.insert(pair, (Offload::Bypass, micros + lifetime.as_micros() as u64));
            }
            KernelVerdict::Discard { pair, lifetime } => {
                self.offload.insert(pair, (Offload::Discard, micros + lifetime.as_micros() as u64));
            }
            // A shorter way to the agent, where its packets go anyway.
            KernelVerdict::Protect { pair, .. } | KernelVerdict::Forget { pair } => {
                self.offload.remove(&pair);
            }
        }
    }

    /// What the kernel does with a packet of the pair without asking.
    #[must_use]
    pub fn offloaded(&self, pair: HostPair, micros: u64) -> Option<Offload> {
        self.offload.get(&pair).filter(|(_, until)| *until > micros).map(|(verdict, _)| *verdict)
    }

    /// Mode in force; ordinary hosts are open.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match &self.agent {
            Agent::None => Mode::Open,
            Agent::Running(engine) => engine.mode(),
            Agent::Dead => Mode::Closed,
        }
    }

    /// Largest packet an application sends to `to`.
    #[must_use]
    pub fn mtu_to(&self, to: IpAddr) -> u16 {
        self.path_mtu.get(&to).copied().unwrap_or(self.mtu).min(self.mtu)
    }
}
