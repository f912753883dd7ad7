//! The engine thread: wait, read, let the engine decide, write. Run to completion, no locks on
//! the packet path, one clock read per round.
//!
//! ```text
//!            +-- TUN of each interface --+   captured frames, both directions
//!   poll --->+-- data sockets, v4 and v6 +-> engine -> TUN, data socket, packet socket, ICMP, nft
//!            +-- commands, link changes -+
//! ```

#[cfg(test)]
mod tests;

use super::arrivals::Arrivals;
use super::data_sockets::IpVersion;
use super::devices::Devices;
use super::followers::Followers;
use super::hurry::Hurry;
use super::inbox::{Inbox, Outbox, inbox};
use super::inquiries::Inquiries;
use super::port::Port;
use super::probes::Probes;
use super::spin::{Came, Spin};
use super::turn::Turn;
use super::worker::{DATAGRAMS_WAITING, Handed, Task, Worker};
use crate::clock;
use crate::command::{Command, CommandReceiver};
use crate::hook::Guard;
use crate::memory::{self, Memory};
use crate::metrics::Metrics;
use crate::names::Names;
use crate::options::RunError;
use crate::poll_list::PollList;
use crate::report::SharedFacts;
use crate::telemetry;
use ge_core::batch::SealedBatch;
use ge_core::coalesce::Gather;
use ge_core::engine::Engine;
use ge_core::flow::Direction;
use ge_core::io::{
    ETHERNET_LEN, Frame, HeldFrame, Incoming, KernelVerdict, Outgoing, Output, PACKET_AT, Received,
    VNET_LEN,
};
use ge_core::wire::vnet::VnetHeader;
use ge_core::{Instant, Mode, Now};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::{debug, info, warn};

/// How often [`Arrivals`] are filled from one socket before the other descriptors get their turn: some
/// hundred datagrams.
pub(super) const FILLS_PER_TURN: usize = 8;
/// Sealed bytes after which a batch is sent: a few system calls' worth, within the L2 cache.
pub(super) const BATCH_BYTES: usize = 256 * 1024;
/// What the engine remembers is written this often although no destination came or went: less than
/// an hour of the day that an entry counts is lost.
const SAVE_UNCHANGED: Duration = Duration::from_secs(1800);
/// More destinations than these are written more seldom: the list is copied by the engine thread.
const SAVE_MANY: usize = 4096;
/// See [`SAVE_MANY`].
const SAVE_MANY_EVERY: Duration = Duration::from_secs(10);
/// Between two attempts to bring interfaces and rules to what they should be.
const RECONCILE_RETRY: Duration = Duration::from_secs(1);
/// The longest sleep: `poll` does not count the time in suspend, and deadlines do.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// One super-packet with its headers, or one buffer of merged datagrams.
pub(super) const BUFFER: usize = PACKET_AT + 65_536 + 512;

/// Why the loop ended.
pub(super) enum Ended {
    /// It was asked to.
    Stopped,
    /// Something it cannot work without failed.
    Failed(RunError),
}

pub(super) struct EventLoop {
    engine: Engine,
    devices: Devices,
    commands: CommandReceiver,
    metrics: Arc<Metrics>,
    facts: SharedFacts,
    probes: Probes,
    inquiries: Inquiries,
    followers: Followers,
    batch: SealedBatch,
    verdicts: Vec<KernelVerdict>,
    buffer: Vec<u8>,
    arrivals: Arrivals,
    poll: PollList,
    spin: Spin,
    hurry: Hurry,
    /// What the threads beside this one hand over.
    handed: Inbox<Handed>,
    beside: Vec<Beside>,
    deadline: Option<Instant>,
    /// When to bring the kernel to what it should be again, after that failed.
    retry_at: Option<Instant>,
    remembering: Option<Remembering>,
}

/// A thread of the data path beside this one.
struct Beside {
    tasks: Outbox<Task>,
    thread: Option<JoinHandle<()>>,
    /// The interfaces it was last told of.
    ports: Vec<Port>,
}

/// What writes down what the engine knows of destinations, and finds the addresses of names.
pub(super) struct Remembering {
    pub(super) memory: Memory,
    pub(super) names: Names,
    /// State of the engine's memory when it was last handed on.
    pub(super) saved: u64,
    pub(super) save_at: Instant,
}

