use media_engine::DropReason;

/// The counter of a datagram of DTLS that was not taken.
pub(crate) const fn of_dtls(refusal: dtls::Refusal) -> DropReason {
    match refusal {
        dtls::Refusal::Source => DropReason::DtlsSource,
        dtls::Refusal::Truncated => DropReason::DtlsTruncated,
        dtls::Refusal::Oversized => DropReason::DtlsOversized,
        dtls::Refusal::Alert => DropReason::DtlsAlert,
        dtls::Refusal::Stray => DropReason::DtlsStray,
    }
}

/// The counter of a STUN message that was not taken.
pub(crate) const fn of_ice(refusal: ice::Refusal) -> DropReason {
    match refusal {
        ice::Refusal::Malformed => DropReason::StunMalformed,
        ice::Refusal::Stranger => DropReason::StunStranger,
        ice::Refusal::Integrity => DropReason::StunIntegrity,
        ice::Refusal::TooManySources => DropReason::StunTooManySources,
        ice::Refusal::Unasked => DropReason::StunUnasked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_one_label_everywhere() {
        for refusal in [
            dtls::Refusal::Source,
            dtls::Refusal::Truncated,
            dtls::Refusal::Oversized,
            dtls::Refusal::Alert,
            dtls::Refusal::Stray,
        ] {
            assert_eq!(refusal.reason(), of_dtls(refusal).reason());
        }
        for refusal in [
            ice::Refusal::Malformed,
            ice::Refusal::Stranger,
            ice::Refusal::Integrity,
            ice::Refusal::TooManySources,
            ice::Refusal::Unasked,
        ] {
            assert_eq!(refusal.reason(), of_ice(refusal).reason());
        }
    }
}
