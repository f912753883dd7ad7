//! The share of the data path that a thread beside the engine has: packets of flows whose session is
//! agreed, sealed and opened in lanes of its own. It decides nothing; whatever it cannot do goes to
//! the engine (decision 0018).
//!
//! ```text
//!             Engine --Update--> FastPath 1, 2, ... n-1     keys, flows, path MTU; what is gone
//!                    <--Tally---                            counters, when it was last heard
//! ```
//! A lane belongs to the thread `lane % n` for the life of the process, and sessions do not change
//! hands: no two threads share a counter, a window or a line of memory that one of them writes.

mod fast_session;
mod tally;
mod update;

pub(crate) use fast_session::FastSession;
pub(crate) use tally::{Seen, SessionTally, ThreadTally};
pub use update::Update;

use crate::DropReason;
use crate::batch::SealedBatch;
use crate::coalesce::{Coalescer, Gather};
use crate::data::Unsealed;
use crate::engine::is_message;
use crate::flow::{Direction, HostPair};
use crate::id::{Lane, SessionIndex};
use crate::io::{DatagramMeta, Frame, PACKET_AT, Received};
use crate::limits::{DATA_PORT, PIT_ROWS_HOST};
use crate::now::Instant;
use crate::pit::Pit;
use crate::shim::Shim;
use crate::wire::ip::{self, Fragment, IpView};
use crate::wire::{protocol, read_u16};
use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What becomes of a captured frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was sealed; send the datagrams in the batch.
    Sealed,
    /// It was dropped, and counted.
    Dropped,
    /// The engine must see it.
    ForEngine,
}

/// What found no room in the queue of the thread that had to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// A captured frame, and which way it went.
    Frame(Direction),
    /// A datagram.
    Datagram,
}

/// One thread's share of the data path.
pub struct FastPath {
    lane: Lane,
    workers: u8,
    flows: Pit<SessionIndex>,
    sessions: BTreeMap<SessionIndex, FastSession>,
    coalescer: Coalescer,
    tally: Arc<ThreadTally>,
    /// Sessions in use again, of which the engine is to hear.
    woken: Vec<SessionIndex>,
}

impl FastPath {
    pub(crate) fn new(lane: Lane, workers: u8, seed: [u64; 4], tally: Arc<ThreadTally>) -> Self {
        Self {
            lane,
            workers,
            flows: Pit::new(PIT_ROWS_HOST, seed),
            sessions: BTreeMap::new(),
            coalescer: Coalescer::new(),
            tally,
            woken: Vec::new(),
        }
    }

    /// Which of the threads it is of: 1 for the first beside the engine.
    #[must_use]
    pub const fn worker(&self) -> u8 {
        self.lane.number()
    }

    /// Flows and sessions that it knows. For the invariant that it knows none that the engine forgot.
    #[must_use]
    pub fn table_sizes(&self) -> [usize; 2] {
        [self.flows.len(), self.sessions.len()]
    }

    /// Does what the engine says. Whoever drives this must do so between receiving datagrams and
    /// handing them in: a peer speaks under a session as soon as it was told of it.
    pub fn apply(&mut self, update: Update) {
        match update {
            Update::Session(index, session) => drop(self.sessions.insert(index, *session)),
            Update::Gone(index) => drop(self.sessions.remove(&index)),
            Update::PathMtu(index, mtu) => {
                if let Some(session) = self.sessions.get_mut(&index) {
                    session.narrow(mtu);
                }
            }
            Update::Send(key, index) => {
                // At its capacity the flow goes on by the engine.
                let _ = self.flows.insert(key, index);
            }
            Update::Forget(pair) => drop(self.flows.remove(pair)),
        }
    }

