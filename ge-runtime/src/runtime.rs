//! A running agent: engine thread beside control plane.
//!
//! ```text
//! tokio: control socket, metrics, key client, signals --commands--> engine thread: hook, TUN,
//!        (control plane)                              <--snapshots-- sockets (data path)
//! ```
//! The start has an order: the control socket first (it finds a second agent), then the
//! membership (cached or fetched), then devices, and the hook as the very last thing, so that a
//! start that fails has touched nothing.

mod devices;
mod event_loop;
mod probes;

use crate::command::CommandReceiver;
use crate::entropy;
use crate::error::KernelError;
use crate::metrics::Metrics;
use crate::options::RunError;
use crate::report::SharedFacts;
use devices::Devices;
use event_loop::{Ended, EventLoop};
use ge_core::engine::Engine;
use ge_core::membership::{Identity, Membership};
use std::sync::Arc;

/// The data path of one agent, ready to run on a thread of its own.
pub struct DataPath {
    event_loop: EventLoop,
}

impl DataPath {
    /// Opens the devices, installs the hook and puts `membership` in force. Packets are captured
    /// from here on; call [`DataPath::run`] at once.
    ///
    /// # Errors
    /// What the kernel refused, or a membership that cannot be used; nothing is left behind.
    pub fn open(
        identity: Identity,
        membership: Membership,
        interfaces: &[String],
        commands: CommandReceiver,
        metrics: Arc<Metrics>,
        facts: SharedFacts,
    ) -> Result<Self, RunError> {
        let seed = entropy::seed()
            .map_err(|error| RunError::system("read random bytes", std::io::Error::other(error)))?;
        let mode = membership.mode;
        let mut engine = Engine::new(identity, seed);
        engine.install(membership, crate::clock::now()).map_err(|error| {
            RunError::NotEnrolled(format!("the membership of this host cannot be used: {error}"))
        })?;
        let devices = Devices::open(interfaces, mode).map_err(kernel_error)?;
        Ok(Self { event_loop: EventLoop::new(engine, devices, commands, metrics, facts) })
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

fn kernel_error(error: KernelError) -> RunError {
    match error {
        KernelError::Permission { .. } => RunError::NotPermitted(error.to_string()),
        KernelError::NoInterface { .. }
        | KernelError::NotEthernet { .. }
        | KernelError::NoDefaultRoute { .. } => RunError::BadOption(error.to_string()),
        other => RunError::Kernel(other.to_string()),
    }
}
