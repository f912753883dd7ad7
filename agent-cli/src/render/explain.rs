//! `path`, `trace`, `why` and `flows --follow` as text.

use super::table::Table;
use super::{group, or_dash, seconds};
use crate::explain::{PathShown, Trace};
use ge_runtime::program::Program;
use ge_runtime::report::{ChangeReport, TraceAgent, TraceReport};
use std::fmt::Write;

/// `trace`: a line for each agent, the verdict, and what would change it.
pub(crate) fn trace(program: Program, trace: &Trace) -> String {
    let report = &trace.report;
    let mut text = lines(report);
    text += &verdict(report);
    text += &remedies(report);
    if let Some(protocol) = trace.protocol {
        let protocol = format!("{protocol:?}").to_lowercase();
        let port = trace.port.map(|port| format!(" port {port}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "note: the verdict covers all traffic between the two hosts, {protocol}{port} with it"
        );
    }
    if report.asked_from == "destination" {
        let machine = program.machine();
        let _ = writeln!(
            text,
            "note: asked from {}, which this {machine} speaks for, towards {}; packets the other \
             way are asked about by who sends them",
            report.destination, report.source
        );
    }
    text
}

/// `path`: the agents in one line, and how each part is.
pub(crate) fn path(program: Program, shown: &PathShown) -> String {
    let report = &shown.report;
    let destination = report.destination.to_string();
    let mut text = String::new();
    if shown.host != destination {
        let _ = write!(text, "{} ", shown.host);
    }
    let _ = write!(text, "{destination}  {}", report.verdict);
    match &report.group {
        Some(group) => _ = writeln!(text, " with {group}"),
        None => _ = writeln!(text, " ({})", report.code),
    }
    let mut stops: Vec<String> =
        report.agents.iter().map(|agent| stop(program, agent, report)).collect();
    let own_end = |agent: &TraceAgent| agent.address == Some(report.destination);
    match report.agents.last() {
        Some(last) if own_end(last) && last.kind.as_deref() != Some("gen") => {}
        Some(last) if own_end(last) && last.verdict == "protects" => {
            stops.push(format!("{destination} (no agent, protected by {})", last.title()));
        }
        Some(last) if own_end(last) => stops.push(format!("{destination} (behind it)")),
        _ => stops.push(format!("{destination} (no agent answered)")),
    }
    let _ = writeln!(text, "agents on path: {}", stops.join(" → "));
    let parts: Vec<String> = shown
        .parts
        .iter()
        .map(|part| {
            let state = if part.state == "none" { "nothing passes" } else { part.state };
            format!("{} to {}: {state}", part.from, part.to)
        })
        .collect();
    let _ = writeln!(text, "parts: {}", parts.join("; "));
    text + &unknown(report)
}

fn stop(program: Program, agent: &TraceAgent, report: &TraceReport) -> String {
    let kind = agent.kind.as_deref().unwrap_or("agent");
    let mode = if agent.mode.is_empty() { String::new() } else { format!(", {}", agent.mode) };
    let does = match agent.verdict.as_str() {
        "passes" if report.agents.len() > 1 => ", passes",
        "refuses" => ", refuses",
        _ => "",
    };
    let title = if agent.here { format!("this {}", program.machine()) } else { agent.title() };
    format!("{title} ({kind}{mode}{does})")
}

/// `why`: the row as it is.
pub(crate) fn why(program: Program, report: &TraceReport) -> String {
    let mut text = format!("{} → {}", report.source, report.destination);
    let flow = report.flow.as_ref();
    let age = flow.map(|flow| seconds(flow.age_seconds)).unwrap_or_default();
    let _ = writeln!(text, "  {}, in this table for {age}", report.verdict);
    let group = report.group.as_ref().map(|group| format!(" with {group}")).unwrap_or_default();
    let _ = writeln!(text, "why: {} ({}){group}", report.reason, report.code);
    match report.agents.iter().find(|agent| agent.decided) {
        Some(agent) if agent.here => {
            let _ = writeln!(text, "decided by: this {}, {}", program.machine(), agent.mode);
        }
        Some(agent) => {
            let kind = agent.kind.as_deref().unwrap_or("agent");
            let _ = writeln!(
                text,
                "decided by: {} ({kind}, {}): {}",
                agent.title(),
                agent.mode,
                agent.text
            );
        }
        None => {}
    }
    text += &again(report);
    text += &remedies(report);
    let name = program.name();
    let _ = writeln!(
        text,
        "more: {name} trace {} {} asks the agents on the path, with their names",
        report.source, report.destination
    );
    text
}

fn again(report: &TraceReport) -> String {
    let Some(flow) = &report.flow else { return String::new() };
    match (flow.asking, flow.ask_again_seconds, flow.left_seconds) {
        (true, ..) => "asked again: now\n".to_owned(),
        (_, Some(again), Some(left)) if again >= left => {
            format!("asked again: by the first packet after {}\n", seconds(left.ceil()))
        }
        (_, Some(again), _) => {
            format!("asked again: in {}, if it is in use then\n", seconds(again.ceil()))
        }
        _ => String::new(),
    }
}

/// One line of `flows --follow`.
pub(crate) fn change(change: &ChangeReport) -> String {
    let mut text = String::new();
    if change.lost > 0 {
        let _ = writeln!(text, "… {} changes were lost: they came too fast", change.lost);
    }
    let _ = write!(text, "{}  {} → {}  ", change.at, change.local, change.remote);
    match &change.flow {
        None => text.push_str("forgotten"),
        Some(flow) => {
            let _ = write!(text, "{}  {}", flow.verdict, or_dash(&flow.reason));
            if let Some(group) = group(flow) {
                let _ = write!(text, "  {group}");
            }
            if let Some(denial) = &flow.denial {
                let by = denial.by.agent.as_ref().unwrap_or(&denial.by.certificate);
                let short: String = by.chars().take(8).collect();
                let _ = write!(text, "  by agent {short} ({})", denial.by.mode);
            }
        }
    }
    text.push('\n');
    text
}

fn lines(report: &TraceReport) -> String {
    let mut table = Table::<8>::bare();
    for (number, agent) in (1..).zip(&report.agents) {
        let address = agent.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        table.push([
            number.to_string(),
            agent.kind.clone().unwrap_or_else(|| "-".to_owned()),
            if agent.here { format!("{} (here)", agent.title()) } else { agent.title() },
            address,
            format!("groups {}", groups(agent)),
            format!("mode {}", or_dash(&agent.mode)),
            format!("→ {}", agent.text),
            if agent.decided { "← decided here".to_owned() } else { String::new() },
        ]);
    }
    table.to_string()
}

fn groups(agent: &TraceAgent) -> String {
    let others = match agent.other_groups {
        0 => None,
        1 => Some("1 other".to_owned()),
        more => Some(format!("{more} others")),
    };
    match &agent.groups {
        None => "not told".to_owned(),
        Some(groups) => {
            let all: Vec<String> = groups.iter().cloned().chain(others).collect();
            or_dash(&all.join(",")).to_owned()
        }
    }
}

fn verdict(report: &TraceReport) -> String {
    match &report.group {
        Some(group) => format!("verdict: {} with {group} ({})\n", report.verdict, report.code),
        None => format!("verdict: {} ({}): {}\n", report.verdict, report.code, report.reason),
    }
}

fn remedies(report: &TraceReport) -> String {
    let mut text = String::new();
    for remedy in &report.remedies {
        let _ = writeln!(text, "would be {} by: {}", remedy.verdict, remedy.command);
    }
    text + &unknown(report)
}

fn unknown(report: &TraceReport) -> String {
    report.unknown.iter().fold(String::new(), |text, what| text + "not known: " + what + "\n")
}
