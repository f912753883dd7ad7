//! Flows that are much used go to the agent by a shorter way.

use super::ends::{End, Ends};
use super::*;
use crate::io::KernelVerdict;
use crate::limits::{OFFLOAD_LIFETIME, SHORTCUT_FROM};

/// Flows for which `a`'s kernel was told so while `packets` left in each of `halves` half seconds.
fn told(ends: &mut Ends, packets: u64, halves: u64) -> Vec<HostPair> {
    let mut told = Vec::new();
    for _ in 0..halves {
        for _ in 0..packets {
            ends.send(0);
            ends.carry();
        }
        told.extend(ends.run(500).into_iter().filter_map(|(end, output)| match output {
            Output::Kernel(KernelVerdict::Protect { pair, .. }) if end == End::A => Some(pair),
            _ => None,
        }));
    }
    told
}

#[test]
fn a_flow_that_is_much_used_gets_a_shortcut_once_in_half_its_lifetime() {
    let mut ends = Ends::agreed();
    assert!(told(&mut ends, SHORTCUT_FROM / 2, 4).is_empty());
    let halves = OFFLOAD_LIFETIME.as_secs() * 2;
    assert_eq!(told(&mut ends, 2 * SHORTCUT_FROM, halves), [pair(0); 2]);
    // Unused, it is not renewed.
    assert!(told(&mut ends, 0, halves).is_empty());
}

#[test]
fn a_shortcut_goes_with_its_row() {
    let mut ends = Ends::agreed();
    assert_eq!(told(&mut ends, 2 * SHORTCUT_FROM, 2), [pair(0)]);
    ends.a.forget_row(pair(0));
    let forgotten = KernelVerdict::Forget { pair: pair(0) };
    let is_it =
        |output: &Output| matches!(output, Output::Kernel(verdict) if *verdict == forgotten);
    assert!(outputs(&mut ends.a).iter().any(is_it));
}
