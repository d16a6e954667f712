use serde::{Deserialize, Serialize};

/// What is known of one call (one leg pair) at one moment.
///
/// A call gives several: when it is answered, when it ends, when its last media statistics are known. They are merged
/// by `call_id`: a field that is present replaces the one before, a field that is `None` leaves it. Merging the same
/// records again, in the same order, changes nothing; the journal's replay rests on that.
///
/// Times are milliseconds since the Unix epoch, UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallRecord {
    /// The call's correlation id on both planes.
    pub call_id: String,
    /// The media node that carried it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When the INVITE came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<i64>,
    /// When the callee's first 180 or 183 came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ringing_at_ms: Option<i64>,
    /// When the callee's 2xx came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_at_ms: Option<i64>,
    /// When the call was over. Of a call that a killed control plane left: when the next one started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<i64>,
    /// The request URI that the caller asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_uri: Option<String>,
    /// The final status that the caller's INVITE got, 200 to 699.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it ended, as a cause of ITU-T Q.850.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q850: Option<u8>,
    /// Why it ended, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Who ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released_by: Option<ReleasedBy>,
    /// The party whose place somebody else has, by a transfer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transferred_by: Option<ReleasedBy>,
    /// User part of who has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transferred_to: Option<String>,
    /// The first codec of the first media line as agreed, such as `PCMU/8000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// The party that called.
    pub caller: Party,
    /// The party that was called.
    pub callee: Party,
}

impl CallRecord {
    /// Takes over what `later`, of the same call, knows, as the database does.
    pub(crate) fn merge(&mut self, later: &Self) {
        /// A field that is present replaces the one before.
        fn take<T: Clone>(field: &mut Option<T>, later: &Option<T>) {
            if later.is_some() {
                field.clone_from(later);
            }
        }
        take(&mut self.node, &later.node);
        take(&mut self.started_at_ms, &later.started_at_ms);
        take(&mut self.ringing_at_ms, &later.ringing_at_ms);
        take(&mut self.answered_at_ms, &later.answered_at_ms);
        take(&mut self.ended_at_ms, &later.ended_at_ms);
        take(&mut self.request_uri, &later.request_uri);
        take(&mut self.status, &later.status);
        take(&mut self.q850, &later.q850);
        take(&mut self.cause, &later.cause);
        take(&mut self.released_by, &later.released_by);
        take(&mut self.codec, &later.codec);
        for (party, later) in [
            (&mut self.caller, &later.caller),
            (&mut self.callee, &later.callee),
        ] {
            take(&mut party.user, &later.user);
            take(&mut party.sip_call_id, &later.sip_call_id);
            take(&mut party.address, &later.address);
            take(&mut party.quality, &later.quality);
        }
    }
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleasedBy {
    /// The caller's BYE or CANCEL.
    Caller,
    /// The callee's BYE or final answer.
    Callee,
    /// Ringpath: a timeout, lost media, a stop of the service.
    System,
}

impl ReleasedBy {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::System => "system",
        }
    }
}

/// One party of a [`CallRecord`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Party {
    /// The user part of the URI in `From` (caller) or `To` (callee), as received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The SIP Call-ID of this party's dialog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip_call_id: Option<String>,
    /// The party's signalling address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What the media node received from this party.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<LegQuality>,
}

/// RFC 3550 statistics of everything that one party sent, its streams taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegQuality {
    /// RTP packets received.
    pub packets: u64,
    /// Bytes of RTP, headers included.
    pub bytes: u64,
    /// Packets lost (RFC 3550 §A.3).
    pub lost: u64,
    /// The highest interarrival jitter of any stream (RFC 3550 §A.8), in microseconds.
    pub jitter_us_max: u32,
    /// Mean opinion score × 100 (ITU-T G.107) of the worst stream; 0 when not known.
    pub mos_x100: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_written_and_leaves_out_what_is_unknown() {
        let record = CallRecord {
            call_id: "c1".into(),
            answered_at_ms: Some(5),
            released_by: Some(ReleasedBy::Callee),
            ..CallRecord::default()
        };
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(
            json,
            r#"{"call_id":"c1","answered_at_ms":5,"released_by":"callee","caller":{},"callee":{}}"#
        );
        assert_eq!(serde_json::from_str::<CallRecord>(&json).unwrap(), record);
    }

    #[test]
    fn a_field_of_a_later_version_does_not_make_a_record_unreadable() {
        let record: CallRecord = serde_json::from_str(r#"{"call_id":"c1","tariff":"x"}"#).unwrap();
        assert_eq!(record.call_id, "c1");
    }
}
