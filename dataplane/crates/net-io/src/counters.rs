//! What a back-end counts.

/// Why the kernel did not take a packet for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum SendError {
    /// Nobody listens there, said an ICMP answer to an earlier packet.
    Refused,
    /// The packet is larger than the route's MTU allows unfragmented, or than UDP can carry.
    TooBig,
    /// No route, network or host down, or no such address family on this port.
    Unreachable,
    /// The socket's send buffer or the device queue is full. Media that is late is media that is lost, so it is
    /// dropped instead of queued.
    WouldBlock,
    /// A firewall rule, or a broadcast address.
    NotPermitted,
    /// The port was closed, or never open.
    NotOpen,
    /// Any other answer of the kernel.
    Other,
}

impl SendError {
    /// How many kinds there are.
    pub const COUNT: usize = 7;

    /// All kinds, in the order of [`IoCounters::send_errors`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::Refused,
        Self::TooBig,
        Self::Unreachable,
        Self::WouldBlock,
        Self::NotPermitted,
        Self::NotOpen,
        Self::Other,
    ];

    /// The label of this kind in metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TooBig => "too_big",
            Self::Unreachable => "unreachable",
            Self::WouldBlock => "would_block",
            Self::NotPermitted => "not_permitted",
            Self::NotOpen => "not_open",
            Self::Other => "other",
        }
    }

    /// The kind of an errno (positive) that a send ended with.
    pub(crate) const fn from_errno(errno: i32) -> Self {
        match errno {
            libc::ECONNREFUSED => Self::Refused,
            libc::EMSGSIZE => Self::TooBig,
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EADDRNOTAVAIL
            | libc::EAFNOSUPPORT
            | libc::EINVAL => Self::Unreachable,
            libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => Self::WouldBlock,
            libc::EPERM | libc::EACCES => Self::NotPermitted,
            _ => Self::Other,
        }
    }
}

/// Totals of one back-end since it was built. Every datagram that the kernel handed over is in exactly one of
/// `received`, `truncated`, `malformed` and `port_closed`; every frame given to `send` in exactly one of `sent` and `send_errors`,
/// or still queued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// Datagrams handed to the caller.
    pub received: u64,
    /// Their payload, in bytes.
    pub received_bytes: u64,
    /// Packets that the kernel took.
    pub sent: u64,
    /// Their payload, in bytes.
    pub sent_bytes: u64,
    /// Packets that it did not take, by [`SendError`] (`as usize`).
    pub send_errors: [u64; SendError::COUNT],
    /// Datagrams larger than [`crate::PAYLOAD_MAX`], dropped.
    pub truncated: u64,
    /// Datagrams dropped because their port was closed before they were handed over.
    pub port_closed: u64,
    /// Datagrams with a wrong checksum or length, dropped. The kernel does so itself where it receives for sockets (AF_XDP).
    pub malformed: u64,
    /// Datagrams among `received` and `port_closed` that came by AF_XDP.
    pub xdp_received: u64,
    /// Packets among `sent` that left by AF_XDP.
    pub xdp_sent: u64,
    /// Times that a port had datagrams and no frame was free. The datagrams wait in the kernel, whose socket buffer
    /// may overflow meanwhile.
    pub no_buffer: u64,
    /// Errors of receiving calls (such as an ICMP answer pending on the socket); no datagram is lost by one.
    pub receive_errors: u64,
    /// Datagrams that the kernel dropped at the socket (full receive buffer), known from the next datagram on; those
    /// after a port's last datagram are known to the `socket` back-end alone. `None` where there is no kernel.
    pub kernel_drops: Option<u64>,
    /// Polls that another thread's [`crate::Waker`] ended.
    pub wake_ups: u64,
    /// System calls made on the packet path: waiting, receiving and sending, not opening and closing ports.
    pub system_calls: u64,
    /// Multishot receives that ended by themselves and were asked for again (`uring`).
    pub receives_rearmed: u64,
    /// Times that the kernel had more completions than their queue has room for; it keeps them (`uring`).
    pub completion_overflows: u64,
    /// Times that the submission queue was full and cost a system call more (`uring`).
    pub submissions_full: u64,
}

impl IoCounters {
    /// Packets that were not sent, for this reason.
    pub fn send_errors_of(&self, kind: SendError) -> u64 {
        self.send_errors[kind as usize]
    }

    /// Packets that were not sent, all reasons together.
    pub fn send_errors_total(&self) -> u64 {
        self.send_errors.iter().sum()
    }

    /// Adds what a socket dropped beyond `known`, which becomes `drops`: the socket's own total, modulo 2^32.
    pub(crate) fn count_kernel_drops(&mut self, known: &mut u32, drops: u32) {
        let more = drops.wrapping_sub(*known);
        *known = drops;
        self.kernel_drops = Some(self.kernel_drops.unwrap_or(0) + u64::from(more));
    }

    pub(crate) fn count_send_error(&mut self, kind: SendError) {
        self.send_errors[kind as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_answers_is_counted_by_kind() {
        let kinds = [
            (libc::ECONNREFUSED, SendError::Refused),
            (libc::EMSGSIZE, SendError::TooBig),
            (libc::ENETUNREACH, SendError::Unreachable),
            (libc::EHOSTUNREACH, SendError::Unreachable),
            (libc::EAFNOSUPPORT, SendError::Unreachable),
            (libc::EAGAIN, SendError::WouldBlock),
            (libc::ENOBUFS, SendError::WouldBlock),
            (libc::EPERM, SendError::NotPermitted),
            (libc::EBADF, SendError::Other),
        ];
        let mut counters = IoCounters::default();
        for (errno, kind) in kinds {
            assert_eq!(SendError::from_errno(errno), kind, "errno {errno}");
            counters.count_send_error(kind);
        }
        assert_eq!(counters.send_errors_of(SendError::Unreachable), 3);
        assert_eq!(counters.send_errors_total(), kinds.len() as u64);
    }

    #[test]
    fn drops_of_a_socket_are_counted_once_over_the_wrap_of_its_count() {
        let mut counters = IoCounters::default();
        let mut known = u32::MAX - 1;
        counters.count_kernel_drops(&mut known, 3);
        counters.count_kernel_drops(&mut known, 3);
        assert_eq!((known, counters.kernel_drops), (3, Some(5)));
    }

    #[test]
    fn every_kind_of_send_error_has_its_own_place_and_label() {
        for (place, kind) in SendError::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            let same = SendError::ALL
                .into_iter()
                .filter(|other| other.reason() == kind.reason())
                .count();
            assert_eq!(same, 1, "{}", kind.reason());
        }
    }
}
