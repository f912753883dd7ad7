//! The `# Health` block: problems only, each with a stable code and the command that helps.
//!
//! One cause hides its effects: an agent that is not enrolled has no keys that could end. Codes
//! are never reused for another problem. Conditions that pass by themselves are warnings or
//! errors and fail `status --check`; counters since the start never go back to zero, so what
//! is told from them is a notice.

use super::{Facts, MemoryFault, Verdict, rfc3339, since};
use crate::options::Prefix;
use crate::program::Program;
use ge_core::io::Snapshot;
use ge_core::{DropReason, Mode, limits};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// A server away for less is a restart or a lost packet.
const SERVER_GRACE: Duration = Duration::from_secs(60);
/// A certificate lives 24 h and is renewed after 8 h (PROTOCOL.md 2.5): with less than this left,
/// eight hours of renewals have failed.
const CERTIFICATE_SOON: Duration = Duration::from_secs(8 * 3600);
/// The next epoch starts 600 s before the last one ends (PROTOCOL.md 2.5): with less than this
/// left, there is no next one.
const KEY_SOON: Duration = Duration::from_secs(300);
/// With the server away no next epoch can come: say so while there is time to act.
const KEY_SOON_ALONE: Duration = Duration::from_secs(8 * 3600);
/// Share of the PIT that may fill before somebody should look, in percent.
const PIT_FULL_PERCENT: usize = 90;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is at risk.
    Notice,
    /// Will get worse if nobody acts.
    Warning,
    /// Does not work.
    Error,
}

impl Severity {
    /// All severities, mildest first.
    pub const ALL: [Self; 3] = [Self::Notice, Self::Warning, Self::Error];

    /// The word in JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Stable code, `W-…`.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence.
    pub text: String,
    /// The command that helps.
    pub command: String,
}

impl Health {
    fn new(code: &str, severity: Severity, text: String, command: &str) -> Self {
        Self { code: code.to_owned(), severity, text, command: command.to_owned() }
    }
}

/// All problems at `now`, worst first.
#[must_use]
pub fn health(snapshot: &Snapshot, facts: &Facts, now: SystemTime) -> Vec<Health> {
    if snapshot.agent.is_none() {
        return vec![not_enrolled(snapshot, facts)];
    }
    let mut found = Vec::new();
    found.extend(server_away(facts, now));
    found.extend(certificate_ends(snapshot, facts));
    found.extend(keys_end(snapshot, facts));
    found.extend(not_certified(snapshot, facts));
    found.extend(pit_full(snapshot, facts));
    found.extend(under_load(snapshot, facts));
    found.extend(names(snapshot, facts));
    found.extend(memory(facts));
    found.extend(observing(snapshot, facts));
    found.extend(clear_fallbacks(snapshot, facts));
    found.extend(held_overflow(snapshot, facts));
    found.extend(clear_on_protected(snapshot, facts));
    found.sort_by_key(|item| std::cmp::Reverse(item.severity));
    found
}

fn not_enrolled(snapshot: &Snapshot, facts: &Facts) -> Health {
    let what = match snapshot.mode {
        Mode::Open => "its traffic is not protected",
        Mode::Closed => "being closed, it refuses all traffic",
    };
    let text = format!("this {} is no member; {what}", facts.program.machine());
    Health::new("W-NOT-ENROLLED", Severity::Error, text, &log(facts))
}

/// The command that shows what the agent said last.
fn log(facts: &Facts) -> String {
    format!("journalctl -u {} -n 20", facts.program.name())
}

/// The command that shows the flows with a verdict, or all.
fn flows(facts: &Facts, verdict: Option<Verdict>) -> String {
    match verdict {
        Some(verdict) => format!("{} flows --verdict {verdict}", facts.program.name()),
        None => format!("{} flows", facts.program.name()),
    }
}

fn server_away(facts: &Facts, now: SystemTime) -> Option<Health> {
    let away = facts.server.unreachable_since?;
    if since(away, now) < SERVER_GRACE {
        return None;
    }
    let text = format!(
        "the management server was not reached since {}; traffic goes on with the keys in hand",
        rfc3339(away)
    );
    Some(Health::new("W-SERVER", Severity::Warning, text, &log(facts)))
}

