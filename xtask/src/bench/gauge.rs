//! What the kernel counts while traffic runs.

use super::measure::cpu_time;
use super::row::Trouble;
use anyhow::{Context, Result};
use e2e::{Agent, Host};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use std::time::Duration;

/// Readings at one moment.
#[derive(Clone, Default)]
pub(super) struct Gauge {
    /// Ticks of all CPUs: busy, taken by other machines, all.
    ticks: [u64; 3],
    agents: Duration,
    retransmitted: u64,
    out_of_order: u64,
    dropped: u64,
}

/// What happened between two readings.
pub(super) struct Used {
    /// Seconds all CPUs were busy.
    pub(super) busy: f64,
    /// Seconds the agents were on one.
    pub(super) agents: f64,
    pub(super) trouble: Trouble,
}

impl Gauge {
    /// TCP is counted at `ends`, drops on all `machines`.
    pub(super) fn read(ends: [&Host; 2], machines: &[Host], agents: &[Agent]) -> Result<Self> {
        let mut gauge = Self { ticks: ticks()?, dropped: backlog_drops()?, ..Self::default() };
        for agent in agents {
            gauge.agents += cpu_time(agent)?;
        }
        for machine in machines {
            let [snmp, netstat, devices] = texts(machine)?;
            gauge.dropped += field(&snmp, "Udp", "RcvbufErrors")? + device_drops(&devices);
            if ends.iter().any(|end| end.name == machine.name) {
                gauge.retransmitted += field(&snmp, "Tcp", "RetransSegs")?;
                gauge.out_of_order += field(&netstat, "TcpExt", "TCPOFOQueue")?;
            }
        }
        Ok(gauge)
    }

    pub(super) fn since(&self, before: &Self) -> Used {
        let [busy, stolen, all] = [0, 1, 2].map(|at| self.ticks[at] - before.ticks[at]);
        let trouble = Trouble {
            retransmitted: self.retransmitted - before.retransmitted,
            out_of_order: self.out_of_order - before.out_of_order,
            dropped: self.dropped - before.dropped,
            stolen_percent: percent(stolen as f64, all),
            others_percent: 0.0,
        };
        Used {
            busy: busy as f64 / ticks_per_second(),
            agents: (self.agents.saturating_sub(before.agents)).as_secs_f64(),
            trouble,
        }
    }
}

fn ticks_per_second() -> f64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    ticks.ok().flatten().map_or(100.0, |ticks| ticks as f64)
}

fn percent(part: f64, all: u64) -> f64 {
    100.0 * part / all.max(1) as f64
}

/// Who had the CPUs: read while none of our programs but the agents runs.
pub(super) struct Load {
    /// Ticks of programs, and all.
    ticks: [u64; 2],
    /// Seconds of our programs.
    own: f64,
}

impl Load {
    pub(super) fn read(agents: &[Agent]) -> Result<Self> {
        let [user, nice, system, ..] = columns()?;
        let mut own = 0.0;
        for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
            let usage = getrusage(who).context("asking for our own time")?;
            own += [usage.user_time(), usage.system_time()].map(seconds).iter().sum::<f64>();
        }
        for agent in agents {
            own += cpu_time(agent)?.as_secs_f64();
        }
        Ok(Self { ticks: [user + nice + system, columns()?.iter().sum()], own })
    }

    /// What other programs had since then, in percent. At the least: what the kernel did for packets
    /// in our programs' time is counted as ours.
    pub(super) fn others_since(&self, before: &Self) -> f64 {
        let [programs, all] = [0, 1].map(|at| self.ticks[at] - before.ticks[at]);
        let own = (self.own - before.own) * ticks_per_second();
        percent((programs as f64 - own).max(0.0), all)
    }
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

/// First line of `/proc/stat`: user nice system idle iowait irq softirq steal, and guests, which are in
/// user already.
fn columns() -> Result<[u64; 8]> {
    let text = std::fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> =
        line.split_whitespace().skip(1).take(8).filter_map(|tick| tick.parse().ok()).collect();
    ticks.try_into().ok().context("an unknown /proc/stat")
}

/// Busy, taken by other machines, all.
fn ticks() -> Result<[u64; 3]> {
    let [user, nice, system, idle, iowait, irq, softirq, stolen] = columns()?;
    let busy = user + nice + system + irq + softirq;
    Ok([busy, stolen, busy + stolen + idle + iowait])
}

/// Second column of `/proc/net/softnet_stat`, all CPUs: the queue from one CPU to another was full.
fn backlog_drops() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/net/softnet_stat").context("reading softnet_stat")?;
    let dropped = |line: &str| u64::from_str_radix(line.split(' ').nth(1)?, 16).ok();
    Ok(text.lines().filter_map(dropped).sum())
}

/// Counters of a machine's own network.
fn texts(machine: &Host) -> Result<[String; 3]> {
    machine.enter(|| {
        let read = |file| {
            // `/proc/net` is the first thread's.
            std::fs::read_to_string(format!("/proc/thread-self/net/{file}"))
                .with_context(|| format!("reading {file}"))
        };
        Ok([read("snmp")?, read("netstat")?, read("dev")?])
    })
}

/// A value of two lines with one prefix, names in the first.
fn field(text: &str, prefix: &str, name: &str) -> Result<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(prefix)?.strip_prefix(": "));
    let (names, values) = lines.next().zip(lines.next()).context("no such counters")?;
    let found = names.split(' ').zip(values.split(' ')).find(|(found, _)| *found == name);
    let (_, value) = found.with_context(|| format!("no counter {name}"))?;
    value.parse().with_context(|| format!("counter {name}"))
}

/// Dropped while receiving and while sending, all interfaces.
fn device_drops(text: &str) -> u64 {
    let drops = |line: &str| {
        let numbers: Vec<u64> =
            line.split_once(':')?.1.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        Some(numbers.get(3)? + numbers.get(11)?)
    };
    text.lines().filter_map(drops).sum()
}

#[cfg(test)]
mod tests {
    use super::{device_drops, field};

    #[test]
    fn counters_are_found_by_name() {
        let text = "Tcp: A RetransSegs B\nTcp: 1 7 3\nUdp: RcvbufErrors\nUdp: 5\n";
        assert_eq!(field(text, "Tcp", "RetransSegs").unwrap(), 7);
        assert_eq!(field(text, "Udp", "RcvbufErrors").unwrap(), 5);
        assert!(field(text, "Tcp", "C").is_err());
        assert!(field(text, "UdpLite", "RcvbufErrors").is_err());
    }

    #[test]
    fn drops_of_all_interfaces_are_added_up() {
        let text = "Inter-|   Receive\n face |bytes packets errs drop\n    lo: 1 2 0 3 0 0 0 0 1 2 0 4 0 0 0 0\n  eth0: 1 2 0 10 0 0 0 0 1 2 0 20 0 0 0 0\n";
        assert_eq!(device_drops(text), 37);
    }
}
