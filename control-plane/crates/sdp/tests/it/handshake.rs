//! What descriptions say of lines with DTLS and ICE, read and written.

use std::net::SocketAddr;

use media_types::{Direction, HashFunction, IceCredentials, LocalLine};
use sdp::{Handshake, HandshakeFault, Origin, OurHandshake, OurLine, Session, Setup, rewrite};

const FINGERPRINT: &str =
    "sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF";
const CANDIDATE: &str = "1 1 udp 2122260223 192.0.2.7 50000 typ host generation 0";

/// An offer with `session` and `line` as attributes.
fn offer(session: &[&str], line: &[&str]) -> Session {
    let print =
        |attributes: &[&str]| -> String { attributes.iter().map(|it| format!("a={it}\r\n")).collect() };
    let text = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{}m=audio 9 UDP/TLS/RTP/SAVPF 0 8\r\nc=IN IP4 0.0.0.0\r\n{}",
        print(session),
        print(line)
    );
    Session::parse(text.as_bytes()).expect("a description")
}

fn read(session: &[&str], line: &[&str]) -> Result<Handshake, HandshakeFault> {
    offer(session, line).lines().next().expect("a line").handshake()
}

fn fingerprint() -> String {
    format!("fingerprint:{FINGERPRINT}")
}

#[test]
fn what_a_browser_says_is_read_and_its_unspecified_address_is_no_hold() {
    let candidate = format!("candidate:{CANDIDATE}");
    let line = [
        "mid:0",
        "sendrecv",
        "ice-ufrag:abcd",
        "ice-pwd:0123456789012345678901",
        &fingerprint(),
        "setup:actpass",
        "rtcp-mux",
        &candidate,
        "candidate:2 2 udp 2122260223 192.0.2.7 50001 typ host",
        "candidate:3 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active",
        "tls-id:0123456789abcdef0123",
    ];
    let found = read(&["group:BUNDLE 0"], &line).expect("whole");
    assert_eq!(found.fingerprints[0].to_string(), FINGERPRINT);
    assert_eq!(
        (found.setup, found.mid.as_deref()),
        (Some(Setup::ActPass), Some("0"))
    );
    assert_eq!(found.tls_id, "0123456789abcdef0123");
    let ice = found.ice.expect("with ICE");
    assert_eq!(ice.credentials.ufrag(), "abcd");
    assert_eq!(ice.candidates, std::slice::from_ref(&candidate));
    assert!(found.is_bundled && !ice.is_lite);
    let lite = read(&["ice-lite"], &line).expect("whole");
    assert!(!lite.is_bundled && lite.ice.expect("with ICE").is_lite);
    let session = offer(&[], &line);
    let first = session.lines().next().expect("a line");
    assert!(first.is_usable() && first.has_handshake() && !first.is_held_by_address());
    let spec = first.spec();
    assert_eq!((spec.direction, spec.remote), (Direction::SendRecv, None));
    assert!(spec.rtcp_mux);
}

#[test]
fn what_a_line_does_not_say_it_has_from_the_session() {
    let session = [
        &fingerprint(),
        "setup:passive",
        "ice-ufrag:abcd",
        "ice-pwd:0123456789012345678901",
    ];
    let found = read(&session.map(|it| it as &str), &["rtcp-mux"]).expect("whole");
    assert_eq!(found.setup, Some(Setup::Passive));
    assert!(found.ice.is_some() && found.mid.is_none());
}

#[test]
fn what_cannot_be_used_is_refused_by_its_reason() {
    let good = fingerprint();
    let mux = "rtcp-mux";
    for (line, reason) in [
        (vec![mux], "dtls_no_fingerprint"),
        (vec![mux, "fingerprint:sha-1 4A:AD"], "dtls_hash_function"),
        (
            vec![mux, "fingerprint:sha-256 4A:AD"],
            "dtls_malformed_fingerprint",
        ),
        (vec![&good], "dtls_no_mux"),
        (vec![mux, &good, "setup:holdconn"], "dtls_setup"),
        (vec![mux, &good, "ice-ufrag:abcd"], "ice_credentials"),
        (
            vec![mux, &good, "ice-ufrag:abcd", "ice-pwd:short"],
            "ice_credentials",
        ),
    ] {
        assert_eq!(
            read(&[], &line).map_err(HandshakeFault::reason),
            Err(reason),
            "{line:?}"
        );
    }
    // One of several hash functions may be unknown.
    let found = read(&[], &[mux, "fingerprint:sha-1 4A:AD", &good]).expect("one is good");
    assert_eq!(found.fingerprints.len(), 1);
    assert_eq!(found.fingerprints[0].function(), HashFunction::Sha256);
}

