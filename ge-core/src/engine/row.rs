//! A PIT row: what this agent does with the packets between two hosts, and why.

use crate::addr::WireAddr;
use crate::dprp::{Fault, Initiator, Reject};
use crate::flow::HostPair;
use crate::held::HeldFrames;
use crate::id::{Interface, SessionIndex};
use crate::io::{Denial, NegotiationResult};
use crate::limits::{ASK_AGAIN_LAST, INQUIRY_FIRST, OFFLOAD_LIFETIME, SHORTCUT_FROM};
use crate::now::Instant;
use crate::origin::Source;
use crate::wire::dprp::rgi::Record;
use crate::{DropReason, GeId, Mode, NegotiationId};
use core::net::IpAddr;
use core::time::Duration;

/// One row.
pub(super) struct Row {
    pub(super) state: RowState,
    pub(super) created: Instant,
    pub(super) last_used: Instant,
    /// Interface the flow's packets use, for control messages on its behalf.
    pub(super) interface: Interface,
    /// Somebody other than this machine brought it about, and has a share of the table.
    pub(super) caused_by: Option<Source>,
    pub(super) packets_in: u64,
    pub(super) packets_out: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// What agents said when they last denied the flow a session.
    pub(super) denial: Option<Box<Denial>>,
}

/// The verdict, and what belongs to it. No field exists that is meaningless in its state.
pub(super) enum RowState {
    /// First packets are held while the other side is asked.
    Pending(Pending),
    /// Sealed for the peer agent.
    Protected(Protected),
    /// Passed as plaintext until `until`; asked again in the background.
    Clear(Plain),
    /// Dropped until `until`; asked again in the background.
    Dropped(Plain),
    /// Two other agents hold a session for it, and this router lets their datagrams pass.
    Transit(Box<Transit>),
}

/// Where the datagrams of a session go: what a router can see of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SealedPath {
    pub(super) to: WireAddr,
    pub(super) index: SessionIndex,
}

/// Somebody else's session, signed by both its ends.
pub(super) struct Transit {
    /// The initiator and the responder.
    pub(super) ends: [GeId; 2],
    /// The two hosts, the flow's source first.
    pub(super) flow: HostPair,
    /// Agents between the two ends, the one nearest the responder first.
    pub(super) path: Vec<Record>,
    /// Towards the initiator, towards the responder.
    pub(super) current: [SealedPath; 2],
    /// The session before, whose datagrams are still under way.
    pub(super) previous: Option<[SealedPath; 2]>,
    pub(super) since: Instant,
    pub(super) until: Instant,
}

impl Transit {
    pub(super) fn paths(&self) -> impl Iterator<Item = SealedPath> {
        self.current.into_iter().chain(self.previous.into_iter().flatten())
    }
}

/// A flow whose first packets wait.
pub(super) struct Pending {
    pub(super) negotiation: Negotiation,
    pub(super) held: HeldFrames,
}

/// A plaintext or discard verdict.
pub(super) struct Plain {
    pub(super) reason: NegotiationResult,
    pub(super) until: Instant,
    /// When the row is looked at; before `until` if that was put off since.
    pub(super) age_at: Instant,
    /// From here on a background negotiation is due.
    pub(super) ask_again: Instant,
    /// How long the next background negotiation waits after this one has failed.
    pub(super) patience: Duration,
    pub(super) background: Option<Negotiation>,
}

impl Plain {
    /// A verdict that nobody asks about again while it lasts.
    pub(super) const fn until(reason: NegotiationResult, until: Instant) -> Self {
        let patience = ASK_AGAIN_LAST;
        Self { reason, until, age_at: until, ask_again: until, patience, background: None }
    }
}

