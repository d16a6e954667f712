//! The call that runs without SIP ask a media node for.

use std::net::SocketAddr;

use proto::media_v1 as pb;

/// As the control plane would ask for it: two legs, one line of PCMA each, the parties' addresses known. Its lease of
/// ten minutes outlasts every run.
pub fn plain(call: &str, remotes: [SocketAddr; 2]) -> pb::CreateCallRequest {
    pb::CreateCallRequest {
        call_id: call.to_owned(),
        idempotency_key: format!("create-{call}"),
        legs: legs(remotes, pb::Direction::Sendrecv),
        lease_ms: 600_000,
        ..pb::CreateCallRequest::default()
    }
}

/// A re-INVITE: both legs as in [`plain`], with media in this direction.
pub fn update(call: &str, remotes: [SocketAddr; 2], direction: pb::Direction) -> pb::UpdateCallRequest {
    pb::UpdateCallRequest {
        call_id: call.to_owned(),
        idempotency_key: format!("update-{call}-{direction:?}"),
        legs: legs(remotes, direction),
    }
}

/// Makes the caller's line of a request one with SRTP.
pub fn secure_caller(request: &mut pb::CreateCallRequest, srtp: pb::Srtp) {
    if let Some(line) = request.legs.first_mut().and_then(|leg| leg.lines.first_mut()) {
        line.srtp = Some(srtp);
    }
}

fn legs(remotes: [SocketAddr; 2], direction: pb::Direction) -> Vec<pb::Leg> {
    let leg = |id: &str, remote: SocketAddr| pb::Leg {
        leg_id: id.to_owned(),
        lines: vec![pb::MediaLine {
            kind: pb::MediaKind::Audio.into(),
            direction: direction.into(),
            remote: Some(pb::Endpoint {
                ip: remote.ip().to_string(),
                port: remote.port().into(),
            }),
            codecs: vec![pb::Codec {
                payload_type: 8,
                name: "PCMA".to_owned(),
                clock_rate_hz: 8_000,
                channels: 1,
                ptime_ms: 20,
            }],
            ..pb::MediaLine::default()
        }],
        ..pb::Leg::default()
    };
    vec![leg("caller", remotes[0]), leg("callee", remotes[1])]
}
