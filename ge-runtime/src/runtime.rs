//! A running agent: engine thread beside control plane.
//!
//! ```text
//! tokio: control socket, metrics, key client, signals --commands--> engine thread: hook, TUN,
//!        (control plane)                              <--snapshots-- sockets (data path)
//! ```
//! The start has an order: the control socket and a rehearsal of the devices first (they find a
//! second agent and what the kernel refuses), then the membership (cached or fetched), then the
//! devices, and the hook as the very last thing, so that a start that fails has touched nothing
//! and used up no token.

mod arrivals;
mod connector;
mod control_plane;
mod data_sockets;
mod devices;
mod enrolment;
mod event_loop;
mod followers;
mod hurry;
mod inbox;
mod inquiries;
mod offer;
mod port;
mod probes;
mod spin;
mod turn;
mod worker;

use crate::command::{self, CommandReceiver};
use crate::entropy;
use crate::error::KernelError;
use crate::frontend::Frontend;
use crate::hook::Guard;
use crate::key_client::{KeyClient, KeyClientError};
use crate::memory::{Memory, Writer};
use crate::metrics::Metrics;
use crate::names::{Names, Table};
use crate::options::{RunError, RunOptions};
use crate::report::SharedFacts;
use crate::seal_time;
use connector::HookConnector;
use devices::{Devices, SharedHook};
use enrolment::{Enrolled, enrolled};
use event_loop::{Ended, EventLoop, Remembering};
use ge_core::engine::Engine;
use ge_core::membership::{Identity, Membership};
use ge_core::{Now, UnixTime};
use mgmt_api::ServerAddress;
use offer::offered;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

/// Runs an agent until `shutdown` completes or somebody asks it to stop on its control
/// socket.
///
/// # Errors
/// One sentence about what is missing; nothing is left half set up.
pub fn run(
    options: RunOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| RunError::system("start the control plane", error))?;
    let _context = tokio.enter();
    let frontend = Frontend::bind(&options)?;
    Devices::rehearse(&options).map_err(kernel_error)?;
    let connector = HookConnector::default();
    let Enrolled { client, membership } = tokio.block_on(enrolled(&options, &connector))?;

    let facts = SharedFacts::new(SystemTime::now(), &options);
    let random = |error| RunError::system("read random bytes", std::io::Error::other(error));
    facts.ledger().set_seal_times(seal_time::measure().map_err(random)?);
    let metrics = Arc::new(Metrics::new());
    let (engine, commands) =
        command::channel().map_err(|error| RunError::system("make the command queue", error))?;
    let mut path = DataPath::open(
        client.identity().clone(),
        membership,
        &options,
        &literal_servers(&client),
        commands,
        Arc::clone(&metrics),
        facts.clone(),
    )?;
    connector.use_hook(path.shared_hook());
    let directory = client.directory(Arc::new(connector.beside())).map_err(identity_error)?;
    let frontend = frontend.with_directory(directory);
    let memory = path.remember(&client, &options, &engine, &facts)?;

    let (ended, engine_ended) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::Builder::new()
        .name("engine".into())
        .spawn(move || {
            let result = path.run();
            drop(ended); // completes the other end, whatever happened
            result
        })
        .map_err(|error| RunError::system("start the engine thread", error))?;
    let engine_ended = async {
        // An error says that the sender is gone, which is the message.
        let _ = engine_ended.await;
    };
    let served = tokio.block_on(control_plane::serve(
        frontend,
        client,
        engine.clone(),
        facts,
        metrics,
        shutdown,
        engine_ended,
    ));
    if served.is_err() {
        let _ = engine.send(command::Command::Stop); // it may have ended already
    }
    let ran = thread.join().unwrap_or_else(|_| {
        Err(RunError::system("run the engine", std::io::Error::other("it panicked; see the log")))
    });
    drop(memory); // what the engine knew in the end is on the disk before we are gone
    served.and(ran)
}

/// Addresses of the management server that are written as addresses. Names are not asked for:
/// what a resolver says must not open a port of this machine.
fn literal_servers(client: &KeyClient) -> Vec<SocketAddr> {
    let servers = client.enrolment().servers.iter();
    let literal =
        |server: &ServerAddress| Some((server.host().parse::<IpAddr>().ok()?, server.port()));
    servers.filter_map(literal).map(SocketAddr::from).collect()
}

