//! Runs a simulation over many seeds, prints the one that fails, and takes it back by `SEED=n`. `SEEDS=n` runs more.

/// Says which seed it was when a panic passes through.
struct Said(&'static str, u64);

impl Drop for Said {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} failed: run it again with SEED={}", self.0, self.1);
        }
    }
}

/// Calls `simulation` with the numbers 0 to `count`, or with the one that the environment names.
pub fn for_each(name: &'static str, count: u64, simulation: impl Fn(u64)) {
    let only = std::env::var("SEED")
        .ok()
        .map(|text| text.parse().expect("SEED is a number"));
    let seeds = only.map_or(0..count, |seed| seed..seed + 1);
    for seed in seeds {
        let _said = Said(name, seed);
        simulation(seed);
    }
}
