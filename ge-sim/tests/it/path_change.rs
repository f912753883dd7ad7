//! How long a flow over a path takes to recover when an agent on it restarts, in virtual time.
//!
//! ```text
//! every path of `PROTECTED`: each agent alone, then all, dies and starts 300 ms later with its keys
//! ```
//! `cargo test --release -p ge-sim --test it path_change -- --nocapture` prints the figures.

use crate::chains::{PROTECTED, chain, restart, talk};
use crate::{ladder, s};
use ge_sim::NodeId;
use std::time::Duration;

/// So finely is recovery measured: the spacing of the packets.
const STEP: Duration = Duration::from_millis(200);

#[test]
fn flows_recover_by_themselves_when_agents_restart() {
    let mut took = Vec::new();
    for text in PROTECTED {
        let count = chain(1, text).1.agents.len();
        for which in 0..=count {
            let (mut sim, path) = chain(20, text);
            talk(&mut sim, &path, true);
            sim.run_for(s(3)).unwrap();
            let all: Vec<NodeId> = path.agents.iter().map(|(node, _)| *node).collect();
            restart(&mut sim, all.get(which).map_or(&all[..], std::slice::from_ref), true);
            let began = sim.now() + 300_000;
            sim.run_for(s(20)).unwrap();
            let step = STEP.as_micros() as u64;
            let windows = (began..sim.now() - 1_000_000).step_by(STEP.as_micros() as usize);
            let bad = windows.filter(|from| {
                let tally = sim.check.tally(path.source(), path.destination(), *from, from + step);
                assert_eq!(tally.clear, 0, "{text}, agent {which}: never wider than before");
                tally.lost > 0
            });
            took.push(bad.last().map_or(0, |from| from + step - began));
        }
    }
    took.sort_unstable();
    let max = Duration::from_micros(*took.last().unwrap());
    let p50 = Duration::from_micros(took[took.len() / 2]);
    println!("{} restarts: recovered after {p50:?} (p50), {max:?} (max)", took.len());
    assert!(max <= ladder() + STEP, "{max:?}");
}

/// Silence is noticed within a second, and loss is not taken for it: of a flow that only one end sends, and
/// of one that both send, three in ten packets and messages are lost for eight minutes.
#[test]
fn a_path_that_loses_three_in_ten_keeps_its_session() {
    // From end to end three in ten each, over one link and over two.
    for (text, loss) in [("s1c d1c", 300), ("s1c T1o d1c", 163)] {
        for both in [false, true] {
            let (mut sim, path) = chain(22, text);
            talk(&mut sim, &path, both);
            sim.run_for(s(3)).unwrap();
            sim.net.conditions.loss = loss;
            let (a, b) = (path.source(), path.destination());
            let mut refused = 0;
            for _ in 0..100 {
                let from = sim.now();
                sim.run_for(s(5)).unwrap();
                let tally = sim.check.tally(a, b, from, sim.now());
                assert_eq!(tally.clear, 0, "{text}");
                assert!(
                    tally.sealed > 0,
                    "{text}: nothing went in five seconds, both ways: {both}"
                );
                refused += usize::from(sim.row_verdict(a, b) != "protected");
            }
            println!(
                "{text}, both ways {both}: {refused} of 100 looks, every five seconds, are without a session"
            );
            assert!(refused <= 3, "{text}, both ways: {both}: {refused}");
        }
    }
}
