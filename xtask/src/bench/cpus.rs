//! Which CPU stands for which machine: the programs of one side share one, as two machines with one CPU
//! each would. What the kernel does for arriving packets it does on the sender's CPU, as always on a
//! virtual cable: to move it costs an interrupt between virtual CPUs, more than the work itself.

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread.
const SELF: Pid = Pid::from_raw(0);

/// CPU of each side; the same where there is only one.
#[derive(Clone, Copy)]
pub(super) struct Cpus([usize; 2]);

/// One of the two sides of the cable.
#[derive(Clone, Copy)]
pub(super) enum Side {
    A,
    B,
}

impl Cpus {
    /// The first two that this process may use.
    pub(super) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(SELF).context("asking for CPUs")?;
        let mut usable = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
        let first = usable.next().context("no CPU")?;
        Ok(Self([first, usable.next().unwrap_or(first)]))
    }

    const fn of(self, side: Side) -> usize {
        match side {
            Side::A => self.0[0],
            Side::B => self.0[1],
        }
    }

    /// Does `work` on the side's CPU. Programs started in it stay there.
    pub(super) fn on<T>(self, side: Side, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = sched_getaffinity(SELF).context("asking for CPUs")?;
        let mut one = CpuSet::new();
        one.set(self.of(side))?;
        sched_setaffinity(SELF, &one).context("choosing a CPU")?;
        let result = work();
        sched_setaffinity(SELF, &before).context("giving a CPU back")?;
        result
    }
}
