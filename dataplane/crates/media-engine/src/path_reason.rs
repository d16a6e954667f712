use crate::FlowError;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $label:literal, $text:literal,)*) => {
        /// Why a flow takes the path that it takes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum PathReason {
            $($(#[$doc])* $name,)*
        }

        impl PathReason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its label in metrics.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            /// For people.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// In the kernel: nothing needs its payload.
    PlainRelay => "plain_relay", "plain relay: only addresses change",
    /// The node has no kernel path; [`crate::EngineConfig::path_reason`] has the words.
    KernelOff => "kernel_off", "the kernel path is off",
    /// The line is disabled and has no ports.
    Disabled => "disabled", "the line is disabled",
    /// The source is not locked yet.
    Learning => "learning", "learning the source",
    /// Too few packets have come in sequence (RFC 3550 §A.1).
    Probation => "probation", "waiting for packets in sequence",
    /// The party said that it would not send, or it is on hold.
    PartyNotSending => "party_not_sending", "held: the party does not send",
    /// The peer does not want any.
    PeerNotReceiving => "peer_not_receiving", "held: the peer does not receive",
    /// The peer has not said where it wants media, or it holds.
    NoDestination => "no_destination", "the peer has no address",
    /// No moment yet in which no packet could overtake another.
    Pause => "pause", "waiting for a pause between packets",
    /// No such moment was found.
    NoPause => "no_pause", "no pause between packets",
    /// The payload types have more clock rates than [`crate::FLOW_CLOCKS_MAX`].
    Clocks => "clocks", "more clock rates than the kernel path counts",
    /// [`FlowError::Unavailable`].
    Unavailable => "unavailable", "no kernel path at this address",
    /// [`FlowError::Full`].
    TableFull => "table_full", "the kernel's flow table is full",
    /// [`FlowError::NoRoute`].
    NoRoute => "no_route", "the kernel has no route to the peer",
    /// [`FlowError::NoNeighbour`].
    NoNeighbour => "no_neighbour", "asking for the next hop's link-layer address",
    /// [`FlowError::Refused`].
    Refused => "refused", "the kernel refused the flow",
    /// The flow was found gone from the table.
    Lost => "lost", "the kernel had lost the flow",
    /// The kernel passed most packets up, for user space can forward what it cannot.
    PassedUp => "passed_up", "most packets need more than the kernel path does",
    /// A party is reached at one of the node's own addresses, where packets come from no interface.
    Hairpin => "hairpin", "a party is on this node",
    /// A party's packets are encrypted.
    Srtp => "srtp", "SRTP: the payload changes",
    /// Checks of connectivity come among a party's packets, and the kernel does not answer them.
    Ice => "ice", "ICE: checks have to be answered",
    /// One party multiplexes RTP and RTCP (RFC 5761) and the other does not: one port, two destinations.
    MuxDiffers => "mux_differs", "only one party has RTP and RTCP on one port",
}

impl PathReason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Whether it is worth trying again though nothing has changed.
    pub(crate) const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Unavailable
                | Self::TableFull
                | Self::NoRoute
                | Self::NoNeighbour
                | Self::Refused
                | Self::Lost
                | Self::PassedUp
        )
    }

    /// Whether the flow is in the kernel.
    pub const fn is_kernel(self) -> bool {
        matches!(self, Self::PlainRelay)
    }
}

impl From<FlowError> for PathReason {
    fn from(error: FlowError) -> Self {
        match error {
            FlowError::Unavailable => Self::Unavailable,
            FlowError::Full => Self::TableFull,
            FlowError::NoRoute => Self::NoRoute,
            FlowError::NoNeighbour => Self::NoNeighbour,
            FlowError::Refused => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_and_numbers_follow_the_list() {
        let mut labels = Vec::new();
        for (number, reason) in PathReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
            labels.push(reason.label());
        }
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), PathReason::COUNT);
    }

    #[test]
    fn errors_keep_their_labels_and_words() {
        for error in FlowError::ALL {
            let reason = PathReason::from(error);
            assert_eq!(reason.label(), error.reason());
            assert!(!reason.is_kernel());
        }
    }
}
