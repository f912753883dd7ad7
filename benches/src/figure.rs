//! One measured figure.

use serde_json::{Value, json};
use std::fmt;
use std::time::{Duration, Instant};

/// What was measured, and the median time of one operation.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: String,
    nanos: f64,
}

impl Figure {
    /// The median of `samples`, each the time of `operations` operations.
    pub(crate) fn median(name: String, mut samples: Vec<Duration>, operations: usize) -> Self {
        samples.sort();
        let middle = samples.get(samples.len() / 2).copied().unwrap_or_default();
        Self { name, nanos: middle.as_secs_f64() * 1e9 / operations.max(1) as f64 }
    }

    /// How many of it fit a second.
    pub(crate) fn per_second(&self) -> f64 {
        1e9 / self.nanos
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({ "name": self.name, "nanoseconds": self.nanos })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos < 10_000.0 {
            write!(f, "{:<44} {:>10.1} ns", self.name, self.nanos)
        } else {
            write!(f, "{:<44} {:>10.1} µs", self.name, self.nanos / 1e3)
        }
    }
}

/// How long `work` takes.
pub(crate) fn time<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}