/// The data path of one agent, ready to run on a thread of its own.
pub struct DataPath {
    event_loop: EventLoop,
}

impl DataPath {
    /// Opens the devices, installs the hook and puts `membership` in force; without one the agent
    /// is closed until it is given one. Packets are captured from here on; call
    /// [`DataPath::run`] at once.
    ///
    /// # Errors
    /// What the kernel refused, or a membership that cannot be used; nothing is left behind.
    pub fn open(
        identity: Identity,
        membership: Option<Membership>,
        options: &RunOptions,
        servers: &[SocketAddr],
        commands: CommandReceiver,
        metrics: Arc<Metrics>,
        facts: SharedFacts,
    ) -> Result<Self, RunError> {
        let seed = entropy::seed()
            .map_err(|error| RunError::system("read random bytes", std::io::Error::other(error)))?;
        let mut engine = Engine::new(identity, seed);
        if let Some(membership) = membership {
            facts.set_role(&membership.role);
            engine.install(membership, crate::clock::now()).map_err(|error| {
                RunError::NotEnrolled(format!(
                    "the membership of this {} cannot be used: {error}",
                    options.program.machine()
                ))
            })?;
        }
        let mode = engine.mode();
        let guard = Guard {
            ranges: engine.guarded().0.iter().map(|range| (range.address, range.length)).collect(),
            ..Guard::default()
        };
        let devices =
            Devices::open(options, servers, mode, guard, facts.ledger()).map_err(kernel_error)?;
        let event_loop = EventLoop::new(engine, devices, commands, metrics, facts)
            .map_err(|error| RunError::system("start the threads of the data path", error))?;
        Ok(Self { event_loop })
    }

    /// Takes over what the last run remembered of destinations, and goes on remembering. What it
    /// gives writes the rest when it is dropped.
    fn remember(
        &mut self,
        client: &KeyClient,
        options: &RunOptions,
        engine: &command::CommandSender,
        facts: &SharedFacts,
    ) -> Result<Writer, RunError> {
        let failed = |error| RunError::system("start the agent's memory", error);
        let (memory, writer, kept) =
            Memory::open(&options.state, client.identity(), facts.clone()).map_err(failed)?;
        // Until the server is heard its clock is not known, and this machine's may have been put
        // right meanwhile: whichever makes an entry count longer.
        let here = crate::clock::now();
        let there = here.unix.0.saturating_add_signed(kept.ahead);
        let now = Now { unix: UnixTime(here.unix.0.min(there)), ..here };
        let mut table = Table::restored(&kept.named);
        let own = self.event_loop.engine_mut();
        own.restore_sticky(&kept.sticky, now);
        let names: Vec<_> =
            own.must_protect_names().iter().filter_map(|name| name.parse().ok()).collect();
        table.keep(&names, now.unix);
        own.set_named(table.addresses());
        let saved = own.sticky_changes();
        let names = Names::start(names, table, engine.clone(), memory.clone(), facts.clone());
        let names = names.map_err(failed)?;
        let ports: Vec<u16> = client.enrolment().servers.iter().map(ServerAddress::port).collect();
        let remembering = Remembering { memory, names, saved, save_at: now.mono };
        self.event_loop.remember(remembering, &ports);
        Ok(writer)
    }

    fn shared_hook(&self) -> SharedHook {
        self.event_loop.shared_hook()
    }

    /// Works until [`Command::Stop`](crate::command::Command::Stop).
    ///
    /// # Errors
    /// Something it cannot go on without failed.
    pub fn run(self) -> Result<(), RunError> {
        match self.event_loop.run() {
            Ended::Stopped => Ok(()),
            Ended::Failed(error) => Err(error),
        }
    }
}

fn identity_error(error: KeyClientError) -> RunError {
    RunError::system("use the identity key", std::io::Error::other(error))
}

fn kernel_error(error: KernelError) -> RunError {
    match error {
        KernelError::Permission { .. } => RunError::NotPermitted(error.to_string()),
        KernelError::NoInterface { .. }
        | KernelError::NotEthernet { .. }
        | KernelError::NoDefaultRoute { .. }
        | KernelError::NotForwarding { .. } => RunError::BadOption(error.to_string()),
        other => RunError::Kernel(other.to_string()),
    }
}
