//! The engine thread: wait, read, let the engine decide, write. Run to completion, no locks on
//! the packet path, one clock read per round.
//!
//! ```text
//!            +-- TUN of each interface --+   captured frames, both directions
//!   poll --->+-- data sockets, v4 and v6 +-> engine -> TUN, data socket, packet socket, ICMP, nft
//!            +-- commands, link changes -+
//! ```

use super::devices::Devices;
use super::followers::Followers;
use super::inquiries::Inquiries;
use super::probes::Probes;
use crate::clock;
use crate::command::{Command, CommandReceiver};
use crate::hook::Guard;
use crate::memory::{self, Memory};
use crate::metrics::Metrics;
use crate::names::Names;
use crate::options::RunError;
use crate::report::SharedFacts;
use crate::telemetry;
use crate::udp_socket::Received;
use ge_core::batch::SealedBatch;
use ge_core::coalesce::Gather;
use ge_core::engine::Engine;
use ge_core::flow::Direction;
use ge_core::io::{
    ETHERNET_LEN, Frame, HeldFrame, Incoming, KernelVerdict, Outgoing, Output, VNET_LEN,
};
use ge_core::wire::ip::parse_truncated;
use ge_core::wire::protocol;
use ge_core::wire::vnet::VnetHeader;
use ge_core::{Instant, Mode, Now};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info, warn};

/// Frames taken from one TUN before the other descriptors get their turn.
const FRAMES_PER_TURN: usize = 64;
/// Datagram buffers taken from one socket before the other descriptors get their turn.
const BUFFERS_PER_TURN: usize = 16;
/// Sealed bytes after which a batch is sent: a few system calls' worth, within the L2 cache.
const BATCH_BYTES: usize = 256 * 1024;
/// What the engine remembers is written this often although no destination came or went: less than
/// an hour of the day that an entry counts is lost.
const SAVE_UNCHANGED: Duration = Duration::from_secs(1800);
/// More destinations than these are written more seldom: the list is copied by the engine thread.
const SAVE_MANY: usize = 4096;
/// See [`SAVE_MANY`].
const SAVE_MANY_EVERY: Duration = Duration::from_secs(10);
/// Between two attempts to bring interfaces and rules to what they should be.
const RECONCILE_RETRY: Duration = Duration::from_secs(1);
/// The longest sleep without a deadline, so that a clock step is noticed.
const SLEEP_MAX_MS: u16 = 1000;
/// One super-packet with its headers, or one buffer of merged datagrams.
const BUFFER: usize = VNET_LEN + ETHERNET_LEN + 65_536 + 512;

