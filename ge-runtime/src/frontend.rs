//! The people-facing half of a running agent, in one piece: control socket, metrics port, systemd.
//!
//! Binding comes first of all in a start: it is what finds a second agent or a taken port while
//! nothing else is set up yet. Serving begins when there is an engine to ask.

use crate::command::CommandSender;
use crate::control::{self, Console, ControlSocket};
use crate::key_client::Directory;
use crate::metrics::{self, Metrics};
use crate::notify;
use crate::options::{RunError, RunOptions};
use crate::report::SharedFacts;
use std::net::TcpListener;
use std::sync::Arc;

/// Bound, not yet serving.
pub struct Frontend {
    socket: ControlSocket,
    metrics: Option<TcpListener>,
    directory: Option<Directory>,
}

impl Frontend {
    /// Binds what `options` name. Nothing else was touched if this fails.
    pub fn bind(options: &RunOptions) -> Result<Self, RunError> {
        let socket = ControlSocket::bind(options.program, &options.socket)?;
        let metrics = options.metrics.map(|address| {
            let failed = |error| RunError::system(format!("serve metrics on {address}"), error);
            let listener = TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            Ok(listener)
        });
        Ok(Self { socket, metrics: metrics.transpose()?, directory: None })
    }

    /// Asks `directory` for the names of other agents.
    #[must_use]
    pub fn with_directory(self, directory: Directory) -> Self {
        Self { directory: Some(directory), ..self }
    }

    /// Serves until the task is dropped. Call it within a tokio runtime; it returns only if a
    /// listener cannot be handed to that runtime.
    pub async fn serve(
        self,
        engine: CommandSender,
        facts: SharedFacts,
        counted: Arc<Metrics>,
    ) -> Result<(), RunError> {
        let console = Console::new(engine, facts, counted, self.directory);
        let failed = |error| RunError::system("serve the control socket", error);
        let socket = control::serve(self.socket, console.clone());
        let port = async {
            match self.metrics.map(tokio::net::TcpListener::from_std).transpose()? {
                Some(listener) => metrics::serve(listener, console.clone()).await,
                None => std::future::pending().await,
            }
            Ok(())
        };
        tokio::select! {
            result = socket => result.map_err(failed),
            result = port => result.map_err(failed),
            () = notify::keep(console.clone()) => Ok(()),
        }
    }
}
