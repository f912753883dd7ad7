//! Every command's output against a file under `tests/golden`. A change of wording or shape shows
//! up in review as a changed file; write them anew with `GES_GOLDEN=write cargo test -p agent-cli`.

mod explain;

use crate::agent::verdict;
use crate::config::Settings;
use crate::down::DownReport;
use crate::failure::{Failure, Remedy};
use crate::ping::PingReport;
use crate::render;
use ge_core::addr::FlowAddr;
use ge_core::io::{Counters, FlowSnapshot, PathAgent, PeerSnapshot, Snapshot, ThreadSnapshot};
use ge_core::wire::dprp::{Consent, Place};
use ge_core::{ClearReason, DropReason, Epoch, GeId, GroupId, Mode, Transit};
use ge_runtime::exit::Exit;
use ge_runtime::ledger::{Ledger, Place as Lost, SealTime};
use ge_runtime::offload::{Offload, Switches};
use ge_runtime::options::RunOptions;
use ge_runtime::program::Program;
use ge_runtime::report::{
    DetailsReport, EchoReport, Facts, FlowsReport, KernelReport, ProbeReport, ServerFacts,
    SocketReport, StatusReport, TunReport, Verdict,
};
use ge_runtime::sockopt::SocketMemory;
use ge_runtime::telemetry::LogFormat;
use ge_runtime::tun::TunCounts;
use nix::errno::Errno;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::level_filters::LevelFilter;

const START: u64 = 1_790_000_000;

fn at(secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(secs)
}

fn check(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("GES_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{name} differs");
}

fn flow(remote: &str, verdict: &'static str, reason: &'static str, idle: u64) -> FlowSnapshot {
    let local = if remote.contains(':') { "2001:db8::7" } else { "10.20.0.7" };
    FlowSnapshot {
        local: FlowAddr(local.parse().unwrap()),
        remote: FlowAddr(remote.parse().unwrap()),
        verdict,
        reason,
        would_drop: None,
        peer: None,
        ends: None,
        path: Vec::new(),
        denial: None,
        asking: false,
        ask_again: None,
        left: None,
        age: Duration::from_millis(3_600_500),
        idle: Duration::from_secs(idle),
        bytes_in: 4_096,
        bytes_out: 1_024,
        packets_in: 12,
        packets_out: 9,
    }
}

fn protected(remote: &str, idle: u64) -> FlowSnapshot {
    FlowSnapshot {
        peer: Some(PeerSnapshot {
            agent: GeId([0x81; 16]),
            router: false,
            speaks_for: false,
            group: GroupId(7),
            group_name: "sales".to_owned(),
            epoch: Epoch(3),
            mode: Mode::Open,
            key_age: Duration::from_secs(75),
            aead: "aes-256-gcm",
            negotiation: Duration::from_micros(1_250),
            carrier: "echo",
            seen_as: None,
            own_address: None,
        }),
        bytes_in: 12_345_678,
        bytes_out: 3_210_000,
        ..flow(remote, "protected", "", idle)
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        agent: Some(GeId([0x4f; 16])),
        mode: Mode::Closed,
        observe: false,
        version: 17,
        groups: vec![
            (GroupId(7), "sales".to_owned(), Epoch(3), 50_000),
            (GroupId(9), "dev".to_owned(), Epoch(12), 40_000),
        ],
        certificate_left: 80_000,
        flows: vec![
            flow("10.20.0.90", "clear", "no-answer", 61),
            protected("10.20.0.5", 2),
            flow("198.51.100.4", "dropped", "no-match", 4_000),
            protected("2001:db8::5", 0),
            flow("10.20.0.8", "pending", "", 0),
        ],
        sessions: 2,
        negotiations: 1,
        held: 3,
        under_load: false,
        counters: Counters::new(),
        threads: Vec::new(),
    }
}

fn facts() -> Facts {
    let url = Some("https://mgmt.example:5866".to_owned());
    Facts {
        program: Program::Ges,
        started: at(START),
        interfaces: vec!["eth0".to_owned(), "wlan0".to_owned()],
        prefixes: Vec::new(),
        protect: Vec::new(),
        memory_fault: None,
        names: Vec::new(),
        server: ServerFacts {
            url,
            last_contact: Some(at(START + 11_516)),
            unreachable_since: None,
        },
    }
}

