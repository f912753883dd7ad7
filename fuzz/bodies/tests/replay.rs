//! Runs every file of the corpus through its target.

use fuzz_bodies::TARGETS;
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
