//! Out of the engines: what they want done is done, and their tables are looked at.

use super::Sim;
use crate::adversary::Origin;
use crate::check::{Conduct, LinkUse};
use crate::packet::{NodeId, ip_packet};
use crate::queue::Event;
use crate::sabotage::Sabotage;
use crate::threads::{Arrival, Task};
use ge_core::flow::HostPair;
use ge_core::io::{Event as Told, NegotiationResult, Output, Snapshot, VNET_LEN};
use ge_core::limits::PIT_ROWS_HOST;

/// A session under an ended epoch is looked at twice a second, and wall time has whole seconds.
const EPOCH_END_FELT: u64 = 2;

impl Sim {
    /// Drains an engine after it was given something, does what it wants, and looks at its tables.
    /// Returns how many packets it sent.
    pub(super) fn after(&mut self, id: NodeId) -> usize {
        let mut outputs = Vec::new();
        let Some(engine) = self.node_mut(id).engine_mut() else { return 0 };
        let until = loop {
            match engine.poll_output() {
                Output::Idle { until, .. } => break until,
                output => outputs.push(output),
            }
        };
        let sent = outputs.into_iter().map(|output| self.carry_out(id, output)).sum();
        if let Some(until) = until {
            self.set_wake(id, until.as_micros());
        }
        self.inspect(id);
        sent
    }

    fn set_wake(&mut self, id: NodeId, until: u64) {
        let at = until.max(self.now);
        let node = self.node_mut(id);
        if node.wake.is_none_or(|wake| at < wake) {
            node.wake = Some(at);
            self.queue.add(at, Event::Wake(id));
        }
    }

    /// Returns how many packets left.
    fn carry_out(&mut self, id: NodeId, output: Output) -> usize {
        match output {
            Output::Transmit(transmit) => {
                let (from, to) = (transmit.from.0, transmit.to.0);
                let mut packet = ip_packet(from, to, transmit.protocol, 0, &transmit.bytes);
                allow_fragments(&mut packet);
                let times = if self.sabotage == Some(Sabotage::Babble) { 6 } else { 1 };
                for _ in 0..times {
                    self.emit(id, packet.clone(), LinkUse::Engine, Origin::Genuine);
                }
                1
            }
            Output::Datagrams(run) => {
                self.send_run(id, &run);
                run.count()
            }
            Output::PutBack(held) => {
                self.put_back(id, &held.bytes, LinkUse::Passed, Origin::Genuine);
                1
            }
            Output::Deliver(packet) => {
                self.accept(id, packet, Origin::Genuine);
                0
            }
            Output::Opened(packet) => {
                self.deliver_opened(id, [0; VNET_LEN], packet);
                0
            }
            Output::Kernel(verdict) => {
                let now = self.now;
                self.node_mut(id).apply(verdict, now);
                0
            }
            Output::Event(event) => {
                self.told(id, &event);
                0
            }
            Output::Beside(worker, update) => {
                self.tell(id, worker, Task::Update(update));
                0
            }
            Output::Elsewhere { worker, datagram: bytes, meta } => {
                let (segment, origin) = (bytes.len(), Origin::Genuine);
                self.tell(id, worker, Task::Open(Arrival { bytes, segment, meta, origin }));
                0
            }
            Output::Idle { .. } => 0,
        }
    }

    fn told(&mut self, id: NodeId, event: &Told) {
        self.note(|| format!("{id:?} {event:?}"));
        match event {
            Told::Negotiated { pair, result: NegotiationResult::Protected, .. } => {
                self.check.secured(id, *pair);
            }
            Told::PeerGone { pair, reason: "goodbye" } => {
                self.check.heard_goodbye(id, *pair);
            }
            _ => {}
        }
    }

    fn inspect(&mut self, id: NodeId) {
        let node = self.node(id);
        let (now, installed) = (node.now(self.now), node.installed);
        let Some(engine) = node.engine() else { return };
        let mut sizes = engine.table_sizes();
        let snapshot = engine.snapshot(now);
        if self.sabotage == Some(Sabotage::Outgrow) {
            sizes[0] += PIT_ROWS_HOST;
        }
        self.check.tables(id, sizes);
        self.check_threads(id, sizes);
        self.check.progress(id, &snapshot);
        self.check_sessions(id, &snapshot);
        let up_to_date = installed.0 == self.mgmt.version()
            && self.now > installed.1 + EPOCH_END_FELT * 1_000_000;
        if !up_to_date {
            return;
        }
        for peer in snapshot.flows.iter().filter_map(|flow| flow.peer.as_ref()) {
            let ended = self
                .mgmt
                .epoch_ends(peer.group, peer.epoch)
                .map_or(0, |ends| now.unix.0.saturating_sub(ends.0));
            if ended > EPOCH_END_FELT {
                self.check.used_ended_epoch(id, peer.epoch, ended);
            }
        }
    }
}

impl Sim {
    /// I2: every row of a session.
    fn check_sessions(&mut self, id: NodeId, snapshot: &Snapshot) {
        for flow in &snapshot.flows {
            let pair = HostPair { local: flow.local, remote: flow.remote };
            if let Some(peer) = &flow.peer {
                let since = self.now.saturating_sub(peer.key_age.as_micros() as u64);
                let agent = match self.sabotage {
                    Some(Sabotage::WrongPeer) => self.mgmt.somebody_else(id, peer.agent),
                    _ => self.mgmt.node(peer.agent),
                };
                // Behind a NAT each end speaks of the pair as it sees it itself.
                let theirs = HostPair::new(
                    peer.seen_as.unwrap_or(pair.local.0),
                    peer.own_address.unwrap_or(pair.remote.0),
                );
                self.check.protects(id, theirs, agent, since);
            }
            let Some(mut ends) = flow.ends else { continue };
            if self.sabotage == Some(Sabotage::WrongEnds) {
                ends[1] = snapshot.agent.unwrap_or(ends[1]);
            }
            let since = self.now.saturating_sub(flow.age.as_micros() as u64);
            let ends = ends.map(|end| self.mgmt.node(end));
            self.check.between(id, pair, ends, since);
            if let [Some(one), Some(other)] = ends {
                self.check_content(id, [one, other], since);
            }
        }
    }

    /// A row made under an earlier policy lasts as long as its session.
    fn check_content(&mut self, id: NodeId, ends: [NodeId; 2], since: u64) {
        let node = self.node(id);
        if since <= node.installed.1 || node.installed.0 != self.mgmt.version() {
            return;
        }
        let Some(admission) = self.mgmt.admission(id) else { return };
        let vouched = ends.iter().any(|end| {
            let groups = self.mgmt.admission(*end).map(|end| &end.groups);
            groups.is_some_and(|groups| groups.iter().any(|g| admission.groups.contains(g)))
        });
        let (mode, transit, groups) = (node.mode(), admission.transit, &admission.groups);
        self.check.content(id, ends, &Conduct { mode, transit, vouched, groups });
    }
}

/// Negotiation messages leave through a socket without path MTU discovery: IPv4 routers may cut
/// them.
fn allow_fragments(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        packet[6] &= !0x40;
    }
}
