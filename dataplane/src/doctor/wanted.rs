//! The sysctls that a media node wants. `tuning/99-ringpath.conf` has the same ones: a test compares them.

use super::finding::Status;

/// A sysctl with a number.
#[derive(Clone, Copy, Debug)]
pub struct Sysctl {
    /// Its name.
    pub name: &'static str,
    /// The least that will do.
    pub least: u64,
    /// The most that will do.
    pub most: u64,
    /// What it is set to when it is outside.
    pub value: u64,
    /// How bad that is.
    pub status: Status,
    /// What it is good for.
    pub why: &'static str,
}

const fn at_least(name: &'static str, value: u64, status: Status, why: &'static str) -> Sysctl {
    Sysctl {
        name,
        least: value,
        most: u64::MAX,
        value,
        status,
        why,
    }
}

/// Them, in the order of the file.
pub const SYSCTLS: &[Sysctl] = &[
    at_least(
        "net.core.rmem_max",
        33_554_432,
        Status::Problem,
        "a worker's one socket asks for so much; with less, a late wake-up at 1,000 calls loses packets",
    ),
    at_least(
        "net.core.wmem_max",
        33_554_432,
        Status::Advice,
        "room for a worker's batches on their way out",
    ),
    at_least(
        "net.core.rmem_default",
        212_992,
        Status::Advice,
        "what a media port's socket gets when it does not ask",
    ),
    at_least(
        "net.core.wmem_default",
        212_992,
        Status::Advice,
        "what a media port's socket gets when it does not ask",
    ),
    at_least(
        "net.core.netdev_max_backlog",
        10_000,
        Status::Advice,
        "packets that wait for a core's UDP stack (packet steering, veth); the rest are lost",
    ),
    at_least(
        "net.core.netdev_budget",
        600,
        Status::Advice,
        "packets of one turn of a core's network interrupt",
    ),
    at_least(
        "net.core.netdev_budget_usecs",
        8_000,
        Status::Advice,
        "time of one turn of a core's network interrupt, in microseconds",
    ),
    Sysctl {
        name: "net.core.bpf_jit_enable",
        least: 1,
        most: 2,
        value: 1,
        status: Status::Problem,
        why: "interpreted BPF programs are several times slower",
    },
    Sysctl {
        name: "kernel.unprivileged_bpf_disabled",
        least: 1,
        most: 2,
        value: 2,
        status: Status::Advice,
        why: "nobody else loads BPF programs here; the node loads its own with a capability",
    },
    Sysctl {
        name: "vm.swappiness",
        least: 0,
        most: 10,
        value: 10,
        status: Status::Advice,
        why: "memory of a worker that was swapped out makes its packets late",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sysctl_file_sets_what_doctor_wants_and_nothing_else() {
        let file = include_str!("../../../tuning/99-ringpath.conf");
        let in_file: Vec<(String, u64)> = file
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                let (name, value) = line.split_once('=').expect("name = value");
                (name.trim().to_owned(), value.trim().parse().expect("a number"))
            })
            .collect();
        let wanted: Vec<(String, u64)> = SYSCTLS
            .iter()
            .map(|sysctl| (sysctl.name.to_owned(), sysctl.value))
            .collect();
        assert_eq!(in_file, wanted);
    }

    #[test]
    fn what_is_set_will_do() {
        for sysctl in SYSCTLS {
            assert!(
                (sysctl.least..=sysctl.most).contains(&sysctl.value),
                "{}",
                sysctl.name
            );
        }
    }
}
