//! The whole vocabulary of the engine's border.

use crate::addr::{FlowAddr, WireAddr};
use crate::fast_path::Update;
use crate::flow::{Direction, HostPair};
use crate::id::Interface;
use crate::now::Instant;
use crate::wire::dprp::{Consent, Place};
use crate::{ClearReason, DropReason, Epoch, GeId, GroupId, Mode, Transit};
use core::net::IpAddr;
use core::ops::Range;
use core::time::Duration;

pub use crate::coalesce::Gather;

/// Length of the Ethernet header that captured frames carry.
pub const ETHERNET_LEN: usize = 14;
/// Length of `struct virtio_net_hdr`, which precedes each packet on the TUN and the packet socket.
pub const VNET_LEN: usize = 10;
/// Where the IP packet begins in a captured frame:
///
/// ```text
/// 0             10                24
/// | vnet header | Ethernet header | IP packet |
/// ```
///
/// Offsets in the vnet header count from the Ethernet header.
pub const PACKET_AT: usize = VNET_LEN + ETHERNET_LEN;

/// A packet the hook captured, as the kernel handed it over: the three parts of [`PACKET_AT`].
pub struct Frame<'a> {
    /// Interface, and whether the packet leaves or arrives.
    pub direction: Direction,
    /// All three parts.
    pub bytes: &'a mut [u8],
}

/// A captured frame that waits for a verdict, or was given one after waiting.
#[derive(Clone)]
pub struct HeldFrame {
    /// Where it was captured.
    pub direction: Direction,
    /// The three parts of [`PACKET_AT`].
    pub bytes: Vec<u8>,
}

/// What the runtime does with a frame that was leaving the machine.
#[derive(Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Put the same bytes back on the interface.
    PutBack,
    /// It was sealed; send the datagrams in the batch.
    Sealed,
    /// The engine kept, answered or dropped it.
    Consumed,
}

/// What the runtime does with a frame that arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Hand vnet header and IP packet (without the Ethernet header) to the local stack.
    Deliver,
    /// The engine used, answered or dropped it.
    Consumed,
}

/// Equal-sized UDP datagrams from one local address to one remote address, contiguous, the last
/// possibly shorter: exactly what one `sendmsg` with `UDP_SEGMENT` takes.
#[derive(Debug, Default)]
pub struct DatagramRun {
    /// Source address (a local address of this machine).
    pub from: Option<WireAddr>,
    /// Destination address and UDP port.
    pub to: Option<(WireAddr, u16)>,
    /// Interface to send by, for addresses that need a scope.
    pub interface: Option<Interface>,
    /// Traffic class / TOS byte, copied from the inner packet (RFC 6040).
    pub tos: u8,
    /// Size of each datagram but the last, in bytes.
    pub segment: usize,
    /// The datagrams.
    pub bytes: Vec<u8>,
}

impl DatagramRun {
    /// Empties the run, keeping its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.segment = 0;
    }

    /// Number of datagrams.
    #[must_use]
    pub fn count(&self) -> usize {
        count(self.bytes.len(), self.segment)
    }
}

/// Datagrams of `segment` bytes each, the last one perhaps shorter, in so many bytes.
const fn count(bytes: usize, segment: usize) -> usize {
    if segment == 0 { 0 } else { bytes.div_ceil(segment) }
}

/// Where a datagram on our UDP port came from.
#[derive(Clone, Copy, Debug)]
pub struct DatagramMeta {
    /// Source address.
    pub from: WireAddr,
    /// Source UDP port.
    pub from_port: u16,
    /// Destination address: one of ours.
    pub to: WireAddr,
    /// Traffic class / TOS byte as received.
    pub tos: u8,
    /// Interface it arrived on.
    pub interface: Interface,
}

/// What one receive of a data socket brought: where it lies in the buffer, and what it is.
///
/// ```text
///   buffer  | datagram | datagram | .. | shorter | datagram | datagram | ..
///           '-segment--+-segment--'              '-segment--
///           '----------- at: one of them --------'--------- the next ----
/// ```
#[derive(Clone, Debug)]
pub struct Received {
    /// Place in the buffer, in bytes.
    pub at: Range<usize>,
    /// Length of each datagram but the last, in bytes: the kernel may have glued several together.
    pub segment: usize,
    /// Where they came from. The same for all of them.
    pub meta: DatagramMeta,
}