impl EventLoop {
    pub(super) fn new(
        engine: Engine,
        devices: Devices,
        commands: CommandReceiver,
        metrics: Arc<Metrics>,
        facts: SharedFacts,
    ) -> io::Result<Self> {
        let (outbox, handed) = inbox()?;
        let mut this = Self {
            engine,
            devices,
            commands,
            metrics,
            facts,
            probes: Probes::default(),
            inquiries: Inquiries::default(),
            followers: Followers::default(),
            batch: SealedBatch::default(),
            verdicts: Vec::new(),
            buffer: vec![0; BUFFER],
            arrivals: Arrivals::default(),
            poll: PollList::default(),
            spin: Spin::here(),
            hurry: Hurry::No,
            handed,
            beside: Vec::new(),
            deadline: None,
            retry_at: None,
            remembering: None,
        };
        this.start_beside(&outbox)?;
        Ok(this)
    }

    /// Starts the threads beside this one, which wait for interfaces first.
    fn start_beside(&mut self, outbox: &Outbox<Handed>) -> io::Result<()> {
        let paths = self.engine.spread(self.devices.workers());
        let queues = paths.iter().map(|_| inbox()).collect::<io::Result<Vec<_>>>()?;
        let (senders, receivers): (Vec<Outbox<Task>>, Vec<_>) = queues.into_iter().unzip();
        let parts = paths.into_iter().zip(self.devices.beside()).zip(receivers);
        for (((fast, data), inbox), tasks) in parts.zip(senders.clone()) {
            let name = format!("data-{}", fast.worker());
            let ledger = Arc::clone(self.devices.ledger());
            let (data, outbox) = (Arc::clone(data), outbox.clone());
            let worker = Worker::new(fast, data, inbox, outbox, senders.clone(), ledger);
            let thread = std::thread::Builder::new().name(name).spawn(move || worker.run())?;
            self.beside.push(Beside { tasks, thread: Some(thread), ports: Vec::new() });
        }
        Ok(())
    }

    /// Remembers over a restart from here on. `ports` are those of the management server.
    pub(super) fn remember(&mut self, remembering: Remembering, ports: &[u16]) {
        self.devices.hear_ports(ports);
        self.remembering = Some(remembering);
        self.want_names();
    }

    pub(super) const fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    fn want_names(&self) {
        let names = self.engine.must_protect_names();
        // They were names in the bundle.
        let names: Vec<_> = names.iter().filter_map(|name| name.parse().ok()).collect();
        if let Some(remembering) = &self.remembering {
            remembering.names.want(&names);
        }
    }

    /// Hands the engine's memory on to be written: soon if it has changed, and now and then since
    /// what it knows is prolonged by use.
    fn save_memory(&mut self, now: Now) {
        let Some(remembering) = &mut self.remembering else { return };
        let changes = self.engine.sticky_changes();
        let aged = now.mono.since(remembering.save_at) >= SAVE_UNCHANGED;
        if now.mono < remembering.save_at || (changes == remembering.saved && !aged) {
            return;
        }
        let entries = self.engine.sticky(now);
        let pause = if entries.len() > SAVE_MANY { SAVE_MANY_EVERY } else { memory::WRITE_EVERY };
        remembering.saved = changes;
        remembering.save_at = now.mono + pause;
        remembering.memory.put_sticky(entries);
    }

    pub(super) fn shared_hook(&self) -> super::devices::SharedHook {
        self.devices.shared_hook()
    }

    /// Runs until it is asked to stop.
    pub(super) fn run(mut self) -> Ended {
        self.refresh_interfaces();
        self.reconcile(clock::now()); // the guard of remembered names
        loop {
            let (came, most) = (self.came(), self.sleep());
            if let Err(error) = self.spin.wait(&mut self.poll, came, Some(most)) {
                return Ended::Failed(RunError::system("wait for packets", error));
            }
            let now = clock::now();
            if self.poll.is_ready(COMMANDS) && self.take_commands(now) {
                self.finish(now);
                return Ended::Stopped;
            }
            // Of the interfaces as they were when the wait ended.
            for index in 0..self.devices.attached.len() {
                if self.poll.is_ready(TUNS + index) && !self.read_frames(index, now) {
                    break;
                }
            }
            for (place, version) in [(V4, IpVersion::V4), (V6, IpVersion::V6)] {
                if self.poll.is_ready(place) {
                    self.read_datagrams(version, now);
                }
            }
            if let Err(error) = self.take_handed(now) {
                return Ended::Failed(error);
            }
            let links = self.poll.is_ready(LINKS);
            if links {
                self.drain_links();
            }
            if links || self.retry_at.is_some() {
                self.reconcile(now);
            }
            self.engine.tick(now);
            self.drain(now);
            self.save_memory(now);
        }
    }

