//! `trace`, `path`, `why` and `flows --follow`.

use super::{at, check, flow, protected, snapshot};
use crate::cli::Protocol;
use crate::explain::{PathShown, Trace, exit};
use crate::render;
use ge_core::flow::HostPair;
use ge_core::io::{Change, Denial, FlowSnapshot, Outlook, PathAgent, PeerSnapshot, Speaker};
use ge_core::wire::dprp::{Consent, Place};
use ge_core::{GeId, Mode, Transit};
use ge_runtime::command::{Known, Told};
use ge_runtime::exit::Exit;
use ge_runtime::program::Program;
use ge_runtime::report::{ChangeReport, Names, TraceReport};
use mgmt_api::{AgentInfo, HexBytes, Kind};
use std::net::IpAddr;
use std::time::Duration;

const HERE: &str = "10.20.0.7";
const THERE: &str = "10.20.0.5";
const HQ: [u8; 8] = [0xce; 8];

fn outlook() -> Outlook {
    Outlook {
        own: true,
        stands_for: true,
        in_scope: true,
        must_protect: false,
        remembered: false,
        can_ask: true,
        mode: Mode::Closed,
        transit: Transit::Vouched,
        certificate: Some([0xaa; 8]),
    }
}

fn info(agent: u8, certificate: [u8; 8], name: &str, kind: Kind, groups: &[&str]) -> AgentInfo {
    AgentInfo {
        agent: HexBytes([agent; 16]),
        certificate: HexBytes(certificate),
        name: name.to_owned(),
        kind,
        mode: mgmt_api::Mode::Open,
        transit: None,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        other_groups: u32::from(groups.is_empty()),
    }
}

fn names() -> Names {
    Names::Known(vec![
        info(0x4f, [0xaa; 8], "laptop", Kind::Host, &["sales", "dev"]),
        info(0xb1, HQ, "gen-hq", Kind::Router, &[]),
        info(0x81, [0xbb; 8], "gen-lab", Kind::Router, &["sales"]),
    ])
}

fn hq(consent: Consent, shares_group: bool) -> PathAgent {
    PathAgent { certificate: HQ, consent, place: Place::Source, shares_group }
}

fn lab(mode: Mode) -> Speaker {
    Speaker {
        agent: Some(GeId([0x81; 16])),
        certificate: [0xbb; 8],
        router: Some(true),
        speaks_for: true,
        mode,
        transit: None,
        place: Place::Destination,
        shares_group: false,
        relays: false,
    }
}

fn report_from(
    flow: Option<FlowSnapshot>,
    outlook: Outlook,
    names: &Names,
    forward: bool,
) -> TraceReport {
    let pair = HostPair::new(HERE.parse().unwrap(), THERE.parse().unwrap());
    let destination: IpAddr = if forward { THERE } else { HERE }.parse().unwrap();
    let known = Known { pair, outlook, flow, took: Duration::from_micros(1_400) };
    TraceReport::new(Program::Ges, &snapshot(), &known, destination, names)
}

fn report(flow: FlowSnapshot) -> TraceReport {
    report_from(Some(flow), outlook(), &names(), true)
}

fn allowed() -> FlowSnapshot {
    let mut flow = protected(THERE, 0);
    flow.path = vec![hq(Consent::Open, false)];
    flow.peer = flow.peer.map(|peer| PeerSnapshot { router: true, speaks_for: true, ..peer });
    flow
}

fn dropped(reason: &'static str, denial: Option<Denial>) -> FlowSnapshot {
    let (left, ask_again) = (Some(Duration::from_secs(4)), Some(Duration::from_secs(4)));
    FlowSnapshot { denial, left, ask_again, ..flow(THERE, "dropped", reason, 0) }
}

fn between() -> FlowSnapshot {
    let path = vec![hq(Consent::Closed(Transit::Vouched), false)];
    let by = Speaker::from(&path[0]);
    dropped("refused", Some(Denial { by, end: Some(lab(Mode::Open)), path }))
}

fn far_end() -> FlowSnapshot {
    let denial = Denial { by: lab(Mode::Closed), end: None, path: Vec::new() };
    dropped("no-match", Some(denial))
}