/// A flow under a session.
pub(super) struct Protected {
    pub(super) peer: GeId,
    pub(super) peer_mode: Mode,
    /// Sends. The one before it still opens until its grace is over.
    pub(super) current: SessionIndex,
    /// Agreed by us as initiator, not yet known to be usable at the other end.
    pub(super) next: Option<SessionIndex>,
    /// A negotiation for new keys.
    pub(super) rekey: Option<Negotiation>,
    /// The negotiation of ours that was confirmed last; its CDN may still be on its way.
    pub(super) confirmed: Option<NegotiationId>,
    /// How long the negotiation that led to `current` took.
    pub(super) took: Duration,
    /// The other end asked first. It is the one that asks again when the path has changed.
    pub(super) theirs: bool,
    pub(super) inner: Inner,
    /// When another agent last asked for the flow.
    pub(super) contested: Option<Instant>,
    pub(super) shortcut: Shortcut,
}

/// Whether the kernel hands the flow's packets over at once.
#[derive(Default)]
pub(super) struct Shortcut {
    /// The row's packets out at the last look, if there was one.
    seen: Option<u64>,
    /// The kernel need not be told again before.
    until: Option<Instant>,
}

impl Shortcut {
    /// A look at a flow of which so many packets have left. True if the kernel is to be told now.
    pub(super) fn look(&mut self, packets_out: u64, now: Instant) -> bool {
        let before = self.seen.replace(packets_out).unwrap_or(packets_out);
        let left = packets_out.saturating_sub(before);
        let due = left >= SHORTCUT_FROM && self.until.is_none_or(|until| now >= until);
        if due {
            self.until = Some(now + OFFLOAD_LIFETIME / 2);
        }
        due
    }
}

/// What a router that is an end knows of agents further in, on the way of what it opens.
pub(super) struct Inner {
    /// The one that said it shares no group with the other end, by its certificate.
    pub(super) known: Option<[u8; 8]>,
    /// The question inwards that was not answered yet.
    pub(super) asked: Option<Box<Initiator>>,
    /// When the last one left.
    pub(super) asked_at: Instant,
    /// How long after it the next one leaves, if the flow is in use.
    pub(super) patience: Duration,
}

impl Default for Inner {
    fn default() -> Self {
        let asked_at = Instant::default();
        Self { known: None, asked: None, asked_at, patience: INQUIRY_FIRST }
    }
}

impl Protected {
    /// A flow whose only session is `current`.
    pub(super) fn new(peer: GeId, peer_mode: Mode, current: SessionIndex, took: Duration) -> Self {
        Self {
            peer,
            peer_mode,
            current,
            next: None,
            rekey: None,
            confirmed: None,
            took,
            theirs: false,
            inner: Inner::default(),
            contested: None,
            shortcut: Shortcut::default(),
        }
    }
}

/// How the messages of a negotiation travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// In ICMP echo.
    Echo,
    /// In UDP, where the path filters echo.
    Udp,
    /// Sealed inside a live session: rekeying, invisible to routers.
    Session(SessionIndex),
}

/// A negotiation this agent started.
pub(super) struct Negotiation {
    pub(super) initiator: Initiator,
    pub(super) via: Via,
    /// The message being repeated: DDE, later MPIT.
    pub(super) message: Vec<u8>,
    pub(super) phase: Phase,
    /// Index under which we will receive.
    pub(super) index: SessionIndex,
    /// What the RGI brought, for a path whose agents must hear the CDN before data flows.
    pub(super) agreed: Option<Agreed>,
    pub(super) attempts: usize,
    pub(super) next_attempt: Instant,
    pub(super) started: Instant,
    /// It gave way to the other end's question, once; a second time would let that end put it off
    /// for ever.
    pub(super) yielded: bool,
    pub(super) echo_id: u16,
    pub(super) echo_seq: u16,
    /// COOKIEs followed.
    pub(super) cookies: u32,
    /// Messages that had a right `mac1` and were refused.
    pub(super) refused: u32,
    /// When the question goes out in the other carrier.
    pub(super) other_at: Option<Instant>,
    /// An ordinary machine reflected the question.
    pub(super) reflected: bool,
    /// A member of a group of ours said that it lacks the key in force, and its mode. A closed one takes
    /// nothing in clear meanwhile.
    pub(super) keyless: Option<Mode>,
}

