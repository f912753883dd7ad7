//! Agents further in whose answers come after a router's patience: because they were busy for a
//! while, or because the way to them is always that long.

use crate::chains::{chain, talk};
use crate::s;

#[test]
fn router_that_spoke_too_soon_yields_to_the_innermost() {
    for latency in [60_000, 100_000] {
        for always in [false, true] {
            let (mut sim, path) = chain(1, "s1o D1o D1o D1o");
            let quiet = sim.net.conditions.latency;
            sim.net.conditions.latency = latency;
            talk(&mut sim, &path, false);
            let verdicts = |sim: &ge_sim::Sim| -> Vec<&str> {
                (0..4).filter_map(|at| Some(path.row(sim, at)?.verdict)).collect()
            };
            sim.run_for(s(2)).unwrap();
            let what = format!("{latency} µs, always: {always}");
            assert_eq!(verdicts(&sim)[..2], ["protected"; 2], "{what}: the first speaks too soon");
            if !always {
                sim.net.conditions.latency = quiet;
            }
            sim.run_for(s(8)).unwrap();
            // Over renewals of the keys, which ask all agents again.
            for minute in 0..6 {
                let settled = ["protected", "transit", "transit", "protected"];
                assert_eq!(verdicts(&sim), settled, "{what}, minute {minute}");
                sim.run_for(s(60)).unwrap();
            }
        }
    }
}