fn status_of(snapshot: &Snapshot, facts: &Facts) -> StatusReport {
    StatusReport::new(snapshot, facts, at(START + 11_520))
}

#[test]
fn status() {
    let report = status_of(&snapshot(), &facts());
    check("status.txt", &render::status(Program::Ges, &report));
    check("status.json", &render::json(Program::Ges, "status", &report));
    assert_eq!(verdict(&report, true), Exit::Success);
}

#[test]
fn status_with_problems() {
    let mut snapshot = snapshot();
    let mut facts = facts();
    facts.server.unreachable_since = Some(at(START + 11_000));
    snapshot.certificate_left = 7_000;
    snapshot.groups[1].3 = 0;
    snapshot.counters.clear_fallbacks[ClearReason::NoAnswer as usize] = 41;
    snapshot.counters.held = [10, 2, 1];
    let slot = DropReason::ALL.iter().position(|r| *r == DropReason::ClearOnProtected).unwrap();
    snapshot.counters.dropped_in[slot] = 5;
    let report = status_of(&snapshot, &facts);
    check("status-problems.txt", &render::status(Program::Ges, &report));
    check("status-problems.json", &render::json(Program::Ges, "status", &report));
    assert_eq!(verdict(&report, true), Exit::Unhealthy);
    assert_eq!(verdict(&report, false), Exit::Success);
}

/// Offloads in every state, and something lost.
#[test]
fn status_with_details() {
    let ledger = Ledger::new(Switches::without(["tun-ecn"]).unwrap());
    let error = |number: Errno| std::io::Error::from(number);
    ledger.set_segments(128);
    ledger.refused(Offload::TunUso, &error(Errno::EINVAL));
    ledger.refused(Offload::MergeUdp, &error(Errno::EINVAL));
    ledger.fell_back(Offload::MergeTcp, &error(Errno::EINVAL), 44);
    ledger.losses.add(Lost::Send, 12, &error(Errno::EAGAIN));
    ledger.losses.add(Lost::Send, 1, &error(Errno::EMSGSIZE));
    ledger.losses.add(Lost::Deliver, 3, &error(Errno::EIO));
    ledger.set_seal_times(vec![
        SealTime { aead: "aes-256-gcm", nanoseconds: 412 },
        SealTime { aead: "chacha20-poly1305", nanoseconds: 1_913 },
    ]);
    let memory = |receive, dropped| SocketMemory { receive, send: 16 << 20, dropped };
    let counts = TunCounts { read: 80_311, written: 9_004, queue: 17, stack: 0, malformed: 2 };
    let kernel = KernelReport {
        sockets: vec![
            SocketReport::of_thread("udp4", 0, memory(16 << 20, 40)),
            SocketReport::of_thread("udp4", 1, memory(16 << 20, 3)),
            SocketReport::new("packet eth0".to_owned(), memory(212_992, 0)),
        ],
        tuns: vec![TunReport::new("ges0", "eth0", counts)],
    };
    let threads = [(1_204, 40), (88_310, 90_117)];
    let threads = threads.map(|(sealed, opened)| ThreadSnapshot { sealed, opened }).to_vec();
    let snapshot = Snapshot { threads, ..snapshot() };
    let details = Some(DetailsReport::new(&ledger, kernel, &snapshot));
    let report = StatusReport { details, ..status_of(&snapshot, &facts()) };
    check("status-details.txt", &render::status(Program::Ges, &report));
    check("status-details.json", &render::json(Program::Ges, "status", &report));
}

#[test]
fn status_of_a_router() {
    let mut snapshot = snapshot();
    let ends = Some([GeId([0x91; 16]), GeId([0x92; 16])]);
    snapshot.flows.push(FlowSnapshot { ends, ..flow("203.0.113.9", "transit", "session", 3) });
    let prefixes = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let facts = Facts {
        program: Program::Gen,
        interfaces: vec!["wan0".to_owned()],
        prefixes: prefixes(&["10.30.0.0/16"]),
        protect: prefixes(&["10.30.1.0/24", "10.31.0.0/16"]),
        ..facts()
    };
    let report = status_of(&snapshot, &facts);
    check("status-router.txt", &render::status(Program::Gen, &report));
    check("status-router.json", &render::json(Program::Gen, "status", &report));
    assert_eq!(verdict(&report, true), Exit::Unhealthy, "a subnet is not certified");
}

