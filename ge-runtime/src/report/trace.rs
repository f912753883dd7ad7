//! What `trace`, `path` and `why` tell: every agent that spoke about a flow, what it said, who decided,
//! and what would change it.
//!
//! Made by pure functions from the engine's row and the server's directory. What agents signed is
//! told as theirs; what nobody said is told as unknown.

mod agents;
mod cause;
mod changes;

pub use agents::TraceAgent;
pub use cause::Cause;
pub use changes::Remedy;

use super::{FlowReport, Verdict};
use crate::command::Known;
use crate::program::Program;
use ge_core::io::{Outlook, Snapshot};
use mgmt_api::AgentInfo;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Schemas `ges.trace/1`, `ges.path/1` and `ges.why/1`, and the same of `gen`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TraceReport {
    /// Where the flow's packets come from.
    pub source: IpAddr,
    /// Where they go.
    pub destination: IpAddr,
    /// Which of the two this agent asked for: `source` or `destination`.
    pub asked_from: String,
    /// Agents that spoke, in the order of the path from source to destination.
    pub agents: Vec<TraceAgent>,
    /// What happens to the flow's packets.
    pub verdict: Verdict,
    /// Stable code of the reason.
    pub code: String,
    /// The reason in one sentence.
    pub reason: String,
    /// Name and epoch of the group it is protected with, `sales#7`.
    pub group: Option<String>,
    /// Commands, any one of which would change the verdict; the smallest change first.
    pub remedies: Vec<Remedy>,
    /// What could not be known, one sentence each.
    pub unknown: Vec<String>,
    /// The row, if there is one.
    pub flow: Option<FlowReport>,
    /// Seconds from the request to the verdict.
    pub took_seconds: f64,
}

/// Names from the server.
#[derive(Clone, Debug)]
pub enum Names {
    /// As far as it tells them.
    Known(Vec<AgentInfo>),
    /// It was not asked.
    NotAsked,
    /// It could not be asked; why.
    Missing(String),
}

/// What a report is made from.
pub(super) struct Facts<'a> {
    pub(super) program: Program,
    pub(super) snapshot: &'a Snapshot,
    pub(super) outlook: &'a Outlook,
    pub(super) local: IpAddr,
    pub(super) remote: IpAddr,
    pub(super) flow: Option<&'a FlowReport>,
    pub(super) names: &'a Names,
}

impl TraceReport {
    /// What is known about a pair of hosts, whose flow goes towards `destination`.
    #[must_use]
    pub fn new(
        program: Program,
        snapshot: &Snapshot,
        known: &Known,
        destination: IpAddr,
        names: &Names,
    ) -> Self {
        let flow = known.flow.as_ref().map(FlowReport::new);
        let (local, remote) = (known.pair.local.0, known.pair.remote.0);
        let facts = Facts {
            program,
            snapshot,
            outlook: &known.outlook,
            local,
            remote,
            flow: flow.as_ref(),
            names,
        };
        let forward = remote == destination;
        let cause = Cause::of(&facts);
        let mut agents = agents::list(&facts, &cause);
        let remedies = changes::remedies(&facts, &cause, &agents);
        let unknown = unknown(&facts, &cause);
        let reason = cause.sentence(&facts, &agents);
        if !forward {
            agents.reverse();
        }
        Self {
            source: if forward { local } else { remote },
            destination,
            asked_from: if forward { "source" } else { "destination" }.to_owned(),
            agents,
            verdict: cause.verdict(),
            code: cause.code().to_owned(),
            reason,
            group: group(&facts),
            remedies,
            unknown,
            took_seconds: known.took.as_secs_f64(),
            flow,
        }
    }
}

fn group(facts: &Facts<'_>) -> Option<String> {
    let peer = facts.flow?.peer.as_ref()?;
    Some(format!("{}#{}", peer.group, peer.epoch))
}

fn unknown(facts: &Facts<'_>, cause: &Cause) -> Vec<String> {
    let mut unknown = Vec::new();
    let remote = facts.remote;
    match cause {
        Cause::NoCommonGroup { .. } => unknown.push(
            "agents on the way that let the question pass: an answer without a common group does \
             not list them"
                .to_owned(),
        ),
        Cause::ClosedBetween { path_known: false, .. } => {
            unknown.push("whether there are agents beyond the one that refused".to_owned());
        }
        Cause::ClosedBeyond => unknown.push("which agent further on refuses".to_owned()),
        Cause::NoAgent { .. } => unknown.push(format!(
            "whether an agent at or before {remote} is down, or something on the way drops the \
             question: silence does not tell"
        )),
        Cause::OutOfScope { .. } => {
            unknown.push(format!("whether {remote} has an agent: nobody was asked"));
        }
        _ => {}
    }
    if let Names::Missing(why) = facts.names {
        unknown.push(format!("names and groups of other agents ({why})"));
    }
    unknown
}