impl Received {
    /// The only one in its buffer.
    #[must_use]
    pub const fn alone(buffer: &[u8], segment: usize, meta: DatagramMeta) -> Self {
        Self { at: 0..buffer.len(), segment, meta }
    }

    /// The places of its datagrams, in order.
    pub fn datagrams(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Range { start, end } = self.at;
        let starts = (start..end).step_by(self.segment.max(1));
        let segment = self.segment;
        starts.map(move |at| at..end.min(at + segment)).take_while(|range| !range.is_empty())
    }

    /// Number of datagrams.
    #[must_use]
    pub fn count(&self) -> usize {
        count(self.at.len(), self.segment)
    }
}

/// A negotiation message to send.
#[derive(Debug)]
pub struct Transmit {
    /// Source address.
    pub from: WireAddr,
    /// Destination address.
    pub to: WireAddr,
    /// Interface to send by, for addresses that need a scope.
    pub interface: Interface,
    /// IP protocol: ICMP, ICMPv6 or UDP.
    pub protocol: u8,
    /// The whole transport message: header, checksum, payload.
    pub bytes: Vec<u8>,
}

/// A verdict the kernel may apply by itself: decided plaintext skips userspace, and what is protected
/// comes there sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelVerdict {
    /// Pass packets of the pair, both directions.
    Bypass {
        /// The pair.
        pair: HostPair,
        /// The kernel forgets it after this time.
        lifetime: Duration,
    },
    /// Drop packets of the pair, both directions.
    Discard {
        /// The pair.
        pair: HostPair,
        /// The kernel forgets it after this time.
        lifetime: Duration,
    },
    /// Hand TCP of the pair that leaves to userspace at once, without asking the other rules: many of
    /// its packets come one by one. Userspace decides about each as before.
    Protect {
        /// The pair.
        pair: HostPair,
        /// The kernel forgets it after this time.
        lifetime: Duration,
    },
    /// Forget the pair: its packets come to userspace again.
    Forget {
        /// The pair.
        pair: HostPair,
    },
}

/// What the engine wants done. Drain until `Idle`.
pub enum Output {
    /// Send a negotiation message.
    Transmit(Transmit),
    /// Send sealed datagrams.
    Datagrams(DatagramRun),
    /// Put a held frame back on its interface, in clear.
    PutBack(HeldFrame),
    /// Hand an IP packet the engine made (an ICMP error, say) to the local stack.
    Deliver(Vec<u8>),
    /// Hand an inner packet that came before its session to the local stack.
    Opened(Vec<u8>),
    /// Change the kernel's verdict sets.
    Kernel(KernelVerdict),
    /// Tell a thread beside the engine ([`Engine::spread`](crate::engine::Engine::spread)): which of
    /// them, and what. Before any message of the same drain is sent, since its receiver may speak to
    /// that thread next.
    Beside(u8, Update),
    /// Have a thread beside the engine open a datagram that came here, or say
    /// [`Engine::lost_elsewhere`](crate::engine::Engine::lost_elsewhere).
    Elsewhere {
        /// Which of them.
        worker: u8,
        /// As it arrived.
        datagram: Vec<u8>,
        /// Where it came from.
        meta: DatagramMeta,
    },
    /// Something a person or a metric wants to know.
    Event(Event),
    /// Nothing more; call `tick` at this instant at the latest.
    Idle {
        /// Next deadline, if any.
        until: Option<Instant>,
        /// Which timer it is, so that a busy loop can name its cause.
        reason: &'static str,
    },
}

/// How a negotiation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NegotiationResult {
    /// Both ends agreed to protect.
    Protected,
    /// A signed NOMATCH said: agent there, no common group.
    NoMatch,
    /// Nobody answered the whole ladder.
    NoAnswer,
    /// A closed agent on the path is not content with who the two ends are.
    Refused,
    /// Outside the search scope; nobody was asked.
    OutOfScope,
    /// An open router let a stranger's first packet pass and asks meanwhile.
    Unasked,
}

impl NegotiationResult {
    /// Kebab-case spelling for metrics, logs and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Protected => "protected",
            Self::NoMatch => "no-match",
            Self::NoAnswer => "no-answer",
            Self::Refused => "refused",
            Self::OutOfScope => "out-of-scope",
            Self::Unasked => "unasked",
        }
    }
}

