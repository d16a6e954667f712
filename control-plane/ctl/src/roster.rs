use std::collections::BTreeMap;

use proto::admin_v1::{Call, GetActiveCallsResponse};

/// The calls as a watcher knows them.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    calls: BTreeMap<String, Call>,
    complete: bool,
    missed: u64,
}

impl Roster {
    /// Takes a message in.
    pub fn apply(&mut self, message: GetActiveCallsResponse) {
        if message.restart {
            self.calls.clear();
        }
        self.missed += message.missed;
        for call in message.gone {
            self.calls.remove(&call.call_id);
        }
        for call in message.calls {
            self.calls.insert(call.call_id.clone(), call);
        }
        self.complete = message.complete;
    }

    /// The calls, the oldest first.
    pub fn calls(&self) -> Vec<&Call> {
        let mut calls: Vec<&Call> = self.calls.values().collect();
        calls.sort_by_key(|call| call.started_unix_ms);
        calls
    }

    /// Whether these are all.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Messages that we were too slow for.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, started_unix_ms: u64) -> Call {
        Call {
            call_id: id.into(),
            started_unix_ms,
            ..Call::default()
        }
    }

    #[test]
    fn messages_add_replace_and_remove_and_a_restart_forgets() {
        let mut roster = Roster::default();
        roster.apply(GetActiveCallsResponse {
            restart: true,
            calls: vec![call("a", 2), call("b", 1)],
            ..Default::default()
        });
        assert!(!roster.is_complete());
        let ids = |roster: &Roster| -> Vec<String> {
            roster.calls().iter().map(|call| call.call_id.clone()).collect()
        };
        assert_eq!(ids(&roster), ["b", "a"]);
        roster.apply(GetActiveCallsResponse {
            calls: vec![call("a", 0)],
            gone: vec![call("b", 1)],
            complete: true,
            ..Default::default()
        });
        assert_eq!(ids(&roster), ["a"]);
        roster.apply(GetActiveCallsResponse {
            restart: true,
            missed: 7,
            complete: true,
            ..Default::default()
        });
        assert!(ids(&roster).is_empty() && roster.is_complete() && roster.missed() == 7);
    }
}