    /// Brings the kernel to what it should be, at once or, after a failure, when its time has
    /// come: a failed attempt makes link events itself, which must not start the next.
    fn reconcile(&mut self, now: Now) {
        if self.retry_at.is_some_and(|at| at > now.mono) {
            return;
        }
        let (ranges, addresses) = self.engine.guarded();
        let guard = Guard {
            ranges: ranges.iter().map(|range| (range.address, range.length)).collect(),
            addresses: addresses.iter().copied().collect(),
            server_ports: Vec::new(),
        };
        self.retry_at = match self.devices.reconcile(self.engine.mode(), &guard) {
            Ok(()) => None,
            Err(error) => {
                warn!(%error, "interfaces and rules are not as they should be; trying again");
                Some(now.mono + RECONCILE_RETRY)
            }
        };
        self.refresh_interfaces();
    }

    fn drain_links(&self) {
        if let Err(error) = self.devices.links.drain() {
            warn!(%error, "changes of interfaces cannot be watched");
        }
    }

    /// What has come in since the wait before.
    fn came(&self) -> Came {
        if self.poll.is_any_ready_from(TUNS) {
            Came::Frames
        } else if self.poll.is_any_ready_from(V4) {
            Came::Datagrams
        } else {
            Came::Nothing
        }
    }

    /// Makes the list of what is waited for: whenever an interface came or went.
    fn watch(&mut self) {
        let Self { poll, commands, devices, handed, .. } = self;
        poll.clear();
        poll.watch(commands);
        poll.watch(&devices.links);
        poll.watch(handed);
        devices.data.watch(poll);
        devices.attached.iter().for_each(|attached| poll.watch(attached.tun.queue(0)));
    }

    fn sleep(&self) -> Duration {
        let deadline = self.deadline.map(|deadline| deadline.since(clock::now().mono));
        deadline.map_or(SLEEP_MAX, |left| left.min(SLEEP_MAX))
    }

    /// Does what the threads beside this one cannot decide.
    fn take_handed(&mut self, now: Now) -> Result<(), RunError> {
        let handed: Vec<Handed> = self.handed.take(self.poll.is_ready(HANDED)).collect();
        let some = !handed.is_empty();
        for item in handed {
            match item {
                Handed::Frame(mut frame) => {
                    if let Some(index) = self.devices.index_of(frame.direction.interface()) {
                        self.decide(index, frame.direction, &mut frame.bytes, now);
                    }
                }
                Handed::Datagram { mut datagram, meta } => {
                    let received = Received::alone(&datagram, datagram.len(), meta);
                    self.open(&mut datagram, &[received], now);
                }
                Handed::Woken(sessions) => {
                    sessions.into_iter().for_each(|index| self.engine.woken(index, now));
                }
                Handed::Broken(queue) => {
                    // Whoever reads another queue of it may have said so before, and then the
                    // interface has a new one.
                    if let Some(index) = self.devices.index_of_queue(&queue) {
                        self.devices.detach(index);
                        self.reconcile(now);
                    }
                }
                Handed::Ended(worker) => {
                    let cause = io::Error::other(format!("thread {worker} ended; see the log"));
                    return Err(RunError::system("run the data path", cause));
                }
            }
        }
        if some {
            self.send_batch(now);
        }
        Ok(())
    }

    /// True if the loop is to end.
    fn take_commands(&mut self, now: Now) -> bool {
        self.commands.clear_wake();
        while let Some(command) = self.commands.try_recv() {
            match command {
                // A receiver that is gone lost interest.
                Command::Snapshot(reply) => {
                    self.engine.look_at_threads(now);
                    drop(reply.send(self.engine.snapshot(now)));
                }
                Command::Kernel(reply) => drop(reply.send(self.devices.report())),
                Command::Probe { remote, reply } => {
                    let own = self.devices.own_address_for(remote);
                    self.probes.start(&mut self.engine, own, remote, reply, now);
                }
                Command::Explain { question, reply } => {
                    let (engine, devices) = (&mut self.engine, &self.devices);
                    self.inquiries.start(engine, devices, question, reply, now);
                }
                Command::Follow(queue) => self.followers.add(&mut self.engine, queue),
                Command::Install(membership) => self.install(*membership, now),
                Command::Expel => {
                    warn!("this machine is no longer a member; nothing is protected any more");
                    self.engine.expel();
                    self.want_names();
                    self.enforce(now);
                }
                Command::Named(addresses) => {
                    self.engine.set_named(addresses);
                    self.enforce(now);
                }
                Command::Stop => return true,
            }
        }
        false
    }

