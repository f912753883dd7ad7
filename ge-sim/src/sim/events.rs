//! What each event does.

use super::{Sim, Traffic};
use crate::adversary::Origin;
use crate::fault::Fault;
use crate::net::below;
use crate::node::Agent;
use crate::packet::{NodeId, stream_frame};
use crate::queue::Event;
use crate::sabotage::Sabotage;
use ge_core::{Mode, Transit};

/// Bytes of IPv4 or IPv6 and TCP headers: what a TCP takes off the MTU for its segments.
const fn tcp_headers(v4: bool) -> u16 {
    if v4 { 40 } else { 60 }
}

impl Sim {
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { at, from, packet, origin } => self.arrive(at, from, packet, origin),
            Event::Wake(id) => self.wake(id),
            Event::Thread(id, worker) => self.thread_turn(id, worker),
            Event::Traffic(flow) => self.traffic(flow),
            Event::Stack(id, frame) => self.leave(id, frame, Origin::Genuine),
            Event::Bundle(id) => self.bundle(id),
            Event::Fault(fault) => self.fault(&fault),
            Event::Attack => self.adversary_acts(),
        }
    }

    fn wake(&mut self, id: NodeId) {
        let micros = self.now;
        let node = self.node_mut(id);
        if node.wake != Some(micros) {
            return; // a wake the agent asked for before it asked for an earlier one
        }
        node.wake = None;
        let now = node.now(micros);
        if let Some(engine) = node.engine_mut() {
            engine.tick(now);
            self.after(id);
        }
    }

    fn traffic(&mut self, index: usize) {
        let Some(flow) = self.flows.get_mut(index) else { return };
        let (from, to, traffic, every) = (flow.from, flow.to, flow.traffic, flow.every);
        let offset = flow.offset;
        if let Traffic::Stream(len) = traffic {
            flow.offset += len as u32;
        }
        self.queue.add(self.now + every, Event::Traffic(index));
        match traffic {
            Traffic::Datagrams(size) => {
                self.send(from, to, size);
            }
            Traffic::Stream(len) => self.send_stream(from, to, offset, len),
        }
    }

    fn send_stream(&mut self, from: NodeId, to: NodeId, offset: u32, len: usize) {
        let (from_addr, to_addr) = (self.node(from).addr, self.seen(from, to));
        let mss = self.node(from).mtu_to(to_addr) - tcp_headers(self.v4);
        self.check.sent_stream(from, to, offset + len as u32);
        let frame = stream_frame((from, from_addr), (to, to_addr), offset, len, mss);
        self.leave(from, frame, Origin::Genuine);
    }

    /// The server's bundle arrives, with what the server knows at this moment.
    fn bundle(&mut self, id: NodeId) {
        if self.node(id).deaf {
            return;
        }
        let unix = self.unix();
        let Some(mut membership) = self.mgmt.membership(id, unix) else { return };
        if self.sabotage == Some(Sabotage::Lenient) {
            membership.transit = Transit::Any;
        }
        let removed: Vec<NodeId> = (0..self.nodes.len() as u16)
            .map(NodeId)
            .filter(|other| self.node(*other).identity.is_some() && self.mgmt.is_removed(*other))
            .collect();
        let installed = (self.mgmt.version(), self.now);
        let micros = self.now;
        let ignores = matches!(
            self.sabotage,
            Some(Sabotage::IgnoreRemoval | Sabotage::KeepEpoch | Sabotage::RollBack)
        );
        let node = self.node_mut(id);
        let (now, first) = (node.now(micros), node.cached.is_none());
        let Some(engine) = node.engine_mut() else { return };
        if !ignores || first {
            // The engine refuses a bundle it cannot use and keeps the one it has.
            let _unusable = engine.install(membership.clone(), now);
        }
        node.cached = Some(membership);
        node.installed = installed;
        for member in removed {
            self.check.removal_arrived(id, member);
        }
        self.note(|| format!("{id:?} has policy {}", self.mgmt.version()));
        self.after(id);
        if self.sabotage == Some(Sabotage::RollBack) && !first {
            self.roll_back(id);
        }
    }

    /// Puts an engine of the first policy in the place of the present one, unnoticed.
    fn roll_back(&mut self, id: NodeId) {
        let micros = self.now;
        let node = self.node_mut(id);
        let instance = node.instance;
        if let Some(first) = &mut node.cached {
            first.version = 1;
        }
        node.start(instance, [9; 32], true, micros);
        self.after(id);
    }

    /// The server has something new for everyone.
    fn announce(&mut self) {
        for id in (0..self.nodes.len() as u16).map(NodeId) {
            if self.node(id).identity.is_some() {
                let delay = 1 + below(&mut self.rng, self.bundle_delay + 1);
                self.queue.add(self.now + delay, Event::Bundle(id));
            }
        }
    }

    fn fault(&mut self, fault: &Fault) {
        self.note(|| format!("fault {fault:?}"));
        let unix = self.unix();
        match *fault {
            Fault::Conditions(conditions) => self.net.conditions = conditions,
            Fault::Cut(a, b) => self.net.partition(a, b),
            Fault::Heal(a, b) => {
                self.net.cut.remove(&(a, b));
                self.net.cut.remove(&(b, a));
            }
            Fault::Mtu(from, to, mtu) => {
                self.net.mtu.insert((from, to), mtu);
            }
            Fault::Route { at, to, next } => self.route(at, to, next),
            Fault::Crash(id) => self.crash(id),
            Fault::Start { node, cached } => self.restart(node, cached),
            Fault::Stop(id) => self.stop(id),
            Fault::Mode(id, mode) => {
                self.mgmt.set_mode(id, mode);
                self.announce();
            }
            Fault::Rotate(group, rotation) => {
                self.mgmt.rotate(group, rotation, unix);
                self.announce();
            }
            Fault::Remove(id) => {
                self.mgmt.remove(id, unix);
                self.announce();
            }
            Fault::Quiet => {
                self.net.heal();
                self.attack(None);
                if self.sabotage == Some(Sabotage::Deafen) {
                    self.net.conditions.loss = 1000;
                }
            }
        }
    }

    fn crash(&mut self, id: NodeId) {
        self.node_mut(id).end(Agent::Dead);
    }

    fn restart(&mut self, id: NodeId, cached: bool) {
        if self.node(id).engine().is_none() && self.node(id).identity.is_some() {
            self.start_agent(id, cached);
        }
    }

    /// Graceful: the agent says goodbye; in open mode the machine goes on as an ordinary host, in
    /// closed mode its rules stay and nothing passes.
    fn stop(&mut self, id: NodeId) {
        let micros = self.now;
        let node = self.node_mut(id);
        let (now, mode) = (node.now(micros), node.mode());
        let Some(engine) = node.engine_mut() else { return };
        engine.stop(now);
        self.after(id);
        let node = self.node_mut(id);
        node.end(if mode == Mode::Open { Agent::None } else { Agent::Dead });
        node.offload.clear();
        if mode == Mode::Open {
            let released = self.nodes.iter().map(|node| node.addr);
            for addr in released.filter(|addr| self.stands_for(id, *addr)).collect::<Vec<_>>() {
                self.check.released(addr);
            }
        }
    }

    fn adversary_acts(&mut self) {
        let Some(every) = self.attack_every else { return };
        let next = 1 + below(&mut self.rng, 2 * every);
        self.queue.add(self.now + next, Event::Attack);
        let targets: Vec<_> = self.nodes.iter().map(|node| node.addr).collect();
        let Some((packet, origin)) = self.adversary.act(&targets, &mut self.rng) else { return };
        self.inject(packet, origin);
    }

    /// A packet of the adversary arrives wherever its destination says.
    pub fn inject(&mut self, packet: Vec<u8>, origin: Origin) {
        let destination = ge_core::wire::ip::parse(&packet).ok().map(|view| view.destination);
        if let Some(at) = destination.and_then(|addr| self.node_by_addr(addr)) {
            let from = self.node(at).outside.iter().flatten().next().copied().unwrap_or(at);
            self.inject_at(at, from, packet, origin);
        }
    }

    /// A packet of the adversary arrives at a machine as if from a neighbour.
    pub fn inject_at(&mut self, at: NodeId, from: NodeId, packet: Vec<u8>, origin: Origin) {
        self.queue.add(self.now + 1, Event::Arrive { at, from, packet, origin });
    }
}
