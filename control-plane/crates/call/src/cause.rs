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
        488 => 65,
        606 => 58,
        405 => 63,
        406 | 415 | 501 => 79,
        408 | 504 => 102,
        200..=299 | 487 => 16,
        413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => 127,
        300..=399 => 23,
        _ => 31,
    }
}

/// The SIP failure status for a Q.850 cause that ended a call before its answer (RFC 3398 §7.2.4.1). Causes that the
/// table has not, and normal clearing, of which a call that was not answered has none, give 480 within the class of
/// normal events (1 to 31) and 500 beyond it.
pub const fn status_of_q850(cause: u8) -> u16 {
    match cause {
        1..=3 | 26 => 404,
        17 => 486,
        18 => 408,
        19 | 20 | 31 => 480,
        21 | 55 | 57 | 87 => 403,
        22 | 23 => 410,
        27 => 502,
        28 => 484,
        29 | 79 => 501,
        34 | 38 | 41 | 42 | 47 | 58 | 88 => 503,
        65 | 70 => 488,
        102 => 504,
        0..=31 => 480,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3398 §8.2.6.1, all of its table that has one cause a status.
    #[test]
    fn statuses_have_the_causes_of_rfc_3398() {
        const TABLE: [(u16, u8); 37] = [
            (400, 41),
            (401, 21),
            (402, 21),
            (403, 21),
            (404, 1),
            (405, 63),
            (406, 79),
            (407, 21),
            (408, 102),
            (410, 22),
            (413, 127),
            (414, 127),
            (415, 79),
            (416, 127),
            (420, 127),
            (421, 127),
            (423, 127),
            (480, 18),
            (481, 41),
            (482, 25),
            (483, 25),
            (484, 28),
            (485, 1),
            (486, 17),
            (500, 41),
            (501, 79),
            (502, 38),
            (503, 41),
            (504, 102),
            (505, 127),
            (513, 127),
            (580, 47),
            (600, 17),
            (603, 21),
            (604, 1),
            (606, 58),
            (487, 16),
        ];
        for (status, cause) in TABLE {
            assert_eq!(q850_of_status(status), cause, "{status}");
        }
    }

    /// RFC 3398 §7.2.4.1.
    #[test]
    fn causes_have_the_statuses_of_rfc_3398() {
        const TABLE: [(u8, u16); 33] = [
            (1, 404),
            (2, 404),
            (3, 404),
            (17, 486),
            (18, 408),
            (19, 480),
            (20, 480),
            (21, 403),
            (22, 410),
            (23, 410),
            (26, 404),
            (27, 502),
            (28, 484),
            (29, 501),
            (31, 480),
            (34, 503),
            (38, 503),
            (41, 503),
            (42, 503),
            (47, 503),
            (55, 403),
            (57, 403),
            (58, 503),
            (65, 488),
            (70, 488),
            (79, 501),
            (87, 403),
            (88, 503),
            (102, 504),
            (111, 500),
            (127, 500),
            (16, 480),
            (99, 500),
        ];
        for (cause, status) in TABLE {
            assert_eq!(status_of_q850(cause), status, "{cause}");
        }
        for cause in 0..=127 {
            assert!((400..700).contains(&status_of_q850(cause)), "{cause}");
        }
    }

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
