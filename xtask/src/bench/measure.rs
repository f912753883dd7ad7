//! What measurements in the lab have in common.

use anyhow::{Context, Result};
use e2e::Agent;
use serde_json::{Value, json};
use std::time::Duration;

/// Time all threads of the agent were on a CPU so far.
pub(super) fn cpu_time(agent: &Agent) -> Result<Duration> {
    let mut nanoseconds = 0;
    for text in of_threads(agent, "schedstat")? {
        nanoseconds += text.split(' ').next().context("an empty schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// How often its threads gave a CPU up to wait for something, so far.
pub(super) fn naps(agent: &Agent) -> Result<u64> {
    let texts = of_threads(agent, "status")?;
    texts.iter().map(|text| field(text, "voluntary_ctxt_switches:")).sum()
}

/// Resident memory of an agent in KiB.
pub(super) fn resident(agent: &Agent) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", agent.pid()?))?;
    field(&text, "VmRSS:")
}

/// What the kernel says of each thread of an agent in this file.
fn of_threads(agent: &Agent, file: &str) -> Result<Vec<String>> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", agent.pid()?))?;
    threads.map(|thread| Ok(std::fs::read_to_string(thread?.path().join(file))?)).collect()
}

/// The number in a line of `/proc/PID/status` that begins with `name`.
fn field(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("no {name}"))?.parse()?)
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

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text =
            "VmRSS:\t  123 kB\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(field(text, "VmRSS:").unwrap(), 123);
        assert_eq!(field(text, "voluntary_ctxt_switches:").unwrap(), 5);
        assert!(field(text, "VmSize:").is_err());
    }
}
