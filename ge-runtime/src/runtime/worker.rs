//! A thread beside the engine: its own queue of each TUN, its own data sockets, its own lanes.
//!
//! ```text
//!            +-- its queue of each TUN --+
//!   poll --->+-- its data sockets -------+-> fast path -> its queue, its sockets
//!            +-- what the engine says ---+       \
//!                                                 what is not its to decide -> engine thread
//! ```

#[cfg(test)]
mod tests;

use super::arrivals::Arrivals;
use super::data_sockets::{DataSockets, IpVersion};
use super::devices::nobody_to_hand_to;
use super::event_loop::{BATCH_BYTES, BUFFER, FILLS_PER_TURN};
use super::hurry::Hurry;
use super::inbox::{Inbox, Outbox};
use super::port::{Port, direction};
use super::spin::{Came, Spin};
use super::turn::{BYTES_PER_TURN, Turn};
use crate::clock;
use crate::ledger::Ledger;
use crate::offload::Offload;
use crate::poll_list::PollList;
use crate::tun::TunQueue;
use ge_core::batch::SealedBatch;
use ge_core::coalesce::Gather;
use ge_core::fast_path::{FastPath, Lost, Outcome, Update};
use ge_core::io::{DatagramMeta, Frame, HeldFrame, Received};
use ge_core::{Instant, SessionIndex};
use std::sync::Arc;
use tracing::warn;

/// Frames that wait for the engine thread, in bytes: a turn of its loop.
const FRAMES_WAITING: usize = BYTES_PER_TURN;
/// Datagrams that wait for another thread, in bytes. Few are not where they belong, and most of those
/// are somebody's replays.
pub(super) const DATAGRAMS_WAITING: usize = 1 << 20;

/// What a thread beside the engine is told.
pub(super) enum Task {
    /// What the engine says to its fast path.
    Update(Update),
    /// The interfaces under the hook, all of them.
    Ports(Vec<Port>),
    /// A datagram of one of its lanes that came to another thread.
    Open { datagram: Vec<u8>, meta: DatagramMeta },
    /// Leave the loop.
    Stop,
}

/// What the engine thread is handed.
pub(super) enum Handed {
    /// A frame that somebody has to decide about.
    Frame(HeldFrame),
    /// A datagram of one of the engine's lanes, or a message.
    Datagram { datagram: Vec<u8>, meta: DatagramMeta },
    /// These sessions are in use again.
    Woken(Vec<SessionIndex>),
    /// This queue cannot be read: its TUN was taken away.
    Broken(TunQueue),
    /// This thread has ended, asked or not.
    Ended(u8),
}

/// Says that the thread has ended, however it did.
struct Farewell(u8, Outbox<Handed>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.1.push(Handed::Ended(self.0));
    }
}

/// Everything one thread beside the engine owns.
pub(super) struct Worker {
    fast: FastPath,
    data: Arc<DataSockets>,
    ports: Vec<Port>,
    tasks: Inbox<Task>,
    engine: Outbox<Handed>,
    /// The other threads beside the engine, the first of them first.
    beside: Vec<Outbox<Task>>,
    batch: SealedBatch,
    buffer: Vec<u8>,
    arrivals: Arrivals,
    poll: PollList,
    spin: Spin,
    hurry: Hurry,
    ledger: Arc<Ledger>,
}

