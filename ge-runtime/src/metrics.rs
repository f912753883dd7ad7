//! Prometheus metrics: names, help texts, and the plain HTTP they are read by.
//!
//! Gauges and counters are made fresh from the engine's snapshot at each scrape, so that the
//! packet path counts in its own plain integers; only what happens as an event (how negotiations
//! ended, how long they took) is kept here. No label names a peer or an address. Base units:
//! seconds, bytes.

mod http;
mod path;

pub use http::serve;

use crate::report::{DetailsReport, Facts, Severity, Verdict, VerdictCounts, health};
use ge_core::io::{Counters, Event, NegotiationResult, Snapshot};
use ge_core::{ClearReason, DropReason};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

type Labels = Vec<(&'static str, String)>;
type Counts = Family<Labels, Counter>;
type Levels = Family<Labels, Gauge<u64, AtomicU64>>;

/// First bucket of the negotiation histogram: 0.25 ms, then doubling to 4 s, past the ladder.
const FIRST_BUCKET: f64 = 0.000_25;
const BUCKETS: u16 = 15;

/// What happened since the agent started. Share it; observing takes no lock of note.
#[derive(Debug)]
pub struct Metrics {
    negotiations: Counts,
    negotiation_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        let negotiations = Counts::default();
        for result in [
            NegotiationResult::Protected,
            NegotiationResult::NoMatch,
            NegotiationResult::NoAnswer,
            NegotiationResult::OutOfScope,
        ] {
            let _ = negotiations.get_or_create(&vec![("result", result.as_str().to_owned())]);
        }
        let buckets = exponential_buckets(FIRST_BUCKET, 2.0, BUCKETS);
        Self { negotiations, negotiation_seconds: Histogram::new(buckets) }
    }

    /// Counts an event of the engine.
    pub fn observe(&self, event: &Event) {
        if let Event::Negotiated { result, took, .. } = event {
            let labels = vec![("result", result.as_str().to_owned())];
            self.negotiations.get_or_create(&labels).inc();
            if *result == NegotiationResult::Protected {
                self.negotiation_seconds.observe(took.as_secs_f64());
            }
        }
    }

    /// Everything at `now` as OpenMetrics text.
    #[must_use]
    pub fn encode(
        &self,
        snapshot: &Snapshot,
        facts: &Facts,
        details: &DetailsReport,
        now: SystemTime,
    ) -> String {
        let mut registry = Registry::with_prefix(facts.program.name());
        registry.register(
            "negotiations",
            "Negotiations ended, by result",
            self.negotiations.clone(),
        );
        registry.register(
            "negotiation_seconds",
            "Time from the first message to the verdict of negotiations that ended protected",
            self.negotiation_seconds.clone(),
        );
        flows(&mut registry, snapshot);
        traffic(&mut registry, &snapshot.counters);
        threads(&mut registry, snapshot);
        drops(&mut registry, &snapshot.counters);
        keys(&mut registry, snapshot);
        agent(&mut registry, snapshot, facts, now);
        path::register(&mut registry, details);
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("invariant: writing to a String does not fail");
        text
    }
}

fn flows(registry: &mut Registry, snapshot: &Snapshot) {
    let counts = VerdictCounts::of(&snapshot.flows);
    let flows = Levels::default();
    for verdict in Verdict::ALL {
        level(&flows, &[("verdict", verdict.as_str())], counts.get(verdict));
    }
    registry.register("flows", "Flow rows, by verdict", flows);
    single(registry, "sessions", "Sessions alive", snapshot.sessions as u64);
    let help = "Negotiations under way";
    single(registry, "negotiations_pending", help, snapshot.negotiations as u64);
    single(registry, "held_packets_waiting", "Packets being held", snapshot.held as u64);
    let help = "1 while agents that ask must show first that they receive what is sent to them";
    single(registry, "under_load", help, u64::from(snapshot.under_load));
}