fn show(name: &str, report: TraceReport, protocol: Option<Protocol>) {
    let port = protocol.map(|_| 443);
    let trace = Trace { protocol, port, covers: "pair", report };
    check(&format!("trace-{name}.txt"), &render::explain::trace(Program::Ges, &trace));
    check(&format!("trace-{name}.json"), &render::json(Program::Ges, "trace", &trace));
}

#[test]
fn trace_of_every_reason() {
    show("allowed", report(allowed()), Some(Protocol::Tcp));
    show("between", report(between()), Some(Protocol::Udp));
    show("far-end", report(far_end()), None);
    show("no-agent", report(dropped("no-answer", None)), None);
    let must = Outlook { must_protect: true, mode: Mode::Open, ..outlook() };
    let silent = Some(dropped("no-answer", None));
    show("must-protect", report_from(silent.clone(), must, &names(), true), None);
    let remembered = Outlook { remembered: true, mode: Mode::Open, ..outlook() };
    show("remembered", report_from(silent, remembered, &names(), true), None);
    let out = Outlook { in_scope: false, ..outlook() };
    show("out-of-scope", report_from(None, out, &names(), true), None);
    let keyless = Outlook { can_ask: false, in_scope: false, ..outlook() };
    show("cannot-ask", report_from(None, keyless, &names(), true), None);
    let clear = FlowSnapshot { verdict: "clear", ..far_end() };
    let open = Outlook { mode: Mode::Open, ..outlook() };
    show("clear", report_from(Some(clear), open, &names(), true), None);
}

#[test]
fn trace_from_the_other_end_and_without_names() {
    show("destination", report_from(Some(allowed()), outlook(), &names(), false), None);
    let missing = Names::Missing("the management server cannot be reached".to_owned());
    show("alone", report_from(Some(between()), outlook(), &missing, true), None);
}

#[test]
fn path_of_a_protected_and_of_a_refused_flow() {
    let silent = dropped("no-answer", None);
    for (name, flow) in [("allowed", allowed()), ("between", between()), ("no-agent", silent)] {
        let shown = PathShown::new("files.example", report(flow));
        check(&format!("path-{name}.txt"), &render::explain::path(Program::Ges, &shown));
        check(&format!("path-{name}.json"), &render::json(Program::Ges, "path", &shown));
    }
}

#[test]
fn why_asks_nobody() {
    let clear = FlowSnapshot {
        ask_again: Some(Duration::from_secs(7)),
        left: Some(Duration::from_secs(300)),
        ..flow(THERE, "clear", "no-answer", 3)
    };
    for (name, flow) in [("dropped", far_end()), ("between", between()), ("clear", clear)] {
        let open = Outlook { mode: Mode::Open, ..outlook() };
        let report = report_from(Some(flow), open, &Names::NotAsked, true);
        check(&format!("why-{name}.txt"), &render::explain::why(Program::Ges, &report));
        check(&format!("why-{name}.json"), &render::json(Program::Ges, "why", &report));
    }
}

#[test]
fn changes_are_a_line_each_and_lost_ones_are_told() {
    let pair = HostPair::new(HERE.parse().unwrap(), THERE.parse().unwrap());
    let told = [(0, Some(far_end())), (41, Some(protected(THERE, 0))), (0, None)];
    let (mut text, mut json) = (String::new(), String::new());
    for (lost, flow) in told {
        let told = Told { lost, change: Change { pair, flow } };
        let report = ChangeReport::new(&told, at(super::START));
        text += &render::explain::change(&report);
        json += &render::json_line(Program::Ges, "flow-change", &report);
    }
    check("flow-changes.txt", &text);
    check("flow-changes.jsonl", &json);
}

#[test]
fn exit_codes() {
    let pending = flow(THERE, "pending", "negotiating", 0);
    let cases = [(allowed(), Exit::Success), (between(), Exit::Dropped), (pending, Exit::TimedOut)];
    for (flow, code) in cases {
        assert_eq!(exit(&report(flow)), code);
    }
}
