//! Reports as text for people and JSON for scripts. Pure: the same report prints the same bytes.

mod details;
pub(crate) mod explain;
mod table;
mod units;

use crate::config::Settings;
use crate::down::DownReport;
use crate::ping::PingReport;
use ge_runtime::offload::Offload;
use ge_runtime::program::Program;
use ge_runtime::report::{EchoReport, FlowReport, Health, PathReport, StatusReport, Verdict};
use ge_runtime::telemetry::LogFormat;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use table::Table;
use units::{bytes, duration, millis};

#[derive(Serialize)]
struct Named<'a, T> {
    schema: String,
    #[serde(flatten)]
    body: &'a T,
}

fn named<'a, T: Serialize>(program: Program, what: &str, body: &'a T) -> Named<'a, T> {
    Named { schema: format!("{}.{what}/1", program.name()), body }
}

/// One JSON object with its schema, `ges.status/1` and the like, indented, with a newline at the end.
pub(crate) fn json(program: Program, what: &str, body: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(&named(program, what, body))
        .expect("invariant: reports hold strings and numbers, which JSON can write");
    text.push('\n');
    text
}

/// The same on one line, for streams.
pub(crate) fn json_line(program: Program, what: &str, body: &impl Serialize) -> String {
    let mut text = serde_json::to_string(&named(program, what, body))
        .expect("invariant: reports hold strings and numbers, which JSON can write");
    text.push('\n');
    text
}

/// `status`.
pub(crate) fn status(program: Program, report: &StatusReport) -> String {
    let (name, up) = (program.name(), duration(report.uptime_seconds));
    let mut text = format!("{name} {}  up {up}", report.version);
    let _ = write!(text, "  server {}  mode {}", server(report), report.mode);
    let groups: Vec<String> =
        report.groups.iter().map(|group| format!("{}#{}", group.name, group.epoch)).collect();
    match groups.as_slice() {
        [] => text.push_str("  no groups\n"),
        groups => _ = writeln!(text, "  groups {}", groups.join(" ")),
    }
    let interfaces = report.interfaces.join(" ");
    match program {
        Program::Ges => _ = write!(text, "interfaces {}", or_dash(&interfaces)),
        Program::Gen => {
            let prefixes: Vec<String> = report.prefixes.iter().map(ToString::to_string).collect();
            let (outside, prefixes) = (or_dash(&interfaces), prefixes.join(" "));
            let _ = write!(text, "outside {outside}  stands for {}", or_dash(&prefixes));
        }
    }
    let counts = report.counts;
    let shown = |verdict: &Verdict| program == Program::Gen || *verdict != Verdict::Transit;
    let counted: Vec<String> = Verdict::ALL
        .into_iter()
        .filter(shown)
        .map(|verdict| format!("{} {verdict}", counts.get(verdict)))
        .collect();
    let _ = writeln!(text, "  flows {}", counted.join(", "));
    text.push_str(&passed_in_clear(report));
    text.push_str(&flows(&report.flows));
    let shown = report.flows.len() as u64;
    let total = Verdict::ALL.iter().map(|verdict| counts.get(*verdict)).sum::<u64>();
    if total > shown {
        let _ = writeln!(text, "… and {} more: {name} flows", total - shown);
    }
    text.push_str(&health(&report.health));
    if let Some(report) = &report.details {
        text.push_str(&details::details(report));
    }
    text
}

/// What went in clear since the start, and why; in observe mode also what would not.
fn passed_in_clear(report: &StatusReport) -> String {
    let line = |what: &str, counts: &BTreeMap<String, u64>| {
        let counts: Vec<String> =
            counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        if counts.is_empty() { String::new() } else { format!("{what} {}\n", counts.join(", ")) }
    };
    let mut text = line("passed in clear", &report.clear_fallbacks);
    if let Some(would_drop) = &report.would_drop {
        text.push_str(&line("would be dropped", would_drop));
    }
    text
}

/// `flows`, and the table in `status`.
pub(crate) fn flows(flows: &[FlowReport]) -> String {
    if flows.is_empty() {
        return "no flows\n".to_owned();
    }
    let mut table =
        Table::new(["ADDRESS", "LOCAL", "GROUP", "VERDICT", "WHY", "KEYS", "IN/OUT", "LAST"]);
    for flow in flows {
        table.push([
            flow.remote.to_string(),
            flow.local.to_string(),
            group(flow).unwrap_or_else(|| "-".to_owned()),
            flow.would.map_or_else(
                || flow.verdict.to_string(),
                |would| format!("{}, would be {would}", flow.verdict),
            ),
            or_dash(flow.would_reason.as_ref().unwrap_or(&flow.reason)).to_owned(),
            flow.peer.as_ref().map_or_else(|| "-".to_owned(), |peer| seconds(peer.key_age_seconds)),
            format!("{}/{}", bytes(flow.bytes_in), bytes(flow.bytes_out)),
            seconds(flow.idle_seconds),
        ]);
    }
    table.to_string()
}