/// Where an IP packet starts in a captured frame.
const PACKET_AT: usize = VNET_LEN + ETHERNET_LEN;

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
    deadline: Option<Instant>,
    /// When to bring the kernel to what it should be again, after that failed.
    retry_at: Option<Instant>,
    remembering: Option<Remembering>,
    /// The kernel refused a super-packet of UDP although it said that it takes them: they are not merged
    /// any more.
    merging_refused: bool,
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
    ) -> Self {
        Self {
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
            deadline: None,
            retry_at: None,
            remembering: None,
            merging_refused: false,
        }
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
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => return Ended::Failed(RunError::system("wait for packets", error)),
            };
            let now = clock::now();
            if ready.commands && self.take_commands(now) {
                self.finish(now);
                return Ended::Stopped;
            }
            if ready.links {
                self.drain_links();
            }
            if ready.links || self.retry_at.is_some() {
                self.reconcile(now);
            }
            for index in ready.tuns {
                self.read_frames(index, now);
            }
            for socket in ready.sockets {
                self.read_datagrams(socket, now);
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

    fn wait(&self) -> io::Result<Ready> {
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![
            readable(self.commands.as_fd()),
            readable(self.devices.links.as_fd()),
            readable(self.devices.data_v4.as_fd()),
        ];
        let v6_at = self.devices.data_v6.as_ref().map(|socket| {
            fds.push(readable(socket.as_fd()));
            fds.len() - 1
        });
        let fixed = fds.len();
        let tuns = self.devices.attached.iter();
        fds.extend(tuns.map(|attached| PollFd::new(attached.tun.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, self.timeout()) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        Ok(Ready {
            commands: ready(&fds[0]),
            links: ready(&fds[1]),
            sockets: [(Socket::V4, Some(2)), (Socket::V6, v6_at)]
                .into_iter()
                .filter_map(|(socket, at)| ready(&fds[at?]).then_some(socket))
                .collect(),
            tuns: (fixed..fds.len()).filter(|at| ready(&fds[*at])).map(|at| at - fixed).collect(),
        })
    }

    fn timeout(&self) -> PollTimeout {
        let Some(deadline) = self.deadline else { return PollTimeout::from(SLEEP_MAX_MS) };
        let left = deadline.since(clock::now().mono);
        // Rounded up: waking a millisecond early would only mean another round for nothing.
        let millis = left.as_micros().div_ceil(1000).min(u128::from(SLEEP_MAX_MS));
        PollTimeout::from(millis as u16)
    }

    /// True if the loop is to end.
    fn take_commands(&mut self, now: Now) -> bool {
        self.commands.clear_wake();
        while let Some(command) = self.commands.try_recv() {
            match command {
                // A receiver that is gone lost interest.
                Command::Snapshot(reply) => drop(reply.send(self.engine.snapshot(now))),
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
        let cuts = self.devices.attached.iter().all(|attached| attached.tun.cuts_datagrams());
        self.engine.merge_datagrams(cuts && !self.merging_refused);
    }

    fn read_frames(&mut self, index: usize, now: Now) {
        for _ in 0..FRAMES_PER_TURN {
            let Some(attached) = self.devices.attached.get(index) else { return };
            let length = match attached.tun.read(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    warn!(%error, "TUN read failed");
                    self.devices.detach(index);
                    self.reconcile(now);
                    break;
                }
            };
            let Some(direction) = attached.direction(&self.buffer[..length]) else { continue };
            let mut buffer = std::mem::take(&mut self.buffer);
            self.decide(index, direction, &mut buffer[..length], now);
            self.buffer = buffer;
            if self.batch.bytes() >= BATCH_BYTES {
                self.send_batch(now);
            }
        }
        self.send_batch(now);
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

    fn read_datagrams(&mut self, socket: Socket, now: Now) {
        for _ in 0..BUFFERS_PER_TURN {
            let data = match socket {
                Socket::V4 => Some(&self.devices.data_v4),
                Socket::V6 => self.devices.data_v6.as_ref(),
            };
            let Some(data) = data else { return };
            let Received { len, segment, meta } = match data.recv(&mut self.buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    debug!(%error, "data socket");
                    continue;
                }
            };
            let buffer = &mut self.buffer[..len];
            let tun = self.devices.tun_of(meta.interface);
            // Without an interface there is nobody to hand packets to.
            let mut refused = false;
            let mut write = |gather: Gather<'_>| {
                if let Some(tun) = tun {
                    refused |= write_gather(tun, &gather).is_err();
                }
            };
            self.engine.datagrams(buffer, segment, &meta, now, &mut write);
            if refused {
                warn!(
                    "the kernel takes no merged datagrams; each is written by itself from now on"
                );
                self.merging_refused = true;
                self.engine.merge_datagrams(false);
            }
        }
        self.drain(now);
    }

    /// What the engine wants done goes first: of a flow that was agreed on in the same turn, the
    /// last message, and the packets that waited for it.
    fn send_batch(&mut self, now: Now) {
        self.drain(now);
        for run in self.batch.runs() {
            self.devices.send_run(run);
        }
        self.batch.clear();
    }

    /// Does what the engine wants until it has nothing more to ask for. Verdicts first: the kernel
    /// must not pass in clear what the other end is just told to be protected.
    fn drain(&mut self, now: Now) {
        let mut outputs = Vec::new();
        loop {
            match self.engine.poll_output() {
                Output::Kernel(verdict) => self.verdicts.push(verdict),
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

    fn carry_out(&self, output: Output) {
        match output {
            Output::Transmit(transmit) => self.devices.transmit(&transmit),
            Output::Datagrams(run) => self.devices.send_run(&run),
            Output::PutBack(frame) => self.put_back(&frame),
            Output::Deliver(packet) | Output::Opened(packet) => {
                self.devices.deliver_packet(&packet);
            }
            Output::Event(event) => {
                self.metrics.observe(&event);
                telemetry::event(&event);
            }
            Output::Kernel(_) | Output::Idle { .. } => {} // done by `drain`
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
        let (Direction::Outgoing(interface) | Direction::Incoming(interface)) = frame.direction;
        let attached = self.devices.attached.iter().find(|a| a.interface == interface);
        if let Some(attached) = attached {
            attached.put_back(&frame.bytes);
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

enum Socket {
    V4,
    V6,
}

struct Ready {
    commands: bool,
    links: bool,
    sockets: Vec<Socket>,
    tuns: Vec<usize>,
}

/// A super-packet of UDP was refused as such.
struct MergingRefused;

/// Hands one inner packet, maybe merged from many, to the local stack.
fn write_gather(tun: &crate::tun::Tun, gather: &Gather<'_>) -> Result<(), MergingRefused> {
    let mut slices = Vec::with_capacity(2 + gather.payload.len());
    slices.push(IoSlice::new(&gather.vnet));
    slices.push(IoSlice::new(gather.header));
    slices.extend(gather.payload.iter().map(|range| IoSlice::new(&gather.buffer[range.clone()])));
    let Err(error) = tun.writev(&slices) else { return Ok(()) };
    let merged = gather.payload.len() > 1
        && parse_truncated(gather.header).is_ok_and(|view| view.protocol == protocol::UDP);
    if merged && error.raw_os_error() == Some(libc::EINVAL) {
        return Err(MergingRefused);
    }
    warn!(%error, "TUN write failed");
    Ok(())
}

/// The frame's vnet header with offsets from the IP header, which is what the TUN takes.
pub(super) fn vnet_for_stack(frame: &[u8]) -> Option<[u8; VNET_LEN]> {
    let header = VnetHeader::parse(frame.get(..VNET_LEN)?).ok()?;
    frame.get(PACKET_AT..)?;
    Some(header.shifted(-(ETHERNET_LEN as i16)).ok()?.emit())
}
