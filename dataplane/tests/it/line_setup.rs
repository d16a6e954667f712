//! Lines that are set up by DTLS and ICE: who gets through, what is refused and why, and what becomes of them when the process
//! changes.

use std::sync::Arc;
use std::time::Duration;

use dtls::{Association, Endpoint};
use media_types::DtlsRole;
use ops::clock::MonotonicClock;
use proto::media_v1 as wire;
use sans_io::{Epoch, Timestamp};

use crate::node::{Backend, Node, Settings, call, line, on_both_backends, own_address, query, refusal};
use crate::party::{Party, rtp};
use crate::process::PATIENCE;
use crate::secure_peer::{SecurePeer, facing, fingerprint_of};
use crate::takeover::successor;

on_both_backends!(
    in_either_role_a_party_with_dtls_and_one_in_clear_understand_each_other,
    a_browser_is_found_by_ice_and_talks_with_a_phone,
    two_browsers_talk_with_each_other,
    another_certificate_than_signalled_gets_nothing,
    what_is_not_the_partys_is_refused_by_its_reason,
    a_takeover_keeps_what_was_set_up,
    a_flood_of_handshakes_costs_an_established_call_nothing,
);

pub async fn described(node: &mut Node) -> wire::DescribeResponse {
    let told = node.client.describe(wire::DescribeRequest {}).await;
    told.expect("told").into_inner()
}

pub async fn created(node: &mut Node, name: &str, a: wire::MediaLine, b: wire::MediaLine) -> wire::Call {
    let made = node.client.create_call(call(name, a, b)).await.expect("created");
    made.into_inner().call.expect("a call")
}

pub async fn status(node: &mut Node, name: &str, leg: usize) -> wire::LineStatus {
    let found = node
        .client
        .query_call(query(name))
        .await
        .expect("there")
        .into_inner();
    found.call.expect("a call").legs[leg].lines[0].clone()
}