/// `ping`, before the first echo.
pub(crate) fn ping(program: Program, report: &PingReport) -> String {
    let machine = program.machine();
    let mut text = String::new();
    let address = report.address.to_string();
    if report.host != address {
        let _ = write!(text, "{} ", report.host);
    }
    let _ = write!(text, "{address}  {}", report.verdict);
    if let Some(flow) = &report.flow {
        match (group(flow), &flow.peer) {
            (Some(group), Some(peer)) => {
                let time = millis(peer.negotiation_seconds);
                let _ = write!(text, " with {group}  negotiated in {time}  {}", peer.aead);
            }
            _ => _ = write!(text, " ({})", or_dash(&flow.reason)),
        }
    }
    text.push('\n');
    let here = report.agents.first().map_or_else(
        || format!("this {machine} (not enrolled)"),
        |agent| format!("this {machine} (agent {}, {})", agent.agent, agent.mode),
    );
    let there = match report.agents.get(1) {
        Some(agent) => format!("{address} (agent {}, {})", agent.agent, agent.mode),
        None => format!("{address} (no agent known)"),
    };
    let between = report.flow.iter().flat_map(|flow| &flow.path).map(between);
    let agents: Vec<String> = [here].into_iter().chain(between).chain([there]).collect();
    let _ = writeln!(text, "agents: {}", agents.join(" → "));
    text
}

/// An agent on the way.
fn between(agent: &PathReport) -> String {
    let transit = agent.transit.as_ref().map(|transit| format!(", transit {transit}"));
    format!("router ({}{})", agent.mode, transit.unwrap_or_default())
}

/// One echo of `ping`.
pub(crate) fn echo(echo: &EchoReport) -> String {
    match echo.round_trip_seconds {
        Some(time) => format!("echo {}: {}\n", echo.sequence, millis(time)),
        None => format!("echo {}: no answer\n", echo.sequence),
    }
}

/// `down`.
pub(crate) fn down(program: Program, report: &DownReport) -> String {
    if report.reverted.is_empty() {
        return format!("nothing to revert: this {} is as it was\n", program.machine());
    }
    report.reverted.iter().fold(String::new(), |text, reverted| text + &reverted.text + "\n")
}

/// `config test`: as a file that would say the same. `own` are the settings that only this program
/// has.
pub(crate) fn config(
    settings: &Settings,
    own: Vec<(&'static str, Value)>,
    as_json: bool,
) -> String {
    let values = effective(settings, own);
    if as_json {
        let body = json!({ "file": settings.file, "settings": values });
        return json(settings.run.program, "config", &body);
    }
    let mut text = match &settings.file {
        Some(file) => format!("# {} and flags, checked\n", file.display()),
        None => "# flags and defaults, checked\n".to_owned(),
    };
    for (key, value) in &values {
        match value {
            Value::Null => _ = writeln!(text, "# {key} is not set"),
            // Strings and lists of strings are written alike in JSON and TOML.
            value => _ = writeln!(text, "{key} = {value}"),
        }
    }
    text
}

fn effective(
    settings: &Settings,
    own: Vec<(&'static str, Value)>,
) -> BTreeMap<&'static str, Value> {
    let format = match settings.log_format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let off: Vec<&str> = settings.run.offloads.off().map(Offload::as_str).collect();
    let common = [
        ("server", json!(settings.run.server)),
        ("token-file", json!(settings.run.token_file)),
        ("state", json!(settings.run.state)),
        ("socket", json!(settings.run.socket)),
        ("metrics", json!(settings.run.metrics)),
        ("workers", json!(settings.run.workers)),
        ("no-offload", json!(off)),
        ("log", json!(settings.log.to_string())),
        ("log-format", json!(format)),
    ];
    common.into_iter().chain(own).collect()
}

fn server(report: &StatusReport) -> String {
    let url = report.server.url.as_deref().unwrap_or("none");
    let synced = match report.server.sync_age_seconds {
        Some(age) => format!("synced {} ago", duration(age)),
        None => "never synced".to_owned(),
    };
    format!("{url} ({}, {synced})", report.server.state)
}

fn health(problems: &[Health]) -> String {
    let mut text = match problems.len() {
        0 => return String::new(),
        1 => "# Health: 1 problem\n".to_owned(),
        more => format!("# Health: {more} problems\n"),
    };
    for problem in problems {
        let severity = problem.severity.as_str();
        let Health { code, text: sentence, command, .. } = problem;
        let _ = writeln!(text, "#  {code}  {severity}: {sentence}   ({command})");
    }
    text
}

fn group(flow: &FlowReport) -> Option<String> {
    flow.peer.as_ref().map(|peer| format!("{}#{}", peer.group, peer.epoch))
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Fractions of a second matter to nobody in a table.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn seconds(value: f64) -> String {
    duration(value as u64)
}
