use proto::admin_v1::{
    Ban, Binding, Call, CallParty, DescribeResponse, DrainResponse, Party, ServerState, Trunk,
};
use serde_json::{Value, json};

use crate::calls::{released_by, state};

/// A call, with the names of the contract. Times that have not come, and what is not known, are null.
pub fn call(call: &Call) -> Value {
    let time = |unix_ms: u64| (unix_ms > 0).then_some(unix_ms);
    json!({
        "call_id": call.call_id,
        "state": state(call),
        "started_unix_ms": time(call.started_unix_ms),
        "ringing_unix_ms": time(call.ringing_unix_ms),
        "answered_unix_ms": time(call.answered_unix_ms),
        "ended_unix_ms": time(call.ended_unix_ms),
        "caller": call.caller.as_ref().map(party),
        "callee": call.callee.as_ref().map(party),
        "request_uri": known(&call.request_uri),
        "codec": known(&call.codec),
        "media_node": known(&call.media_node),
        "end": call.end.as_ref().map(|end| json!({
            "released_by": released_by(end),
            "sip_status": end.sip_status,
            "q850": end.q850,
            "text": end.text,
        })),
        "transferred": call.transferred.as_ref().map(|it| json!({
            "leaves": match it.leaves() {
                CallParty::Unspecified => None,
                CallParty::Caller => Some("caller"),
                CallParty::Callee => Some("callee"),
            },
            "to": known(&it.to),
        })),
    })
}

fn party(party: &Party) -> Value {
    json!({
        "user": known(&party.user),
        "sip_call_id": known(&party.sip_call_id),
        "address": known(&party.address),
    })
}

fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// How the control plane stands.
pub fn standing(told: &DescribeResponse) -> Value {
    json!({
        "version": told.version,
        "uptime_s": told.uptime_s,
        "calls": told.calls,
        "calls_max": told.calls_max,
        "dialogs": told.dialogs,
        "transactions": told.transactions,
        "refusing": known(&told.refusing),
        "draining": told.draining,
        "media_nodes_up": told.media_nodes_up,
        "calls_attempted": told.calls_attempted,
        "calls_answered": told.calls_answered,
        "calls_ended": told.calls_ended,
        "calls_refused_at_limit": told.calls_refused_at_limit,
    })
}

/// A next hop.
pub fn trunk(trunk: &Trunk) -> Value {
    let state = match trunk.state() {
        ServerState::Unspecified => "",
        ServerState::Up => "up",
        ServerState::Down => "down",
    };
    let registration = trunk.registration.as_ref().map(|registration| {
        json!({
            "until_unix_ms": registration.until_unix_ms,
            "failure": known(&registration.failure),
        })
    });
    json!({
        "prefix": (!trunk.unrouted).then_some(&trunk.prefix),
        "host": trunk.host,
        "transport": trunk.transport,
        "address": trunk.address,
        "trunk": known(&trunk.trunk),
        "state": known(state),
        "registration": registration,
        "calls": trunk.calls,
        "calls_max": trunk.calls_max,
    })
}

/// A network that is banned.
pub fn ban(ban: &Ban) -> Value {
    json!({ "network": ban.network, "until_unix_ms": ban.until_unix_ms, "reason": ban.reason })
}

/// A contact of a user.
pub fn binding(told: &Binding) -> Value {
    json!({
        "user": told.user,
        "contact": told.contact,
        "transport": told.transport,
        "address": told.address,
        "expires_unix_ms": told.expires_unix_ms,
        "q_permille": told.q_permille,
        "instance": known(&told.instance),
        "reg_id": (told.reg_id > 0).then_some(told.reg_id),
    })
}

/// How far a drain is.
pub fn drain(told: &DrainResponse) -> Value {
    json!({ "calls_left": told.calls_left, "refusing": known(&told.refusing) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::tests::answered;

    #[test]
    fn what_is_not_known_is_null() {
        let value = call(&answered());
        assert_eq!(value["state"], "answered");
        assert_eq!(value["caller"]["user"], "+4930123");
        assert_eq!(
            (&value["ended_unix_ms"], &value["end"]),
            (&Value::Null, &Value::Null)
        );
        let empty = call(&Call::default());
        assert_eq!((&empty["caller"], &empty["codec"]), (&Value::Null, &Value::Null));
    }
}
