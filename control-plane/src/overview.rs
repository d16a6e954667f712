//! The B2BUA's view of a call, for operators: monotonic times become wall-clock times, and types those of the contract.

use std::time::UNIX_EPOCH;

use call::{Cause, Changes, Overview, Progress, Released};
use ops::clock::MonotonicClock;
use proto::admin_v1 as wire;
use sans_io::Timestamp;

/// Converts many calls with one look at the clocks.
#[derive(Clone, Copy, Debug)]
pub struct Converter {
    /// Milliseconds since 1970 when the monotonic clock read zero.
    boot_unix_ms: u64,
}

impl Converter {
    /// By the clocks as they are now.
    pub fn new(clock: &MonotonicClock) -> Self {
        let boot = clock.wall_time(Timestamp::ZERO).duration_since(UNIX_EPOCH);
        let boot_unix_ms = u64::try_from(boot.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        Self { boot_unix_ms }
    }

    /// What has changed.
    pub fn changes(&self, changes: Changes) -> api::Changes {
        let calls = |calls: Vec<Overview>| calls.into_iter().map(|call| self.call(call)).collect();
        api::Changes {
            restart: changes.restart,
            changed: calls(changes.changed),
            gone: calls(changes.gone),
            complete: changes.complete,
        }
    }

    /// One call.
    pub fn call(&self, overview: Overview) -> wire::Call {
        let Overview { progress, record } = overview;
        let unix_ms = |at: Option<Timestamp>| at.map_or(0, |at| self.unix_ms(at));
        wire::Call {
            call_id: record.call.to_string(),
            state: state(progress).into(),
            started_unix_ms: self.unix_ms(record.times.setup),
            ringing_unix_ms: unix_ms(record.times.ringing),
            answered_unix_ms: unix_ms(record.times.answered),
            ended_unix_ms: unix_ms(record.times.ended),
            caller: Some(wire::Party {
                user: record.caller,
                sip_call_id: record.caller_call_id,
                address: record.source.to_string(),
            }),
            callee: Some(wire::Party {
                user: record.callee,
                sip_call_id: record.callee_call_id.unwrap_or_default(),
                address: record
                    .next_hop
                    .map(|next_hop| next_hop.to_string())
                    .unwrap_or_default(),
            }),
            request_uri: record.request_uri,
            codec: record.codec.unwrap_or_default(),
            media_node: record.node.map(|node| node.to_string()).unwrap_or_default(),
            end: record.cause.map(end),
        }
    }

    fn unix_ms(&self, at: Timestamp) -> u64 {
        let since = at.saturating_since(Timestamp::ZERO).as_millis();
        self.boot_unix_ms
            .saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

const fn state(progress: Progress) -> wire::CallState {
    match progress {
        Progress::Reserving => wire::CallState::Reserving,
        Progress::Calling => wire::CallState::Calling,
        Progress::Ringing => wire::CallState::Ringing,
        Progress::Answering => wire::CallState::Answering,
        Progress::Answered => wire::CallState::Answered,
        Progress::Ended => wire::CallState::Ending,
    }
}

fn end(cause: Cause) -> wire::End {
    let released_by = match cause.released {
        Released::Caller => wire::ReleasedBy::Caller,
        Released::Callee => wire::ReleasedBy::Callee,
        Released::Us => wire::ReleasedBy::System,
    };
    wire::End {
        released_by: released_by.into(),
        sip_status: cause.sip_status.into(),
        q850: cause.q850.into(),
        text: cause.text.into_owned(),
    }
}

/// The routing table, at most `max` next hops of it.
pub fn trunks(routes: &[call::Route], max: usize) -> wire::GetTrunksResponse {
    let mut routes: Vec<&call::Route> = routes.iter().collect();
    // A stable sort: of two routes with the same prefix the earlier one is tried first.
    routes.sort_by(|one, other| one.prefix.cmp(&other.prefix));
    let trunks = routes.iter().flat_map(|route| {
        route.next_hops.iter().map(|hop| wire::Trunk {
            prefix: route.prefix.clone(),
            host: hop.host.clone(),
            transport: hop.destination.transport.via_name().to_ascii_lowercase(),
            address: hop.destination.remote.to_string(),
        })
    });
    wire::GetTrunksResponse {
        trunks: trunks.take(max).collect(),
        total: routes.iter().map(|route| route.next_hops.len() as u64).sum(),
    }
}