/// Both have keys: one of them is done first, and what it says at once comes too early.
pub async fn secured(node: &mut Node, name: &str, leg: usize, peer: &mut SecurePeer) {
    assert!(
        peer.until(SecurePeer::is_secured).await,
        "{name}: {:?}",
        peer.failure
    );
    let connected = async {
        while status(node, name, leg).await.dtls.expect("with DTLS").state() != wire::DtlsState::Connected {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, connected).await.expect("in time");
}

/// Both ways, packets of these numbers.
async fn speak(a: &mut SecurePeer, b: &Party, made: &wire::Call, numbers: std::ops::Range<u16>) {
    for number in numbers {
        let packet = rtp(a.ssrc, number, 0);
        a.say(&packet).await;
        assert_eq!(b.packet_in().await.expect("it arrives").0, packet, "{number}");
        let answer = rtp(b.ssrc, number, 0);
        b.rtp.send_to(&answer, facing(made, 1)).await.expect("sent");
        assert_eq!(a.hear().await.as_ref(), Some(&answer), "{number}");
    }
}

async fn in_either_role_a_party_with_dtls_and_one_in_clear_understand_each_other(backend: Backend) {
    let mut node = Node::start(backend).await;
    let fingerprint = fingerprint_of(&described(&mut node).await);
    for (name, role) in [("we wait", DtlsRole::Active), ("we begin", DtlsRole::Passive)] {
        let name = &name.replace(' ', "-");
        let (mut a, b) = (SecurePeer::new(role).await, Party::at(own_address()).await);
        let made = created(&mut node, name, a.line(), line(Some(b.address()))).await;
        a.begin(facing(&made, 0), &fingerprint);
        secured(&mut node, name, 0, &mut a).await;
        speak(&mut a, &b, &made, 1..40).await;
        let line = status(&mut node, name, 0).await;
        let shaken = line.dtls.expect("with DTLS");
        assert_eq!(shaken.state(), wire::DtlsState::Connected);
        assert_eq!(
            (shaken.version.as_str(), shaken.failure.as_str()),
            ("DTLS 1.3", "")
        );
        assert!(line.ice.is_none());
        assert_ne!(
            line.srtp.expect("secured").send_suite(),
            wire::SrtpSuite::Unspecified
        );
        let refused: u64 = line.drops.values().sum();
        assert_eq!(refused, 0, "{:?}", line.drops);
    }
    node.metric_becomes(
        "ringpath_dataplane_dtls_handshakes_total",
        r#"result="secured""#,
        2,
    )
    .await;
    node.stop().await;
}

async fn a_browser_is_found_by_ice_and_talks_with_a_phone(backend: Backend) {
    let mut node = Node::start(backend).await;
    let fingerprint = fingerprint_of(&described(&mut node).await);
    let (mut a, b) = (
        SecurePeer::with_ice(DtlsRole::Active).await,
        Party::at(own_address()).await,
    );
    let made = created(&mut node, "browser", a.line(), line(Some(b.address()))).await;
    let before = status(&mut node, "browser", 0).await;
    assert_eq!(before.ice.expect("with ICE").state(), wire::IceState::Checking);
    a.begin(facing(&made, 0), &fingerprint);
    secured(&mut node, "browser", 0, &mut a).await;
    speak(&mut a, &b, &made, 1..40).await;
    let line = status(&mut node, "browser", 0).await;
    let found = line.ice.expect("with ICE");
    assert_eq!(found.state(), wire::IceState::Connected);
    let selected = crate::node::socket_address(&found.selected.expect("a pair"));
    assert_eq!((selected, a.selected()), (a.address(), Some(facing(&made, 0))));
    node.metric_becomes("ringpath_dataplane_lines_set_up", "", 1)
        .await;
    node.client
        .delete_call(crate::node::delete("browser"))
        .await
        .expect("deleted");
    node.metric_becomes("ringpath_dataplane_lines_set_up", "", 0)
        .await;
    node.stop().await;
}

async fn two_browsers_talk_with_each_other(backend: Backend) {
    let mut node = Node::start(backend).await;
    let fingerprint = fingerprint_of(&described(&mut node).await);
    let mut a = SecurePeer::with_ice(DtlsRole::Active).await;
    let mut b = SecurePeer::with_ice(DtlsRole::Active).await;
    let made = created(&mut node, "both", a.line(), b.line()).await;
    for (leg, peer) in [&mut a, &mut b].into_iter().enumerate() {
        peer.begin(facing(&made, leg), &fingerprint);
        secured(&mut node, "both", leg, peer).await;
    }
    for number in 1..20 {
        let packet = rtp(a.ssrc, number, 0);
        a.say(&packet).await;
        assert_eq!(b.hear().await, Some(packet), "{number}");
        let packet = rtp(b.ssrc, number, 0);
        b.say(&packet).await;
        assert_eq!(a.hear().await, Some(packet), "{number}");
    }
    node.stop().await;
}

async fn another_certificate_than_signalled_gets_nothing(backend: Backend) {
    let mut node = Node::start(backend).await;
    let fingerprint = fingerprint_of(&described(&mut node).await);
    let mut events = node
        .client
        .watch_events(wire::WatchEventsRequest {})
        .await
        .expect("events")
        .into_inner();
    let (mut a, b) = (
        SecurePeer::with_ice(DtlsRole::Active).await,
        Party::at(own_address()).await,
    );
    let somebody_else = SecurePeer::new(DtlsRole::Active).await;
    let mut terms = a.line();
    terms.dtls = somebody_else.line().dtls;
    let made = created(&mut node, "liar", terms, line(Some(b.address()))).await;
    a.begin(facing(&made, 0), &fingerprint);
    a.until(|peer| peer.is_secured() || peer.failure.is_some()).await;
    let failed = loop {
        let event = tokio::time::timeout(PATIENCE, events.message()).await;
        let event = event.expect("in time").expect("a stream").expect("not its end");
        if let Some(wire::watch_events_response::Event::CallEvent(wire::CallEvent {
            kind: Some(wire::call_event::Kind::SetupFailed(failed)),
            ..
        })) = event.event
        {
            break failed;
        }
    };
    assert_eq!(
        (failed.leg_id.as_str(), failed.line, failed.reason.as_str()),
        ("a", 0, "dtls_fingerprint")
    );
    let shaken = status(&mut node, "liar", 0).await.dtls.expect("with DTLS");
    assert_eq!(shaken.state(), wire::DtlsState::Failed);
    assert_eq!(shaken.failure, "dtls_fingerprint");
    // Whatever it believes to have, nothing goes through, in neither direction.
    if a.is_secured() {
        a.say(&rtp(a.ssrc, 1, 0)).await;
    }
    a.socket
        .send_to(&rtp(a.ssrc, 2, 0), facing(&made, 0))
        .await
        .expect("sent");
    b.rtp
        .send_to(&rtp(b.ssrc, 1, 0), facing(&made, 1))
        .await
        .expect("sent");
    b.hears_nothing().await;
    let mut bytes = [0; 2_048];
    while let Ok(Ok(len)) = tokio::time::timeout(crate::party::SILENCE, a.socket.recv(&mut bytes)).await {
        assert!(bytes[..len][0] < 128, "media for a party that is not who it says");
    }
    assert!(status(&mut node, "liar", 1).await.drops["no_key"] >= 1);
    node.metric_becomes(
        "ringpath_dataplane_dtls_handshakes_total",
        r#"result="dtls_fingerprint""#,
        1,
    )
    .await;
    node.stop().await;
}

async fn what_is_not_the_partys_is_refused_by_its_reason(backend: Backend) {
    let mut node = Node::start(backend).await;
    let (a, b) = (
        SecurePeer::with_ice(DtlsRole::Active).await,
        Party::at(own_address()).await,
    );
    let made = created(&mut node, "refused", a.line(), line(Some(b.address()))).await;
    let (secured, clear) = (facing(&made, 0), facing(&made, 1));
    let stranger = SecurePeer::new(DtlsRole::Active).await;
    // A check with the right names and without the password.
    let ice = a.line().ice.expect("with ICE");
    let names = format!(
        "{}:{}",
        ice.local.expect("ours").ufrag,
        ice.remote.expect("its").ufrag
    );
    let hello = client_hello();
    let oversized = [&hello[..11], &[0xff, 0xff], &hello[13..]].concat();
    let truncated = hello[..hello.len() - 1].to_vec();
    let mut too_long = hello.clone();
    too_long.resize(1_600, 0);
    for (to, datagram) in [
        (secured, check(&names, 7)),
        (secured, vec![0, 1, 0, 0]),
        (secured, check("other:names", 7)),
        (secured, hello.clone()),
        (secured, oversized),
        (secured, truncated),
        (secured, too_long),
        (secured, rtp(stranger.ssrc, 1, 0)),
        (clear, hello.clone()),
        (clear, check(&names, 7)),
    ] {
        stranger.socket.send_to(&datagram, to).await.expect("sent");
    }
    for (leg, reasons) in [
        (
            0,
            &[
                ("stun_integrity", 1),
                ("stun_malformed", 1),
                ("stun_stranger", 1),
                // Not even looked at: it is not from where a pair was found.
                ("dtls_source", 3),
                ("setup_too_long", 1),
                ("no_key", 1),
            ][..],
        ),
        (1, &[("dtls", 1), ("stun", 1)][..]),
    ] {
        for (reason, count) in reasons {
            node.metric_becomes(
                "ringpath_dataplane_packets_dropped_total",
                &format!(r#"reason="{reason}""#),
                *count,
            )
            .await;
        }
        let drops = status(&mut node, "refused", leg).await.drops;
        assert_eq!(drops.len(), reasons.len(), "{drops:?}");
        for (reason, count) in reasons {
            assert_eq!(drops.get(*reason), Some(count), "{reason}: {drops:?}");
        }
    }
    b.hears_nothing().await;

    // Without ICE the description says where the party is, and its records are looked at.
    let party = SecurePeer::new(DtlsRole::Active).await;
    let made = created(&mut node, "records", party.line(), line(Some(b.address()))).await;
    let oversized = [&hello[..11], &[0xff, 0xff], &hello[13..]].concat();
    for datagram in [oversized, hello[..hello.len() - 1].to_vec(), hello[..20].to_vec()] {
        let to = facing(&made, 0);
        party.socket.send_to(&datagram, to).await.expect("sent");
    }
    for (reason, count) in [("dtls_oversized", 1), ("dtls_truncated", 2)] {
        let labels = format!(r#"reason="{reason}""#);
        node.metric_becomes("ringpath_dataplane_packets_dropped_total", &labels, count)
            .await;
    }

    // What cannot be asked for.
    let mut without_mux = a.line();
    without_mux.rtcp_mux = false;
    let mut with_keys = a.line();
    with_keys.srtp = Some(wire::Srtp::default());
    for (name, line, words) in [
        ("mux", without_mux, "rtcp_mux"),
        ("keys", with_keys, "SRTP keys and a handshake"),
    ] {
        let request = call(name, line, self::line(None));
        let refused = node.client.create_call(request).await.expect_err("impossible");
        assert_eq!(refusal(&refused), "invalid");
        assert!(refused.message().contains(words), "{}", refused.message());
    }
    node.stop().await;
}

async fn a_takeover_keeps_what_was_set_up(backend: Backend) {
    let state = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        state: state.path().display().to_string(),
        workers: 2,
        ..Settings::default()
    };
    let mut node = Node::with(backend, settings.clone()).await;
    let fingerprint = fingerprint_of(&described(&mut node).await);
    let (mut a, b) = (
        SecurePeer::with_ice(DtlsRole::Active).await,
        Party::at(own_address()).await,
    );
    let made = created(&mut node, "kept", a.line(), line(Some(b.address()))).await;
    a.begin(facing(&made, 0), &fingerprint);
    secured(&mut node, "kept", 0, &mut a).await;
    speak(&mut a, &b, &made, 1..20).await;
    for round in 1..3u16 {
        let process = successor(backend, &settings);
        let status = node.process.ended().await;
        assert_eq!(status.code(), Some(0), "{status}, log:\n{}", node.process.log());
        while process.line() != "ready" {}
        node.process = process;
        speak(&mut a, &b, &made, 20 * round..20 * round + 20).await;
        assert_eq!(fingerprint_of(&described(&mut node).await), fingerprint);
    }
    let line = status(&mut node, "kept", 0).await;
    assert_eq!(line.dtls.expect("with DTLS").state(), wire::DtlsState::Connected);
    assert_eq!(line.ice.expect("with ICE").state(), wire::IceState::Connected);
    // Another party of the description that the first process gave out: its handshake shows the same certificate.
    let mut late = SecurePeer::with_ice(DtlsRole::Active).await;
    let made = created(&mut node, "late", late.line(), self::line(Some(b.address()))).await;
    late.begin(facing(&made, 0), &fingerprint);
    secured(&mut node, "late", 0, &mut late).await;
    node.stop().await;
}

async fn a_flood_of_handshakes_costs_an_established_call_nothing(backend: Backend) {
    const PACKETS: u16 = 100;
    let mut node = Node::start(backend).await;
    let fingerprint = fingerprint_of(&described(&mut node).await);
    let (mut a, b) = (
        SecurePeer::with_ice(DtlsRole::Active).await,
        Party::at(own_address()).await,
    );
    let made = created(&mut node, "talking", a.line(), line(Some(b.address()))).await;
    a.begin(facing(&made, 0), &fingerprint);
    secured(&mut node, "talking", 0, &mut a).await;
    speak(&mut a, &b, &made, 1..5).await;
    // Lines that take a handshake from anywhere, and ClientHellos from many places.
    let mut targets = Vec::new();
    for number in 0..8 {
        let mut terms = SecurePeer::new(DtlsRole::Active).await.line();
        terms.latching = wire::Latching::AnyAddress.into();
        let made = created(&mut node, &format!("target{number}"), terms, line(None)).await;
        targets.push(facing(&made, 0));
    }
    // And the line of the call itself, from where its party is not.
    targets.push(facing(&made, 0));
    let hello = client_hello();
    let mut strangers = Vec::new();
    for _ in 0..32 {
        strangers.push(
            tokio::net::UdpSocket::bind((own_address(), 0))
                .await
                .expect("binds"),
        );
    }
    let mut sent = 0u64;
    for number in 5..5 + PACKETS {
        for stranger in &strangers {
            for target in &targets {
                if stranger.try_send_to(&hello, *target).is_ok() {
                    sent += 1;
                }
            }
        }
        speak(&mut a, &b, &made, number..number + 1).await;
    }
    let counted = node.metric("ringpath_dataplane_setup_datagrams_total", "").await;
    let rated = node
        .metric(
            "ringpath_dataplane_packets_dropped_total",
            r#"reason="setup_rate""#,
        )
        .await;
    assert!(sent > 10_000, "{sent}");
    assert!(rated > 0, "{counted} of {sent} taken, {rated} refused at once");
    let line = status(&mut node, "talking", 0).await;
    assert_eq!(line.streams[0].packets, u64::from(PACKETS) + 4);
    assert_eq!(line.streams[0].lost, 0);
    node.stop().await;
}

/// The first flight of a party.
pub fn client_hello() -> Vec<u8> {
    let identity = dtls::Identity::generate().expect("an identity");
    let settings = dtls::Settings::default();
    let epoch = Epoch::new(MonotonicClock::start().instant(Timestamp::ZERO));
    let endpoint = Endpoint::new(settings, Arc::new(identity)).expect("an endpoint");
    Association::new(&endpoint, DtlsRole::Active, epoch, Timestamp::ZERO)
        .poll_transmit()
        .expect("a ClientHello")
}

/// A STUN Binding request with a user name and an integrity that nobody has proven (RFC 8489).
pub fn check(names: &str, byte: u8) -> Vec<u8> {
    let mut attributes = Vec::new();
    let mut attribute = |kind: u16, value: &[u8]| {
        attributes.extend(kind.to_be_bytes());
        attributes.extend((value.len() as u16).to_be_bytes());
        attributes.extend(value);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    };
    attribute(0x0006, names.as_bytes());
    attribute(0x0024, &[0x7f; 4]);
    attribute(0x802a, &[byte; 8]);
    attribute(0x0008, &[byte; 20]);
    let mut message = vec![0x00, 0x01];
    message.extend((attributes.len() as u16).to_be_bytes());
    message.extend([0x21, 0x12, 0xa4, 0x42]);
    message.extend([byte; 12]);
    message.extend(attributes);
    message
}
