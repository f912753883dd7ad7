//! What measurements in the lab have in common.

use anyhow::{Context, Result};
use e2e::Agent;
use serde_json::{Value, json};
use std::time::Duration;

/// Time all threads of the agent were on a CPU so far.
pub(super) fn cpu_time(agent: &Agent) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{}/task", agent.pid()?))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().context("an empty schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Resident memory of an agent in KiB.
pub(super) fn resident(agent: &Agent) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", agent.pid()?))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(number.parse()?)
}

/// Measured times, shortest first.
#[derive(Clone)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    pub(super) fn new(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    /// Microseconds that so many percent do not exceed.
    pub(super) fn at(&self, percent: usize) -> u64 {
        let index = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(index).map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn to_json(&self) -> Value {
        json!({ "p50": self.at(50), "p99": self.at(99), "max": self.at(100) })
    }
}
