//! Worlds drawn from seeds.

use ge_sim::scenario;

/// Runs a seed and names it if it fails.
fn check(seed: u64) {
    if let Err(violation) = scenario::run(seed, false, None) {
        panic!("{violation}\ncargo run --release -p ge-sim -- run --seed {seed} --trace");
    }
}

#[test]
fn five_hundred_seeds() {
    (0..500).for_each(check);
}

#[test]
fn seeds_that_failed_once() {
    let seeds = include_str!("../../seeds.txt");
    let seeds: Vec<u64> =
        seeds.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok()).collect();
    assert!(!seeds.is_empty());
    seeds.into_iter().for_each(check);
}

#[test]
fn scenario_is_a_function_of_its_seed() {
    for seed in [3, 6, 14] {
        assert_eq!(
            scenario::run(seed, false, None).unwrap(),
            scenario::run(seed, false, None).unwrap()
        );
    }
}
