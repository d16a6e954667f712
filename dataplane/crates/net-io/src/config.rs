//! What a back-end is built from.

use std::time::Duration;

/// Settings of one worker's packet I/O.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoConfig {
    /// Frames in the pool, each [`crate::FRAME_SIZE`] bytes: a power of two from 64 to 32,768. With io_uring the
    /// kernel names a buffer by 16 bits, which sets the upper end.
    pub frames: u32,
    /// Frames that the kernel has to receive into at once (`uring` back-end): a power of two from 8 to 32,768. It goes
    /// through them in turn, so they should fit the core's cache: with 512 a packet cost 4.1 to 4.3 us where it cost
    /// 4.8 to 5.0 us with 4,096. A burst beyond it waits in the sockets for the next turn.
    pub frames_receiving: u32,
    /// The same for all AF_XDP sockets of a worker together, which have half of the frames at most. More than of the other back-ends:
    /// what finds no frame is lost.
    pub xdp_frames_receiving: u32,
    /// Ports open at once, at most. With io_uring the kernel also wants this below the soft limit of open files, and
    /// the back-end lowers it to that.
    pub ports_max: u32,
    /// Datagrams a receiving or sending system call takes at most (`socket` back-end).
    pub batch: u32,
    /// How long a poll under traffic may wait for more, so that packets share a wake-up and a system call. It is added
    /// to the delay of a packet, half of it on average; zero switches it off.
    pub gather: Duration,
    /// Packets that are enough for a turn: when they come faster than so many in `gather`, the wait is shorter.
    pub gather_packets: u32,
    /// Entries of the submission queue (`uring` back-end); a power of two. Packets sent beyond it in one turn of the
    /// loop cost one more system call.
    pub submission_entries: u32,
    /// Entries of the completion queue (`uring` back-end); a power of two above `submission_entries`.
    pub completion_entries: u32,
    /// Options of each port's socket.
    pub socket: SocketOptions,
}

impl Default for IoConfig {
    fn default() -> Self {
        Self {
            frames: 4096,
            frames_receiving: 512,
            xdp_frames_receiving: 2048,
            ports_max: 16_384,
            batch: 64,
            gather: Duration::from_millis(1),
            gather_packets: 24,
            submission_entries: 1024,
            completion_entries: 8192,
            socket: SocketOptions::default(),
        }
    }
}

impl IoConfig {
    /// Fewest frames of a pool.
    pub const FRAMES_MIN: u32 = 64;
    /// Most frames of a pool.
    pub const FRAMES_MAX: u32 = 32_768;

    /// The first setting out of its range, as `name: what it must be`.
    pub fn problem(&self) -> Option<&'static str> {
        if !(Self::FRAMES_MIN..=Self::FRAMES_MAX).contains(&self.frames) || !self.frames.is_power_of_two() {
            return Some("frames: must be a power of two from 64 to 32768");
        }
        if !(8..=Self::FRAMES_MAX).contains(&self.frames_receiving)
            || !self.frames_receiving.is_power_of_two()
        {
            return Some("frames_receiving: must be a power of two from 8 to 32768");
        }
        if !(8..=Self::FRAMES_MAX).contains(&self.xdp_frames_receiving)
            || !self.xdp_frames_receiving.is_power_of_two()
        {
            return Some("xdp_frames_receiving: must be a power of two from 8 to 32768");
        }
        if self.ports_max == 0 || self.ports_max > 1 << 20 {
            return Some("ports_max: must be 1 to 1048576");
        }
        if self.batch == 0 || self.batch > 1024 {
            return Some("batch: must be 1 to 1024");
        }
        if self.gather > Duration::from_millis(20) {
            return Some("gather: must be at most 20 ms");
        }
        if !(1..=1024).contains(&self.gather_packets) {
            return Some("gather_packets: must be 1 to 1024");
        }
        if !self.submission_entries.is_power_of_two() || !(8..=32_768).contains(&self.submission_entries) {
            return Some("submission_entries: must be a power of two from 8 to 32768");
        }
        if !self.completion_entries.is_power_of_two()
            || self.completion_entries <= self.submission_entries
            || self.completion_entries > 65_536
        {
            return Some(
                "completion_entries: must be a power of two above submission_entries, at most 65536",
            );
        }
        if self.socket.dscp > 63 {
            return Some("socket.dscp: must be 0 to 63");
        }
        None
    }

    /// The error that a back-end is refused with when a setting is out of range.
    pub(crate) fn check(&self) -> std::io::Result<()> {
        match self.problem() {
            None => Ok(()),
            Some(problem) => Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, problem)),
        }
    }
}

/// Options of each port's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// SO_RCVBUF in bytes; `None` leaves the system's default. The kernel lowers it to `net.core.rmem_max` in silence
    /// and charges about 1 kB for a small packet.
    pub receive_buffer: Option<u32>,
    /// SO_SNDBUF in bytes; `None` leaves the system's default.
    pub send_buffer: Option<u32>,
    /// Differentiated services code point of all that is sent, 0 to 63.
    pub dscp: u8,
    /// Another process steers some of the same ports, so that a port can be bound and hear nothing: each is tried with a packet
    /// before it is used. Costs a few microseconds a port.
    pub steered_elsewhere: bool,
}

impl SocketOptions {
    /// Expedited forwarding, the class of voice (RFC 3246, RFC 4594 §4.1).
    pub const EXPEDITED_FORWARDING: u8 = 46;
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            receive_buffer: None,
            send_buffer: None,
            dscp: Self::EXPEDITED_FORWARDING,
            steered_elsewhere: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_in_range_and_each_setting_has_an_end() {
        assert_eq!(IoConfig::default().problem(), None);
        let refused = [
            IoConfig {
                frames: 100,
                ..IoConfig::default()
            },
            IoConfig {
                frames: 65_536,
                ..IoConfig::default()
            },
            IoConfig {
                ports_max: 0,
                ..IoConfig::default()
            },
            IoConfig {
                batch: 0,
                ..IoConfig::default()
            },
            IoConfig {
                gather: Duration::from_secs(1),
                ..IoConfig::default()
            },
            IoConfig {
                gather_packets: 0,
                ..IoConfig::default()
            },
            IoConfig {
                submission_entries: 9,
                ..IoConfig::default()
            },
            IoConfig {
                completion_entries: 8,
                ..IoConfig::default()
            },
            IoConfig {
                socket: SocketOptions {
                    dscp: 64,
                    ..SocketOptions::default()
                },
                ..IoConfig::default()
            },
        ];
        for config in refused {
            assert!(config.problem().is_some(), "{config:?}");
        }
    }
}