/// Something a person or a metric wants to know.
#[derive(Clone, Debug)]
pub enum Event {
    /// A negotiation ended.
    Negotiated {
        /// The flow.
        pair: HostPair,
        /// How.
        result: NegotiationResult,
        /// From the first message to the verdict.
        took: Duration,
    },
    /// A session took over from an older one (time, count or new epoch).
    Rekeyed {
        /// The flow.
        pair: HostPair,
        /// Epoch of the group key it is bound to.
        epoch: Epoch,
    },
    /// A peer said goodbye, or was removed from the group.
    PeerGone {
        /// The flow.
        pair: HostPair,
        /// Why.
        reason: &'static str,
    },
    /// The path to a peer is narrower than its interface.
    PathMtu {
        /// The flow.
        pair: HostPair,
        /// New outer packet size in bytes.
        mtu: u16,
    },
    /// A first packet left in clear although nobody refused: open mode's fallback, counted.
    ClearFallback {
        /// The flow.
        pair: HostPair,
        /// Why.
        result: NegotiationResult,
    },
}

/// One network interface under the hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// The kernel's index.
    pub interface: Interface,
    /// Name for people.
    pub name: String,
    /// Ethernet address.
    pub mac: [u8; 6],
    /// Link MTU in bytes.
    pub mtu: u16,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// One PIT row, for `ges flows` and `ges status`.
#[derive(Clone, Debug)]
pub struct FlowSnapshot {
    /// Our side.
    pub local: FlowAddr,
    /// The other side.
    pub remote: FlowAddr,
    /// `protected`, `clear`, `dropped` or `pending`.
    pub verdict: &'static str,
    /// Why, for people: `no-answer`, `no-match`, `out-of-scope`, …
    pub reason: &'static str,
    /// Why closed mode would drop it, if it would: observe mode only.
    pub would_drop: Option<ClearReason>,
    /// The peer agent, its group and its epoch, if protected.
    pub peer: Option<PeerSnapshot>,
    /// The two ends of the session, if it is others'.
    pub ends: Option<[GeId; 2]>,
    /// Agents between the two ends, the one nearest the initiator first.
    pub path: Vec<PathAgent>,
    /// Who denied it a session when it was last asked about; not while it is protected.
    pub denial: Option<Denial>,
    /// It is being asked about now.
    pub asking: bool,
    /// Until it is asked about again, if somebody uses it then; `None` while it is being asked
    /// about, or has a session.
    pub ask_again: Option<Duration>,
    /// Until the verdict ends by itself, where it does.
    pub left: Option<Duration>,
    /// Since the row was made.
    pub age: Duration,
    /// Since the last packet.
    pub idle: Duration,
    /// Bytes received (inner packets).
    pub bytes_in: u64,
    /// Bytes sent (inner packets).
    pub bytes_out: u64,
    /// Packets received.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
}

/// An agent between the two ends of a session, as it said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathAgent {
    /// First 8 bytes of SHA-256 of its certificate.
    pub certificate: [u8; 8],
    /// Its mode, and what it asks of sessions that pass.
    pub consent: Consent,
    /// Whose side it is on.
    pub place: Place,
    /// It recognised a group of one of the two ends as its own.
    pub shares_group: bool,
}

/// Why a flow has no session: what agents signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Who decided.
    pub by: Speaker,
    /// Who would have been the other end, if somebody on the way decided.
    pub end: Option<Speaker>,
    /// The agents between, the one nearest this agent first; `by` is among them then.
    pub path: Vec<PathAgent>,
}

/// An agent that spoke about a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// Its id, if its whole certificate was seen.
    pub agent: Option<GeId>,
    /// First 8 bytes of SHA-256 of its certificate.
    pub certificate: [u8; 8],
    /// It is certified as a router; `None` if its whole certificate was not seen.
    pub router: Option<bool>,
    /// It spoke for another machine's address.
    pub speaks_for: bool,
    /// Its mode.
    pub mode: Mode,
    /// What it asks of sessions that pass, if it said so.
    pub transit: Option<Transit>,
    /// Whose side it is on.
    pub place: Place,
    /// It holds a group of this agent's, or recognised one of an end's as its own.
    pub shares_group: bool,
    /// It passed on that somebody further on refuses.
    pub relays: bool,
}

/// A row whose verdict changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// The two hosts.
    pub pair: HostPair,
    /// The row now; `None` if it is gone.
    pub flow: Option<FlowSnapshot>,
}

