//! A session as a thread beside the engine has it: keys for its own lanes, and nothing to decide.

use super::SessionTally;
use crate::DropReason;
use crate::batch::SealedBatch;
use crate::coalesce::{Coalescer, Gather};
use crate::data::{Ends, Unsealed, deliver, seal_frame};
use crate::id::{Interface, Lane};
use crate::io::DatagramMeta;
use crate::limits::WOKEN_AFTER;
use crate::now::Instant;
use crate::shim::Kind;
use crate::traffic::{Openers, Sealer};
use crate::wire::ip::IpView;
use core::ops::Range;
use std::sync::Arc;

/// Keys and addresses of one session, for one thread.
pub struct FastSession {
    ends: Ends,
    sealer: Sealer,
    openers: Openers,
    /// The path takes less than the interface.
    path_mtu: Option<u16>,
    tally: Arc<SessionTally>,
    /// When this thread last used it.
    used: Instant,
    /// That was after a pause, and was not told yet.
    woken: bool,
}

impl FastSession {
    /// The share of the thread whose lane is `lane` in a session of the engine's. To be made once
    /// for each lane and session, since it begins at counter zero.
    pub(crate) fn new(
        lane: Lane,
        ends: Ends,
        (sealer, openers): (&Sealer, &Openers),
        path_mtu: Option<u16>,
        tally: Arc<SessionTally>,
    ) -> Self {
        let (sealer, openers) = (sealer.of_lane(lane), openers.of_thread(lane));
        let (used, woken) = (Instant::default(), false);
        Self { ends, sealer, openers, path_mtu, tally, used, woken }
    }

    pub(super) const fn narrow(&mut self, mtu: Option<u16>) {
        self.path_mtu = mtu;
    }

    pub(super) fn seal(
        &mut self,
        frame: &mut [u8],
        view: &IpView,
        (interface, link_mtu): (Interface, u16),
        batch: &mut SealedBatch,
    ) -> Result<u64, Unsealed> {
        let heading = self.ends.heading(interface, view.tos);
        let mtu = usize::from(self.path_mtu.map_or(link_mtu, |mtu| mtu.min(link_mtu)));
        seal_frame(&mut self.sealer, &self.ends, heading, mtu, frame, view, batch)
    }

    pub(super) fn sent(&mut self, packet: &[u8], now: Instant) {
        self.tally.sent(packet, self.sealer.sent(), now);
        self.used(now);
    }

    fn used(&mut self, now: Instant) {
        self.woken |= now.since(self.used) >= WOKEN_AFTER;
        self.used = now;
    }

    /// True once after each pause.
    pub(super) const fn take_woken(&mut self) -> bool {
        std::mem::replace(&mut self.woken, false)
    }

    /// Opens the datagram in `range`; the length of its plaintext. Control messages travel in the
    /// engine's lane only.
    pub(super) fn open(
        &mut self,
        buffer: &mut [u8],
        range: Range<usize>,
        meta: &DatagramMeta,
        now: Instant,
        coalescer: &mut Coalescer,
        sink: &mut impl FnMut(Gather<'_>),
    ) -> Result<usize, DropReason> {
        let start = range.start;
        let opened = self.openers.open(&mut buffer[range]);
        let opened = opened.inspect_err(|_| self.tally.failed(self.openers.failed_openings()))?;
        if opened.kind == Kind::Control {
            return Err(DropReason::Malformed);
        }
        let plaintext = start + opened.plaintext.start..start + opened.plaintext.end;
        let bytes = plaintext.len();
        self.tally.received(bytes, now);
        self.used(now);
        deliver(&self.ends, coalescer, buffer, plaintext, &opened, meta, sink)?;
        Ok(bytes)
    }
}
