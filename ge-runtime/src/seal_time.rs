//! What sealing one full packet takes on this machine, by either algorithm.
//!
//! It informs: which algorithm a session uses follows from the two certificates alone, so that
//! nobody on the path, and no busy moment of a start, can choose the other.

use crate::entropy::{self, EntropyError};
use crate::ledger::SealTime;
use ge_core::SessionIndex;
use ge_core::membership::Secret32;
use ge_core::shim::Kind;
use ge_core::traffic::{AeadKind, OVERHEAD, Sealer};
use std::time::{Duration, Instant};

/// Plaintext of one packet in bytes.
pub const PACKET_LEN: usize = 1400;

/// Time for each algorithm. A start is not seen to take longer.
const EACH: Duration = Duration::from_millis(3);

/// Packets between two looks at the clock: some ten microseconds.
const ROUND: u32 = 32;

/// Measures both, on this thread.
///
/// # Errors
/// If there are no random bytes for the keys.
pub fn measure() -> Result<Vec<SealTime>, EntropyError> {
    [AeadKind::Aes256Gcm, AeadKind::ChaCha20Poly1305].into_iter().map(measure_one).collect()
}

/// The best round counts: whatever else ran on the machine only made others longer.
fn measure_one(kind: AeadKind) -> Result<SealTime, EntropyError> {
    let mut sealer = Sealer::new(&Secret32(entropy::seed()?), kind, SessionIndex(0));
    let mut slot = vec![0; PACKET_LEN + OVERHEAD];
    let start = Instant::now();
    let mut best = Duration::MAX;
    loop {
        let round = Instant::now();
        for _ in 0..ROUND {
            // A fresh key is not exhausted by what fits into a few milliseconds.
            let _ = sealer.seal(Kind::Transport, false, &mut slot);
        }
        best = best.min(round.elapsed());
        if start.elapsed() >= EACH {
            break;
        }
    }
    let nanoseconds = u64::try_from((best / ROUND).as_nanos()).unwrap_or(u64::MAX);
    Ok(SealTime { aead: kind.as_str(), nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms_are_measured() {
        let times = measure().unwrap();
        let names: Vec<_> = times.iter().map(|time| time.aead).collect();
        assert_eq!(names, ["aes-256-gcm", "chacha20-poly1305"]);
        assert!(times.iter().all(|time| time.nanoseconds > 0), "{times:?}");
    }
}
