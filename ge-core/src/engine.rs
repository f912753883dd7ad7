//! The engine: one agent's mind. Packets, messages, keys and time go in; packets, messages and
//! verdicts come out.
//!
//! | input | method | file |
//! |---|---|---|
//! | a frame that leaves | [`Engine::outgoing`] | `engine/outgoing.rs` |
//! | a frame that arrives | [`Engine::incoming`] | `engine/incoming.rs` |
//! | datagrams on the data port | [`Engine::datagrams`] | `engine/datagrams.rs` |
//! | keys, modes, removals | [`Engine::install`] | `engine/install.rs` |
//! | time | [`Engine::tick`] | `engine/tick.rs` |
//!
//! Every method may leave outputs behind; drain [`Engine::poll_output`] after each.

mod answer;
mod beside;
mod budget;
mod carrier;
mod changes;
mod control;
mod datagrams;
mod early;
mod explain;
mod incoming;
mod inquiry;
mod install;
mod load;
mod negotiate;
mod observe;
mod outgoing;
mod passing;
mod questions;
mod repeated;
mod row;
mod sealing;
mod seen;
mod sessions;
mod snapshot;
mod sticky;
mod survey;
mod tick;
mod transit;
mod withheld;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod two_agents;

use crate::addr::WireAddr;
use crate::batch::SealedBatch;
use crate::coalesce::Coalescer;
use crate::crypto::ephemeral::Ephemerals;
use crate::crypto::{Rng, random_secret};
use crate::flow::HostPair;
use crate::held::HeldBudget;
use crate::io::{Counters, Event, InterfaceInfo, Output};
use crate::keyring::Keyring;
use crate::limits::{KeyLimits, PIT_ROWS_HOST};
use crate::membership::{Identity, Membership};
use crate::pit::Pit;
use crate::reassembly::EchoReassembly;
use crate::share::Shares;
use crate::timer::TimerTable;
use crate::{DropReason, Interface, Mode, NegotiationId, Role, SessionIndex};
use answer::Answers;
use beside::Beside;
use budget::Budget;
use carrier::Carriers;
pub(crate) use carrier::is_message;
use changes::Changes;
use core::net::IpAddr;
use datagrams::Tally;
use load::Load;
use observe::Observed;
use passing::Passing;
use rand_core::{Rng as _, SeedableRng as _};
use row::Row;
use sessions::Sessions;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use sticky::Sticky;

/// One agent, without its hands and eyes. See the crate documentation for how to drive it.
pub struct Engine {
    identity: Identity,
    mode: Mode,
    membership: Option<Membership>,
    keyring: Option<Keyring>,
    interfaces: Vec<InterfaceInfo>,
    local_addresses: BTreeSet<IpAddr>,
    pit: Pit<Row>,
    sessions: Sessions,
    key_limits: KeyLimits,
    /// Negotiations this agent started, by the number it gave them.
    negotiations: BTreeMap<NegotiationId, HostPair>,
    answers: Answers,
    load: Load,
    /// Rows by who caused them.
    shares: Shares,
    passing: Passing,
    surveys: Budget,
    carriers: Carriers,
    sticky: Sticky,
    /// Addresses of the names that must be protected, as the runtime found them.
    named: BTreeSet<IpAddr>,
    observed: Observed,
    /// Pairs whose packets the kernel may pass by itself; each has a row.
    offloaded: BTreeSet<HostPair>,
    held: HeldBudget,
    reassembly: EchoReassembly,
    timers: TimerTable,
    outputs: VecDeque<Output>,
    beside: Beside,
    coalescer: Coalescer,
    /// Sessions of the buffer of datagrams at hand. Outside of its method so that the memory is reused.
    touched: Vec<(SessionIndex, Tally)>,
    counters: Counters,
    changes: Changes,
    ephemerals: Ephemerals,
    rng: Rng,
}

