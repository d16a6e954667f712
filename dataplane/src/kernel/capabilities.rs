//! The capabilities of the process: what the kernel path needs at the start, and giving up what is not needed any more.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// What loading and attaching the programs needs, with the names that an operator gives them.
const NEEDED: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
];

/// The names of those that the calling thread lacks; `CAP_SYS_ADMIN` stands for the two that were split from it.
pub(super) fn missing() -> io::Result<Vec<&'static str>> {
    let effective = capabilities(None)?.effective;
    let admin = effective.contains(CapabilitySet::SYS_ADMIN);
    Ok(NEEDED
        .into_iter()
        .filter(|(needed, _)| {
            let implied = admin && *needed != CapabilitySet::NET_ADMIN;
            !effective.contains(*needed) && !implied
        })
        .map(|(_, name)| name)
        .collect())
}

/// Takes every capability but `keep` from the calling thread for good: from what it may do, from what programs that it starts
/// could inherit, and, where it may, from what they could gain. Threads that it starts later have no more than it has.
///
/// Capabilities are a thread's own: each thread calls this for itself once its set-up is done.
pub fn give_up_all_but(keep: CapabilitySet) -> io::Result<()> {
    let now = capabilities(None)?;
    if now.effective.contains(CapabilitySet::SETPCAP) {
        // As many as the kernel knows; it answers EINVAL to the first that it does not.
        for number in 0..u64::BITS {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            if keep.contains(capability) {
                continue;
            }
            match remove_capability_from_bounding_set(capability) {
                Ok(()) => {}
                Err(rustix::io::Errno::INVAL) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    clear_ambient_capability_set()?;
    let left = now.permitted & keep;
    Ok(set_capabilities(
        None,
        CapabilitySets {
            effective: left,
            permitted: left,
            inheritable: CapabilitySet::empty(),
        },
    )?)
}

/// What must be kept for `trial` to work: nothing where the kernel asks for capabilities only when programs are loaded and
/// maps are made (Linux 5.19), `CAP_BPF` before that. Tried on a thread that gives up everything.
pub(super) fn needed_for(trial: impl FnOnce() -> bool + Send) -> CapabilitySet {
    let works = std::thread::scope(|scope| {
        let thread = scope.spawn(|| give_up_all_but(CapabilitySet::empty()).is_ok() && trial());
        thread.join().unwrap_or(false)
    });
    if works {
        CapabilitySet::empty()
    } else {
        CapabilitySet::BPF
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_gave_up_its_capabilities_has_none_and_others_keep_theirs() {
        let before = capabilities(None).expect("readable");
        let after = std::thread::spawn(|| {
            give_up_all_but(CapabilitySet::empty()).expect("needs no privilege");
            let missing = missing().expect("readable");
            (capabilities(None).expect("readable"), missing)
        });
        let (after, missing) = after.join().expect("no panic");
        let none = CapabilitySet::empty();
        assert_eq!(
            (after.effective, after.permitted, after.inheritable),
            (none, none, none)
        );
        assert_eq!(missing, ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]);
        assert_eq!(capabilities(None).expect("readable"), before);
    }

    #[test]
    fn what_a_trial_needs_is_kept() {
        assert_eq!(needed_for(|| true), CapabilitySet::empty());
        assert_eq!(needed_for(|| false), CapabilitySet::BPF);
    }
}
