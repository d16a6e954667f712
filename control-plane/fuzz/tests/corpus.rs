//! Replays the committed corpus, so that what a fuzzer once found stays found.

use std::fs;
use std::path::{Path, PathBuf};

use control_plane_fuzz::TARGETS;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn names_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn corpus_runs_through_its_target() {
    for target in TARGETS {
        let inputs = names_in(&corpus().join(target.name));
        assert!(!inputs.is_empty(), "corpus of {} is empty", target.name);
        let failed: Vec<String> = inputs
            .iter()
            .filter(|path| {
                let data = fs::read(path).unwrap();
                std::panic::catch_unwind(|| (target.run)(&data)).is_err()
            })
            .map(|path| path.display().to_string())
            .collect();
        assert!(
            failed.is_empty(),
            "{} of {} failed:\n{}",
            failed.len(),
            inputs.len(),
            failed.join("\n")
        );
    }
}

/// Inputs of one target are near inputs of another, and a target must not panic on anything.
#[test]
fn corpus_runs_through_every_other_target() {
    for target in TARGETS {
        for path in TARGETS
            .iter()
            .flat_map(|other| names_in(&corpus().join(other.name)))
        {
            (target.run)(&fs::read(path).unwrap());
        }
    }
}

#[test]
fn every_corpus_has_a_target() {
    for folder in names_in(&corpus()) {
        let known = TARGETS.iter().any(|target| folder.ends_with(target.name));
        assert!(known, "{} belongs to no target", folder.display());
    }
}
