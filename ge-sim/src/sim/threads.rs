//! Threads of agents: which gets what, and when each gets to it.
//!
//! A frame is decided by what its thread had heard when its turn began; a datagram by what the engine
//! had said when it arrived, since the thread asks for that between receiving and opening.

use super::Sim;
use super::drive::gathered;
use crate::adversary::Origin;
use crate::check::Invariant;
use crate::net::{below, hit};
use crate::node::INTERFACE;
use crate::packet::{APP_PORT, NodeId, Parcel};
use crate::queue::Event;
use crate::sabotage::Sabotage;
use crate::threads::{Arrival, Captured, Handed, Task};
use ge_core::batch::SealedBatch;
use ge_core::fast_path::{Outcome, Update};
use ge_core::flow::Direction;
use ge_core::io::{DatagramMeta, Frame, PACKET_AT, Received, VNET_LEN};
use ge_core::now::Instant;
use ge_core::wire::ip::{self, IpView};
use ge_core::{Lane, SessionIndex};

/// A thread that is awake gets to what waits within so many microseconds …
const SOON: u64 = 1_000;
/// … and one that others keep from its processor within so many.
const LATE: u64 = 50_000;
/// Ports from which a program on a machine with threads sends.
const PORTS: u16 = 64;

impl Sim {
    /// From now on the agent of a machine, whenever it starts, has so many threads, the engine's among
    /// them.
    pub fn spread(&mut self, id: NodeId, workers: u8) {
        self.node_mut(id).workers = workers;
    }

    /// Every agent has so many threads as the seed says.
    pub fn spread_all(&mut self) {
        for at in 0..self.nodes.len() {
            let workers = 1 + below(&mut self.threads_rng, u64::from(Lane::COUNT)) as u8;
            self.spread(NodeId(at as u16), workers);
        }
    }

    /// Packets that each thread of an agent sealed and opened.
    #[must_use]
    pub fn thread_packets(&self, id: NodeId) -> Vec<[u64; 2]> {
        let node = self.node(id);
        let Some(engine) = node.engine() else { return Vec::new() };
        let threads = engine.snapshot(node.now(self.now)).threads;
        threads.iter().map(|thread| [thread.sealed, thread.opened]).collect()
    }

    /// The port a program sends a datagram from: on a machine with threads many streams are under way.
    pub(super) fn port_of(&self, parcel: Parcel) -> u16 {
        match self.node(parcel.from).workers {
            1 => APP_PORT,
            // Numbers are given to all machines in turn.
            _ => APP_PORT + (parcel.number.wrapping_mul(0x9e37_79b9) >> 16) as u16 % PORTS,
        }
    }

    /// When a thread gets to what is handed to it now.
    fn due(&mut self) -> u64 {
        let most = if hit(&mut self.threads_rng, 50) { LATE } else { SOON };
        self.now + below(&mut self.threads_rng, most)
    }

    /// Something for a thread beside the engine.
    pub(super) fn tell(&mut self, id: NodeId, worker: u8, task: Task) {
        if self.sabotage == Some(Sabotage::Forgetful)
            && matches!(task, Task::Update(Update::Gone(_) | Update::Forget(_)))
        {
            return;
        }
        let due = self.due();
        let threads = self.node_mut(id).threads.as_mut();
        if let Some(thread) = threads.and_then(|threads| threads.get_mut(worker)) {
            let due = thread.tasks.push(due, task);
            self.queue.add(due, Event::Thread(id, worker));
        }
    }

    /// Something for the engine's own thread.
    fn hand(&mut self, id: NodeId, handed: Handed) {
        let due = self.due();
        if let Some(threads) = self.node_mut(id).threads.as_mut() {
            let due = threads.handed.push(due, handed);
            self.queue.add(due, Event::Thread(id, 0));
        }
    }

    /// A thread gets to what waits for it.
    pub(super) fn thread_turn(&mut self, id: NodeId, worker: u8) {
        let now = self.now;
        if worker == 0 {
            while let Some(handed) =
                self.node_mut(id).threads.as_mut().and_then(|threads| threads.handed.pop(now))
            {
                self.engine_gets(id, handed);
            }
            return;
        }
        while let Some(thread) =
            self.node_mut(id).threads.as_mut().and_then(|threads| threads.get_mut(worker))
            && let Some(task) = thread.tasks.pop(now)
        {
            match task {
                Task::Update(update) => thread.fast.apply(update),
                Task::Open(arrival) => self.open_beside(id, worker, arrival),
            }
        }
    }

    /// The engine's thread gets to what another could not decide.
    fn engine_gets(&mut self, id: NodeId, handed: Handed) {
        let (origin, invited) = match &handed {
            Handed::Frame(captured) => (captured.origin, self.may_act_on(id, captured)),
            Handed::Datagrams(arrival) => (arrival.origin, false),
            Handed::Woken(_) => (Origin::Genuine, false),
        };
        let act = |sim: &mut Self| match handed {
            Handed::Frame(captured) => sim.decide(id, captured),
            Handed::Datagrams(arrival) => sim.open(id, arrival),
            Handed::Woken(session) => sim.woken(id, session),
        };
        if matches!(origin, Origin::Corrupted | Origin::Forged) && !invited {
            self.unmoved(id, &format!("{origin:?} by another thread"), act);
        } else {
            act(self);
        }
    }

    /// The engine is told that another thread uses a session again.
    fn woken(&mut self, id: NodeId, session: SessionIndex) -> usize {
        let micros = self.now;
        let node = self.node_mut(id);
        let now = node.now(micros);
        let Some(engine) = node.engine_mut() else { return 0 };
        engine.woken(session, now);
        engine.tick(now);
        self.after(id)
    }

