//! The agents of a report, one line each.

use super::{Cause, Facts, Names};
use crate::program::Program;
use crate::report::{PathReport, SpeakerReport, Verdict};
use mgmt_api::{AgentInfo, Kind};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// An agent that spoke about a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceAgent {
    /// `ges` or `gen`; `null` if nobody said.
    pub kind: Option<String>,
    /// Its name, if the server told it.
    pub name: Option<String>,
    /// Its id in hex, if it is known.
    pub agent: Option<String>,
    /// First 8 bytes of SHA-256 of its certificate, in hex, if it is known.
    pub certificate: Option<String>,
    /// The end of the flow it speaks for.
    pub address: Option<IpAddr>,
    /// It is this agent.
    pub here: bool,
    /// `open` or `closed`; empty if nobody said.
    pub mode: String,
    /// What it asks of what others protect, if it is closed and said so.
    pub transit: Option<String>,
    /// Its groups, as far as they are told; `null` if nobody told.
    pub groups: Option<Vec<String>>,
    /// How many more groups it is in.
    pub other_groups: u32,
    /// `protects`, `passes`, `refuses`, or `asks`.
    pub verdict: String,
    /// What it does, and why, in a few words.
    pub text: String,
    /// It decided.
    pub decided: bool,
}

impl TraceAgent {
    /// Its name, or what is known instead.
    #[must_use]
    pub fn title(&self) -> String {
        let short = |id: &String| id.chars().take(8).collect::<String>();
        let id = self.agent.as_ref().or(self.certificate.as_ref());
        match (&self.name, id) {
            (Some(name), _) => name.clone(),
            (None, Some(id)) => format!("agent {}", short(id)),
            (None, None) => "an agent".to_owned(),
        }
    }

    fn says(mut self, verdict: &str, text: impl Into<String>) -> Self {
        verdict.clone_into(&mut self.verdict);
        self.text = text.into();
        self
    }

    fn deciding(self, decided: bool) -> Self {
        Self { decided, ..self }
    }
}

/// All that spoke, this agent first.
pub(super) fn list(facts: &Facts<'_>, cause: &Cause) -> Vec<TraceAgent> {
    let mut agents = match cause {
        Cause::CommonGroup => protected(facts),
        Cause::OthersProtect => transit(facts),
        _ => denied(facts, cause),
    };
    if let Names::Known(known) = facts.names {
        agents.iter_mut().for_each(|agent| name(agent, known));
    }
    agents
}

fn here(facts: &Facts<'_>) -> TraceAgent {
    let kind = match facts.program {
        Program::Ges => "ges",
        Program::Gen => "gen",
    };
    let groups = facts.snapshot.groups.iter().map(|(_, name, ..)| name.clone()).collect();
    TraceAgent {
        kind: Some(kind.to_owned()),
        agent: facts.snapshot.agent.map(|agent| agent.to_string()),
        certificate: facts.outlook.certificate.map(hex::encode),
        address: Some(facts.local),
        here: true,
        mode: facts.outlook.mode.as_str().to_owned(),
        groups: Some(groups),
        ..TraceAgent::default()
    }
}

fn protected(facts: &Facts<'_>) -> Vec<TraceAgent> {
    let Some(flow) = facts.flow else { return vec![here(facts)] };
    let mut agents = vec![here(facts).says("protects", "seals and opens")];
    agents.extend(flow.path.iter().map(|agent| between(agent).says("passes", "lets it pass")));
    if let Some(peer) = &flow.peer {
        let text = if peer.speaks_for {
            format!("seals and opens, for {}", facts.remote)
        } else {
            "seals and opens".to_owned()
        };
        let agent = TraceAgent {
            kind: Some(kind(peer.kind == "router").to_owned()),
            agent: Some(peer.agent.clone()),
            address: Some(facts.remote),
            mode: peer.mode.clone(),
            decided: true,
            ..TraceAgent::default()
        };
        agents.push(agent.says("protects", text));
    }
    agents
}

fn transit(facts: &Facts<'_>) -> Vec<TraceAgent> {
    let Some(flow) = facts.flow else { return vec![here(facts)] };
    let own = facts.outlook.certificate.map(hex::encode);
    let end = |agent: &String| {
        let agent = TraceAgent { agent: Some(agent.clone()), ..TraceAgent::default() };
        agent.says("protects", "seals and opens")
    };
    let ends: Vec<TraceAgent> = flow.ends.iter().flatten().map(end).collect();
    let between = flow.path.iter().map(|agent| {
        let mine = own.as_deref() == Some(agent.certificate.as_str());
        let agent = if mine { TraceAgent { address: None, ..here(facts) } } else { between(agent) };
        agent.says("passes", "lets it pass")
    });
    let (first, last) = (ends.first().cloned(), ends.get(1).cloned());
    first.into_iter().chain(between).chain(last).collect()
}

