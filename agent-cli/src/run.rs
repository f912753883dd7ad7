//! `run`: the agent itself, in the foreground.

use crate::capabilities;
use crate::config::Settings;
use crate::failure::Failure;
use ge_runtime::exit::Exit;
use ge_runtime::{notify, runtime, telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

/// Runs until it is asked to stop by a signal or over the control socket.
pub(crate) fn run(settings: Settings) -> Result<Exit, Failure> {
    telemetry::init(settings.log, settings.log_format)
        .map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    capabilities::require()?;
    runtime::run(settings.run, terminated())?;
    Ok(Exit::Success)
}

/// Ends with the first SIGTERM or SIGINT.
async fn terminated() {
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the default action ends the process, and the hook outlives it as it
        // outlives a crash.
        return std::future::pending().await;
    };
    let name = tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal = name, "stopping");
    notify::stopping();
}