    fn install(&mut self, membership: ge_core::membership::Membership, now: Now) {
        let (version, role) = (membership.version, membership.role.clone());
        if let Err(error) = self.engine.install(membership, now) {
            warn!(%error, version, "the server's policy cannot be used; the present one stays");
            return;
        }
        self.facts.set_role(&role);
        let mode = self.engine.mode();
        info!(version, mode = mode.as_str(), "policy in force");
        self.want_names();
        self.enforce(now);
    }

    /// A new policy in the kernel does not wait for an old failure. Without a change this writes
    /// nothing.
    fn enforce(&mut self, now: Now) {
        self.retry_at = None;
        self.reconcile(now);
    }

    fn refresh_interfaces(&mut self) {
        let (interfaces, addresses) = self.devices.interfaces();
        debug!(interfaces = interfaces.len(), addresses = addresses.len(), "interfaces read");
        self.facts.set_interfaces(interfaces.iter().map(|info| info.name.clone()).collect());
        self.engine.set_interfaces(interfaces, &addresses);
        self.settle_merging();
        self.watch();
        self.tell_ports();
    }

    /// What the kernel refused merged comes singly from now on.
    fn settle_merging(&mut self) {
        let [segments, datagrams] = self.devices.merges();
        self.engine.merge_segments(segments);
        self.engine.merge_datagrams(datagrams);
    }

    /// Tells the threads beside this one of the interfaces, if these have changed.
    fn tell_ports(&mut self) {
        for (worker, beside) in (1..).zip(&mut self.beside) {
            let ports = self.devices.ports(worker);
            if beside.ports != ports {
                beside.ports.clone_from(&ports);
                beside.tasks.push(Task::Ports(ports));
            }
        }
    }

