//! Which core a worker runs on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may use, in ascending order.
///
/// # Errors
/// When the kernel does not say.
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// The core of each of `workers` workers: those of `wanted`, else the allowed ones from the first on. With more workers
/// than cores they share.
pub fn assign(workers: usize, wanted: &[usize], allowed: &[usize]) -> Vec<usize> {
    let cores = if wanted.is_empty() { allowed } else { wanted };
    cores.iter().copied().cycle().take(workers).collect()
}

/// Pins the calling thread.
///
/// # Errors
/// When the core does not exist or is not allowed to this process. The thread then runs where the scheduler puts it:
/// slower, not wrong.
pub fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_get_the_wanted_cores_or_the_first_allowed_ones() {
        assert_eq!(assign(2, &[], &[3, 5, 7]), [3, 5]);
        assert_eq!(assign(2, &[9, 1], &[3, 5, 7]), [9, 1]);
        assert_eq!(assign(3, &[], &[0, 1]), [0, 1, 0]);
        assert!(assign(1, &[], &[]).is_empty());
    }

    #[test]
    fn a_thread_is_pinned_where_it_may_be_and_told_where_not() {
        let allowed = allowed_cores().expect("the kernel says");
        let core = *allowed.last().expect("one at least");
        std::thread::spawn(move || {
            pin(core).expect("an allowed core");
            assert_eq!(allowed_cores().expect("the kernel says"), [core]);
            assert!(pin(CpuSet::MAX_CPU - 1).is_err());
            assert!(pin(usize::MAX).is_err());
        })
        .join()
        .expect("no panic");
    }
}
