//! A machine behind a NAT that is not ours and that has no agent: data both ways, new keys, mappings that
//! end, and whatever a network does besides.

use crate::{ms, s};
use ge_core::Mode;
use ge_sim::fault::Fault;
use ge_sim::net::Conditions;
use ge_sim::{NodeId, Sim, Traffic};

/// `a` behind the NAT, `b` somewhere, both members.
fn world(seed: u64, v4: bool, modes: [Mode; 2], filters_echo: bool) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::with_family(seed, v4);
    let group = sim.group();
    let (a, b) = (sim.agent(modes[0], &[group]), sim.agent(modes[1], &[group]));
    sim.behind_nat(a);
    sim.net.filters_echo = filters_echo;
    sim.start();
    (sim, a, b)
}

/// What is sent within the next three seconds arrives, sealed.
fn assert_up(sim: &mut Sim, ways: &[(NodeId, NodeId)], what: &str) {
    let since = sim.now();
    sim.run_for(s(3)).unwrap();
    for (from, to) in ways {
        let tally = sim.check.tally(*from, *to, since, sim.now() - 300_000);
        assert!(tally.sealed > 5 && tally.lost + tally.clear == 0, "{what}: {tally:?}");
    }
}

#[test]
fn data_goes_both_ways_and_keys_are_renewed() {
    for v4 in [true, false] {
        for filters_echo in [false, true] {
            for modes in [[Mode::Open; 2], [Mode::Closed; 2], [Mode::Open, Mode::Closed]] {
                let (mut sim, a, b) = world(1, v4, modes, filters_echo);
                let what = format!("v4 {v4}, filter {filters_echo}, {modes:?}");
                sim.flow(a, b, Traffic::Datagrams(900), ms(200));
                sim.run_for(s(2)).unwrap();
                sim.flow(b, a, Traffic::Datagrams(1500), ms(230));
                sim.flow(b, a, Traffic::Stream(20_000), ms(300));
                // The first of full size is answered: the program learns what fits.
                sim.run_for(s(1)).unwrap();
                assert_up(&mut sim, &[(a, b), (b, a)], &what);
                sim.run_for(s(300)).unwrap();
                assert_up(&mut sim, &[(a, b), (b, a)], &what);
            }
        }
    }
}

#[test]
fn a_mapping_is_kept_open_and_a_lost_one_is_found_again() {
    let (mut sim, a, b) = world(2, true, [Mode::Closed; 2], false);
    sim.send(a, b, 200);
    // Longer than a mapping lives by itself.
    sim.run_for(s(100)).unwrap();
    let parcel = sim.send(b, a, 200);
    sim.run_for(ms(100)).unwrap();
    assert_eq!(sim.check.track(parcel).arrived, 1, "the mapping was not kept open");
    sim.flow(b, a, Traffic::Datagrams(300), ms(200));
    for _ in 0..3 {
        sim.run_for(s(5)).unwrap();
        sim.forget_mappings();
        sim.run_for(s(27)).unwrap();
        assert_up(&mut sim, &[(b, a)], "after the NAT forgot");
    }
    sim.flow(a, b, Traffic::Datagrams(300), ms(200));
    sim.run_for(s(1)).unwrap();
    sim.forget_mappings();
    sim.run_for(ms(300)).unwrap();
    assert_up(&mut sim, &[(a, b), (b, a)], "whoever talks is followed at once");
}

/// Seeds: bad links, a NAT that restarts, agents that do; echo filtered or not. In the end all is well.
#[test]
fn sixty_seeds_recover() {
    for seed in 0..60 {
        let (v4, filters_echo) = (seed % 3 != 0, seed % 2 == 0);
        let (mut sim, a, b) = world(seed, v4, [Mode::Closed; 2], filters_echo);
        sim.net.conditions = Conditions {
            loss: 50 + 5 * (seed as u32 % 20),
            duplicate: 50,
            reorder: 100,
            jitter: 3_000,
            corrupt: 20,
            ..Conditions::QUIET
        };
        sim.attack(Some(ms(100)));
        sim.flow(a, b, Traffic::Datagrams(300), ms(150));
        sim.flow_from(b, a, Traffic::Datagrams(400), ms(170), 1_000_000);
        for round in 0..4 {
            sim.run_for(ms(1500 + 200 * (seed % 7))).unwrap();
            match (seed + round) % 4 {
                0 => sim.forget_mappings(),
                1 | 2 => {
                    let node = if (seed + round) % 4 == 1 { a } else { b };
                    sim.at(s(0), Fault::Crash(node));
                    sim.at(ms(400), Fault::Start { node, cached: true });
                }
                _ => {}
            }
        }
        sim.at(s(0), Fault::Quiet);
        sim.run_for(s(14)).unwrap();
        let what = format!("seed {seed}");
        assert_up(&mut sim, &[(a, b), (b, a)], &what);
    }
}
