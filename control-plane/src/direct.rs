//! Media that goes from party to party without a node in between (`media.anchored = false`): each party is told the
//! other's addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use call::{MediaAnswer, MediaKind, MediaRequest};
use media_types::{CallReport, LegReport, LegSpec, LineReport, LineSpec, LocalLine, NodeName, Path};

/// The discard port, for a party that has not said where it wants media.
const DISCARD: u16 = 9;

/// What a node would answer whose addresses towards a party are those of the other. It keeps nothing, since requests of the
/// B2BUA name both legs.
pub fn answer(name: &NodeName, request: MediaRequest) -> MediaAnswer {
    let legs = match request.kind {
        MediaKind::Create(spec) => spec.legs,
        MediaKind::Update(legs) => legs,
        MediaKind::Delete => Vec::new(),
    };
    let legs = match &legs[..] {
        [caller, callee] => vec![leg(caller, callee), leg(callee, caller)],
        _ => Vec::new(),
    };
    let report = CallReport {
        id: request.call,
        age: Duration::ZERO,
        lease_left: Duration::ZERO,
        legs,
    };
    MediaAnswer {
        id: request.id,
        result: Ok((name.clone(), report)),
        fingerprint: None,
    }
}

fn leg(party: &LegSpec, other: &LegSpec) -> LegReport {
    let line = |(index, line): (usize, &LineSpec)| LineReport {
        local: line.enabled.then(|| address(other.lines.get(index), party.ipv6)),
        learned: None,
        path: Path::Socket,
        rtcp_path: None,
        path_reason: "media goes directly between the parties",
        drops: Vec::new(),
        rtcp_forwarded: 0,
        srtp: None,
        dtls: None,
        ice: None,
        streams: Vec::new(),
    };
    LegReport {
        id: party.id.clone(),
        lines: party.lines.iter().enumerate().map(line).collect(),
    }
}

/// Where the other party wants this line. One that has not said so, or that holds the call by the address 0.0.0.0 (RFC 3264
/// §8.4), is told on as it is.
fn address(other: Option<&LineSpec>, ipv6: bool) -> LocalLine {
    let nowhere = || {
        let ip: IpAddr = if ipv6 {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        SocketAddr::new(ip, DISCARD)
    };
    let rtp = other.and_then(|line| line.remote).unwrap_or_else(nowhere);
    let beside = || SocketAddr::new(rtp.ip(), rtp.port().saturating_add(1));
    let rtcp = match other {
        Some(line) if line.rtcp_mux => rtp,
        Some(line) => line.remote_rtcp.unwrap_or_else(beside),
        None => beside(),
    };
    LocalLine { rtp, rtcp }
}

#[cfg(test)]
mod tests {
    use call::MediaRequestId;
    use media_types::{CallId, Direction, IdempotencyKey, Latching, LegId, MediaKind as LineKind};

    use super::*;

    fn party(name: &str, remote: Option<&str>, rtcp_mux: bool) -> LegSpec {
        let line = |enabled| LineSpec {
            kind: LineKind::Audio,
            enabled,
            direction: Direction::default(),
            remote: remote.map(|remote| remote.parse().unwrap()),
            remote_rtcp: None,
            rtcp_mux,
            latching: Latching::default(),
            relearn: false,
            srtp: None,
            dtls: None,
            ice: None,
            codecs: Vec::new(),
        };
        LegSpec {
            id: LegId::new(name).unwrap(),
            interface: None,
            ipv6: false,
            lines: vec![line(true), line(false)],
        }
    }

    #[test]
    fn a_party_gets_the_others_address_line_by_line() {
        let request = MediaRequest {
            id: MediaRequestId(7),
            call: CallId::new("call").unwrap(),
            key: IdempotencyKey::new("key").unwrap(),
            node: None,
            kind: MediaKind::Update(vec![
                party("caller", Some("192.0.2.1:4000"), true),
                party("callee", None, false),
            ]),
        };
        let answer = answer(&NodeName::new("direct").unwrap(), request);
        assert_eq!(answer.id, MediaRequestId(7));
        let report = answer.result.unwrap().1;
        let local = |leg: usize, line: usize| {
            let local = report.legs[leg].lines[line].local;
            local.map(|local| (local.rtp.to_string(), local.rtcp.to_string()))
        };
        let both = |rtp: &str, rtcp: &str| Some((rtp.to_owned(), rtcp.to_owned()));
        assert_eq!(local(1, 0), both("192.0.2.1:4000", "192.0.2.1:4000"));
        // The callee has said nothing yet.
        assert_eq!(local(0, 0), both("0.0.0.0:9", "0.0.0.0:10"));
        assert_eq!((local(0, 1), local(1, 1)), (None, None));
    }
}