#[test]
fn notices_do_not_fail_a_check() {
    let mut snapshot = snapshot();
    snapshot.counters.clear_fallbacks[ClearReason::NoAnswer as usize] = 1;
    let report = status_of(&snapshot, &facts());
    assert_eq!(report.health.len(), 1);
    assert_eq!(verdict(&report, true), Exit::Success);
}

#[test]
fn status_not_enrolled() {
    let snapshot = Snapshot {
        agent: None,
        mode: Mode::Open,
        observe: false,
        version: 0,
        groups: Vec::new(),
        certificate_left: 0,
        flows: Vec::new(),
        sessions: 0,
        negotiations: 0,
        held: 0,
        under_load: true,
        counters: Counters::new(),
        threads: Vec::new(),
    };
    let facts = Facts { interfaces: Vec::new(), server: ServerFacts::default(), ..facts() };
    let report = status_of(&snapshot, &facts);
    check("status-not-enrolled.txt", &render::status(Program::Ges, &report));
    assert_eq!(verdict(&report, false), Exit::NotEnrolled);
}

#[test]
fn status_with_many_flows_says_how_many_more() {
    let mut snapshot = snapshot();
    snapshot.flows =
        (0..60).map(|i| flow(&format!("10.0.0.{i}"), "clear", "no-answer", 60 - i)).collect();
    let text = render::status(Program::Ges, &status_of(&snapshot, &facts()));
    assert!(text.contains("… and 10 more: ges flows\n"), "{text}");
    assert!(text.contains("10.0.0.59 ") && !text.contains("10.0.0.9 "), "latest rows first");
}

#[test]
fn observe_mode() {
    let mut snapshot = snapshot();
    snapshot.mode = Mode::Open;
    snapshot.observe = true;
    snapshot.flows.retain(|flow| flow.verdict != "dropped");
    snapshot.flows[0].would_drop = Some(ClearReason::NoAnswer);
    let would_drop = Some(ClearReason::Unasked);
    snapshot.flows.push(FlowSnapshot { would_drop, ..flow("198.51.100.4", "clear", "unasked", 9) });
    snapshot.counters.clear_fallbacks[ClearReason::NoAnswer as usize] = 1;
    snapshot.counters.clear_fallbacks[ClearReason::Unasked as usize] = 30;
    for reason in [ClearReason::NoAnswer, ClearReason::Unasked] {
        snapshot.counters.would_drop[reason as usize] = 1;
    }
    let report = status_of(&snapshot, &facts());
    check("status-observe.txt", &render::status(Program::Ges, &report));
    check("status-observe.json", &render::json(Program::Ges, "status", &report));
    let listed = FlowsReport::new(&snapshot, None, true);
    check("flows-would-drop.txt", &render::flows(&listed.flows));
    snapshot.flows.clear();
    let report = status_of(&snapshot, &facts());
    assert!(report.health.iter().any(|item| item.command.ends_with("--mode closed")));
}

#[test]
fn flows() {
    let report = FlowsReport::new(&snapshot(), None, false);
    check("flows.txt", &render::flows(&report.flows));
    check("flows.json", &render::json(Program::Ges, "flows", &report));
    let dropped = FlowsReport::new(&snapshot(), Some(Verdict::Dropped), false);
    check("flows-dropped.txt", &render::flows(&dropped.flows));
    assert_eq!(render::flows(&[]), "no flows\n");
}

fn ping(row: Option<&FlowSnapshot>, echoes: &[Option<f64>]) -> PingReport {
    let address = row.map_or_else(|| "10.20.0.1".parse().unwrap(), |row| row.remote.0);
    let took = Duration::from_micros(1_400);
    let probe = ProbeReport::new(address, &snapshot(), row, took);
    let mut report = PingReport::new("files.example", probe);
    report.echoes = (1..)
        .zip(echoes)
        .map(|(sequence, time)| EchoReport { sequence, round_trip_seconds: *time })
        .collect();
    report
}

