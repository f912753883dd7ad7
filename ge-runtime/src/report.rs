//! What people and scripts are told: the shapes behind `status`, `flows` and `ping`.
//!
//! A report is made from the engine's [`Snapshot`], the runtime's [`Facts`] and the time, by pure
//! functions; it travels over the control socket as JSON and is what `--json` prints. So text and
//! JSON can be tested against golden files without an agent. Fields are only ever added. Times are
//! RFC 3339 in UTC, durations seconds, sizes bytes. No report carries a secret.

mod change;
mod details;
mod facts;
mod health;
mod trace;
mod verdict;

pub use change::ChangeReport;
pub use details::{
    AeadReport, DetailsReport, KernelReport, LossReport, OffloadReport, SocketReport, TunReport,
};
pub use facts::{Facts, MemoryFault, NameFacts, ServerFacts, SharedFacts};
pub use health::{Health, Severity, health};
pub use trace::{Cause, Names, Remedy, TraceAgent, TraceReport};
pub use verdict::{UnknownVerdict, Verdict, VerdictCounts};

use crate::options::Prefix;
use ge_core::ClearReason;
use ge_core::Mode;
use ge_core::io::{Denial, FlowSnapshot, PathAgent, PeerSnapshot, Snapshot, Speaker};
use ge_core::wire::dprp::{Consent, Place};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Flow rows in a status report: those used last. A screen holds fewer; `flows` has them all.
pub const STATUS_ROWS: usize = 50;

/// Answer to `status`, schemas `ges.status/1` and `gen.status/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of the running agent.
    pub version: String,
    /// Agent id in hex; `null` while not enrolled.
    pub agent: Option<String>,
    /// `open`, `closed` or `observe`.
    pub mode: String,
    /// Version of the domain's policy in force.
    pub policy_version: u64,
    /// When the agent started, RFC 3339.
    pub started: String,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// The management server as this agent sees it.
    pub server: ServerReport,
    /// Interfaces under the hook.
    pub interfaces: Vec<String>,
    /// Ranges a router stands for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<Prefix>,
    /// Groups this agent is in.
    pub groups: Vec<GroupReport>,
    /// Seconds until this agent's certificate ends.
    pub certificate_left_seconds: u64,
    /// PIT rows by verdict.
    pub counts: VerdictCounts,
    /// Plaintext that passed since the start, by reason; reasons that did not occur are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clear_fallbacks: BTreeMap<String, u64>,
    /// Observe mode: flows since the start that closed mode would have dropped, by reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_drop: Option<BTreeMap<String, u64>>,
    /// Names that must be protected, as last looked up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NameFacts>,
    /// Sessions alive.
    pub sessions: usize,
    /// Negotiations under way.
    pub negotiations: usize,
    /// Packets being held.
    pub held: usize,
    /// The [`STATUS_ROWS`] rows used last, latest first.
    pub flows: Vec<FlowReport>,
    /// Problems, worst first; empty if all is well.
    pub health: Vec<Health>,
    /// What the packet path does with the kernel, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<DetailsReport>,
}

/// The management server as the agent sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerReport {
    /// Base URL.
    pub url: Option<String>,
    /// `ok`, `unreachable`, or `unknown` before the first contact.
    pub state: String,
    /// Last contact, RFC 3339.
    pub last_contact: Option<String>,
    /// Seconds since the last contact.
    pub sync_age_seconds: Option<u64>,
    /// Not reached since, RFC 3339.
    pub unreachable_since: Option<String>,
}

/// A group of this agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupReport {
    /// Number.
    pub id: u32,
    /// Name.
    pub name: String,
    /// Epoch of the key used for sending.
    pub epoch: u32,
    /// Seconds until that key ends.
    pub ends_in_seconds: u64,
}

