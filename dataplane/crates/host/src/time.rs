use std::io;
use std::mem::MaybeUninit;

/// What the kernel knows of the wall clock's discipline (ntp_adjtime(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSync {
    /// Somebody (chrony, ntpd, systemd-timesyncd, the hypervisor's agent) keeps it.
    pub synchronised: bool,
    /// The most that it may be wrong, in microseconds; grows while nobody keeps it.
    pub error_us_max: i64,
}

/// Reads the clock's discipline. Changes nothing and needs no privilege.
///
/// # Errors
/// When the kernel refuses, as a seccomp filter may.
pub fn time_sync() -> io::Result<TimeSync> {
    let mut timex = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: the pointer is to a live timex that nobody else sees. It is zeroed, so its modes are zero, and the kernel only
    // writes into it.
    let state = unsafe { libc::adjtimex(timex.as_mut_ptr()) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a timex is made of integers, for which zero and whatever the kernel wrote are values.
    let timex = unsafe { timex.assume_init() };
    Ok(TimeSync {
        synchronised: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
        error_us_max: timex.maxerror,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clocks_discipline_can_be_read() {
        let sync = super::time_sync().expect("no privilege is needed");
        assert!(sync.error_us_max >= 0, "{sync:?}");
    }
}
