//! Which CPU stands for which machine: everything on one side shares one, as two machines with one CPU
//! each would.

use anyhow::{Context, Result};
use e2e::Host;
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

    /// Lets the side's CPU do what the kernel does for packets that arrive by `device`: a virtual
    /// cable would have the sender's do it.
    pub(super) fn receive(self, side: Side, host: &Host, device: &str) -> Result<()> {
        let mask = mask(self.of(side));
        let script = format!(
            "for queue in /sys/class/net/{device}/queues/rx-*/rps_cpus; do echo {mask} > $queue; done"
        );
        host.run(&["ip", "netns", "exec", &host.name, "sh", "-c", &script]).map(drop)
    }
}

/// As the kernel writes sets of CPUs: words of 32 in hexadecimal, commas between, the highest first.
fn mask(cpu: usize) -> String {
    let zeros = ",00000000".repeat(cpu / 32);
    format!("{:x}{zeros}", 1_u32 << (cpu % 32))
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn masks_as_the_kernel_writes_them() {
        assert_eq!([mask(0), mask(1), mask(31)], ["1", "2", "80000000"]);
        assert_eq!(mask(33), "2,00000000");
    }
}