fn certificate_ends(snapshot: &Snapshot, facts: &Facts) -> Option<Health> {
    let left = Duration::from_secs(snapshot.certificate_left);
    if left >= CERTIFICATE_SOON {
        return None;
    }
    let machine = facts.program.machine();
    let (severity, text) = if left.is_zero() {
        let text = format!("this {machine}'s certificate has ended; no new flow is protected");
        (Severity::Error, text)
    } else {
        let text = format!("this {machine}'s certificate ends in {}", rough(left));
        (Severity::Warning, text)
    };
    let command = format!("systemctl restart {}", facts.program.name());
    Some(Health::new("W-CERT-ENDS", severity, text, &command))
}

fn keys_end(snapshot: &Snapshot, facts: &Facts) -> Vec<Health> {
    let alone = facts.server.unreachable_since.is_some();
    let soon = if alone { KEY_SOON_ALONE } else { KEY_SOON };
    let problem = |name: &str, epoch: u32, left: Duration| {
        let (severity, text) = if left.is_zero() {
            (Severity::Error, format!("group {name}: key epoch {epoch} has ended"))
        } else {
            let text = format!("group {name}: key epoch {epoch} ends in {}", rough(left));
            (Severity::Warning, text)
        };
        let command = format!("mgmt-server key rotate {name}");
        Health::new("W-KEY-AGE", severity, text, &command)
    };
    snapshot
        .groups
        .iter()
        .map(|(_, name, epoch, left)| (name, epoch.0, Duration::from_secs(*left)))
        .filter(|(_, _, left)| *left < soon)
        .map(|(name, epoch, left)| problem(name, epoch, left))
        .collect()
}

/// What people count on is not what the certificate says.
fn not_certified(snapshot: &Snapshot, facts: &Facts) -> Option<Health> {
    let within = |inner: &Prefix, outer: &[Prefix]| outer.iter().any(|range| range.covers(inner));
    let mut missing = facts.protect.clone();
    missing.retain(|wanted| !within(wanted, &facts.prefixes));
    if missing.is_empty() {
        return None;
    }
    let list = |prefixes: &[Prefix], separator: &str| {
        prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
    };
    let text = format!(
        "this router is not certified for {}: machines there are not protected",
        list(&missing, ", ")
    );
    // The command replaces what is certified.
    let mut all = facts.prefixes.clone();
    all.retain(|known| !within(known, &missing));
    all.extend(missing);
    let agent = snapshot.agent.map(|agent| agent.to_string()).unwrap_or_default();
    let command = format!("mgmt-server member set {agent} --prefix {}", list(&all, " --prefix "));
    Some(Health::new("W-NOT-CERTIFIED", Severity::Warning, text, &command))
}

fn pit_full(snapshot: &Snapshot, facts: &Facts) -> Option<Health> {
    let rows = snapshot.flows.len();
    let all = match facts.program {
        Program::Ges => limits::PIT_ROWS_HOST,
        Program::Gen => limits::PIT_ROWS_ROUTER,
    };
    if rows < all / 100 * PIT_FULL_PERCENT {
        return None;
    }
    let text = format!("{rows} of {all} flow rows are in use");
    Some(Health::new("W-PIT-FULL", Severity::Warning, text, &flows(facts, None)))
}

/// Where a name's addresses are not known, its flows look like any other's. A closed agent refuses
/// them with all others.
fn names(snapshot: &Snapshot, facts: &Facts) -> Vec<Health> {
    let unresolved = facts.names.iter().filter(|name| !name.resolves);
    let open = unresolved.filter(|_| snapshot.mode == Mode::Open);
    let problem = |name: &super::NameFacts| {
        let text = match name.addresses {
            0 => format!(
                "{}, which must be protected, does not resolve: its flows cannot be told from \
                 others and may go in clear",
                name.name
            ),
            known => format!(
                "{}, which must be protected, does not resolve; {} seen within a day still count",
                name.name,
                if known == 1 { "1 address".into() } else { format!("{known} addresses") }
            ),
        };
        let command = format!("getent ahosts {}", name.name);
        Health::new("W-NAME", Severity::Warning, text, &command)
    };
    open.map(problem).collect()
}

