use std::borrow::Cow;

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Released {
    /// The calling party: CANCEL or BYE.
    Caller,
    /// The called party: BYE, or a failure answer to the INVITE.
    Callee,
    /// We did: a timeout, no media, no route, an operator.
    Us,
}

impl Released {
    /// The word in records and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::Us => "us",
        }
    }
}

/// Why a call ended, for the other party and for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Who ended it.
    pub released: Released,
    /// The status that the caller's INVITE was answered with; 200 for a call that was answered.
    pub sip_status: u16,
    /// The cause of ITU-T Q.850, 1 to 127 (RFC 3326, RFC 3398).
    pub q850: u8,
    /// For people: printable, at most 128 bytes, without addresses of the other party.
    pub text: Cow<'static, str>,
}

impl Cause {
    /// The call failed with `sip_status` before it was answered.
    pub fn failed(released: Released, sip_status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            released,
            sip_status,
            q850: q850_of_status(sip_status),
            text: text.into(),
        }
    }

    /// The call was answered and then ended.
    pub fn ended(released: Released, q850: u8, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            released,
            sip_status: 200,
            q850,
            text: text.into(),
        }
    }

    /// One party hung up: cause 16, normal call clearing.
    pub fn hung_up(released: Released) -> Self {
        Self::ended(released, 16, "Normal call clearing")
    }

    /// The value of a `Reason` header field (RFC 3326 §2) that tells the other party.
    pub fn reason_header(&self) -> String {
        // A quoted string: no quotes, backslashes or controls within (RFC 3261 §25.1).
        let text: String = self
            .text
            .chars()
            .filter(|c| !c.is_control() && !matches!(c, '"' | '\\'))
            .collect();
        format!("Q.850;cause={};text=\"{text}\"", self.q850)
    }
}

/// The Q.850 cause for a SIP failure status (RFC 3398 §8.2.6.1; 487 is cause 16 here, since the caller hung up).
pub const fn q850_of_status(status: u16) -> u8 {
    match status {
        404 | 485 | 604 => 1,
        486 | 600 => 17,
        480 => 18,
        401 | 402 | 403 | 407 | 603 => 21,
        410 => 22,
        482 | 483 => 25,
        484 => 28,
        502 => 38,
        400 | 481 | 500 | 503 => 41,
        580 => 47,
        488 | 606 => 65,
        405 => 63,
        406 | 415 | 501 => 79,
        408 | 504 => 102,
        200..=299 | 487 => 16,
        413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => 127,
        300..=399 => 23,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_cause_in_the_range_of_q850() {
        for status in 100..=699 {
            assert!((1..=127).contains(&q850_of_status(status)), "{status}");
        }
        for (status, cause) in [
            (404, 1),
            (486, 17),
            (480, 18),
            (603, 21),
            (503, 41),
            (408, 102),
            (484, 28),
            (487, 16),
        ] {
            assert_eq!(q850_of_status(status), cause, "{status}");
        }
    }

    #[test]
    fn a_reason_header_cannot_be_broken_out_of() {
        let cause = Cause::ended(Released::Us, 102, "bad\"\r\nVia: x\\".to_owned());
        assert_eq!(cause.reason_header(), "Q.850;cause=102;text=\"badVia: x\"");
    }
}
