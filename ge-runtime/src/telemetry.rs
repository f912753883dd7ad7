//! Structured logs on standard error.
//!
//! Three rules. Standard output belongs to what was asked for, so logs never go there. Addresses
//! of peers are named at `debug` only: a log is read by more people than the traffic it is about.
//! A warning that repeats is let through a few times a minute and then counted, so that nobody can
//! fill a disk by sending bad packets.

mod repeats;

use ge_core::io::{Event, NegotiationResult};
use repeats::RepeatFilter;
use std::str::FromStr;
use tracing::level_filters::LevelFilter;
use tracing::{debug, info, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people and the journal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// A word that is no [`LogFormat`].
#[derive(Debug, thiserror::Error)]
#[error("no such log format: {0} (one of text, json)")]
pub struct UnknownFormat(String);

impl FromStr for LogFormat {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        match word {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(UnknownFormat(other.to_owned())),
        }
    }
}

/// Starts logging for the whole process. Fails if something else logs already.
pub fn init(level: LevelFilter, format: LogFormat) -> Result<(), TryInitError> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines = match format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let lines = lines.with_filter(RepeatFilter::new(format));
    tracing_subscriber::registry().with(level).with(lines).try_init()
}

/// Logs an event of the engine: what happened for everyone, between whom at `debug`.
pub fn event(event: &Event) {
    match event {
        Event::Negotiated { pair, result, took } => {
            let seconds = took.as_secs_f64();
            debug!(
                local = %pair.local, remote = %pair.remote, result = result.as_str(), seconds,
                "negotiation ended"
            );
        }
        Event::Rekeyed { pair, epoch } => {
            debug!(local = %pair.local, remote = %pair.remote, epoch = epoch.0, "session rekeyed");
        }
        Event::PeerGone { pair, reason } => {
            info!(reason, "a peer is gone");
            debug!(local = %pair.local, remote = %pair.remote, reason, "peer gone");
        }
        Event::PathMtu { pair, mtu } => {
            debug!(local = %pair.local, remote = %pair.remote, mtu, "path MTU lowered");
        }
        Event::ClearFallback { pair, result } => {
            // Most of the Internet answers nobody; a refusal by an agent is worth a look.
            if *result == NegotiationResult::NoMatch {
                warn!(result = result.as_str(), "a first packet left in clear");
            }
            debug!(
                local = %pair.local, remote = %pair.remote, result = result.as_str(),
                "first packet left in clear"
            );
        }
    }
}