fn memory(facts: &Facts) -> Option<Health> {
    let (severity, text) = match facts.memory_fault? {
        MemoryFault::Lost => (
            Severity::Notice,
            "the memory of destinations was damaged: what was protected before this start may go \
             in clear until it is protected again",
        ),
        MemoryFault::NotWritten => (
            Severity::Warning,
            "the memory of destinations cannot be written: what is protected now is forgotten by \
             a restart; make room in the state directory",
        ),
    };
    Some(Health::new("W-MEMORY", severity, text.to_owned(), &log(facts)))
}

/// Not closed yet, and meant to be: what would break if it were.
fn observing(snapshot: &Snapshot, facts: &Facts) -> Option<Health> {
    let dropped = snapshot.flows.iter().filter(|flow| flow.would_drop.is_some()).count();
    if !snapshot.observe {
        return None;
    }
    let (text, command) = if dropped == 0 {
        let agent = snapshot.agent.map(|agent| agent.to_string()).unwrap_or_default();
        let text = "observe: no flow would be dropped in closed mode".to_owned();
        (text, format!("mgmt-server member set {agent} --mode closed"))
    } else {
        let text =
            format!("observe: {} would be dropped in closed mode", plural(dropped as u64, "flow"));
        (text, format!("{} flows --would-drop", facts.program.name()))
    };
    Some(Health::new("W-OBSERVE", Severity::Notice, text, &command))
}

fn clear_fallbacks(snapshot: &Snapshot, facts: &Facts) -> Option<Health> {
    let silent = ge_core::ClearReason::NoAnswer as usize;
    let count = *snapshot.counters.clear_fallbacks.get(silent).filter(|count| **count > 0)?;
    let text = format!("{} left in clear because nobody answered", plural(count, "first packet"));
    Some(Health::new(
        "W-CLEAR-FALLBACK",
        Severity::Notice,
        text,
        &flows(facts, Some(Verdict::Clear)),
    ))
}

fn held_overflow(snapshot: &Snapshot, facts: &Facts) -> Option<Health> {
    let [_, _, overflow] = snapshot.counters.held;
    if overflow == 0 {
        return None;
    }
    let text = format!("{} dropped because a hold queue was full", plural(overflow, "packet"));
    Some(Health::new(
        "W-HELD-OVERFLOW",
        Severity::Notice,
        text,
        &flows(facts, Some(Verdict::Pending)),
    ))
}

fn under_load(snapshot: &Snapshot, facts: &Facts) -> Option<Health> {
    if !snapshot.under_load {
        return None;
    }
    let text = "under load: agents that ask must show first that they receive what is sent to them";
    let command = format!("{} metrics", facts.program.name());
    Some(Health::new("W-UNDER-LOAD", Severity::Notice, text.to_owned(), &command))
}

fn clear_on_protected(snapshot: &Snapshot, facts: &Facts) -> Option<Health> {
    let slot = DropReason::ALL.iter().position(|r| *r == DropReason::ClearOnProtected)?;
    let count = snapshot.counters.dropped_in.get(slot).copied().filter(|count| *count > 0)?;
    let text = format!("{} arrived in clear for protected flows", plural(count, "packet"));
    Some(Health::new(
        "W-CLEAR-ARRIVED",
        Severity::Notice,
        text,
        &flows(facts, Some(Verdict::Protected)),
    ))
}

fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A duration as people say it: its largest unit that is at least two, rounded down.
fn rough(left: Duration) -> String {
    let secs = left.as_secs();
    let (count, unit) = match secs {
        172_800.. => (secs / 86_400, "day"),
        7_200.. => (secs / 3_600, "hour"),
        120.. => (secs / 60, "minute"),
        _ => (secs, "second"),
    };
    plural(count, unit)
}
