//! What a process has used, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Resident memory in bytes.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1_024)
}

/// Resident memory in bytes that is no file's, what is shared with other processes counted in proportion: sums over processes
/// count nothing twice. The program itself is left out, whose share changes with how often it runs.
pub fn proportional_bytes(pid: u32) -> anyhow::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let bytes = |name: &str| -> anyhow::Result<u64> {
        let value = rollup
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .context("no Pss")?;
        Ok(value.trim().trim_end_matches(" kB").parse::<u64>()? * 1_024)
    };
    Ok(bytes("Pss_Anon:")? + bytes("Pss_Shmem:")?)
}

/// Time that the scheduler gave to the threads that the process, or kernel thread, has now. Exact to the nanosecond,
/// where `/proc/<pid>/stat` counts in hundredths of a second; threads that have ended are not in it.
pub fn run_time(pid: u32) -> anyhow::Result<Duration> {
    let mut sum = None;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may have ended since the folder was read; that of the process itself has not.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        let run = text.split(' ').next().context("schedstat is empty")?;
        sum = Some(sum.unwrap_or(Duration::ZERO) + Duration::from_nanos(run.parse()?));
    }
    sum.with_context(|| format!("the kernel keeps no schedstat of process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_run() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        assert!(proportional_bytes(std::process::id()).unwrap() > 100_000);
        let before = run_time(std::process::id()).unwrap();
        let mut sum = 0u64;
        while run_time(std::process::id()).unwrap() == before {
            sum = sum.wrapping_add(1);
        }
    }
}