/// One PIT row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlowReport {
    /// Our side.
    pub local: IpAddr,
    /// The other side.
    pub remote: IpAddr,
    /// What happens to its packets.
    pub verdict: Verdict,
    /// Why: `no-answer`, `no-match`, `out-of-scope`, …
    pub reason: String,
    /// `dropped`, where observe mode passes what closed mode would drop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would: Option<Verdict>,
    /// Why closed mode would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_reason: Option<String>,
    /// The agent at the other end, if protected.
    pub peer: Option<PeerReport>,
    /// The agents at both ends, in hex, if it is two others that protect it (router).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<[String; 2]>,
    /// Agents between the two ends, the one nearest who asked first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<PathReport>,
    /// Who denied it a session when it was last asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denial: Option<DenialReport>,
    /// It is being asked about now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asking: bool,
    /// Seconds until it may be asked about again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_again_seconds: Option<f64>,
    /// Seconds until the verdict ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_seconds: Option<f64>,
    /// Seconds since the row was made.
    pub age_seconds: f64,
    /// Seconds since its last packet.
    pub idle_seconds: f64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Packets received.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
}

/// Why a flow has no session: what agents signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DenialReport {
    /// Who decided.
    pub by: SpeakerReport,
    /// Who would have been the other end, if somebody on the way decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<SpeakerReport>,
    /// The agents between, as far as they are known, the one nearest this agent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<PathReport>,
}

/// An agent that spoke about a flow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpeakerReport {
    /// Its id in hex, if it is known.
    pub agent: Option<String>,
    /// First 8 bytes of SHA-256 of its certificate, in hex.
    pub certificate: String,
    /// `host` or `router`, if it is known.
    pub kind: Option<String>,
    /// `open` or `closed`.
    pub mode: String,
    /// `strict`, `vouched` or `any`, if it said so.
    pub transit: Option<String>,
    /// Whom it stands for: `source`, `destination`, or neither: `between`.
    pub place: String,
    /// It holds a group of this agent's, or recognised one of an end's as its own.
    pub shares_group: bool,
    /// It passed on that somebody further on refuses.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relays: bool,
}

/// An agent between the two ends of a protected flow, as it said of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PathReport {
    /// First 8 bytes of SHA-256 of its certificate, in hex.
    pub certificate: String,
    /// `open` or `closed`.
    pub mode: String,
    /// What it asks of what others protect, if it is closed: `strict`, `vouched` or `any`.
    pub transit: Option<String>,
    /// Whom it stands for: `source`, `destination`, or neither: `between`.
    pub place: String,
    /// It recognised a group of one of the two ends as its own.
    pub shares_group: bool,
}

/// The agent at the other end of a protected flow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerReport {
    /// Its id in hex.
    pub agent: String,
    /// `host` or `router`.
    #[serde(default)]
    pub kind: String,
    /// It speaks for another machine.
    #[serde(default)]
    pub speaks_for: bool,
    /// `open` or `closed`.
    pub mode: String,
    /// Number of the group whose key both proved.
    pub group_id: u32,
    /// Name of that group.
    pub group: String,
    /// Epoch of that key.
    pub epoch: u32,
    /// Algorithm of the data packets.
    pub aead: String,
    /// Seconds since the present session keys were agreed.
    pub key_age_seconds: f64,
    /// Seconds the last negotiation took.
    pub negotiation_seconds: f64,
    /// What the last negotiation outside a session travelled in: `echo` or `udp`.
    #[serde(default)]
    pub carrier: String,
    /// This machine is behind a NAT: the address under which the other end sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_as: Option<IpAddr>,
    /// The other end is behind a NAT: the address by which it knows itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_address: Option<IpAddr>,
}

/// Answer to `flows`, schemas `ges.flows/1` and `gen.flows/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlowsReport {
    /// Rows by address of the other side.
    pub flows: Vec<FlowReport>,
}

/// The negotiation part of `ping`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The address asked for.
    pub address: IpAddr,
    /// This agent's id in hex.
    pub agent: Option<String>,
    /// This agent's mode: `open`, `closed` or `observe`.
    pub mode: String,
    /// The row, if one was made.
    pub flow: Option<FlowReport>,
    /// Seconds from the request to the verdict.
    pub took_seconds: f64,
}

