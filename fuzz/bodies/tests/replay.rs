//! Runs every file of the corpus through its target, and misses no target.

use fuzz_bodies::TARGETS;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

#[test]
fn corpus() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    for (name, body) in TARGETS {
        let directory = corpus.join(name);
        let entries = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 10, "{name}: {} files", files.len());
        for file in files {
            let data = fs::read(&file).unwrap();
            println!("{}", file.display());
            body(&data);
        }
    }
}

#[test]
fn every_target_is_built() {
    let manifest = include_str!("../../Cargo.toml").parse::<toml::Table>().unwrap();
    let bins = manifest["bin"].as_array().unwrap();
    let built: BTreeSet<_> = bins.iter().map(|bin| bin["name"].as_str().unwrap()).collect();
    let known: BTreeSet<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(built, known);
}
