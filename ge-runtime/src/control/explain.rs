//! `trace`, `path` and `why`: the engine's word, with the server's names.

use super::console::{Console, ENGINE_PATIENCE, PROBE_PATIENCE, answered, reachable};
use super::protocol::{Answer, Refusal};
use crate::command::{Explained, Known, Question};
use crate::exit::Exit;
use crate::report::{Names, TraceReport};
use ge_core::io::{FlowSnapshot, Snapshot};
use mgmt_api::{HexBytes, WhoRequest};
use std::net::IpAddr;

impl Console {
    pub(super) async fn trace(
        &self,
        source: Option<IpAddr>,
        destination: IpAddr,
    ) -> Result<Answer, Refusal> {
        for address in source.into_iter().chain([destination]) {
            reachable(address)?;
        }
        if source.is_some_and(|source| source.is_ipv4() != destination.is_ipv4()) {
            let message = "source and destination are of different IP versions";
            return Err(Refusal::new(Exit::Usage, message));
        }
        let snapshot = self.snapshot().await?;
        if snapshot.agent.is_none() {
            let message = "this host is not enrolled, so there is no key to negotiate with";
            return Err(Refusal::new(Exit::NotEnrolled, message));
        }
        let question = Question { source, destination, ask: true };
        let known = match answered(PROBE_PATIENCE, self.engine.explain(question)).await? {
            Explained::Known(known) => known,
            Explained::Strangers => return Err(self.strangers(source, destination)),
            Explained::NotHooked => return Err(not_hooked()),
        };
        let names = self.names(&snapshot, &known).await;
        let program = self.facts.get().program;
        let report = TraceReport::new(program, &snapshot, &known, destination, &names);
        Ok(Answer::Trace(Box::new(report)))
    }

    pub(super) async fn why(
        &self,
        local: Option<IpAddr>,
        remote: IpAddr,
    ) -> Result<Answer, Refusal> {
        let snapshot = self.snapshot().await?;
        let program = self.facts.get().program;
        let local = only_row(&snapshot, local, remote, program.name())?;
        let question = Question { source: Some(local), destination: remote, ask: false };
        match answered(ENGINE_PATIENCE, self.engine.explain(question)).await? {
            Explained::Known(known) if known.flow.is_some() => {
                let report = TraceReport::new(program, &snapshot, &known, remote, &Names::NotAsked);
                Ok(Answer::Trace(Box::new(report)))
            }
            // It was forgotten since the list was made.
            _ => Err(no_row(remote, program.name())),
        }
    }

    fn strangers(&self, source: Option<IpAddr>, destination: IpAddr) -> Refusal {
        let program = self.facts.get().program;
        let (name, machine) = (program.name(), program.machine());
        let message = match source {
            Some(source) => format!(
                "this {machine} speaks for neither {source} nor {destination}; run {name} trace on \
                 one of the two, or on the router in front of one, or mgmt-server trace on the \
                 server"
            ),
            None => format!("{destination} is not reached by an interface under the hook"),
        };
        Refusal::new(Exit::Usage, message)
    }

    /// Names of everybody in the report. Without the server, it is made without them.
    async fn names(&self, snapshot: &Snapshot, known: &Known) -> Names {
        let Some(directory) = &self.directory else {
            return Names::Missing("there is no management server to ask".to_owned());
        };
        match directory.who(&everybody(snapshot, known)).await {
            Ok(answer) => Names::Known(answer.agents),
            Err(error) => Names::Missing(error.to_string()),
        }
    }
}

fn not_hooked() -> Refusal {
    Refusal::new(Exit::Failure, "no interface is under the hook, so nobody can be asked")
}

fn everybody(snapshot: &Snapshot, known: &Known) -> WhoRequest {
    let mut request = WhoRequest::default();
    request.agents.extend(snapshot.agent.map(|agent| HexBytes(agent.0)));
    let Some(flow) = &known.flow else { return request };
    request.agents.extend(flow.peer.iter().map(|peer| HexBytes(peer.agent.0)));
    request.agents.extend(flow.ends.iter().flatten().map(|end| HexBytes(end.0)));
    let denial = flow.denial.as_ref();
    let path = flow.path.iter().chain(denial.iter().flat_map(|denial| &denial.path));
    request.certificates.extend(path.map(|agent| HexBytes(agent.certificate)));
    for speaker in denial.iter().flat_map(|denial| [Some(&denial.by), denial.end.as_ref()]) {
        let Some(speaker) = speaker else { continue };
        match speaker.agent {
            Some(agent) => request.agents.push(HexBytes(agent.0)),
            None => request.certificates.push(HexBytes(speaker.certificate)),
        }
    }
    request
}

/// Our side of the row that is meant.
fn only_row(
    snapshot: &Snapshot,
    local: Option<IpAddr>,
    remote: IpAddr,
    name: &str,
) -> Result<IpAddr, Refusal> {
    let is_it = |row: &&FlowSnapshot| {
        row.remote.0 == remote && local.is_none_or(|local| row.local.0 == local)
    };
    let mut found: Vec<IpAddr> =
        snapshot.flows.iter().filter(is_it).map(|row| row.local.0).collect();
    found.sort_unstable();
    match found.as_slice() {
        [] => Err(no_row(remote, name)),
        [one] => Ok(*one),
        [one, ..] => {
            let count = found.len();
            let message = format!(
                "there are {count} flows with {remote}; name our side too: {name} why {one} {remote}"
            );
            Err(Refusal::new(Exit::Usage, message))
        }
    }
}

fn no_row(remote: IpAddr, name: &str) -> Refusal {
    let message = format!(
        "there is no flow with {remote}: nothing was sent lately; {name} path {remote} asks"
    );
    Refusal::new(Exit::Failure, message)
}