/// One echo of `ping`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EchoReport {
    /// Number of the echo, from 1.
    pub sequence: u16,
    /// Seconds until the answer; `null` if none came in time.
    pub round_trip_seconds: Option<f64>,
}

impl StatusReport {
    /// The whole picture at `now`.
    #[must_use]
    pub fn new(snapshot: &Snapshot, facts: &Facts, now: SystemTime) -> Self {
        let mut rows: Vec<&FlowSnapshot> = snapshot.flows.iter().collect();
        rows.sort_by_key(|row| (row.idle, row.remote, row.local));
        rows.truncate(STATUS_ROWS);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            agent: snapshot.agent.map(|agent| agent.to_string()),
            mode: mode(snapshot).to_owned(),
            policy_version: snapshot.version,
            started: rfc3339(facts.started),
            uptime_seconds: since(facts.started, now).as_secs(),
            server: ServerReport::new(&facts.server, now),
            interfaces: facts.interfaces.clone(),
            prefixes: facts.prefixes.clone(),
            groups: groups(snapshot),
            certificate_left_seconds: snapshot.certificate_left,
            counts: VerdictCounts::of(&snapshot.flows),
            clear_fallbacks: by_reason(&snapshot.counters.clear_fallbacks),
            would_drop: snapshot.observe.then(|| by_reason(&snapshot.counters.would_drop)),
            names: facts.names.clone(),
            sessions: snapshot.sessions,
            negotiations: snapshot.negotiations,
            held: snapshot.held,
            flows: rows.into_iter().map(FlowReport::new).collect(),
            health: health(snapshot, facts, now),
            details: None,
        }
    }
}

impl FlowsReport {
    /// All rows, or those with one verdict, or those that closed mode would drop.
    #[must_use]
    pub fn new(snapshot: &Snapshot, only: Option<Verdict>, would_drop: bool) -> Self {
        let mut flows: Vec<FlowReport> = snapshot
            .flows
            .iter()
            .map(FlowReport::new)
            .filter(|flow| only.is_none_or(|verdict| flow.verdict == verdict))
            .filter(|flow| !would_drop || flow.would.is_some())
            .collect();
        flows.sort_by_key(|flow| (flow.remote, flow.local));
        Self { flows }
    }
}

impl FlowReport {
    fn new(row: &FlowSnapshot) -> Self {
        Self {
            local: row.local.0,
            remote: row.remote.0,
            verdict: Verdict::of(row),
            reason: row.reason.to_owned(),
            would: row.would_drop.map(|_| Verdict::Dropped),
            would_reason: row.would_drop.map(|reason| reason.as_str().to_owned()),
            peer: row.peer.as_ref().map(PeerReport::new),
            ends: row.ends.map(|ends| ends.map(|agent| agent.to_string())),
            path: row.path.iter().map(PathReport::new).collect(),
            denial: row.denial.as_ref().map(DenialReport::new),
            asking: row.asking,
            ask_again_seconds: row.ask_again.map(|left| left.as_secs_f64()),
            left_seconds: row.left.map(|left| left.as_secs_f64()),
            age_seconds: row.age.as_secs_f64(),
            idle_seconds: row.idle.as_secs_f64(),
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
            packets_in: row.packets_in,
            packets_out: row.packets_out,
        }
    }
}

impl DenialReport {
    fn new(denial: &Denial) -> Self {
        Self {
            by: SpeakerReport::new(&denial.by),
            end: denial.end.as_ref().map(SpeakerReport::new),
            path: denial.path.iter().map(PathReport::new).collect(),
        }
    }
}

impl SpeakerReport {
    fn new(speaker: &Speaker) -> Self {
        Self {
            agent: speaker.agent.map(|agent| agent.to_string()),
            certificate: hex::encode(speaker.certificate),
            kind: speaker.router.map(|router| kind(router).to_owned()),
            mode: speaker.mode.as_str().to_owned(),
            transit: speaker.transit.map(|transit| transit.as_str().to_owned()),
            place: place(speaker.place).to_owned(),
            shares_group: speaker.shares_group,
            relays: speaker.relays,
        }
    }

