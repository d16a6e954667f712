//! Replays the committed corpus, so that what a fuzzer once found stays found.

use std::fs;
use std::path::{Path, PathBuf};

use dataplane_fuzz::TARGETS;

/// The files of a folder, sorted, so that a failure is the same every time.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    paths
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

#[test]
fn every_input_runs_through_every_target() {
    for folder in TARGETS.iter().map(|target| corpus().join(target.name)) {
        let inputs = files(&folder);
        assert!(!inputs.is_empty(), "{} is empty", folder.display());
        for input in inputs {
            let data = fs::read(&input).expect("a readable file");
            for target in TARGETS {
                let result = std::panic::catch_unwind(|| (target.run)(&data));
                assert!(result.is_ok(), "{} fails on {}", target.name, input.display());
            }
        }
    }
}

#[test]
fn every_corpus_has_a_target() {
    for folder in files(&corpus()) {
        let known = TARGETS.iter().any(|target| folder.ends_with(target.name));
        assert!(known, "{} belongs to no target", folder.display());
    }
}
