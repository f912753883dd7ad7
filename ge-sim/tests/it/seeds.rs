//! Worlds drawn from seeds.

use ge_sim::scenario::World;
use std::path::Path;

/// Runs a seed and names it if it fails.
fn check(world: World, seed: u64) {
    if let Err(violation) = world.run(seed, false) {
        let world = world.as_str();
        panic!(
            "{violation}\ncargo run --release -p ge-sim -- run --world {world} --seed {seed} --trace"
        );
    }
}

#[test]
fn five_hundred_seeds_of_machines_side_by_side() {
    (0..500).for_each(|seed| check(World::Mesh, seed));
}

/// Nothing that must never happen happens, and in the end every agent does what the rule says.
#[test]
fn five_hundred_seeds_of_machines_in_a_row() {
    (0..500).for_each(|seed| check(World::Path, seed));
}

#[test]
fn five_hundred_seeds_of_sieges() {
    (0..500).for_each(|seed| check(World::Siege, seed));
}

#[test]
fn two_hundred_seeds_of_agents_with_threads() {
    (0..200).for_each(|seed| check(World::Threads, seed));
}

#[test]
fn seeds_that_failed_once() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let mut replayed = 0;
    for file in seeds.read_dir().unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (world, seed) = name.split_once('-').unwrap();
        check(World::named(world).unwrap(), seed.parse().unwrap());
        replayed += 1;
    }
    assert!(replayed > 0);
}

#[test]
fn scenario_is_a_function_of_its_seed() {
    for world in World::ALL {
        for seed in [3, 6, 14] {
            assert_eq!(world.run(seed, false).unwrap(), world.run(seed, false).unwrap());
        }
    }
}

/// To packets observe mode is open mode: the same events at the same times.
#[test]
fn observe_passes_what_open_passes() {
    for world in World::ALL {
        for seed in 0..250 {
            let text = |result: Result<_, ge_sim::check::Violation>| {
                result.map_err(|violation| violation.to_string())
            };
            let (open, observing) = (world.run(seed, false), world.run_observing(seed));
            assert_eq!(text(observing), text(open), "{} {seed}", world.as_str());
        }
    }
}
