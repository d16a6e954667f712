//! The limit of open files, which is the limit of ports where each has a socket.

use std::io;

use rustix::process::{Resource, getrlimit};

/// Sockets of a call: RTP and RTCP of two legs with one media line.
const SOCKETS_PER_CALL: u64 = 4;
/// Files that are neither a call's nor a gRPC connection's: listeners, rings, eventfds, logs, scrapes.
const OTHER_FILES: u64 = 64;

/// How many files the process may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimit(u64);

impl FileLimit {
    /// Raises the soft limit to the hard one, which needs no privilege.
    ///
    /// # Errors
    /// When the kernel refuses; the soft limit then stays.
    pub fn raise() -> io::Result<Self> {
        ops::process::raise_file_limit().map(Self)
    }

    /// The soft limit as it is.
    pub fn now() -> Self {
        Self(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    /// The limit itself.
    pub fn files(self) -> u64 {
        self.0
    }

    /// Sockets that it leaves for media beside so many gRPC connections; never zero.
    pub fn sockets(self, connections: usize) -> u64 {
        self.0.saturating_sub(OTHER_FILES + connections as u64).max(1)
    }
}

/// Calls with one media line that so many sockets are enough for; never zero.
pub fn calls(sockets: u64) -> u64 {
    (sockets / SOCKETS_PER_CALL).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_the_hard_one_and_divided_by_four() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(
            FileLimit::raise().expect("no privilege is needed").0,
            hard.unwrap_or(u64::MAX)
        );
        assert_eq!(calls(FileLimit(20_000).sockets(256)), (20_000 - 64 - 256) / 4);
        assert_eq!(calls(FileLimit(100).sockets(256)), 1);
    }
}
