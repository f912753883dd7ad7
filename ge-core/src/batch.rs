//! Sealed datagrams on their way out, grouped into runs that one system call can send.

use crate::addr::WireAddr;
use crate::id::Interface;
use crate::io::DatagramRun;

/// Datagrams in one run: what `UDP_SEGMENT` takes at most, since Linux 6.9. A caller whose kernel
/// takes fewer cuts the run in two.
pub const RUN_DATAGRAMS: usize = 128;
/// Bytes in one run: below the 65,507 bytes a UDP payload may have before segmentation.
pub const RUN_BYTES: usize = 65_000;

/// Where a run goes. Datagrams of different headings cannot share a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading {
    /// Local address.
    pub from: WireAddr,
    /// Remote address and UDP port.
    pub to: (WireAddr, u16),
    /// Interface, for addresses that need a scope.
    pub interface: Interface,
    /// Traffic class / TOS byte.
    pub tos: u8,
}

/// Runs being filled; the memory is kept between batches.
#[derive(Default)]
pub struct SealedBatch {
    runs: Vec<DatagramRun>,
    used: usize,
}

impl SealedBatch {
    /// The runs filled so far, in order.
    #[must_use]
    pub fn runs(&self) -> &[DatagramRun] {
        &self.runs[..self.used]
    }

    /// Forgets the runs, keeping their memory.
    pub fn clear(&mut self) {
        for run in &mut self.runs[..self.used] {
            run.clear();
        }
        self.used = 0;
    }

    /// Takes the runs out, for a caller that keeps them.
    pub fn take_runs(&mut self) -> Vec<DatagramRun> {
        let used = std::mem::take(&mut self.used);
        self.runs.drain(..used).collect()
    }

    /// Total bytes waiting.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.runs().iter().map(|run| run.bytes.len()).sum()
    }

    /// A run that can take one more datagram of `len` bytes: the last one if it fits there.
    pub fn run_for(&mut self, heading: Heading, len: usize) -> &mut DatagramRun {
        let fits = self.used > 0 && can_append(&self.runs[self.used - 1], heading, len);
        if !fits {
            if self.used == self.runs.len() {
                self.runs.push(DatagramRun::default());
            }
            self.used += 1;
            let run = &mut self.runs[self.used - 1];
            run.from = Some(heading.from);
            run.to = Some(heading.to);
            run.interface = Some(heading.interface);
            run.tos = heading.tos;
            run.segment = len;
        }
        &mut self.runs[self.used - 1]
    }
}

/// All datagrams of a run but the last have its segment size, so a shorter one ends it.
fn can_append(run: &DatagramRun, heading: Heading, len: usize) -> bool {
    run.from == Some(heading.from)
        && run.to == Some(heading.to)
        && run.interface == Some(heading.interface)
        && run.tos == heading.tos
        && len <= run.segment
        && run.bytes.len().is_multiple_of(run.segment)
        && run.bytes.len() + len <= RUN_BYTES
        && run.count() < RUN_DATAGRAMS
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv4Addr};

    fn heading(last: u8) -> Heading {
        let addr = |x| WireAddr(IpAddr::V4(Ipv4Addr::new(10, 0, 0, x)));
        Heading { from: addr(1), to: (addr(last), 5865), interface: Interface(2), tos: 0 }
    }

    fn push(batch: &mut SealedBatch, to: u8, len: usize) {
        let run = batch.run_for(heading(to), len);
        run.bytes.resize(run.bytes.len() + len, 0);
    }

    #[test]
    fn equal_sizes_share_a_run_and_a_short_one_ends_it() {
        let mut batch = SealedBatch::default();
        for len in [100, 100, 40, 100] {
            push(&mut batch, 2, len);
        }
        let shape: Vec<_> = batch.runs().iter().map(|r| (r.segment, r.count())).collect();
        assert_eq!(shape, [(100, 3), (100, 1)]);
    }

    #[test]
    fn other_destination_or_full_run_starts_a_new_one() {
        let mut batch = SealedBatch::default();
        push(&mut batch, 2, 100);
        push(&mut batch, 3, 100);
        for _ in 0..RUN_DATAGRAMS {
            push(&mut batch, 3, 100);
        }
        let counts: Vec<_> = batch.runs().iter().map(DatagramRun::count).collect();
        assert_eq!(counts, [1, RUN_DATAGRAMS, 1]);
        batch.clear();
        assert_eq!(batch.runs().len(), 0);
        push(&mut batch, 2, 7);
        assert_eq!((batch.runs()[0].segment, batch.bytes()), (7, 7));
    }
}
