//! What systemd is told: ready, a line of status, and that the engine still answers.
//!
//! `READY=1` goes out when the engine has answered for the first time, and `WATCHDOG=1` only after
//! each answer: a watchdog fed by a timer alone would keep a stuck engine alive. Without systemd
//! every message goes nowhere.

use crate::control::Console;
use crate::report::StatusReport;
use sd_notify::NotifyState;
use std::time::Duration;
use tracing::{info, warn};

/// How often the status line is renewed where no watchdog asks for more.
const STATUS_PERIOD: Duration = Duration::from_secs(30);

/// Keeps systemd informed until the task is dropped.
pub async fn keep(console: Console) {
    // Half the watchdog's time, as sd_watchdog_enabled(3) advises.
    let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    let mut ticks = tokio::time::interval(watchdog.unwrap_or(STATUS_PERIOD).min(STATUS_PERIOD));
    let mut ready = false;
    loop {
        ticks.tick().await;
        match console.status().await {
            Ok(report) => {
                let line = status_line(&report);
                let mut states = vec![NotifyState::Status(&line), NotifyState::Watchdog];
                if !ready {
                    info!(mode = report.mode, "ready");
                    states.push(NotifyState::Ready);
                    ready = true;
                }
                tell(&states);
            }
            Err(refusal) => warn!(cause = refusal.message, "the engine did not answer"),
        }
    }
}

/// The agent is about to stop.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd could not be told");
    }
}

fn status_line(report: &StatusReport) -> String {
    let problems = match report.health.len() {
        0 => String::new(),
        1 => ", 1 problem".to_owned(),
        more => format!(", {more} problems"),
    };
    let counts = report.counts;
    format!(
        "{} mode, {} flows protected, {} clear, {} dropped{problems}",
        report.mode, counts.protected, counts.clear, counts.dropped
    )
}
