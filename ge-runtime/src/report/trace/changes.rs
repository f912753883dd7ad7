//! The smallest changes that would let a flow through, as commands to type.

use super::{Cause, Facts, TraceAgent};
use crate::report::Verdict;
use serde::{Deserialize, Serialize};

/// A command, and what it would lead to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// To type on the management server, or what to do.
    pub command: String,
    /// The verdict it would lead to, as far as this agent can know.
    pub verdict: Verdict,
}

impl Remedy {
    fn new(verdict: Verdict, command: String) -> Self {
        Self { command, verdict }
    }
}

/// What would protect it first, then what would let it pass in clear.
pub(super) fn remedies(facts: &Facts<'_>, cause: &Cause, agents: &[TraceAgent]) -> Vec<Remedy> {
    use Verdict::{Clear, Protected};
    let remote = facts.remote;
    let decider = agents.iter().find(|agent| agent.decided);
    let here = agents.iter().find(|agent| agent.here);
    let own = || here.map_or_else(|| "THIS".to_owned(), handle);
    let set = |who: String, what: &str| format!("mgmt-server member set {who} {what}");
    let install = || {
        let what =
            format!("run ges on {remote}, or gen on the router in front of it, in a group of");
        Remedy::new(Protected, format!("{what} {}", own()))
    };
    match cause {
        Cause::NoCommonGroup { dropped } => {
            let mut remedies = join(facts, here, decider);
            let closed = decider.filter(|agent| agent.mode == "closed");
            if let Some(agent) = closed.filter(|_| *dropped) {
                if facts.outlook.mode == ge_core::Mode::Open {
                    remedies.push(Remedy::new(Clear, set(handle(agent), "--mode open")));
                }
            } else if *dropped {
                remedies.push(Remedy::new(Clear, set(own(), "--mode open")));
            }
            remedies
        }
        Cause::ClosedBetween { path_known: true } => {
            let Some(router) = decider else { return Vec::new() };
            let vouched = router.transit.as_deref() == Some("vouched");
            let group = facts.snapshot.groups.first().filter(|_| vouched);
            let join = group.map(|(_, group, ..)| set(handle(router), &format!("--group {group}")));
            let any = set(handle(router), "--transit any");
            join.into_iter().chain([any]).map(|command| Remedy::new(Protected, command)).collect()
        }
        Cause::ClosedBetween { path_known: false } => {
            let open = decider.map(|agent| Remedy::new(Clear, set(handle(agent), "--mode open")));
            [install()].into_iter().chain(open).collect()
        }
        Cause::NoAgent { dropped: true } => {
            vec![install(), Remedy::new(Clear, set(own(), "--mode open"))]
        }
        Cause::NoAgent { dropped: false } | Cause::Remembered => vec![install()],
        Cause::MustProtect => {
            let list = "mgmt-server policy must-protect list, and remove the range".to_owned();
            vec![install(), Remedy::new(Clear, list)]
        }
        Cause::OutOfScope { .. } => {
            let bits = if remote.is_ipv4() { 32 } else { 128 };
            let add = format!("mgmt-server policy scope add {remote}/{bits}");
            vec![Remedy::new(Protected, add)]
        }
        Cause::CannotAsk { .. } => {
            let program = facts.program.name();
            vec![Remedy::new(Protected, format!("{program} status, which says what is missing"))]
        }
        Cause::CommonGroup
        | Cause::OthersProtect
        | Cause::ClosedBeyond
        | Cause::Asking
        | Cause::Unasked
        | Cause::Other { .. } => Vec::new(),
    }
}

/// One of the two joins a group of the other.
fn join(facts: &Facts<'_>, here: Option<&TraceAgent>, decider: Option<&TraceAgent>) -> Vec<Remedy> {
    let (Some(here), Some(other)) = (here, decider) else { return Vec::new() };
    let command = |who: &TraceAgent, group: &String| {
        let command = format!("mgmt-server member set {} --group {group}", handle(who));
        Remedy::new(Verdict::Protected, command)
    };
    let own = facts.snapshot.groups.first().map(|(_, group, ..)| command(other, group));
    let theirs = other.groups.as_ref().and_then(|groups| groups.first());
    own.into_iter().chain(theirs.map(|group| command(here, group))).collect()
}

/// How the server's commands take an agent.
fn handle(agent: &TraceAgent) -> String {
    let id = agent.agent.as_ref();
    agent.name.as_ref().or(id).cloned().unwrap_or_else(|| {
        let certificate = agent.certificate.as_deref().unwrap_or("?");
        format!("ROUTER (certificate {certificate})")
    })
}