fn traffic(registry: &mut Registry, counters: &Counters) {
    let packets = Counts::default();
    let bytes = Counts::default();
    for (dir, verdict, (packet_count, byte_count)) in [
        ("out", Verdict::Protected, counters.sealed),
        ("in", Verdict::Protected, counters.opened),
        ("out", Verdict::Clear, counters.clear_out),
        ("in", Verdict::Clear, counters.clear_in),
    ] {
        let labels = [("dir", dir), ("verdict", verdict.as_str())];
        count(&packets, &labels, packet_count);
        count(&bytes, &labels, byte_count);
    }
    registry.register(
        "packets",
        "Packets the agent handled; clear ones that the kernel passes by itself are not seen",
        packets,
    );
    registry.register("bytes", "Bytes of those packets", bytes);
}

fn threads(registry: &mut Registry, snapshot: &Snapshot) {
    let packets = Counts::default();
    for (number, thread) in snapshot.threads.iter().enumerate() {
        let number = number.to_string();
        count(&packets, &[("thread", &number), ("dir", "out")], thread.sealed);
        count(&packets, &[("thread", &number), ("dir", "in")], thread.opened);
    }
    let help = "Packets sealed and opened, by thread of the data path; 0 is the engine's";
    registry.register("thread_packets", help, packets);
}

fn drops(registry: &mut Registry, counters: &Counters) {
    let dropped = Counts::default();
    for (dir, values) in [("out", &counters.dropped_out), ("in", &counters.dropped_in)] {
        for (reason, value) in DropReason::ALL.iter().zip(values) {
            count(&dropped, &[("dir", dir), ("reason", reason.as_str())], *value);
        }
    }
    registry.register("dropped_packets", "Packets that ended here, by reason", dropped);
    let held = Counts::default();
    for (result, value) in ["released", "expired", "overflow"].into_iter().zip(counters.held) {
        count(&held, &[("result", result)], value);
    }
    registry.register("held_packets", "Packets that waited for a verdict, by result", held);
    for (name, help, values) in [
        (
            "clear_fallbacks",
            "Plaintext that passed, by reason: flows, or packets that have no flow row",
            &counters.clear_fallbacks,
        ),
        (
            "would_drop",
            "Observe mode: flows that closed mode would have dropped, by reason",
            &counters.would_drop,
        ),
    ] {
        let reasons = Counts::default();
        for (reason, value) in ClearReason::ALL.iter().zip(values) {
            count(&reasons, &[("reason", reason.as_str())], *value);
        }
        registry.register(name, help, reasons);
    }
    let rekeys = Counter::<u64>::default();
    rekeys.inc_by(counters.rekeys);
    registry.register("rekeys", "Sessions that took over from an older one", rekeys);
}

fn keys(registry: &mut Registry, snapshot: &Snapshot) {
    let epochs = Levels::default();
    let expires = Levels::default();
    for (_, name, epoch, left) in &snapshot.groups {
        level(&epochs, &[("group", name)], u64::from(epoch.0));
        level(&expires, &[("group", name)], *left);
    }
    registry.register("group_key_epoch", "Epoch of the group key used for sending", epochs);
    registry.register("group_key_expires_seconds", "Seconds until that group key ends", expires);
    let help = "Seconds until this agent's certificate ends";
    single(registry, "certificate_expires_seconds", help, snapshot.certificate_left);
}

fn agent(registry: &mut Registry, snapshot: &Snapshot, facts: &Facts, now: SystemTime) {
    if let Some(last) = facts.server.last_contact {
        let age = now.duration_since(last).unwrap_or_default().as_secs();
        single(registry, "server_sync_age_seconds", "Seconds since the server last answered", age);
    }
    let messages = Levels::default();
    let problems = health(snapshot, facts, now);
    for severity in Severity::ALL {
        let number = problems.iter().filter(|problem| problem.severity == severity).count();
        level(&messages, &[("severity", severity.as_str())], number as u64);
    }
    registry.register("health_messages", "Problems that ges status lists, by severity", messages);
    let build = Levels::default();
    level(&build, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    registry.register("build_info", "Version of the agent; the value is always 1", build);
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn level(family: &Levels, labels: &[(&'static str, &str)], value: u64) {
    family.get_or_create(&owned(labels)).set(value);
}

fn count(family: &Counts, labels: &[(&'static str, &str)], value: u64) {
    family.get_or_create(&owned(labels)).inc_by(value);
}

fn single(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<u64, AtomicU64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}
