//! `path`, `trace` and `why`: who is on the way, and why the verdict is what it is.

use crate::agent::{ask, unexpected};
use crate::cli::{PathOptions, Protocol, TraceOptions, WhyOptions};
use crate::config::Settings;
use crate::failure::Failure;
use crate::ping::resolve;
use crate::{print, render};
use ge_runtime::control::{Answer, Request};
use ge_runtime::exit::Exit;
use ge_runtime::report::{TraceReport, Verdict};
use serde::Serialize;
use std::net::IpAddr;

/// Schemas `ges.trace/1` and `gen.trace/1`: a report, and what was asked about.
#[derive(Debug, Serialize)]
pub(crate) struct Trace {
    /// `tcp`, `udp` or `icmp`, as typed.
    pub(crate) protocol: Option<Protocol>,
    /// As typed.
    pub(crate) port: Option<u16>,
    /// What the verdict covers: `pair`, all traffic between the two hosts.
    pub(crate) covers: &'static str,
    #[serde(flatten)]
    pub(crate) report: TraceReport,
}

/// Schemas `ges.path/1` and `gen.path/1`: a report, and which part is how.
#[derive(Debug, Serialize)]
pub(crate) struct PathShown {
    /// As typed.
    pub(crate) host: String,
    /// Parts of the path, in order.
    pub(crate) parts: Vec<Part>,
    #[serde(flatten)]
    pub(crate) report: TraceReport,
}

/// A part of a path between two of its points.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Part {
    /// Where it begins.
    pub(crate) from: String,
    /// Where it ends.
    pub(crate) to: String,
    /// `sealed`, `clear`, or `none`: nothing goes there.
    pub(crate) state: &'static str,
}

/// `path`.
pub(crate) fn path(settings: &Settings, options: &PathOptions) -> Result<Exit, Failure> {
    let destination = resolve(&options.host)?;
    let report = asked(settings, &Request::Trace { source: None, destination })?;
    let program = settings.run.program;
    let exit = exit(&report);
    let shown = PathShown::new(&options.host, report);
    if options.json {
        print(&render::json(program, "path", &shown))?;
    } else {
        print(&render::explain::path(program, &shown))?;
    }
    Ok(exit)
}

/// `trace`.
pub(crate) fn trace(settings: &Settings, options: &TraceOptions) -> Result<Exit, Failure> {
    let (source, destination) = (resolve(&options.source)?, resolve(&options.destination)?);
    let report = asked(settings, &Request::Trace { source: Some(source), destination })?;
    let exit = exit(&report);
    let trace = Trace { protocol: options.protocol, port: options.dport, covers: "pair", report };
    let program = settings.run.program;
    if options.json {
        print(&render::json(program, "trace", &trace))?;
    } else {
        print(&render::explain::trace(program, &trace))?;
    }
    Ok(exit)
}

/// `why`.
pub(crate) fn why(settings: &Settings, options: &WhyOptions) -> Result<Exit, Failure> {
    let (local, remote): (Option<IpAddr>, IpAddr) = match *options.flow.as_slice() {
        [local, remote] => (Some(local), remote),
        [remote] => (None, remote),
        _ => return Err(Failure::new(Exit::Usage, "one or two addresses are needed")),
    };
    let report = asked(settings, &Request::Why { local, remote })?;
    let program = settings.run.program;
    if options.json {
        print(&render::json(program, "why", &report))?;
    } else {
        print(&render::explain::why(program, &report))?;
    }
    Ok(exit(&report))
}

fn asked(settings: &Settings, request: &Request) -> Result<TraceReport, Failure> {
    match ask(settings, request)? {
        Answer::Trace(report) => Ok(*report),
        _ => Err(unexpected()),
    }
}

/// The exit code a verdict stands for.
pub(crate) const fn exit(report: &TraceReport) -> Exit {
    match report.verdict {
        Verdict::Dropped => Exit::Dropped,
        Verdict::Pending => Exit::TimedOut,
        Verdict::Protected | Verdict::Clear | Verdict::Transit => Exit::Success,
    }
}

impl PathShown {
    pub(crate) fn new(host: &str, report: TraceReport) -> Self {
        Self { host: host.to_owned(), parts: parts(&report), report }
    }
}

/// Points of the path: its agents, and its two ends where they have none.
fn parts(report: &TraceReport) -> Vec<Part> {
    let sealed: Vec<usize> = report
        .agents
        .iter()
        .enumerate()
        .filter(|(_, agent)| agent.verdict == "protects")
        .map(|(at, _)| at)
        .collect();
    let mut points: Vec<(String, bool)> = report
        .agents
        .iter()
        .enumerate()
        .map(|(at, agent)| {
            let inside = sealed.first().zip(sealed.last());
            let title = if agent.here { "here".to_owned() } else { agent.title() };
            (title, inside.is_some_and(|(first, last)| *first <= at && at < *last))
        })
        .collect();
    let speaks_for = |agent: &&ge_runtime::report::TraceAgent, address: IpAddr| {
        agent.kind.as_deref() == Some("gen") && agent.address == Some(address) && !agent.here
    };
    let last = report.agents.last();
    let beyond = last.is_none_or(|agent| {
        agent.address != Some(report.destination) || speaks_for(&agent, report.destination)
    });
    if beyond {
        points.push((report.destination.to_string(), false));
    }
    let plain = match report.verdict {
        Verdict::Dropped | Verdict::Pending => "none",
        Verdict::Protected | Verdict::Clear | Verdict::Transit => "clear",
    };
    let pairs = points.windows(2);
    pairs
        .map(|pair| Part {
            from: pair[0].0.clone(),
            to: pair[1].0.clone(),
            state: if pair[0].1 { "sealed" } else { plain },
        })
        .collect()
}