#[test]
fn ours_is_read_as_it_was_meant_and_has_nothing_of_the_other_party() {
    let rtp: SocketAddr = "198.51.100.1:20000".parse().expect("an address");
    let credentials = IceCredentials::new("node1234", "nodenodenodenodenodenode").expect("credentials");
    let ours = OurHandshake {
        fingerprint: FINGERPRINT.parse().expect("a fingerprint"),
        setup: Setup::Passive,
        tls_id: Some("aaaabbbbccccddddeeeeffff".into()),
        is_ice_lite: true,
        ice: Some(credentials.clone()),
        mid: Some("audio7".into()),
        is_bundled: true,
    };
    let line = OurLine {
        local: LocalLine { rtp, rtcp: rtp },
        rtcp_mux: true,
        has_feedback: true,
        handshake: Some(ours.clone()),
    };
    let theirs = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=mid:x\r\n\
                  a=rtcp:4001\r\na=ice-ufrag:other\r\n";
    let theirs = Session::parse(theirs.as_bytes()).expect("a description");
    let text = rewrite(&theirs, &[Some(line.clone())], &[], &mut Origin::new(1));
    assert!(
        !text.contains("192.0.2.9") && !text.contains("other") && !text.contains("a=mid:x"),
        "{text}"
    );
    assert!(
        text.contains("a=ice-lite\r\n") && text.contains("a=group:BUNDLE audio7\r\n"),
        "{text}"
    );
    assert!(text.contains("m=audio 20000 UDP/TLS/RTP/SAVPF 0\r\n"), "{text}");
    let read = Session::parse(text.as_bytes()).expect("our own print");
    let first = read.lines().next().expect("a line");
    let found = first.handshake().expect("whole");
    assert_eq!(found.fingerprints, [ours.fingerprint]);
    assert_eq!(
        (found.setup, found.mid.as_deref()),
        (Some(Setup::Passive), Some("audio7"))
    );
    assert_eq!(Some(found.tls_id), ours.tls_id);
    let ice = found.ice.expect("with ICE");
    assert_eq!(ice.credentials, credentials);
    assert_eq!(
        ice.candidates,
        ["candidate:1 1 udp 2130706431 198.51.100.1 20000 typ host"]
    );
    // Who makes checks does not say that it makes none.
    let full = OurLine {
        handshake: Some(OurHandshake {
            is_ice_lite: false,
            ..line.handshake.clone().expect("as above")
        }),
        ..line.clone()
    };
    let text = rewrite(&theirs, &[Some(full)], &[], &mut Origin::new(1));
    assert!(
        text.contains("a=ice-ufrag:") && !text.contains("ice-lite"),
        "{text}"
    );
    // The other way: what a browser said is nobody else's.
    let browser = offer(
        &["group:BUNDLE 0"],
        &[
            "mid:0",
            "ice-ufrag:abcd",
            "ice-pwd:0123456789012345678901",
            &fingerprint(),
            "setup:actpass",
            "rtcp-mux",
            "rtcp-rsize",
            "rtcp-fb:0 nack",
            "x-kept:1",
        ],
    );
    let plain = OurLine {
        has_feedback: false,
        rtcp_mux: false,
        handshake: None,
        ..line
    };
    let text = rewrite(&browser, &[Some(plain)], &[], &mut Origin::new(1));
    for secret in [
        "ice",
        "fingerprint",
        "setup",
        "BUNDLE",
        "rtcp-fb",
        "rtcp-rsize",
        "rtcp-mux",
    ] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    assert!(text.contains("m=audio 20000 RTP/AVP 0 8\r\n"), "{text}");
    assert!(
        text.contains("a=x-kept:1\r\n"),
        "what is not understood survives: {text}"
    );
}
