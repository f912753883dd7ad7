//! One measured figure.

use serde_json::{Value, json};
use std::fmt;
use std::time::{Duration, Instant};

/// What was measured, and the median time of one operation.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: String,
    nanos: f64,
    /// Whether how many a core does in a second says more than the time of one.
    as_rate: bool,
}

impl Figure {
    /// The median of `samples`, each the time of `operations` operations.
    pub(crate) fn median(name: String, mut samples: Vec<Duration>, operations: usize) -> Self {
        samples.sort();
        let middle = samples.get(samples.len() / 2).copied().unwrap_or_default();
        Self { name, nanos: middle.as_secs_f64() * 1e9 / operations.max(1) as f64, as_rate: false }
    }

    /// With how many one core does in a second.
    pub(crate) fn with_rate(self) -> Self {
        Self { as_rate: true, ..self }
    }

    fn per_second(&self) -> f64 {
        1e9 / self.nanos.max(1.0)
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut json = json!({ "name": self.name, "nanoseconds": self.nanos });
        if self.as_rate {
            json["per_second_and_core"] = self.per_second().into();
        }
        json
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos < 10_000.0 {
            write!(f, "{:<44} {:>10.1} ns", self.name, self.nanos)?;
        } else {
            write!(f, "{:<44} {:>10.1} µs", self.name, self.nanos / 1e3)?;
        }
        if self.as_rate {
            write!(f, " {:>8.0}/s a core", self.per_second())?;
        }
        Ok(())
    }
}

/// How long `work` takes.
pub(crate) fn time<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}
