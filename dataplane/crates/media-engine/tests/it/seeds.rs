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
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("SEED and SEEDS are numbers"))
    };
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        let _said = Said(name, seed);
        simulation(seed);
    }
}