    fn is_closed(&self) -> bool {
        self.mode == Mode::Closed.as_str()
    }
}

const fn kind(router: bool) -> &'static str {
    if router { "router" } else { "host" }
}

const fn place(place: Place) -> &'static str {
    match place {
        Place::Source => "source",
        Place::Destination => "destination",
        Place::Between => "between",
    }
}

impl PathReport {
    fn new(agent: &PathAgent) -> Self {
        Self {
            certificate: hex::encode(agent.certificate),
            mode: agent.consent.mode().as_str().to_owned(),
            transit: match agent.consent {
                Consent::Open => None,
                Consent::Closed(transit) => Some(transit.as_str().to_owned()),
            },
            place: place(agent.place).to_owned(),
            shares_group: agent.shares_group,
        }
    }
}

impl PeerReport {
    fn new(peer: &PeerSnapshot) -> Self {
        Self {
            agent: peer.agent.to_string(),
            kind: kind(peer.router).to_owned(),
            speaks_for: peer.speaks_for,
            mode: peer.mode.as_str().to_owned(),
            group_id: peer.group.0,
            group: peer.group_name.clone(),
            epoch: peer.epoch.0,
            aead: peer.aead.to_owned(),
            key_age_seconds: peer.key_age.as_secs_f64(),
            negotiation_seconds: peer.negotiation.as_secs_f64(),
            carrier: peer.carrier.to_owned(),
            seen_as: peer.seen_as,
            own_address: peer.own_address,
        }
    }
}

impl ProbeReport {
    /// What came of asking for `address`.
    #[must_use]
    pub fn new(
        address: IpAddr,
        snapshot: &Snapshot,
        flow: Option<&FlowSnapshot>,
        took: Duration,
    ) -> Self {
        Self {
            address,
            agent: snapshot.agent.map(|agent| agent.to_string()),
            mode: mode(snapshot).to_owned(),
            flow: flow.map(FlowReport::new),
            took_seconds: took.as_secs_f64(),
        }
    }
}

impl ServerReport {
    fn new(server: &ServerFacts, now: SystemTime) -> Self {
        let state = match (server.unreachable_since, server.last_contact) {
            (Some(_), _) => "unreachable",
            (None, Some(_)) => "ok",
            (None, None) => "unknown",
        };
        Self {
            url: server.url.clone(),
            state: state.to_owned(),
            last_contact: server.last_contact.map(rfc3339),
            sync_age_seconds: server.last_contact.map(|last| since(last, now).as_secs()),
            unreachable_since: server.unreachable_since.map(rfc3339),
        }
    }
}

/// The mode as the administrator set it.
const fn mode(snapshot: &Snapshot) -> &'static str {
    if snapshot.observe { "observe" } else { snapshot.mode.as_str() }
}

/// Counters by the name of their reason, without zeros.
fn by_reason(counts: &[u64]) -> BTreeMap<String, u64> {
    let named = ClearReason::ALL.iter().zip(counts).filter(|(_, count)| **count > 0);
    named.map(|(reason, count)| (reason.as_str().to_owned(), *count)).collect()
}

fn groups(snapshot: &Snapshot) -> Vec<GroupReport> {
    snapshot
        .groups
        .iter()
        .map(|(id, name, epoch, left)| GroupReport {
            id: id.0,
            name: name.clone(),
            epoch: epoch.0,
            ends_in_seconds: *left,
        })
        .collect()
}

/// `at` in RFC 3339, UTC, whole seconds.
fn rfc3339(at: SystemTime) -> String {
    OffsetDateTime::from(at)
        .replace_nanosecond(0)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .expect("invariant: the system clock lies within the years RFC 3339 can write")
}

/// How long ago `earlier` was; zero if the clock was set back since.
fn since(earlier: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(earlier).unwrap_or_default()
}
