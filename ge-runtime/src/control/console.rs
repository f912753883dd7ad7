//! What is behind the control socket and the metrics port: it answers requests from the engine's
//! snapshot and the runtime's facts.

use super::credentials::Access;
use super::protocol::{Answer, Refusal, Request};
use crate::command::{Command, CommandSender, SendError};
use crate::echo;
use crate::exit::Exit;
use crate::key_client::Directory;
use crate::metrics::Metrics;
use crate::program::Program;
use crate::report::{
    DetailsReport, EchoReport, FlowsReport, ProbeReport, SharedFacts, StatusReport, Verdict,
};
use ge_core::io::Snapshot;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// The engine answers between two batches of packets; longer means that it is stuck.
pub(super) const ENGINE_PATIENCE: Duration = Duration::from_secs(5);
/// The retry ladder (`limits::RETRY_LADDER`, with jitter under 2 s) and room for a busy machine.
pub(super) const PROBE_PATIENCE: Duration = Duration::from_secs(6);

/// Answers what people on this host ask. Cheap to clone.
#[derive(Clone)]
pub struct Console {
    pub(super) engine: CommandSender,
    pub(super) facts: SharedFacts,
    metrics: Arc<Metrics>,
    pub(super) directory: Option<Directory>,
}

impl Console {
    /// A console for one running engine. Without a directory, other agents have no names.
    #[must_use]
    pub const fn new(
        engine: CommandSender,
        facts: SharedFacts,
        metrics: Arc<Metrics>,
        directory: Option<Directory>,
    ) -> Self {
        Self { engine, facts, metrics, directory }
    }

    /// Does what `request` asks as far as `access` allows.
    pub async fn answer(&self, request: Request, access: Access) -> Answer {
        match self.try_answer(request, access).await {
            Ok(answer) => answer,
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    /// The metrics as OpenMetrics text.
    pub async fn metrics(&self) -> Result<String, Refusal> {
        let snapshot = self.snapshot().await?;
        let details = self.details(&snapshot).await?;
        Ok(self.metrics.encode(&snapshot, &self.facts.get(), &details, SystemTime::now()))
    }

    /// The whole picture.
    pub async fn status(&self) -> Result<StatusReport, Refusal> {
        let snapshot = self.snapshot().await?;
        Ok(StatusReport::new(&snapshot, &self.facts.get(), SystemTime::now()))
    }

    async fn status_with_details(&self) -> Result<StatusReport, Refusal> {
        let snapshot = self.snapshot().await?;
        let report = StatusReport::new(&snapshot, &self.facts.get(), SystemTime::now());
        Ok(StatusReport { details: Some(self.details(&snapshot).await?), ..report })
    }

    async fn details(&self, snapshot: &Snapshot) -> Result<DetailsReport, Refusal> {
        let kernel = answered(ENGINE_PATIENCE, self.engine.kernel()).await?;
        Ok(DetailsReport::new(&self.facts.ledger(), kernel, snapshot))
    }

    async fn try_answer(&self, request: Request, access: Access) -> Result<Answer, Refusal> {
        permit(&request, access, self.facts.get().program)?;
        Ok(match request {
            Request::Status { details: false } => Answer::Status(Box::new(self.status().await?)),
            Request::Status { details: true } => {
                Answer::Status(Box::new(self.status_with_details().await?))
            }
            Request::Flows { verdict, would_drop } => self.flows(verdict, would_drop).await?,
            Request::Probe { address } => self.probe(address).await?,
            Request::Trace { source, destination } => self.trace(source, destination).await?,
            Request::Why { local, remote } => self.why(local, remote).await?,
            Request::Follow { .. } => Answer::Following {},
            Request::Echo { address, sequence } => self.echo(address, sequence).await?,
            Request::Metrics {} => Answer::Metrics { text: self.metrics().await? },
            Request::Stop {} => {
                self.engine.send(Command::Stop).map_err(engine_gone)?;
                Answer::Stopping {}
            }
        })
    }

    pub(super) async fn snapshot(&self) -> Result<Snapshot, Refusal> {
        answered(ENGINE_PATIENCE, self.engine.snapshot()).await
    }

    async fn flows(&self, verdict: Option<Verdict>, would_drop: bool) -> Result<Answer, Refusal> {
        Ok(Answer::Flows(FlowsReport::new(&self.snapshot().await?, verdict, would_drop)))
    }

    async fn probe(&self, address: IpAddr) -> Result<Answer, Refusal> {
        reachable(address)?;
        let snapshot = self.snapshot().await?;
        if snapshot.agent.is_none() {
            let message = "this host is not enrolled, so there is no key to negotiate with";
            return Err(Refusal::new(Exit::NotEnrolled, message));
        }
        let reply = answered(PROBE_PATIENCE, self.engine.probe(address)).await?;
        let report = ProbeReport::new(address, &snapshot, reply.flow.as_ref(), reply.took);
        Ok(Answer::Probe(Box::new(report)))
    }

    async fn echo(&self, address: IpAddr, sequence: u16) -> Result<Answer, Refusal> {
        reachable(address)?;
        let failed = |cause: String| {
            Refusal::new(Exit::Failure, format!("the echo could not be sent: {cause}"))
        };
        let round_trip = tokio::task::spawn_blocking(move || echo::round_trip(address, sequence))
            .await
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        let round_trip_seconds = round_trip.map(|time| time.as_secs_f64());
        Ok(Answer::Echo(EchoReport { sequence, round_trip_seconds }))
    }
}

/// Refuses what `access` does not cover.
fn permit(request: &Request, access: Access, program: Program) -> Result<(), Refusal> {
    let (needed, who) = match request {
        Request::Stop {} => (Access::Full, "only root or the agent's own user may stop it".into()),
        Request::Status { .. }
        | Request::Flows { .. }
        | Request::Probe { .. }
        | Request::Trace { .. }
        | Request::Why { .. }
        | Request::Follow { .. }
        | Request::Echo { .. }
        | Request::Metrics {} => (Access::Read, super::server::stranger(program)),
    };
    if access < needed { Err(Refusal::new(Exit::Refused, who)) } else { Ok(()) }
}

/// Refuses addresses that no host has, or that need an interface named with them.
pub(super) fn reachable(address: IpAddr) -> Result<(), Refusal> {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if address.is_unspecified() || address.is_multicast() || link_local {
        let message = format!("{address} is not an address of one host that can be asked");
        return Err(Refusal::new(Exit::Usage, message));
    }
    Ok(())
}

pub(super) async fn answered<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, SendError>>,
) -> Result<T, Refusal> {
    match timeout(patience, answer).await {
        Ok(result) => result.map_err(engine_gone),
        Err(_) => {
            let message = format!("the engine did not answer within {} s", patience.as_secs());
            Err(Refusal::new(Exit::TimedOut, message))
        }
    }
}

pub(super) fn engine_gone(error: SendError) -> Refusal {
    let exit = match error {
        SendError::Full => Exit::TimedOut,
        SendError::Stopped => Exit::NotRunning,
    };
    Refusal::new(exit, error.to_string())
}