impl Negotiation {
    /// Counts a refused message if an agent of the domain made it.
    pub(super) fn refuse(&mut self, reject: &Reject) -> DropReason {
        if let Reject::OtherEpoch(_, mode) = reject {
            self.keyless = Some(*mode);
        }
        self.refused += u32::from(reject.fault() != Fault::Anybody);
        reject.drop_reason()
    }
}

/// The other end of a session that is agreed and not confirmed.
#[derive(Clone, Copy)]
pub(super) struct Agreed {
    pub(super) peer: GeId,
    pub(super) peer_mode: Mode,
    pub(super) took: Duration,
}

/// What a negotiation waits for, named by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    ExpectRgi,
    ExpectCdn,
}

impl Row {
    pub(super) fn new(state: RowState, interface: Interface, now: Instant) -> Self {
        Self {
            state,
            created: now,
            last_used: now,
            interface,
            caused_by: None,
            packets_in: 0,
            packets_out: 0,
            bytes_in: 0,
            bytes_out: 0,
            denial: None,
        }
    }

    pub(super) fn caused_by(self, address: IpAddr) -> Self {
        Self { caused_by: Some(Source::of(address)), ..self }
    }

    pub(super) fn count_out(&mut self, bytes: usize, now: Instant) {
        self.last_used = now;
        self.packets_out += 1;
        self.bytes_out += bytes as u64;
    }

    pub(super) fn count_in(&mut self, packets: u64, bytes: usize, now: Instant) {
        self.last_used = now;
        self.packets_in += packets;
        self.bytes_in += bytes as u64;
    }

    /// A plain row whose background negotiation came to an agreement waits like a new one.
    pub(super) fn hold_rest(&mut self) {
        let (RowState::Clear(plain) | RowState::Dropped(plain)) = &mut self.state else { return };
        if let Some(negotiation) = plain.background.take() {
            self.state = RowState::Pending(Pending { negotiation, held: HeldFrames::default() });
        }
    }

    /// The negotiation under way, in whatever state the row is.
    pub(super) fn negotiation_mut(&mut self) -> Option<&mut Negotiation> {
        match &mut self.state {
            RowState::Pending(pending) => Some(&mut pending.negotiation),
            RowState::Protected(protected) => protected.rekey.as_mut(),
            RowState::Clear(plain) | RowState::Dropped(plain) => plain.background.as_mut(),
            RowState::Transit(_) => None,
        }
    }

    /// The negotiation under way, to read.
    pub(super) fn negotiation(&self) -> Option<&Negotiation> {
        match &self.state {
            RowState::Pending(pending) => Some(&pending.negotiation),
            RowState::Protected(protected) => protected.rekey.as_ref(),
            RowState::Clear(plain) | RowState::Dropped(plain) => plain.background.as_ref(),
            RowState::Transit(_) => None,
        }
    }

    /// A closed agent that shares a group with us is asked for what it cannot do yet. Until it can, it
    /// takes nothing in clear.
    pub(super) fn waits_for_key(&self) -> bool {
        self.negotiation().is_some_and(|own| own.keyless == Some(Mode::Closed))
    }

    pub(super) const fn protected(&self) -> Option<&Protected> {
        match &self.state {
            RowState::Protected(protected) => Some(protected),
            RowState::Pending(_)
            | RowState::Clear(_)
            | RowState::Dropped(_)
            | RowState::Transit(_) => None,
        }
    }

    pub(super) const fn protected_mut(&mut self) -> Option<&mut Protected> {
        match &mut self.state {
            RowState::Protected(protected) => Some(protected),
            RowState::Pending(_)
            | RowState::Clear(_)
            | RowState::Dropped(_)
            | RowState::Transit(_) => None,
        }
    }
}
