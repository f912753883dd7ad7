//! How and where a table was measured.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the virtual network cards can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// Segmentation and merging by the kernel in software: what most machines have
    Sw,
    /// Super-packets go over the wire whole, as with cards that segment and merge in hardware
    Hw,
}

impl Profile {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Sw => "sw",
            Self::Hw => "hw",
        }
    }
}

/// How, and on which machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Setting {
    pub(super) profile: Profile,
    pub(super) runs: u32,
    pub(super) secs: u64,
    cpu: String,
    cpus: usize,
    kernel: String,
    /// How TCP avoids congestion.
    tcp: String,
}

impl Setting {
    /// On this machine.
    pub(super) fn new(profile: Profile, runs: u32, secs: u64) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let cpu = model.and_then(|line| line.split(':').nth(1)).unwrap_or("unknown CPU");
        Self {
            profile,
            runs,
            secs,
            cpu: cpu.trim().to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            tcp: read("/proc/sys/net/ipv4/tcp_congestion_control").trim().to_owned(),
        }
    }

    /// As far as can be told.
    pub(super) fn is_same_machine(&self, other: &Self) -> bool {
        (&self.cpu, self.cpus) == (&other.cpu, other.cpus)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { profile, runs, secs, cpu, cpus, kernel, tcp } = self;
        let profile = profile.as_str();
        write!(
            f,
            "profile {profile}, median of {runs} runs of {secs} s, {cpus} × {cpu}, Linux {kernel}, TCP {tcp}"
        )
    }
}