impl Worker {
    pub(super) fn new(
        fast: FastPath,
        data: Arc<DataSockets>,
        tasks: Inbox<Task>,
        engine: Outbox<Handed>,
        beside: Vec<Outbox<Task>>,
        ledger: Arc<Ledger>,
    ) -> Self {
        Self {
            fast,
            data,
            ports: Vec::new(),
            tasks,
            engine,
            beside,
            batch: SealedBatch::default(),
            buffer: vec![0; BUFFER],
            arrivals: Arrivals::default(),
            poll: PollList::default(),
            spin: Spin::here(),
            hurry: Hurry::No,
            ledger,
        }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        let _farewell = Farewell(self.fast.worker(), self.engine.clone());
        self.watch();
        loop {
            let came = self.came();
            if let Err(error) = self.spin.wait(&mut self.poll, came, None) {
                warn!(%error, "a thread of the data path cannot wait for packets");
                return;
            }
            let now = clock::now().mono;
            if self.do_tasks(self.poll.is_ready(TASKS), now) {
                return;
            }
            for index in 0..self.ports.len() {
                if self.poll.is_ready(TUNS + index) {
                    self.read_frames(index, now);
                }
            }
            for (place, version) in [(V4, IpVersion::V4), (V6, IpVersion::V6)] {
                if self.poll.is_ready(place) && self.read_datagrams(version, now) {
                    return;
                }
            }
            self.tell_woken();
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

    /// Makes the list of what is waited for.
    fn watch(&mut self) {
        self.poll.clear();
        self.poll.watch(&self.tasks);
        self.data.watch(&mut self.poll);
        for port in &self.ports {
            self.poll.watch(&port.queue);
        }
    }

    /// True if it is to stop.
    fn do_tasks(&mut self, woken: bool, now: Instant) -> bool {
        let mut opened = Vec::new();
        let mut ports = None;
        for task in self.tasks.take(woken) {
            match task {
                Task::Update(update) => self.fast.apply(update),
                Task::Ports(new) => ports = Some(new),
                Task::Open { datagram, meta } => opened.push((datagram, meta)),
                Task::Stop => return true,
            }
        }
        if let Some(ports) = ports {
            self.ports = ports;
            self.watch();
        }
        for (mut datagram, meta) in opened {
            let received = Received::alone(&datagram, datagram.len(), meta);
            self.open(&mut datagram, &[received], now);
        }
        false
    }

    fn read_frames(&mut self, index: usize, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut turn = Turn::default();
        while let Some(port) = self.ports.get(index) {
            let length = match turn.read(&port.queue, &mut buffer) {
                Ok(Some(length)) => length,
                Ok(None) => break,
                Err(_) => {
                    let gone = self.ports.remove(index);
                    self.engine.push(Handed::Broken(gone.queue));
                    self.watch();
                    break;
                }
            };
            self.decide(index, &mut buffer[..length], now);
            if self.batch.bytes() >= BATCH_BYTES {
                self.data.send_batch(&mut self.batch);
            }
        }
        self.buffer = buffer;
        self.data.send_batch(&mut self.batch);
        self.hurry.after(turn.frames());
    }

    /// The engine looks at what is used again.
    fn tell_woken(&mut self) {
        let woken: Vec<_> = self.fast.take_woken().collect();
        if !woken.is_empty() {
            self.engine.push(Handed::Woken(woken));
        }
    }

    fn decide(&mut self, index: usize, bytes: &mut [u8], now: Instant) {
        let port = &self.ports[index];
        let Some(direction) = direction(bytes, port.interface, port.mac) else { return };
        let mut frame = Frame { direction, bytes };
        if self.fast.outgoing(&mut frame, port.mtu, &mut self.batch, now) == Outcome::ForEngine {
            let frame = HeldFrame { direction, bytes: frame.bytes.to_vec() };
            let length = frame.bytes.len();
            if !self.engine.push_within(Handed::Frame(frame), length, FRAMES_WAITING) {
                self.fast.lost(Lost::Frame(direction));
            }
        }
    }

    /// True if the thread was told to stop meanwhile.
    fn read_datagrams(&mut self, version: IpVersion, now: Instant) -> bool {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        let mut stop = false;
        for _ in 0..FILLS_PER_TURN {
            let Some(socket) = self.data.get(version) else { break };
            let more = arrivals.fill(socket, &self.ledger.losses);
            // The peer was told of a session after this thread was, so that what it sends under it is
            // known by now, whenever that came.
            stop = self.do_tasks(false, now);
            if stop {
                break;
            }
            arrivals.each(|buffer, received| self.open(buffer, received, now));
            if !more {
                break;
            }
        }
        self.arrivals = arrivals;
        stop
    }

    /// `received` came in by one interface.
    fn open(&mut self, buffer: &mut [u8], received: &[Received], now: Instant) {
        let Some(first) = received.first() else { return };
        let Self { fast, ports, engine, beside, ledger, .. } = self;
        // What the kernel refused merged, to whichever thread, comes singly from then on.
        fast.merge_segments(ledger.is_on(Offload::MergeTcp));
        fast.merge_datagrams(ledger.is_on(Offload::MergeUdp));
        // As the engine thread does: by the interface it came in by, if that is under the hook.
        let by = ports.iter().find(|port| port.interface == first.meta.interface);
        let queue = by.or_else(|| ports.first()).map(|port| &port.queue);
        let mut write = |gather: Gather<'_>| match queue {
            Some(queue) => queue.deliver(&gather),
            None => nobody_to_hand_to(ledger, gather.payload.len()),
        };
        let mut lost = 0;
        let mut others = |owner: u8, datagram: &[u8], meta: &DatagramMeta| {
            let (bytes, datagram, meta) = (datagram.len(), datagram.to_vec(), *meta);
            let handed = match owner.checked_sub(1).map(usize::from) {
                None => {
                    let handed = Handed::Datagram { datagram, meta };
                    engine.push_within(handed, bytes, DATAGRAMS_WAITING)
                }
                Some(at) => beside.get(at).is_some_and(|thread| {
                    thread.push_within(Task::Open { datagram, meta }, bytes, DATAGRAMS_WAITING)
                }),
            };
            lost += u64::from(!handed);
        };
        fast.datagrams(buffer, received, now, &mut write, &mut others);
        (0..lost).for_each(|_| fast.lost(Lost::Datagram));
    }
}

/// Places in the list of what is waited for.
const TASKS: usize = 0;
const V4: usize = 1;
const V6: usize = 2;
const TUNS: usize = 3;
