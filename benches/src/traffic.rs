//! Sealing and opening, both ciphers, small and full packets.

use crate::figure::{Figure, time};
use anyhow::{Result, ensure};
use ge_core::SessionIndex;
use ge_core::membership::Secret32;
use ge_core::shim::Kind;
use ge_core::traffic::{AeadKind, OVERHEAD, Opener, Sealer};
use std::time::Duration;

const RUNS: usize = 21;
/// One super-packet's worth, so that the bytes are where they are in real use: in the cache.
const PACKETS: usize = 46;
const BATCHES: usize = 50;
const SIZES: [usize; 2] = [64, 1400];
const SECRET: [u8; 32] = [7; 32];

pub(crate) fn figures() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for kind in [AeadKind::Aes256Gcm, AeadKind::ChaCha20Poly1305] {
        for size in SIZES {
            let samples = (0..RUNS).map(|_| sample(kind, size)).collect::<Result<Vec<_>>>()?;
            let (seal, open) = samples.into_iter().unzip();
            let name = kind.as_str();
            figures.push(Figure::median(format!("seal {size} B, {name}"), seal, BATCHES * PACKETS));
            figures.push(Figure::median(format!("open {size} B, {name}"), open, BATCHES * PACKETS));
        }
    }
    Ok(figures)
}

fn sample(kind: AeadKind, size: usize) -> Result<(Duration, Duration)> {
    let mut sealer = Sealer::new(&Secret32(SECRET), kind, SessionIndex(1));
    let mut opener = Opener::new(&Secret32(SECRET), kind);
    let mut slots = vec![vec![0; size + OVERHEAD]; PACKETS];
    let (mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..BATCHES {
        let (seal, sealed) = time(|| {
            slots.iter_mut().try_for_each(|slot| sealer.seal(Kind::Transport, false, slot))
        });
        sealed?;
        let (open, opened) =
            time(|| slots.iter_mut().filter_map(|slot| opener.open(slot).ok()).count());
        ensure!(opened == PACKETS, "a sealed packet did not open");
        sealing += seal;
        opening += open;
    }
    Ok((sealing, opening))
}
