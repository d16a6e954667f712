//! Why a ring could not be set up, in words for the operator.

use std::fmt;
use std::io;

/// The step that failed, and how.
#[derive(Debug)]
pub struct SetupError {
    step: &'static str,
    error: io::Error,
}

impl SetupError {
    /// Makes the error of a step from the kernel's.
    pub(crate) fn at(step: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self { step, error }
    }

    /// The kernel's error.
    pub fn error(&self) -> &io::Error {
        &self.error
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(errno) = self.error.raw_os_error() else {
            return write!(formatter, "{}: {}", self.step, self.error);
        };
        let (name, meaning) = match errno {
            libc::EPERM => ("EPERM", "refused by seccomp or sysctl kernel.io_uring_disabled"),
            libc::EACCES => ("EACCES", "refused by a security module"),
            libc::ENOSYS => (
                "ENOSYS",
                "this kernel has no io_uring, or seccomp hides it; 6.1 or later is needed",
            ),
            libc::EINVAL => (
                "EINVAL",
                "this kernel's io_uring is too old; 6.1 or later is needed",
            ),
            libc::ENOMEM => ("ENOMEM", "no memory, or the limit of locked memory"),
            libc::EMFILE => ("EMFILE", "the limit of open files of this process"),
            libc::ENFILE => ("ENFILE", "the limit of open files of this system"),
            libc::ETIMEDOUT => ("ETIMEDOUT", "set up, but no packet came through"),
            _ => return write!(formatter, "{}: {}", self.step, self.error),
        };
        write!(formatter, "{}: {name} ({meaning})", self.step)
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_names_the_step_the_error_and_what_to_look_at() {
        let error = SetupError::at("io_uring_setup")(io::Error::from_raw_os_error(libc::EPERM));
        let expected = "io_uring_setup: EPERM (refused by seccomp or sysctl kernel.io_uring_disabled)";
        assert_eq!(error.to_string(), expected);
        let odd = SetupError::at("io_uring_setup")(io::Error::from_raw_os_error(libc::EXDEV));
        assert!(odd.to_string().starts_with("io_uring_setup: "), "{odd}");
    }
}