fn denied(facts: &Facts<'_>, cause: &Cause) -> Vec<TraceAgent> {
    let denial = facts.flow.and_then(|flow| flow.denial.as_ref());
    let Some(denial) = denial.filter(|_| !matches!(cause, Cause::NoAgent { .. })) else {
        let (verdict, text) = alone(cause);
        return vec![here(facts).says(verdict, text).deciding(*cause != Cause::Asking)];
    };
    let mut agents = vec![here(facts).says("asks", "asked; needs a common group")];
    let mut refused = false;
    for agent in &denial.path {
        let decides = agent.certificate == denial.by.certificate;
        refused |= decides;
        let line = between(agent);
        agents.push(if decides {
            line.says("refuses", refusal(&denial.by)).deciding(true)
        } else {
            line.says("passes", "lets it pass")
        });
    }
    if let Some(end) = &denial.end {
        agents.push(speaker(facts, end).says("asks", "would protect it"));
    }
    if !refused {
        let (verdict, text) = verdict_of(&denial.by, cause);
        agents.push(speaker(facts, &denial.by).says(verdict, text).deciding(true));
    }
    agents
}

/// What this agent does when nobody else spoke.
const fn alone(cause: &Cause) -> (&'static str, &'static str) {
    match cause {
        Cause::NoAgent { dropped: true } => ("refuses", "closed, and nobody answered"),
        Cause::NoAgent { dropped: false } => ("passes", "open, and nobody answered"),
        Cause::MustProtect => ("refuses", "the policy forbids clear, and nobody answered"),
        Cause::Remembered => ("refuses", "it was protected before, and nobody answered"),
        Cause::OutOfScope { dropped: true } => ("refuses", "closed, and does not ask there"),
        Cause::OutOfScope { dropped: false } => ("passes", "open, and does not ask there"),
        Cause::CannotAsk { dropped: true } => ("refuses", "can ask nobody"),
        Cause::CannotAsk { dropped: false } => ("passes", "can ask nobody"),
        Cause::Unasked => ("passes", "open; has not asked yet"),
        _ => ("asks", "asks"),
    }
}

fn verdict_of(by: &SpeakerReport, cause: &Cause) -> (&'static str, String) {
    match cause.verdict() {
        Verdict::Clear => ("passes", "no common group; open, lets it pass in clear".to_owned()),
        _ if by.relays => ("passes", "says that somebody further on refuses".to_owned()),
        _ if by.is_closed() => ("refuses", refusal(by)),
        _ => ("passes", "no common group".to_owned()),
    }
}

fn refusal(by: &SpeakerReport) -> String {
    match (by.place.as_str(), by.transit.as_deref()) {
        (_, Some("strict")) => "closed, transit strict: lets no session of others pass".to_owned(),
        (_, Some(_)) => "closed, transit vouched: neither end is in a group of its".to_owned(),
        ("destination", None) if by.shares_group => {
            "closed: would have to pass it on in clear to one who refuses".to_owned()
        }
        ("destination", None) => "closed: no common group".to_owned(),
        (_, None) => "closed: it would pass in clear here".to_owned(),
    }
}

fn between(agent: &PathReport) -> TraceAgent {
    TraceAgent {
        kind: Some("gen".to_owned()),
        certificate: Some(agent.certificate.clone()),
        mode: agent.mode.clone(),
        transit: agent.transit.clone(),
        ..TraceAgent::default()
    }
}

fn speaker(facts: &Facts<'_>, by: &SpeakerReport) -> TraceAgent {
    TraceAgent {
        kind: by.kind.as_deref().map(|word| kind(word == "router").to_owned()),
        agent: by.agent.clone(),
        certificate: Some(by.certificate.clone()),
        address: (by.place == "destination").then_some(facts.remote),
        mode: by.mode.clone(),
        transit: by.transit.clone(),
        ..TraceAgent::default()
    }
}

const fn kind(router: bool) -> &'static str {
    if router { "gen" } else { "ges" }
}

/// Adds what the server told.
fn name(agent: &mut TraceAgent, known: &[AgentInfo]) {
    let is_it = |info: &&AgentInfo| {
        agent.agent.as_ref() == Some(&info.agent.to_string())
            || agent.agent.is_none() && agent.certificate == Some(info.certificate.to_string())
    };
    let Some(info) = known.iter().find(is_it) else { return };
    agent.name = Some(info.name.clone());
    agent.agent = Some(info.agent.to_string());
    agent.kind = Some(kind(info.kind == Kind::Router).to_owned());
    if agent.mode.is_empty() {
        agent.mode = info.mode.to_string();
    }
    if !agent.here {
        agent.groups = Some(info.groups.clone());
        agent.other_groups = info.other_groups;
    }
}