    /// False if the interface was let go, and others may have other numbers now.
    fn read_frames(&mut self, index: usize, now: Now) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut turn = Turn::default();
        let mut whole = true;
        while let Some(attached) = self.devices.attached.get(index) {
            let length = match turn.read(attached.tun.queue(0), &mut buffer) {
                Ok(Some(length)) => length,
                Ok(None) => break,
                Err(error) => {
                    warn!(%error, "TUN read failed");
                    self.devices.detach(index);
                    self.reconcile(now);
                    whole = false;
                    break;
                }
            };
            let frame = &mut buffer[..length];
            let Some(direction) = attached.direction(frame) else { continue };
            self.decide(index, direction, frame, now);
            if self.batch.bytes() >= BATCH_BYTES {
                self.send_batch(now);
            }
        }
        self.buffer = buffer;
        self.send_batch(now);
        self.hurry.after(turn.frames());
        whole
    }

    fn decide(&mut self, index: usize, direction: Direction, bytes: &mut [u8], now: Now) {
        let mut frame = Frame { direction, bytes };
        match direction {
            Direction::Outgoing(_) => {
                if self.engine.outgoing(&mut frame, &mut self.batch, now) == Outgoing::PutBack {
                    self.devices.attached[index].put_back(frame.bytes);
                }
            }
            Direction::Incoming(_) => {
                if self.engine.incoming(&frame, now) == Incoming::Deliver {
                    self.devices.attached[index].deliver(frame.bytes);
                }
            }
        }
    }

    fn read_datagrams(&mut self, version: IpVersion, now: Now) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for _ in 0..FILLS_PER_TURN {
            let Some(socket) = self.devices.data.get(version) else { break };
            let more = arrivals.fill(socket, &self.devices.ledger().losses);
            arrivals.each(|buffer, received| self.open(buffer, received, now));
            if !more {
                break;
            }
        }
        self.arrivals = arrivals;
        self.drain(now);
    }

    /// `received` came in by one interface.
    fn open(&mut self, buffer: &mut [u8], received: &[Received], now: Now) {
        let Some(first) = received.first() else { return };
        let devices = &self.devices;
        let mut write = |gather: Gather<'_>| devices.deliver(first.meta.interface, &gather);
        self.engine.datagrams(buffer, received, now, &mut write);
        self.settle_merging();
    }

    /// What the engine wants done goes first: of a flow that was agreed on in the same turn, the
    /// last message, and the packets that waited for it.
    fn send_batch(&mut self, now: Now) {
        self.drain(now);
        self.devices.data.send_batch(&mut self.batch);
    }

    /// Does what the engine wants until it has nothing more to ask for. Verdicts first: the kernel
    /// must not pass in clear what the other end is just told to be protected.
    fn drain(&mut self, now: Now) {
        let mut outputs = Vec::new();
        loop {
            match self.engine.poll_output() {
                Output::Kernel(verdict) => self.verdicts.push(verdict),
                Output::Beside(worker, update) => {
                    if let Some(tasks) = self.tasks_of(worker) {
                        tasks.push(Task::Update(update));
                    }
                }
                Output::Idle { until, .. } => {
                    self.deadline = until;
                    break;
                }
                output => outputs.push(output),
            }
        }
        self.apply_verdicts(now);
        for output in outputs {
            self.carry_out(output);
        }
        self.probes.settle(&self.engine, now);
        self.inquiries.settle(&self.engine, now);
        self.followers.tell(&mut self.engine, now);
    }

    /// What a thread beside this one is told by.
    fn tasks_of(&self, worker: u8) -> Option<&Outbox<Task>> {
        let at = usize::from(worker).checked_sub(1)?;
        self.beside.get(at).map(|beside| &beside.tasks)
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Transmit(transmit) => self.devices.transmit(&transmit),
            Output::Datagrams(run) => self.devices.data.send(&run),
            Output::PutBack(frame) => self.put_back(&frame),
            Output::Deliver(packet) | Output::Opened(packet) => {
                self.devices.deliver_packet(&packet);
            }
            Output::Event(event) => {
                self.metrics.observe(&event);
                telemetry::event(&event);
            }
            Output::Elsewhere { worker, datagram, meta } => {
                let (bytes, task) = (datagram.len(), Task::Open { datagram, meta });
                let handed = self
                    .tasks_of(worker)
                    .is_some_and(|tasks| tasks.push_within(task, bytes, DATAGRAMS_WAITING));
                if !handed {
                    self.engine.lost_elsewhere();
                }
            }
            // Done by `drain`.
            Output::Kernel(_) | Output::Beside(..) | Output::Idle { .. } => {}
        }
    }

    fn apply_verdicts(&mut self, now: Now) {
        if self.verdicts.is_empty() {
            return;
        }
        let applied = self.devices.apply(&self.verdicts);
        self.verdicts.clear();
        if !applied {
            self.retry_at = None; // sets that must be emptied do not wait for an old failure
            self.reconcile(now);
        }
    }

    fn put_back(&self, frame: &HeldFrame) {
        if let Some(index) = self.devices.index_of(frame.direction.interface()) {
            self.devices.attached[index].put_back(&frame.bytes);
        }
    }

    /// Says goodbye to the peers; in open mode the machine goes on in clear, in closed mode the
    /// rules stay and refuse.
    fn finish(&mut self, now: Now) {
        self.engine.stop(now);
        self.drain(now);
        if let Some(remembering) = &self.remembering {
            remembering.memory.put_sticky(self.engine.sticky(now));
        }
        match self.engine.mode() {
            Mode::Open => self.devices.remove_hook(),
            Mode::Closed => self.devices.leave_hook(),
        }
    }
}

/// No thread of the data path outlives this one, however it ended.
impl Drop for EventLoop {
    fn drop(&mut self) {
        self.beside.iter().for_each(|beside| beside.tasks.push(Task::Stop));
        for thread in self.beside.iter_mut().filter_map(|beside| beside.thread.take()) {
            if thread.join().is_err() {
                warn!("a thread of the data path panicked");
            }
        }
    }
}

/// Places in the list of what is waited for.
const COMMANDS: usize = 0;
const LINKS: usize = 1;
const HANDED: usize = 2;
const V4: usize = 3;
const V6: usize = 4;
const TUNS: usize = 5;

/// The frame's vnet header with offsets from the IP header, which is what the TUN takes.
pub(super) fn vnet_for_stack(frame: &[u8]) -> Option<[u8; VNET_LEN]> {
    let header = VnetHeader::parse(frame.get(..VNET_LEN)?).ok()?;
    frame.get(PACKET_AT..)?;
    Some(header.shifted(-(ETHERNET_LEN as i16)).ok()?.emit())
}
