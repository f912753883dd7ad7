//! `ges ping HOST`: verdict, group, agents, negotiation time, and the echo programs would see.

use crate::agent::unexpected;
use crate::cli::PingOptions;
use crate::config::Settings;
use crate::failure::Failure;
use crate::{print, render};
use ge_runtime::control::{Answer, Client, Request};
use ge_runtime::exit::Exit;
use ge_runtime::report::{EchoReport, FlowReport, ProbeReport, Verdict};
use serde::Serialize;
use std::net::{IpAddr, ToSocketAddrs};
use std::time::Duration;

/// Pause between echoes, as every ping has it.
const PACE: Duration = Duration::from_secs(1);

/// Schemas `ges.ping/1` and `gen.ping/1`.
#[derive(Debug, Serialize)]
pub(crate) struct PingReport {
    /// As typed.
    pub(crate) host: String,
    /// As resolved.
    pub(crate) address: IpAddr,
    /// What happens to packets for it.
    pub(crate) verdict: Verdict,
    /// This agent and, if the flow is protected, the one at the other end.
    pub(crate) agents: Vec<AgentOnPath>,
    /// The flow row.
    pub(crate) flow: Option<FlowReport>,
    /// Seconds from the request to the verdict; near zero where it was known.
    pub(crate) took_seconds: f64,
    /// Echoes, in order.
    pub(crate) echoes: Vec<EchoReport>,
}

/// An agent that takes part in the flow.
#[derive(Debug, Serialize)]
pub(crate) struct AgentOnPath {
    /// Its id in hex.
    pub(crate) agent: String,
    /// `open` or `closed`.
    pub(crate) mode: String,
}

/// Runs the command.
pub(crate) fn run(settings: &Settings, options: &PingOptions) -> Result<Exit, Failure> {
    let address = resolve(&options.host)?;
    let mut client = Client::connect(&settings.run.socket)?;
    let Answer::Probe(probe) = client.ask(&Request::Probe { address })? else {
        return Err(unexpected());
    };
    let mut report = PingReport::new(&options.host, *probe);
    if !options.json {
        print(&render::ping(settings.run.program, &report))?;
    }
    if matches!(report.verdict, Verdict::Protected | Verdict::Clear | Verdict::Transit) {
        for sequence in 1..=options.count {
            if sequence > 1 {
                std::thread::sleep(PACE);
            }
            let Answer::Echo(echo) = client.ask(&Request::Echo { address, sequence })? else {
                return Err(unexpected());
            };
            if !options.json {
                print(&render::echo(&echo))?;
            }
            report.echoes.push(echo);
        }
    }
    if options.json {
        print(&render::json(settings.run.program, "ping", &report))?;
    }
    Ok(report.exit(options.require_protected))
}

impl PingReport {
    /// A report without echoes yet.
    pub(crate) fn new(host: &str, probe: ProbeReport) -> Self {
        let here = probe.agent.map(|agent| AgentOnPath { agent, mode: probe.mode });
        let peer = probe.flow.as_ref().and_then(|flow| flow.peer.as_ref());
        let there =
            peer.map(|peer| AgentOnPath { agent: peer.agent.clone(), mode: peer.mode.clone() });
        Self {
            host: host.to_owned(),
            address: probe.address,
            verdict: probe.flow.as_ref().map_or(Verdict::Pending, |flow| flow.verdict),
            agents: here.into_iter().chain(there).collect(),
            flow: probe.flow,
            took_seconds: probe.took_seconds,
            echoes: Vec::new(),
        }
    }

    /// The exit code this outcome stands for.
    pub(crate) fn exit(&self, require_protected: bool) -> Exit {
        let answered = self.echoes.iter().any(|echo| echo.round_trip_seconds.is_some());
        match self.verdict {
            Verdict::Dropped => Exit::Dropped,
            Verdict::Pending => Exit::TimedOut,
            Verdict::Clear | Verdict::Transit if require_protected => Exit::Clear,
            Verdict::Protected | Verdict::Clear | Verdict::Transit
                if answered || self.echoes.is_empty() =>
            {
                Exit::Success
            }
            Verdict::Protected | Verdict::Clear | Verdict::Transit => Exit::TimedOut,
        }
    }
}

pub(crate) fn resolve(host: &str) -> Result<IpAddr, Failure> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let unknown = |cause: String| Failure::new(Exit::Failure, format!("{host}: {cause}"));
    let mut found = (host, 0).to_socket_addrs().map_err(|error| unknown(error.to_string()))?;
    found
        .next()
        .map(|socket| socket.ip())
        .ok_or_else(|| unknown("the name has no address".to_owned()))
}
