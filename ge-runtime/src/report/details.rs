//! What the packet path does with the kernel: `status --details`, and metrics.

use crate::ledger::{Ledger, State};
use crate::offload::Offload;
use crate::sockopt::SocketMemory;
use crate::tun::TunCounts;
use ge_core::io::{Snapshot, ThreadSnapshot};
use ge_core::traffic::AeadKind;
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DetailsReport {
    /// Every offload.
    pub offloads: Vec<OffloadReport>,
    /// Packets that the kernel did not take since the start, by place and cause; those that did
    /// not occur are left out.
    pub lost: Vec<LossReport>,
    /// Our sockets on the packet path.
    pub sockets: Vec<SocketReport>,
    /// Our TUNs.
    pub tuns: Vec<TunReport>,
    /// Both algorithms of data packets.
    pub aeads: Vec<AeadReport>,
    /// Threads of the data path, the engine's first.
    pub threads: Vec<ThreadReport>,
}

/// What one thread of the data path has done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ThreadReport {
    /// Packets sealed.
    pub sealed: u64,
    /// Packets opened.
    pub opened: u64,
}

/// One offload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OffloadReport {
    /// Its name in settings.
    pub name: String,
    /// `on`, `off` (by setting), `refused` (by the kernel at the start) or `fell-back`.
    pub state: String,
    /// Why it was refused or fell back: the name of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Calls that the kernel refused while it was used.
    pub refusals: u64,
    /// Packets of those calls that went one by one instead.
    pub replayed: u64,
    /// Packets in one call at most, where the kernel sets a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_once: Option<u32>,
}

/// Packets that were lost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LossReport {
    /// What was to be done: `send`, `deliver`, `put-back`, `message` or `receive`.
    pub place: String,
    /// Why it was not: `queue-full`, `too-big`, …
    pub cause: String,
    /// How many.
    pub packets: u64,
}

/// One socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SocketReport {
    /// `udp4`, `udp6`, with `thread` and its number where it is not the engine's, or `packet` and the
    /// interface.
    pub name: String,
    /// Receive buffer in bytes, as the kernel counts: twice what was asked for.
    pub receive_buffer: u32,
    /// Send buffer in bytes, likewise.
    pub send_buffer: u32,
    /// Datagrams dropped on arrival since it was opened.
    pub dropped: u32,
}

/// One TUN.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TunReport {
    /// Its name.
    pub name: String,
    /// The interface it serves.
    pub interface: String,
    /// Packets read, a super-packet once.
    pub read: u64,
    /// Packets written, a merged one once.
    pub written: u64,
    /// Packets for us, dropped because we did not read fast enough.
    pub queue_dropped: u64,
    /// Packets from us that the stack did not take.
    pub stack_dropped: u64,
    /// Packets from us with a vnet header that did not fit.
    pub malformed: u64,
}

/// One algorithm of data packets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AeadReport {
    /// Its name.
    pub name: String,
    /// Protected flows that use it.
    pub flows: usize,
    /// Nanoseconds to seal 1,400 bytes on this machine, as measured at the start. It informs: which
    /// one a session uses follows from the certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal_nanoseconds: Option<u64>,
}

/// What the kernel says about sockets and TUNs.
#[derive(Clone, Debug, Default)]
pub struct KernelReport {
    /// Sockets.
    pub sockets: Vec<SocketReport>,
    /// TUNs.
    pub tuns: Vec<TunReport>,
}

impl DetailsReport {
    /// From what was counted, what the kernel says, and the flows.
    #[must_use]
    pub fn new(ledger: &Ledger, kernel: KernelReport, snapshot: &Snapshot) -> Self {
        let lost = ledger.losses.all().filter(|(.., packets)| *packets > 0);
        Self {
            offloads: offloads(ledger),
            lost: lost
                .map(|(place, cause, packets)| LossReport {
                    place: place.as_str().to_owned(),
                    cause: cause.as_str().to_owned(),
                    packets,
                })
                .collect(),
            sockets: kernel.sockets,
            tuns: kernel.tuns,
            aeads: aeads(ledger, snapshot),
            threads: snapshot.threads.iter().map(ThreadReport::from).collect(),
        }
    }
}

impl From<&ThreadSnapshot> for ThreadReport {
    fn from(&ThreadSnapshot { sealed, opened }: &ThreadSnapshot) -> Self {
        Self { sealed, opened }
    }
}

impl SocketReport {
    /// Of the socket called `name`.
    #[must_use]
    pub const fn new(name: String, memory: SocketMemory) -> Self {
        let SocketMemory { receive, send, dropped } = memory;
        Self { name, receive_buffer: receive, send_buffer: send, dropped }
    }

    /// Of a thread's socket for one IP version; the engine's thread is 0.
    #[must_use]
    pub fn of_thread(version: &str, thread: usize, memory: SocketMemory) -> Self {
        let name = match thread {
            0 => version.to_owned(),
            _ => format!("{version} thread {thread}"),
        };
        Self::new(name, memory)
    }
}

impl TunReport {
    /// Of the TUN called `name`, which serves `interface`.
    #[must_use]
    pub fn new(name: &str, interface: &str, counts: TunCounts) -> Self {
        Self {
            name: name.to_owned(),
            interface: interface.to_owned(),
            read: counts.read,
            written: counts.written,
            queue_dropped: counts.queue,
            stack_dropped: counts.stack,
            malformed: counts.malformed,
        }
    }
}

fn offloads(ledger: &Ledger) -> Vec<OffloadReport> {
    let report = |record: crate::ledger::OffloadRecord| {
        let (state, error) = match record.state {
            State::On => ("on", None),
            State::Off => ("off", None),
            State::Refused(number) => ("refused", Some(number)),
            State::FellBack(number) => ("fell-back", Some(number)),
        };
        let bounded = record.offload == Offload::UdpSend && record.state == State::On;
        OffloadReport {
            name: record.offload.as_str().to_owned(),
            state: state.to_owned(),
            error: error.map(|number| format!("{:?}", nix::errno::Errno::from_raw(number))),
            refusals: record.refusals,
            replayed: record.replayed,
            at_once: bounded.then(|| ledger.segments()),
        }
    };
    ledger.offloads().into_iter().map(report).collect()
}

fn aeads(ledger: &Ledger, snapshot: &Snapshot) -> Vec<AeadReport> {
    let report = |kind: AeadKind| {
        let name = kind.as_str();
        let uses = |flow: &&ge_core::io::FlowSnapshot| {
            flow.peer.as_ref().is_some_and(|peer| peer.aead == name)
        };
        let time = ledger.seal_times().iter().find(|time| time.aead == name);
        AeadReport {
            name: name.to_owned(),
            flows: snapshot.flows.iter().filter(uses).count(),
            seal_nanoseconds: time.map(|time| time.nanoseconds),
        }
    };
    [AeadKind::Aes256Gcm, AeadKind::ChaCha20Poly1305].into_iter().map(report).collect()
}