fn ping_text(report: &PingReport) -> String {
    report
        .echoes
        .iter()
        .fold(render::ping(Program::Ges, report), |text, echo| text + &render::echo(echo))
}

#[test]
fn ping_protected() {
    let report = ping(Some(&protected("10.20.0.5", 0)), &[Some(0.001_94), None]);
    check("ping.txt", &ping_text(&report));
    check("ping.json", &render::json(Program::Ges, "ping", &report));
}

#[test]
fn ping_through_routers() {
    let router = |consent, place, shares_group| PathAgent {
        certificate: [0xce; 8],
        consent,
        place,
        shares_group,
    };
    let path = vec![
        router(Consent::Open, Place::Source, false),
        router(Consent::Closed(Transit::Vouched), Place::Between, true),
    ];
    let report = ping(Some(&FlowSnapshot { path, ..protected("10.20.0.5", 0) }), &[Some(0.002)]);
    check("ping-routers.txt", &ping_text(&report));
    check("ping-routers.json", &render::json(Program::Gen, "ping", &report));
}

#[test]
fn ping_clear() {
    let report = ping(Some(&flow("10.20.0.90", "clear", "no-answer", 0)), &[Some(0.000_5)]);
    check("ping-clear.txt", &ping_text(&report));
}

#[test]
fn ping_exit_codes() {
    let clear = flow("10.20.0.90", "clear", "no-answer", 0);
    let sealed = protected("10.20.0.5", 0);
    let dropped = flow("10.20.0.4", "dropped", "no-match", 0);
    let pending = flow("10.20.0.8", "pending", "", 0);
    type Case<'a> = (Option<&'a FlowSnapshot>, &'a [Option<f64>], bool, Exit);
    let cases: [Case<'_>; 9] = [
        (Some(&sealed), &[Some(0.1)], true, Exit::Success),
        (Some(&sealed), &[None, Some(0.1)], true, Exit::Success),
        (Some(&sealed), &[], true, Exit::Success),
        (Some(&sealed), &[None], false, Exit::TimedOut),
        (Some(&clear), &[Some(0.1)], false, Exit::Success),
        (Some(&clear), &[Some(0.1)], true, Exit::Clear),
        (Some(&dropped), &[], false, Exit::Dropped),
        (Some(&pending), &[], false, Exit::TimedOut),
        (None, &[], false, Exit::TimedOut),
    ];
    for (row, echoes, require_protected, exit) in cases {
        let report = ping(row, echoes);
        assert_eq!(report.exit(require_protected), exit, "{report:?}");
    }
}

#[test]
fn down() {
    let mut report = DownReport::default();
    check("down-nothing.txt", &render::down(Program::Ges, &report));
    report.add("agent", "the agent was stopped".to_owned());
    report.add("state", "the state directory /var/lib/ges was removed".to_owned());
    check("down.txt", &render::down(Program::Ges, &report));
    check("down.json", &render::json(Program::Ges, "down", &report));
}

#[test]
fn config() {
    let settings = Settings {
        file: Some("/etc/ges/ges.toml".into()),
        run: RunOptions {
            server: Some("https://mgmt.example:5866".to_owned()),
            interfaces: vec!["eth0".to_owned()],
            ..RunOptions::new(Program::Ges)
        },
        log: LevelFilter::INFO,
        log_format: LogFormat::Text,
    };
    let own = || vec![("interface", serde_json::json!(settings.run.interfaces))];
    check("config-test.txt", &render::config(&settings, own(), false));
    check("config-test.json", &render::config(&settings, own(), true));
}

#[test]
fn errors() {
    let failure = Failure {
        exit: Exit::Refused,
        message: "only root may".to_owned(),
        remedy: Some(Remedy::AsRoot(vec!["down".to_owned()])),
    };
    check("error.txt", &failure.text(Program::Ges));
    check("error.json", &format!("{}\n", failure.json(Program::Ges)));
}
