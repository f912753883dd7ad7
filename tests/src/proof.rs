//! Traffic under a tap, judged by what the tap saw.
//!
//! A capture that lost frames proves no absence: the machine was too busy to read the ring. What it
//! did see is judged all the same, so that a leak is never passed over; then the traffic is sent
//! again, a few times at most.

use crate::capture::{Capture, Tally};
use anyhow::{Result, bail};

/// Times the traffic is sent before the machine is called too busy to prove anything.
const ATTEMPTS: u32 = 3;

/// Runs `traffic` under a new tap until the tap has seen all of it, and judges what it saw.
///
/// # Errors
/// The judge's, of a complete capture or an incomplete one; or if no capture was complete.
pub fn under_tap<T>(
    tap: impl Fn() -> Result<Capture>,
    mut traffic: impl FnMut() -> Result<T>,
    judge: impl Fn(&Tally) -> Result<()>,
) -> Result<T> {
    let attempt = || {
        let tap = tap()?;
        let value = traffic()?;
        Ok((value, tap.finish()?))
    };
    until_complete(attempt, judge)
}

fn until_complete<T>(
    mut attempt: impl FnMut() -> Result<(T, Tally)>,
    judge: impl Fn(&Tally) -> Result<()>,
) -> Result<T> {
    for number in 1..=ATTEMPTS {
        let (value, mut tally) = attempt()?;
        let lost = std::mem::take(&mut tally.lost);
        judge(&tally)?;
        if lost == 0 {
            return Ok(value);
        }
        println!("attempt {number}: the capture lost {lost} frames, which proves nothing; again");
    }
    bail!("the capture lost frames in each of {ATTEMPTS} attempts: this machine is too busy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;
    use std::cell::Cell;

    /// Captures that lost `lost` frames each and saw `marker` readable frames each, in this order.
    fn judged(captures: &[(u64, u64)]) -> (bool, usize) {
        let taken = Cell::new(0);
        let attempt = || {
            let (lost, marker) = captures[taken.replace(taken.get() + 1)];
            let mut tally = Tally::default();
            (tally.lost, tally.marker) = (lost, marker);
            Ok(((), tally))
        };
        let judge = |tally: &Tally| {
            tally.complete()?;
            ensure!(tally.marker == 0, "readable");
            Ok(())
        };
        (until_complete(attempt, judge).is_ok(), taken.get())
    }

    #[test]
    fn a_leak_is_seen_whatever_was_lost() {
        assert_eq!(judged(&[(0, 0)]), (true, 1));
        assert_eq!(judged(&[(0, 1)]), (false, 1));
        assert_eq!(judged(&[(5, 1), (0, 0)]), (false, 1));
        assert_eq!(judged(&[(5, 0), (0, 1)]), (false, 2));
    }

    #[test]
    fn loss_is_tried_again_and_not_for_ever() {
        assert_eq!(judged(&[(5, 0), (7, 0), (0, 0)]), (true, 3));
        assert_eq!(judged(&[(5, 0), (7, 0), (9, 0), (0, 0)]), (false, 3));
    }
}