    /// What a thread beside the engine used again, it tells it.
    fn tell_woken(&mut self, id: NodeId, worker: u8) {
        let threads = self.node_mut(id).threads.as_mut();
        let Some(thread) = threads.and_then(|threads| threads.get_mut(worker)) else { return };
        let woken: Vec<_> = thread.fast.take_woken().collect();
        woken.into_iter().for_each(|session| self.hand(id, Handed::Woken(session)));
    }

    /// Whether an agent may act on a frame although nobody vouches for it.
    fn may_act_on(&self, id: NodeId, captured: &Captured) -> bool {
        let packet = &captured.bytes[PACKET_AT..];
        let stranger = |view| self.acts_on_strangers(id, packet, &view);
        captured.outgoing || ip::parse(packet).is_ok_and(stranger)
    }

    /// A frame came to the TUN. Returns how many packets the engine sent at once because of it.
    pub(super) fn captured(&mut self, id: NodeId, captured: Captured, view: &IpView) -> usize {
        let now = self.now;
        let threads = self.node(id).threads.as_ref();
        let packet = &captured.bytes[PACKET_AT..];
        match threads.map_or(0, |threads| threads.queue_of(packet, view, now)) {
            0 => self.decide(id, captured),
            worker => {
                self.decide_beside(id, worker, captured);
                0
            }
        }
    }

    fn decide(&mut self, id: NodeId, captured: Captured) -> usize {
        if captured.outgoing {
            self.decide_outgoing(id, captured);
            0
        } else {
            self.decide_incoming(id, captured)
        }
    }

    /// A thread beside the engine seals a frame, or hands it on.
    fn decide_beside(&mut self, id: NodeId, worker: u8, mut captured: Captured) {
        self.thread_turn(id, worker);
        let now = Instant::from_micros(self.now);
        let node = self.node_mut(id);
        let mtu = node.mtu;
        let thread = node.threads.as_mut().and_then(|threads| threads.get_mut(worker));
        let Some(thread) = thread else { return };
        let direction = match captured.outgoing {
            true => Direction::Outgoing(INTERFACE),
            false => Direction::Incoming(INTERFACE),
        };
        let mut frame = Frame { direction, bytes: &mut captured.bytes };
        let mut batch = SealedBatch::default();
        if thread.fast.outgoing(&mut frame, mtu, &mut batch, now) == Outcome::ForEngine {
            return self.hand(id, Handed::Frame(captured));
        }
        for run in batch.take_runs() {
            self.send_run(id, &run);
        }
        self.tell_woken(id, worker);
    }

    /// Datagrams came to a data socket. Returns how many packets the engine sent at once because of
    /// them.
    pub(super) fn arrived(&mut self, id: NodeId, arrival: Arrival) -> usize {
        let threads = self.node(id).threads.as_ref();
        match threads.map_or(0, |threads| threads.socket_of(&arrival.bytes)) {
            0 => self.open(id, arrival),
            worker => {
                self.tell(id, worker, Task::Open(arrival));
                0
            }
        }
    }

    /// A thread beside the engine opens what is its own, and hands the rest to whom it belongs.
    fn open_beside(&mut self, id: NodeId, worker: u8, arrival: Arrival) {
        let now = Instant::from_micros(self.now);
        let Arrival { mut bytes, segment, meta, origin } = arrival;
        let threads = self.node_mut(id).threads.as_mut();
        let Some(thread) = threads.and_then(|threads| threads.get_mut(worker)) else { return };
        let (mut opened, mut elsewhere) = (Vec::new(), Vec::new());
        let received = Received::alone(&bytes, segment, meta);
        let mut others = |owner: u8, datagram: &[u8], meta: &DatagramMeta| {
            let (bytes, segment, meta) = (datagram.to_vec(), datagram.len(), *meta);
            elsewhere.push((owner, Arrival { bytes, segment, meta, origin }));
        };
        let mut sink = |gather: ge_core::coalesce::Gather<'_>| opened.push(gathered(&gather));
        thread.fast.datagrams(&mut bytes, &[received], now, &mut sink, &mut others);
        self.tell_woken(id, worker);
        for (owner, arrival) in elsewhere {
            match owner {
                0 => self.hand(id, Handed::Datagrams(arrival)),
                _ => self.tell(id, owner, Task::Open(arrival)),
            }
        }
        for (vnet, packet) in opened {
            self.deliver_by(id, worker, vnet, packet);
        }
    }

    /// A thread writes what came out of a session.
    pub(super) fn deliver_by(
        &mut self,
        id: NodeId,
        worker: u8,
        vnet: [u8; VNET_LEN],
        packet: Vec<u8>,
    ) {
        let now = self.now;
        if let Some(threads) = self.node_mut(id).threads.as_mut()
            && let Ok(view) = ip::parse(&packet)
        {
            threads.written_by(worker, &packet, &view, now);
        }
        self.deliver_opened(id, vnet, packet);
    }

    /// I6: who has heard everything the engine said knows no more than the engine.
    pub(super) fn check_threads(&mut self, id: NodeId, sizes: [usize; 10]) {
        let beside = self.node(id).threads.iter().flat_map(|threads| threads.beside());
        let idle = beside.filter(|thread| thread.tasks.is_empty());
        let known: Vec<_> = idle.map(|thread| thread.fast.table_sizes()).collect();
        for [flows, sessions] in known {
            let [rows, own, ..] = sizes;
            if flows > rows || sessions > own {
                let detail = format!(
                    "a thread of {id:?} knows {flows} flows and {sessions} sessions, its engine {rows} and {own}"
                );
                self.check.fail(Invariant::I6Bounded, detail);
            }
        }
    }
}
