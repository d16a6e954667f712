//! The kernel's reasons to refuse a packet, in the words of the engine.

use ebpf::{Reason, ReasonSet};
use media_engine::{DropReason, Drops};

use crate::config::Policy;

/// The engine's word for what a flow refused. `None` for reasons that are found before a flow is known.
///
/// `is_rtcp`: the flow is one of RTCP alone, whose source has a word of its own.
pub(super) const fn drop_reason(reason: Reason, is_rtcp: bool) -> Option<DropReason> {
    Some(match reason {
        Reason::NotIp
        | Reason::NotUdp
        | Reason::IpHeader
        | Reason::IpOptions
        | Reason::IpFragment
        | Reason::IpExtension
        | Reason::IpChecksum
        | Reason::UdpLength
        | Reason::NotOurs
        | Reason::UnownedPort
        | Reason::UserSpace => return None,
        Reason::Source if is_rtcp => DropReason::RtcpSource,
        Reason::Source => DropReason::SourceLocked,
        Reason::TooShort => DropReason::TooShort,
        Reason::TooLong => DropReason::TooLong,
        Reason::Stun => DropReason::Stun,
        Reason::Zrtp => DropReason::Zrtp,
        Reason::Dtls => DropReason::Dtls,
        Reason::TurnChannel => DropReason::TurnChannel,
        Reason::NotMedia => DropReason::NotMedia,
        Reason::RtpTruncated => DropReason::RtpTruncated,
        Reason::RtpVersion => DropReason::RtpVersion,
        Reason::RtpExtension => DropReason::RtpExtension,
        Reason::RtpPadding => DropReason::RtpPadding,
        Reason::RtcpTruncated => DropReason::RtcpTruncated,
        Reason::RtcpLength => DropReason::RtcpLength,
        Reason::RtpOnRtcpPort => DropReason::RtpOnRtcpPort,
        Reason::RtcpNotMuxed => DropReason::RtcpNotMuxed,
        Reason::PayloadType => DropReason::PayloadType,
        Reason::UdpChecksumZero => DropReason::UdpChecksumZero,
        Reason::UdpChecksumAbsent => DropReason::UdpChecksumAbsent,
        Reason::HopLimit => DropReason::HopLimit,
        Reason::NoRoute => DropReason::NoRoute,
        Reason::NoNeighbour => DropReason::NoNeighbour,
        Reason::Mtu => DropReason::Mtu,
        Reason::PacketRate => DropReason::PacketRate,
        Reason::ByteRate => DropReason::ByteRate,
        Reason::Headroom => DropReason::Headroom,
    })
}

/// What goes up to user space of what a flow refuses: what that can handle, which are also payload types that nobody signalled, from a
/// source that is verified (a party may send comfort noise unasked, or a new type ahead of its answer). Packets beyond a flow's rate never do: user space would send them.
pub(super) fn passed_up(refused: Policy) -> ReasonSet {
    match refused {
        Policy::Drop => ReasonSet::USER_SPACE_CAN.with(Reason::PayloadType),
        Policy::Pass => Reason::ALL
            .iter()
            .filter(|reason| reason.is_of_flow())
            .filter(|reason| !matches!(reason, Reason::PacketRate | Reason::ByteRate | Reason::Headroom))
            .fold(ReasonSet::EMPTY, |set, reason| set.with(*reason)),
    }
}

/// What a flow dropped; `refused` says how many packets it refused for a reason, and those in `passed_up` were not dropped.
pub(super) fn drops(refused: impl Fn(Reason) -> u64, passed_up: ReasonSet, is_rtcp: bool) -> Drops {
    let mut drops = Drops::default();
    for &reason in Reason::ALL {
        let dropped = drop_reason(reason, is_rtcp).filter(|_| !passed_up.contains(reason));
        if let Some(word) = dropped {
            drops.add(word, refused(reason));
        }
    }
    drops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_a_flow_has_a_word_of_its_own_and_no_other_has_one() {
        let mut words = Vec::new();
        for &reason in Reason::ALL {
            let word = drop_reason(reason, false);
            assert_eq!(word.is_some(), reason.is_of_flow(), "{reason:?}");
            if let Some(word) = word {
                assert!(!words.contains(&word), "{word:?} twice");
                words.push(word);
                let same = word.reason() == reason.reason();
                assert!(same || reason == Reason::Source, "{reason:?} has another label");
            }
        }
        assert_eq!(drop_reason(Reason::Source, true), Some(DropReason::RtcpSource));
    }

    #[test]
    fn what_goes_up_is_not_counted_as_dropped() {
        let all = drops(|_| 1, ReasonSet::EMPTY, false);
        let some = drops(|_| 1, passed_up(Policy::Drop), false);
        assert_eq!((all.of(DropReason::Stun), some.of(DropReason::Stun)), (1, 0));
        assert_eq!(some.of(DropReason::SourceLocked), 1);
        assert_eq!(some.of(DropReason::PayloadType), 0, "user space forwards it");
        let few = drops(|_| 1, passed_up(Policy::Pass), false);
        let left: Vec<_> = few.report();
        assert_eq!(left, [("packet_rate", 1), ("byte_rate", 1), ("headroom", 1)]);
    }
}
