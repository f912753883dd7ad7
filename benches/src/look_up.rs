//! The PIT look-up that every packet pays.

use crate::figure::{Figure, time};
use ge_core::crypto::Rng;
use ge_core::flow::{FlowKey, HostPair};
use ge_core::limits::PIT_ROWS_ROUTER;
use ge_core::pit::Pit;
use rand_core::{Rng as _, SeedableRng as _};
use std::hint::black_box;
use std::net::Ipv4Addr;

const RUNS: usize = 15;
const LOOK_UPS: usize = 50_000;
const SIZES: [u32; 3] = [1, 10_000, 1_000_000];

pub(crate) fn figures() -> Vec<Figure> {
    SIZES.into_iter().map(figure).collect()
}

fn pair(number: u32) -> HostPair {
    let remote = Ipv4Addr::from(0x0a00_0000 + number);
    HostPair::new(Ipv4Addr::new(192, 0, 2, 1).into(), remote.into())
}

fn figure(rows: u32) -> Figure {
    let mut rng = Rng::seed_from_u64(1);
    let mut pit = Pit::new(PIT_ROWS_ROUTER, [1, 2, 3, 4]);
    for number in 0..rows {
        // The capacity is that of a router, which no size here reaches.
        let _full = pit.insert(FlowKey::host_pair(pair(number)), u64::from(number));
    }
    let wanted: Vec<HostPair> = (0..LOOK_UPS).map(|_| pair(rng.next_u32() % rows)).collect();
    let run = || wanted.iter().filter_map(|wanted| pit.get(black_box(*wanted))).sum::<u64>();
    let samples = (0..RUNS).map(|_| time(|| black_box(run())).0).collect();
    Figure::median(format!("PIT look-up, {rows} rows"), samples, LOOK_UPS)
}