    /// Sessions that this thread uses again after a pause: give each to
    /// [`Engine::woken`](crate::engine::Engine::woken), since the engine may look at it seldom. To be asked
    /// for after [`Self::outgoing`] and [`Self::datagrams`], at the latest before waiting.
    pub fn take_woken(&mut self) -> impl Iterator<Item = SessionIndex> + '_ {
        self.woken.drain(..)
    }

    /// Whether opened segments of one TCP flow are handed on merged, as [`Coalescer::merge_segments`].
    pub const fn merge_segments(&mut self, on: bool) {
        self.coalescer.merge_segments(on);
    }

    /// The same for datagrams of one UDP flow.
    pub const fn merge_datagrams(&mut self, on: bool) {
        self.coalescer.merge_datagrams(on);
    }

    /// Seals a frame that leaves by an interface of this MTU, if it is data of a flow with a session.
    pub fn outgoing(
        &mut self,
        frame: &mut Frame<'_>,
        link_mtu: u16,
        batch: &mut SealedBatch,
        now: Instant,
    ) -> Outcome {
        let Direction::Outgoing(interface) = frame.direction else { return Outcome::ForEngine };
        let Some(packet) = frame.bytes.get(PACKET_AT..) else { return Outcome::ForEngine };
        let Ok(view) = ip::parse(packet) else { return Outcome::ForEngine };
        if !is_plain_data(packet, &view) {
            return Outcome::ForEngine;
        }
        let pair = HostPair::new(view.source, view.destination);
        let known = self.flows.get(pair).copied();
        let session = known.and_then(|index| Some((index, self.sessions.get_mut(&index)?)));
        let Some((index, session)) = session else { return Outcome::ForEngine };
        let bytes = frame.bytes.len() - PACKET_AT;
        match session.seal(frame.bytes, &view, (interface, link_mtu), batch) {
            Ok(datagrams) => {
                session.sent(&frame.bytes[PACKET_AT..], now);
                if session.take_woken() {
                    self.woken.push(index);
                }
                self.tally.sealed(datagrams, bytes as u64);
                Outcome::Sealed
            }
            // Whoever sent it is told so.
            Err(Unsealed::TooBig(_)) => Outcome::ForEngine,
            Err(Unsealed::Dropped(reason)) => {
                self.tally.dropped_out(reason);
                Outcome::Dropped
            }
        }
    }

    /// Opens the datagrams of what arrived by one interface, in order, and hands the inner packets to
    /// `sink`, merged into super-packets where they belong together. `others` gets what another thread
    /// must open: which one, the datagram, and where it came from.
    pub fn datagrams(
        &mut self,
        buffer: &mut [u8],
        received: &[Received],
        now: Instant,
        sink: &mut impl FnMut(Gather<'_>),
        others: &mut impl FnMut(u8, &[u8], &DatagramMeta),
    ) {
        for each in received {
            for range in each.datagrams() {
                match self.owner(&buffer[range.clone()]) {
                    Ok(owner) if owner == self.worker() => {
                        if let Err(reason) = self.open(buffer, range, &each.meta, now, sink) {
                            self.tally.dropped_in(reason);
                        }
                    }
                    Ok(owner) => others(owner, &buffer[range], &each.meta),
                    Err(reason) => self.tally.dropped_in(reason),
                }
            }
        }
        self.coalescer.flush(buffer, sink);
    }

    /// Counts what another thread had no room for.
    pub fn lost(&self, what: Lost) {
        match what {
            Lost::Frame(Direction::Outgoing(_)) => self.tally.dropped_out(DropReason::QueueFull),
            Lost::Frame(Direction::Incoming(_)) | Lost::Datagram => {
                self.tally.dropped_in(DropReason::QueueFull);
            }
        }
    }

    /// Which thread takes a datagram.
    fn owner(&self, datagram: &[u8]) -> Result<u8, DropReason> {
        if is_message(datagram) {
            return Ok(Lane::ENGINE.number());
        }
        let shim = Shim::parse(datagram).ok_or(DropReason::TooShort)?;
        let owner = shim.lane.worker(self.workers);
        // The engine knows of more than sessions under way: of those behind a NAT, and of those
        // whose last message is yet to come. All else in other lanes is nobody's.
        let known = shim.lane == Lane::ENGINE || self.sessions.contains_key(&shim.index);
        if known { Ok(owner) } else { Err(DropReason::NoSession) }
    }

    fn open(
        &mut self,
        buffer: &mut [u8],
        range: Range<usize>,
        meta: &DatagramMeta,
        now: Instant,
        sink: &mut impl FnMut(Gather<'_>),
    ) -> Result<(), DropReason> {
        let shim = Shim::parse(&buffer[range.clone()]).ok_or(DropReason::TooShort)?;
        let session = self.sessions.get_mut(&shim.index).ok_or(DropReason::NoSession)?;
        let opened = session.open(buffer, range, meta, now, &mut self.coalescer, sink);
        if session.take_woken() {
            self.woken.push(shim.index);
        }
        self.tally.opened(opened? as u64);
        Ok(())
    }
}

/// Whole TCP and UDP packets that are no message of ours: all else may be more than data.
fn is_plain_data(packet: &[u8], view: &IpView) -> bool {
    let port = |at| read_u16(packet, view.header_len + at);
    view.fragment == Fragment::None
        && match view.protocol {
            protocol::TCP => true,
            protocol::UDP => port(0) != Some(DATA_PORT) && port(2) != Some(DATA_PORT),
            _ => false,
        }
}
