//! Holds back warnings that repeat.

use super::LogFormat;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Lines one place in the code may write per [`PERIOD`].
const BURST: u32 = 5;
/// See [`BURST`].
const PERIOD: Duration = Duration::from_secs(60);

/// Lets each warning (or error) in the code through [`BURST`] times a [`PERIOD`], and says how
/// many it held back when the next period begins. Other levels pass.
pub(super) struct RepeatFilter {
    format: LogFormat,
    places: Mutex<HashMap<Identifier, Budget>>,
}

impl RepeatFilter {
    pub(super) fn new(format: LogFormat) -> Self {
        Self { format, places: Mutex::default() }
    }

    /// Written directly, in the format of the log: a log line would ask this filter again.
    fn say_held_back(&self, held_back: u64) {
        match self.format {
            LogFormat::Text => eprintln!("{held_back} repeats of the next line were held back"),
            LogFormat::Json => {
                let message = "repeats of the next line were held back";
                let line = serde_json::json!({ "message": message, "held_back": held_back });
                eprintln!("{line}");
            }
        }
    }
}

impl<S: Subscriber> Filter<S> for RepeatFilter {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &tracing::Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN {
            return true;
        }
        let now = Instant::now();
        let outcome = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.entry(metadata.callsite()).or_insert_with(|| Budget::new(now)).spend(now)
        };
        match outcome {
            Outcome::Write { held_back: 0 } => true,
            Outcome::Write { held_back } => {
                self.say_held_back(held_back);
                true
            }
            Outcome::HoldBack => false,
        }
    }
}

/// What one place in the code has left to write.
#[derive(Debug)]
struct Budget {
    since: Instant,
    left: u32,
    held_back: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Write the line; this many like it were held back before.
    Write {
        held_back: u64,
    },
    HoldBack,
}

impl Budget {
    const fn new(now: Instant) -> Self {
        Self { since: now, left: BURST, held_back: 0 }
    }

    fn spend(&mut self, now: Instant) -> Outcome {
        if now.saturating_duration_since(self.since) >= PERIOD {
            self.since = now;
            self.left = BURST;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Outcome::Write { held_back: std::mem::take(&mut self.held_back) }
            }
            None => {
                self.held_back = self.held_back.saturating_add(1);
                Outcome::HoldBack
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_silence_then_the_count() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        for _ in 0..BURST {
            assert_eq!(budget.spend(start), Outcome::Write { held_back: 0 });
        }
        assert_eq!(budget.spend(start), Outcome::HoldBack);
        assert_eq!(budget.spend(start + PERIOD / 2), Outcome::HoldBack);
        assert_eq!(budget.spend(start + PERIOD), Outcome::Write { held_back: 2 });
        assert_eq!(budget.spend(start + PERIOD), Outcome::Write { held_back: 0 });
    }
}