/// What this agent knows about two hosts before it asks anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// `local` is an address of this machine.
    pub own: bool,
    /// This agent may speak for `local`.
    pub stands_for: bool,
    /// `remote` is worth asking about, by the policy or as a neighbour.
    pub in_scope: bool,
    /// The policy says that `remote` is never talked to in clear.
    pub must_protect: bool,
    /// `remote` was protected within a day, so that it is not talked to in clear.
    pub remembered: bool,
    /// A certificate and keys are in force.
    pub can_ask: bool,
    /// This agent's mode.
    pub mode: Mode,
    /// What this agent asks of sessions that pass.
    pub transit: Transit,
    /// First 8 bytes of SHA-256 of its certificate, once it has one.
    pub certificate: Option<[u8; 8]>,
}

/// The agent at the other end of a protected flow.
#[derive(Clone, Debug)]
pub struct PeerSnapshot {
    /// Its id.
    pub agent: GeId,
    /// It is certified as a router.
    pub router: bool,
    /// It speaks for another machine: sealed packets go to another address than the flow's.
    pub speaks_for: bool,
    /// Group whose key both proved.
    pub group: GroupId,
    /// Name of the group.
    pub group_name: String,
    /// Epoch of that key.
    pub epoch: Epoch,
    /// The peer's mode.
    pub mode: Mode,
    /// Since the present session keys were agreed.
    pub key_age: Duration,
    /// `aes-256-gcm` or `chacha20-poly1305`.
    pub aead: &'static str,
    /// Time the last negotiation took.
    pub negotiation: Duration,
    /// What the last negotiation outside a session travelled in: `echo` or `udp`.
    pub carrier: &'static str,
    /// This machine is behind a NAT: under which address the peer sees it.
    pub seen_as: Option<IpAddr>,
    /// The peer is behind a NAT: by which address it knows itself.
    pub own_address: Option<IpAddr>,
}

/// Counters, for metrics. Never reset.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// One per [`DropReason::ALL`], outgoing.
    pub dropped_out: Vec<u64>,
    /// One per [`DropReason::ALL`], incoming.
    pub dropped_in: Vec<u64>,
    /// Packets and bytes sealed.
    pub sealed: (u64, u64),
    /// Packets and bytes opened.
    pub opened: (u64, u64),
    /// Packets and bytes passed in clear by userspace, outgoing.
    pub clear_out: (u64, u64),
    /// Packets and bytes passed in clear by userspace, incoming.
    pub clear_in: (u64, u64),
    /// Held packets by result: released, expired, overflow.
    pub held: [u64; 3],
    /// Plaintext that passed, one per [`ClearReason::ALL`]: verdicts of flows with a row, packets
    /// where there is none.
    pub clear_fallbacks: Vec<u64>,
    /// Flows that closed mode would have dropped, one per [`ClearReason::ALL`]: observe mode only.
    pub would_drop: Vec<u64>,
    /// Sessions rekeyed.
    pub rekeys: u64,
}

impl Counters {
    /// All zero, with one slot per reason.
    #[must_use]
    pub fn new() -> Self {
        let zeros = vec![0; DropReason::ALL.len()];
        let none = vec![0; ClearReason::ALL.len()];
        Self {
            dropped_out: zeros.clone(),
            dropped_in: zeros,
            clear_fallbacks: none.clone(),
            would_drop: none,
            ..Self::default()
        }
    }
}

/// The engine's state at one moment, for the control socket.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// This agent, once enrolled.
    pub agent: Option<GeId>,
    /// Mode in force.
    pub mode: Mode,
    /// Open, and reporting what closed mode would drop.
    pub observe: bool,
    /// Policy version in force.
    pub version: u64,
    /// Groups: id, name, epoch used for sending, seconds until it ends.
    pub groups: Vec<(GroupId, String, Epoch, u64)>,
    /// Seconds until this agent's certificate ends.
    pub certificate_left: u64,
    /// PIT rows.
    pub flows: Vec<FlowSnapshot>,
    /// Sessions alive.
    pub sessions: usize,
    /// Negotiations under way.
    pub negotiations: usize,
    /// Packets being held.
    pub held: usize,
    /// Requests must prove where they come from at this moment.
    pub under_load: bool,
    /// Counters, of all threads together.
    pub counters: Counters,
    /// Threads of the data path, the engine's first.
    pub threads: Vec<ThreadSnapshot>,
}

/// What one thread of the data path has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadSnapshot {
    /// Packets sealed.
    pub sealed: u64,
    /// Packets opened.
    pub opened: u64,
}
