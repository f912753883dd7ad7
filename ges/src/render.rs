//! Reports as text for people and JSON for scripts. Pure: the same report prints the same bytes.

mod table;
mod units;

use crate::config::Settings;
use crate::down::DownReport;
use crate::ping::PingReport;
use ge_runtime::report::{EchoReport, FlowReport, Health, StatusReport, Verdict};
use ge_runtime::telemetry::LogFormat;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write;
use table::Table;
use units::{bytes, duration, millis};

/// One JSON object with the schema's name, indented, with a newline at the end.
pub(crate) fn json(schema: &str, body: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Named<'a, T> {
        schema: &'a str,
        #[serde(flatten)]
        body: &'a T,
    }
    let mut text = serde_json::to_string_pretty(&Named { schema, body })
        .expect("invariant: reports hold strings and numbers, which JSON can write");
    text.push('\n');
    text
}

/// `ges status`.
pub(crate) fn status(report: &StatusReport) -> String {
    let mut text = format!("ges {}  up {}", report.version, duration(report.uptime_seconds));
    let _ = write!(text, "  server {}  mode {}", server(report), report.mode);
    let groups: Vec<String> =
        report.groups.iter().map(|group| format!("{}#{}", group.name, group.epoch)).collect();
    match groups.as_slice() {
        [] => text.push_str("  no groups\n"),
        groups => _ = writeln!(text, "  groups {}", groups.join(" ")),
    }
    let counts = report.counts;
    let _ = writeln!(
        text,
        "interfaces {}  flows {} protected, {} clear, {} dropped, {} pending",
        or_dash(&report.interfaces.join(" ")),
        counts.protected,
        counts.clear,
        counts.dropped,
        counts.pending
    );
    text.push_str(&flows(&report.flows));
    let shown = report.flows.len() as u64;
    let total = Verdict::ALL.iter().map(|verdict| counts.get(*verdict)).sum::<u64>();
    if total > shown {
        let _ = writeln!(text, "… and {} more: ges flows", total - shown);
    }
    text.push_str(&health(&report.health));
    text
}

/// `ges flows`, and the table in `ges status`.
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
            flow.verdict.to_string(),
            or_dash(&flow.reason).to_owned(),
            flow.peer.as_ref().map_or_else(|| "-".to_owned(), |peer| seconds(peer.key_age_seconds)),
            format!("{}/{}", bytes(flow.bytes_in), bytes(flow.bytes_out)),
            seconds(flow.idle_seconds),
        ]);
    }
    table.to_string()
}

/// `ges ping`, before the first echo.
pub(crate) fn ping(report: &PingReport) -> String {
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
        || "this host (not enrolled)".to_owned(),
        |agent| format!("this host (agent {}, {})", agent.agent, agent.mode),
    );
    let there = match report.agents.get(1) {
        Some(agent) => format!("{address} (agent {}, {})", agent.agent, agent.mode),
        None => format!("{address} (no agent known)"),
    };
    let _ = writeln!(text, "agents: {here} → {there}");
    text
}

/// One echo of `ges ping`.
pub(crate) fn echo(echo: &EchoReport) -> String {
    match echo.round_trip_seconds {
        Some(time) => format!("echo {}: {}\n", echo.sequence, millis(time)),
        None => format!("echo {}: no answer\n", echo.sequence),
    }
}

/// `ges down`.
pub(crate) fn down(report: &DownReport) -> String {
    if report.reverted.is_empty() {
        return "nothing to revert: this host is as it was\n".to_owned();
    }
    report.reverted.iter().fold(String::new(), |text, reverted| text + &reverted.text + "\n")
}

/// `ges config test`: as a file that would say the same.
pub(crate) fn config(settings: &Settings, as_json: bool) -> String {
    let values = effective(settings);
    if as_json {
        return json("ges.config/1", &json!({ "file": settings.file, "settings": values }));
    }
    let mut text = match &settings.file {
        Some(file) => format!("# {} and flags, checked\n", file.display()),
        None => "# flags and defaults, checked\n".to_owned(),
    };
    for (key, value) in values.as_object().into_iter().flatten() {
        match value {
            Value::Null => _ = writeln!(text, "# {key} is not set"),
            // Strings and lists of strings are written alike in JSON and TOML.
            value => _ = writeln!(text, "{key} = {value}"),
        }
    }
    text
}

fn effective(settings: &Settings) -> Value {
    let format = match settings.log_format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    json!({
        "server": settings.run.server,
        "token-file": settings.run.token_file,
        "state": settings.run.state,
        "interface": settings.run.interfaces,
        "socket": settings.run.socket,
        "metrics": settings.run.metrics,
        "log": settings.log.to_string(),
        "log-format": format,
    })
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