impl Engine {
    /// An engine that knows who it is but has no keys yet: until [`Engine::install`] it treats
    /// every packet as closed mode does.
    #[must_use]
    pub fn new(identity: Identity, seed: [u8; 32]) -> Self {
        let mut rng = Rng::from_seed(seed);
        let hash_key = [rng.next_u64(), rng.next_u64(), rng.next_u64(), rng.next_u64()];
        Self {
            identity,
            mode: Mode::Closed,
            membership: None,
            keyring: None,
            interfaces: Vec::new(),
            local_addresses: BTreeSet::new(),
            pit: Pit::new(PIT_ROWS_HOST, hash_key),
            sessions: Sessions::default(),
            key_limits: KeyLimits::default(),
            negotiations: BTreeMap::new(),
            answers: Answers::default(),
            load: Load::new(&mut rng),
            shares: Shares::default(),
            passing: Passing::new(random_secret(&mut rng)),
            surveys: Budget::default(),
            carriers: Carriers::default(),
            sticky: Sticky::default(),
            named: BTreeSet::new(),
            observed: Observed::default(),
            offloaded: BTreeSet::new(),
            held: HeldBudget::default(),
            reassembly: EchoReassembly::default(),
            timers: TimerTable::default(),
            outputs: VecDeque::new(),
            beside: Beside::default(),
            coalescer: Coalescer::new(),
            touched: Vec::new(),
            counters: Counters::new(),
            changes: Changes::default(),
            ephemerals: Ephemerals::default(),
            rng,
        }
    }

    /// Whether opened datagrams of one UDP flow are handed to the local stack merged: what takes them must
    /// know how to cut them again (Linux 6.2). Off until this is called.
    pub const fn merge_datagrams(&mut self, on: bool) {
        self.coalescer.merge_datagrams(on);
    }

    /// Whether opened segments of one TCP stream are handed to the local stack merged. On until
    /// this is called.
    pub const fn merge_segments(&mut self, on: bool) {
        self.coalescer.merge_segments(on);
    }

    /// Interfaces under the hook, and every address of the machine. A host agent stands for
    /// exactly these addresses. Flows whose interface is gone move to the one that has their
    /// address now.
    pub fn set_interfaces(&mut self, interfaces: Vec<InterfaceInfo>, local: &[IpAddr]) {
        self.interfaces = interfaces;
        self.local_addresses = local.iter().copied().collect();
        let Self { interfaces, pit, .. } = self;
        for (key, row) in pit.iter_mut() {
            let local = key.pair.local.0;
            let carries = |info: &&InterfaceInfo| info.addresses.iter().any(|(ip, _)| *ip == local);
            if !interfaces.iter().any(|info| info.interface == row.interface)
                && let Some(info) = interfaces.iter().find(carries)
            {
                row.interface = info.interface;
            }
        }
    }

    /// The next thing to do. `Idle` is last and ends the drain.
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        match self.timers.next() {
            Some((at, reason)) => Output::Idle { until: Some(at), reason },
            None => Output::Idle { until: None, reason: "nothing to wait for" },
        }
    }

    /// The mode in force: closed until keys are installed.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Host, or router with its prefixes.
    #[must_use]
    pub fn role(&self) -> Role {
        self.membership.as_ref().map_or(Role::Host, |m| m.role.clone())
    }

    /// Counters so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn emit(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn event(&mut self, event: Event) {
        self.emit(Output::Event(event));
    }

    fn dropped_out(&mut self, reason: DropReason) {
        self.counters.dropped_out[reason as usize] += 1;
    }

    fn dropped_in(&mut self, reason: DropReason) {
        self.counters.dropped_in[reason as usize] += 1;
    }

    fn is_local(&self, addr: IpAddr) -> bool {
        self.local_addresses.contains(&addr)
    }

    /// The address under which this machine sends and receives sealed datagrams for a flow: the
    /// flow's own where it is local; a router's own on the interface otherwise, of the flow's IP
    /// version if there is one.
    fn own_wire(&self, pair: HostPair, interface: Interface) -> WireAddr {
        let flow = pair.local.0;
        if self.is_local(flow) {
            return WireAddr(flow);
        }
        let info = self.interfaces.iter().find(|info| info.interface == interface);
        let usable = |&&(address, _): &&(IpAddr, u8)| match address {
            IpAddr::V4(v4) => !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        };
        let addresses = || info.into_iter().flat_map(|info| &info.addresses).filter(usable);
        let same = addresses().find(|(address, _)| address.is_ipv4() == flow.is_ipv4());
        WireAddr(same.or_else(|| addresses().next()).map_or(flow, |(address, _)| *address))
    }

    /// Flushes a batch of sealed datagrams into outputs: for packets sealed outside the fast path.
    fn emit_batch(&mut self, batch: &mut SealedBatch) {
        for run in batch.take_runs() {
            self.emit(Output::Datagrams(run));
        }
    }

    /// This agent is no longer a member: keys and sessions go. The mode stays: an open host goes
    /// on as an ordinary machine, a closed one refuses everybody.
    pub fn expel(&mut self) {
        self.membership = None;
        self.keyring = None;
        self.sticky.forget_all();
        self.named.clear();
        self.observed = Observed::default();
        self.drop_all_sessions("membership ended");
    }
}
