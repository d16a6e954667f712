use proto::admin_v1::{Call, CallParty, CallState, End, Party, ReleasedBy};

use crate::table::{printable, table};

/// Heads of the columns of [`row`].
pub const HEAD: [&str; 8] = ["CALL", "STATE", "TIME", "FROM", "TO", "NEXT HOP", "CODEC", "NODE"];

/// A call as cells; `now_unix_ms` tells how long it has lasted.
pub fn row(call: &Call, now_unix_ms: u64) -> Vec<String> {
    let [caller, callee] = parties(call);
    vec![
        printable(&call.call_id),
        state(call).to_owned(),
        lasting(call, now_unix_ms),
        user(&caller),
        user(&callee),
        printable(&callee.address),
        printable(&call.codec),
        printable(&call.media_node),
    ]
}

/// All calls as a table.
pub fn list(calls: &[&Call], now_unix_ms: u64) -> String {
    let rows: Vec<Vec<String>> = calls.iter().map(|call| row(call, now_unix_ms)).collect();
    table(&HEAD, &rows)
}

/// One call, a line a fact.
pub fn detail(call: &Call, now_unix_ms: u64) -> String {
    let [caller, callee] = parties(call);
    let mut rows = Vec::new();
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            rows.push(vec![name.to_owned(), value]);
        }
    };
    fact("state", state(call).to_owned());
    fact("time", lasting(call, now_unix_ms));
    fact("asked for", printable(&call.request_uri));
    for (name, party) in [("caller", &caller), ("callee", &callee)] {
        fact(name, user(party));
        fact(&format!("{name} address"), printable(&party.address));
        fact(&format!("{name} Call-ID"), printable(&party.sip_call_id));
    }
    fact("codec", printable(&call.codec));
    fact("media node", printable(&call.media_node));
    if let Some(transferred) = &call.transferred {
        let by = match transferred.leaves() {
            CallParty::Caller => "in the caller's place",
            CallParty::Callee | CallParty::Unspecified => "in the callee's place",
        };
        fact("transferred", format!("{by}: {}", printable(&transferred.to)));
    }
    if let Some(end) = &call.end {
        fact("ended by", end_text(end));
    }
    table(&["call", &printable(&call.call_id)], &rows)
}

/// Who ended a call, and why.
pub fn end_text(end: &End) -> String {
    let by = released_by(end);
    format!(
        "{by}: {} (Q.850 {}, SIP {})",
        printable(&end.text),
        end.q850,
        end.sip_status
    )
}

/// The word for who ended a call.
pub fn released_by(end: &End) -> &'static str {
    match end.released_by() {
        ReleasedBy::Caller => "caller",
        ReleasedBy::Callee => "callee",
        ReleasedBy::System | ReleasedBy::Unspecified => "system",
    }
}

/// The word for how far a call is.
pub fn state(call: &Call) -> &'static str {
    match call.state() {
        CallState::Unspecified => "unknown",
        CallState::Reserving => "reserving",
        CallState::Calling => "calling",
        CallState::Ringing => "ringing",
        CallState::Answering => "answering",
        CallState::Answered => "answered",
        CallState::Ending => "ending",
    }
}

/// How long a call has lasted: from its answer, or from its INVITE if there is none.
fn lasting(call: &Call, now_unix_ms: u64) -> String {
    let since = match call.answered_unix_ms {
        0 => call.started_unix_ms,
        answered => answered,
    };
    let until = match call.ended_unix_ms {
        0 => now_unix_ms,
        ended => ended,
    };
    duration(until.saturating_sub(since) / 1_000)
}

/// `0:07`, `12:34`, `1:02:03`, `2d 1:02:03`.
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes, left) = (
        seconds / 86_400,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    match (days, hours) {
        (0, 0) => format!("{minutes}:{left:02}"),
        (0, _) => format!("{hours}:{minutes:02}:{left:02}"),
        _ => format!("{days}d {hours}:{minutes:02}:{left:02}"),
    }
}

fn parties(call: &Call) -> [Party; 2] {
    [
        call.caller.clone().unwrap_or_default(),
        call.callee.clone().unwrap_or_default(),
    ]
}

fn user(party: &Party) -> String {
    match party.user.as_str() {
        "" => "-".to_owned(),
        user => printable(user),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const NOW: u64 = 1_700_000_100_000;

    pub fn answered() -> Call {
        Call {
            call_id: "01hx5zkq".into(),
            state: CallState::Answered.into(),
            started_unix_ms: NOW - 75_000,
            ringing_unix_ms: NOW - 74_000,
            answered_unix_ms: NOW - 70_000,
            caller: Some(Party {
                user: "+4930123".into(),
                sip_call_id: "a@example.com".into(),
                address: "192.0.2.1:5060".into(),
            }),
            callee: Some(Party {
                user: "1000".into(),
                sip_call_id: "b-1".into(),
                address: "198.51.100.9:5060".into(),
            }),
            request_uri: "sip:1000@example.com".into(),
            codec: "PCMU/8000".into(),
            media_node: "media-1".into(),
            ..Call::default()
        }
    }

    pub fn ringing() -> Call {
        Call {
            call_id: "01hx600\x1b[2J".into(),
            state: CallState::Ringing.into(),
            started_unix_ms: NOW - 5_000,
            ..Call::default()
        }
    }

    #[test]
    fn the_table_of_calls() {
        let expected = include_str!("../tests/calls.txt");
        assert_eq!(list(&[&answered(), &ringing()], NOW), expected);
    }

    #[test]
    fn one_call_in_full() {
        let mut call = answered();
        call.state = CallState::Ending.into();
        call.ended_unix_ms = NOW - 10_000;
        call.end = Some(End {
            released_by: ReleasedBy::System.into(),
            sip_status: 200,
            q850: 31,
            text: "Maintenance".into(),
        });
        assert_eq!(detail(&call, NOW), include_str!("../tests/call.txt"));
    }

    #[test]
    fn durations_are_short() {
        for (seconds, text) in [
            (7, "0:07"),
            (754, "12:34"),
            (3_723, "1:02:03"),
            (176_523, "2d 1:02:03"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
