use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use media_types::{
    BurstReport, CallId, CallReport, CallSpec, Codec, Direction, DtlsReport, DtlsRole, DtlsSpec, DtlsState,
    EndCause, Event, EventKind, Fingerprint, HashFunction, IceCredentials, IceMode, IceReport, IceSpec,
    IceState, IdempotencyKey, InterfaceName, Latching, LegId, LegReport, LegSpec, LineReport, LineSpec,
    LocalLine, MediaKind, Path, Refusal, SrtpKey, SrtpReport, SrtpSpec, SrtpSuite, StreamReport,
};
use proptest::prelude::*;
use tonic::Code;

use super::srtp::{MKI_LEN_MAX, SRTP_KEYS_MAX};
use super::*;
use crate::media_v1 as wire;

fn name(max: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(b'!'..=b'~', 1..=max).prop_map(|bytes| String::from_utf8(bytes).unwrap())
}

fn call_id() -> impl Strategy<Value = CallId> {
    name(64).prop_map(|id| CallId::new(&id).unwrap())
}

fn leg_id() -> impl Strategy<Value = LegId> {
    name(32).prop_map(|id| LegId::new(&id).unwrap())
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<u32>().prop_map(|bits| IpAddr::V4(bits.into()));
    let v6 = any::<u128>().prop_map(|bits| IpAddr::V6(bits.into()).to_canonical());
    (prop_oneof![v4, v6], 1u16..).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn millis(max: u64) -> impl Strategy<Value = Duration> {
    (0..=max).prop_map(Duration::from_millis)
}

fn lease() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(0), LEASE_MS_MIN..=LEASE_MS_MAX].prop_map(Duration::from_millis)
}

fn codec() -> impl Strategy<Value = Codec> {
    (0u8..=127, name(32), 1u32..=1_000_000, 1u8.., any::<u16>()).prop_map(
        |(payload_type, name, clock_rate_hz, channels, ptime_ms)| Codec {
            payload_type,
            name,
            clock_rate_hz,
            channels,
            ptime_ms,
        },
    )
}

fn line() -> impl Strategy<Value = LineSpec> {
    let kind = prop_oneof![
        Just(MediaKind::Audio),
        Just(MediaKind::Video),
        Just(MediaKind::Other)
    ];
    let direction = prop_oneof![
        Just(Direction::SendRecv),
        Just(Direction::SendOnly),
        Just(Direction::RecvOnly),
        Just(Direction::Inactive)
    ];
    let latching = prop_oneof![
        Just(Latching::Off),
        Just(Latching::SameAddress),
        Just(Latching::AnyAddress)
    ];
    let addresses = (proptest::option::of(address()), proptest::option::of(address()));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (
        kind,
        direction,
        latching,
        addresses,
        flags,
        (
            proptest::collection::vec(codec(), 0..4),
            proptest::option::of(srtp()),
            proptest::option::of(dtls()),
            proptest::option::of(ice()),
        ),
    )
        .prop_map(
            |(
                kind,
                direction,
                latching,
                (remote, remote_rtcp),
                (enabled, rtcp_mux, relearn),
                (codecs, srtp, dtls, ice),
            )| {
                LineSpec {
                    kind,
                    enabled,
                    direction,
                    remote,
                    remote_rtcp,
                    rtcp_mux,
                    latching,
                    relearn,
                    codecs,
                    srtp,
                    dtls: dtls.map(Box::new),
                    ice: ice.map(Box::new),
                }
            },
        )
}

fn suite() -> BoxedStrategy<SrtpSuite> {
    (0..SrtpSuite::ALL.len())
        .prop_map(|at| SrtpSuite::ALL[at])
        .boxed()
}

fn srtp() -> impl Strategy<Value = SrtpSpec> {
    let key = (
        suite(),
        any::<u8>(),
        proptest::collection::vec(any::<u8>(), 0..=MKI_LEN_MAX),
        0..=1u64 << 48,
    )
        .prop_map(|(suite, byte, mki, lifetime)| {
            let material = vec![byte; suite.key_len() + suite.salt_len()];
            let key = SrtpKey::new(suite, &material).unwrap();
            key.with_mki(&mki).with_lifetime(lifetime)
        })
        .boxed();
    (
        proptest::collection::vec(key.clone(), 0..=SRTP_KEYS_MAX),
        proptest::option::of(key),
    )
        .prop_map(|(receive, send)| SrtpSpec { receive, send })
}

fn dtls() -> impl Strategy<Value = DtlsSpec> {
    let function = prop_oneof![
        Just(HashFunction::Sha256),
        Just(HashFunction::Sha384),
        Just(HashFunction::Sha512)
    ];
    let fingerprint = (function, any::<u8>())
        .prop_map(|(function, byte)| Fingerprint::new(function, &vec![byte; function.size()]).unwrap());
    (
        prop_oneof![Just(DtlsRole::Active), Just(DtlsRole::Passive)],
        proptest::collection::vec(fingerprint, 0..=FINGERPRINTS_MAX),
        prop_oneof![Just(String::new()), name(TLS_ID_LEN_MAX)],
    )
        .prop_map(|(role, fingerprints, tls_id)| DtlsSpec {
            role,
            fingerprints,
            tls_id,
        })
}

fn ice() -> impl Strategy<Value = IceSpec> {
    let credentials =
        || (any::<u64>()).prop_map(|seed| IceCredentials::random(&mut sans_io::Random::from_number(seed)));
    (
        prop_oneof![
            Just(IceMode::Lite),
            Just(IceMode::Controlling),
            Just(IceMode::Controlled)
        ],
        credentials(),
        proptest::option::of(credentials()),
        proptest::collection::vec(name(ICE_CANDIDATE_LEN_MAX), 0..=4),
    )
        .prop_map(|(mode, local, remote, candidates)| IceSpec {
            mode,
            local,
            remote,
            candidates,
        })
}

fn dtls_report() -> impl Strategy<Value = DtlsReport> {
    let state = prop_oneof![
        Just(DtlsState::New),
        Just(DtlsState::Handshaking),
        Just(DtlsState::Connected),
        Just(DtlsState::Failed)
    ];
    state.prop_map(|state| DtlsReport {
        state,
        version: if state == DtlsState::Connected {
            "DTLS 1.2"
        } else {
            ""
        },
        failure: if state == DtlsState::Failed {
            "dtls_timeout"
        } else {
            ""
        },
    })
}

fn ice_report() -> impl Strategy<Value = IceReport> {
    let state = prop_oneof![
        Just(IceState::Checking),
        Just(IceState::Connected),
        Just(IceState::Silent),
        Just(IceState::Failed)
    ];
    (state, proptest::option::of(address())).prop_map(|(state, selected)| IceReport {
        state,
        selected,
        failure: if state == IceState::Failed {
            "ice_timeout"
        } else {
            ""
        },
    })
}

fn leg() -> impl Strategy<Value = LegSpec> {
    let interface = proptest::option::of(name(32).prop_map(|name| InterfaceName::new(&name).unwrap()));
    (
        leg_id(),
        interface,
        any::<bool>(),
        proptest::collection::vec(line(), 0..4),
    )
        .prop_map(|(id, interface, ipv6, lines)| LegSpec {
            id,
            interface,
            ipv6,
            lines,
        })
}

fn legs() -> impl Strategy<Value = Vec<LegSpec>> {
    (leg(), leg()).prop_map(|(a, mut b)| {
        if a.id == b.id {
            b.id = LegId::new(if a.id.as_str() == "b" { "a" } else { "b" }).unwrap();
        }
        vec![a, b]
    })
}

fn key() -> impl Strategy<Value = IdempotencyKey> {
    name(64).prop_map(|key| IdempotencyKey::new(&key).unwrap())
}

fn stream() -> impl Strategy<Value = StreamReport> {
    (
        any::<[u64; 5]>(),
        any::<[u32; 6]>(),
        0u8..=127,
        millis(u64::MAX),
        (0u16..=500, 0u16..=500),
        (0u16..=1_000, 0u16..=1_000),
    )
        .prop_map(
            |(
                [packets, bytes, lost, reordered, duplicates],
                [ssrc, jitter_us, jitter_us_max, bursts, burst_packets, gap_packets],
                payload_type,
                idle,
                (mos_x100, mos_x100_second),
                (burst_loss_permille, gap_loss_permille),
            )| {
                StreamReport {
                    ssrc,
                    payload_type,
                    packets,
                    bytes,
                    lost,
                    reordered,
                    duplicates,
                    jitter_us,
                    jitter_us_max,
                    idle,
                    mos_x100,
                    mos_x100_second,
                    bursts: BurstReport {
                        bursts,
                        burst_loss_permille,
                        gap_loss_permille,
                        burst_packets,
                        gap_packets,
                    },
                }
            },
        )
}

fn report() -> impl Strategy<Value = CallReport> {
    let local = proptest::option::of((address(), address()).prop_map(|(rtp, rtcp)| LocalLine { rtp, rtcp }));
    let path = prop_oneof![
        Just(Path::Uring),
        Just(Path::Socket),
        Just(Path::Simulated),
        Just(Path::Kernel),
        Just(Path::Xsk)
    ];
    let drops = prop_oneof![Just(vec![]), Just(vec![("not_rtp", 3u64), ("wrong_source", 9)])];
    let streams = proptest::collection::vec(stream(), 0..3);
    let line = (
        local,
        proptest::option::of(address()),
        path.clone(),
        proptest::option::of(path),
        drops,
        any::<u64>(),
        streams,
        (
            proptest::option::of((proptest::option::of(suite()), proptest::option::of(suite()))),
            proptest::option::of(dtls_report()),
            proptest::option::of(ice_report()),
        ),
    )
        .prop_map(
            |(local, learned, path, rtcp_path, drops, rtcp_forwarded, streams, (srtp, dtls, ice))| {
                LineReport {
                    local,
                    learned,
                    path,
                    path_reason: "the only one",
                    rtcp_path: rtcp_path.map(|path| (path, "another")),
                    drops,
                    rtcp_forwarded,
                    streams,
                    srtp: srtp.map(|(receive, send)| SrtpReport { receive, send }),
                    dtls,
                    ice,
                }
            },
        );
    let leg =
        (leg_id(), proptest::collection::vec(line, 0..3)).prop_map(|(id, lines)| LegReport { id, lines });
    (
        call_id(),
        millis(u64::MAX),
        millis(u64::MAX),
        proptest::collection::vec(leg, 0..=2),
    )
        .prop_map(|(id, age, lease_left, legs)| CallReport {
            id,
            age,
            lease_left,
            legs,
        })
}

fn event() -> impl Strategy<Value = Event> {
    let place = || (leg_id(), 0usize..16);
    let kind = prop_oneof![
        place().prop_map(|(leg, line)| EventKind::FirstPacket { leg, line }),
        place().prop_map(|(leg, line)| EventKind::MediaTimeout { leg, line }),
        (place(), address()).prop_map(|((leg, line), source)| EventKind::Latched { leg, line, source }),
        place().prop_map(|(leg, line)| EventKind::SetupFailed {
            leg,
            line,
            reason: "dtls_fingerprint"
        }),
        (
            prop_oneof![Just(EndCause::LeaseExpired), Just(EndCause::Shutdown)],
            report()
        )
            .prop_map(|(cause, report)| EventKind::Ended {
                cause,
                report: Box::new(report)
            }),
    ];
    (call_id(), kind).prop_map(|(call, kind)| Event { call, kind })
}

proptest! {
    #[test]
    fn what_goes_over_the_wire_comes_back_the_same(
        key in key(), id in call_id(), legs in legs(), lease in lease(), media_timeout in lease(),
        report in report(), event in event(),
    ) {
        let spec = CallSpec { id: id.clone(), legs: legs.clone(), lease, media_timeout };
        prop_assert_eq!(create_from_wire(create_to_wire(&key, &spec)), Ok((key.clone(), spec)));
        prop_assert_eq!(update_from_wire(update_to_wire(&key, &id, &legs)), Ok((key.clone(), id.clone(), legs)));
        prop_assert_eq!(delete_from_wire(&delete_to_wire(&key, &id)), Ok((key, id.clone())));
        prop_assert_eq!(renew_from_wire(&renew_to_wire([&id])), Ok(vec![id]));
        prop_assert_eq!(report_from_wire(report_to_wire(&report)), Ok(report));
        prop_assert_eq!(event_from_wire(event_to_wire(&event)), Ok(event));
    }
}

/// Strings and numbers on both sides of every limit.
fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[ -~]{0,70}",
        "\\PC{0,40}",
        Just("::1".to_owned()),
        Just("192.0.2.1".to_owned())
    ]
}

fn odd_number() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..200, Just(65_535), Just(65_536), any::<u32>()]
}

fn odd_endpoint() -> impl Strategy<Value = Option<wire::Endpoint>> {
    proptest::option::of((odd_text(), odd_number()).prop_map(|(ip, port)| wire::Endpoint { ip, port }))
}

fn odd_line() -> impl Strategy<Value = wire::MediaLine> {
    let codec = (odd_text(), odd_number(), odd_number(), odd_number(), odd_number()).prop_map(
        |(name, payload_type, clock_rate_hz, channels, ptime_ms)| wire::Codec {
            payload_type,
            name,
            clock_rate_hz,
            channels,
            ptime_ms,
        },
    );
    let enums = [-1i32..6, -1i32..6, -1i32..6];
    (
        enums,
        any::<[bool; 3]>(),
        odd_endpoint(),
        odd_endpoint(),
        proptest::collection::vec(codec, 0..3),
        (
            proptest::option::of(odd_srtp()),
            proptest::option::of(odd_dtls()),
            proptest::option::of(odd_ice()),
        ),
    )
        .prop_map(
            |(
                [kind, direction, latching],
                [disabled, rtcp_mux, relearn],
                remote,
                remote_rtcp,
                codecs,
                (srtp, dtls, ice),
            )| {
                wire::MediaLine {
                    kind,
                    disabled,
                    direction,
                    remote,
                    remote_rtcp,
                    rtcp_mux,
                    latching,
                    relearn,
                    codecs,
                    srtp,
                    dtls,
                    ice,
                }
            },
        )
}

fn odd_dtls() -> impl Strategy<Value = wire::Dtls> {
    let hash_function = prop_oneof![Just("sha-256".to_owned()), Just("SHA-512".to_owned()), odd_text()];
    let hash = prop_oneof![
        proptest::collection::vec(any::<u8>(), 32),
        proptest::collection::vec(any::<u8>(), 0..70)
    ];
    let fingerprint =
        (hash_function, hash).prop_map(|(hash_function, hash)| wire::Fingerprint { hash_function, hash });
    (
        -1i32..4,
        proptest::collection::vec(fingerprint, 0..10),
        odd_text(),
    )
        .prop_map(|(role, fingerprints, tls_id)| wire::Dtls {
            role,
            fingerprints,
            tls_id,
        })
}

fn odd_ice() -> impl Strategy<Value = wire::Ice> {
    let credentials = || {
        let text = || "[a-zA-Z0-9+/]{0,40}";
        proptest::option::of(
            (text(), text()).prop_map(|(ufrag, password)| wire::IceCredentials { ufrag, password }),
        )
    };
    (
        -1i32..5,
        credentials(),
        credentials(),
        proptest::collection::vec(odd_text(), 0..34),
    )
        .prop_map(|(mode, local, remote, candidates)| wire::Ice {
            mode,
            local,
            remote,
            candidates,
        })
}

fn odd_srtp() -> impl Strategy<Value = wire::Srtp> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    let key = (-1i32..8, bytes(), bytes(), bytes(), any::<u64>())
        .prop_map(
            |(suite, master_key, master_salt, mki, lifetime_packets)| wire::SrtpKey {
                suite,
                master_key,
                master_salt,
                mki,
                lifetime_packets,
            },
        )
        .boxed();
    let receive = proptest::collection::vec(key.clone(), 0..6);
    (receive, proptest::option::of(key)).prop_map(|(receive, send)| wire::Srtp { receive, send })
}

fn odd_legs() -> impl Strategy<Value = Vec<wire::Leg>> {
    let leg = (
        odd_text(),
        odd_text(),
        any::<bool>(),
        proptest::collection::vec(odd_line(), 0..3),
    )
        .prop_map(|(leg_id, interface, ipv6, lines)| wire::Leg {
            leg_id,
            interface,
            ipv6,
            lines,
        });
    proptest::collection::vec(leg, 0..4)
}

proptest! {
    /// Whatever comes is refused by a field, or taken and then goes out as it would have to come in.
    #[test]
    fn nothing_that_comes_over_the_wire_panics(
        call_id in odd_text(), idempotency_key in odd_text(), legs in odd_legs(), lease_ms in any::<u64>(),
    ) {
        let request = wire::CreateCallRequest {
            call_id: call_id.clone(),
            idempotency_key: idempotency_key.clone(),
            legs: legs.clone(),
            lease_ms,
            media_timeout_ms: 0,
        };
        match create_from_wire(request) {
            Err(error) => prop_assert!(!error.path().is_empty()),
            Ok((key, spec)) => prop_assert_eq!(create_from_wire(create_to_wire(&key, &spec)), Ok((key, spec))),
        }
        match update_from_wire(wire::UpdateCallRequest { call_id, idempotency_key, legs }) {
            Err(error) => prop_assert!(!error.path().is_empty()),
            Ok((key, call, legs)) => {
                prop_assert_eq!(update_from_wire(update_to_wire(&key, &call, &legs)), Ok((key, call, legs)));
            }
        }
    }

    /// What a broken node says is an error in its client, never a panic.
    #[test]
    fn nothing_that_a_node_says_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        use prost::Message as _;
        if let Ok(call) = wire::Call::decode(&bytes[..]) {
            let _ = report_from_wire(call);
        }
        if let Ok(event) = wire::CallEvent::decode(&bytes[..]) {
            let _ = event_from_wire(event);
        }
    }
}

fn good() -> wire::CreateCallRequest {
    let line = wire::MediaLine {
        kind: wire::MediaKind::Audio.into(),
        remote: Some(wire::Endpoint {
            ip: "192.0.2.1".into(),
            port: 4000,
        }),
        codecs: vec![wire::Codec {
            name: "PCMU".into(),
            clock_rate_hz: 8000,
            ..Default::default()
        }],
        ..Default::default()
    };
    let leg = |id: &str| wire::Leg {
        leg_id: id.into(),
        lines: vec![line.clone()],
        ..Default::default()
    };
    wire::CreateCallRequest {
        call_id: "c1".into(),
        idempotency_key: "k1".into(),
        legs: vec![leg("a"), leg("b")],
        ..Default::default()
    }
}

#[test]
fn every_field_out_of_range_is_named() {
    create_from_wire(good()).unwrap();
    type Spoil = fn(&mut wire::CreateCallRequest);
    let cases: [(&str, Spoil); 32] = [
        ("call_id: is empty", |r| r.call_id.clear()),
        ("call_id: is longer than 64 bytes", |r| r.call_id = "x".repeat(65)),
        (
            "idempotency_key: has a character that is not printable ASCII",
            |r| r.idempotency_key = "a\nb".into(),
        ),
        ("legs: must be 2 to 2, is 1", |r| drop(r.legs.pop())),
        ("legs: must be 2 to 2, is 3", |r| {
            r.legs.push(wire::Leg::default())
        }),
        ("legs[1].leg_id: is there twice", |r| {
            r.legs[1].leg_id = "a".into()
        }),
        ("legs[1].leg_id: is empty", |r| r.legs[1].leg_id.clear()),
        ("legs[0].interface: is longer than 32 bytes", |r| {
            r.legs[0].interface = "x".repeat(33)
        }),
        ("legs[0].lines: must be 0 to 16, is 17", |r| {
            r.legs[0].lines = vec![r.legs[0].lines[0].clone(); 17];
        }),
        ("legs[1].lines[0].kind: has no meaning: 0", |r| {
            r.legs[1].lines[0].kind = 0
        }),
        ("legs[1].lines[0].kind: has no meaning: 9", |r| {
            r.legs[1].lines[0].kind = 9
        }),
        ("legs[1].lines[0].direction: has no meaning: -1", |r| {
            r.legs[1].lines[0].direction = -1
        }),
        ("legs[1].lines[0].latching: has no meaning: 4", |r| {
            r.legs[1].lines[0].latching = 4
        }),
        ("legs[1].lines[0].remote.ip: not an IP address", |r| {
            remote(r).ip = "example.org".into()
        }),
        ("legs[1].lines[0].remote.port: must be 1 to 65535, is 0", |r| {
            remote(r).port = 0
        }),
        (
            "legs[1].lines[0].remote.port: must be 1 to 65535, is 65536",
            |r| remote(r).port = 65536,
        ),
        ("legs[1].lines[0].remote_rtcp.ip: not an IP address", |r| {
            r.legs[1].lines[0].remote_rtcp = Some(wire::Endpoint::default());
        }),
        ("legs[1].lines[0].codecs: must be 0 to 32, is 33", |r| {
            r.legs[1].lines[0].codecs = vec![r.legs[1].lines[0].codecs[0].clone(); 33];
        }),
        (
            "legs[1].lines[0].codecs[0].payload_type: must be 0 to 127, is 128",
            |r| codec_of(r).payload_type = 128,
        ),
        (
            "legs[1].lines[0].codecs[0].name: must be 1 to 32 printable ASCII characters without spaces",
            |r| {
                codec_of(r).name.clear();
            },
        ),
        (
            "legs[1].lines[0].codecs[0].clock_rate_hz: must be 1 to 1000000, is 0",
            |r| codec_of(r).clock_rate_hz = 0,
        ),
        (
            "legs[1].lines[0].codecs[0].channels: must be 1 to 255, is 256",
            |r| codec_of(r).channels = 256,
        ),
        (
            "legs[1].lines[0].codecs[0].ptime_ms: must be 0 to 65535, is 70000",
            |r| codec_of(r).ptime_ms = 70000,
        ),
        (
            "lease_ms: must be 100 to 604800000, is 18446744073709551615",
            |r| r.lease_ms = u64::MAX,
        ),
        ("lease_ms: must be 100 to 604800000, is 1", |r| r.lease_ms = 1),
        ("media_timeout_ms: must be 100 to 604800000, is 99", |r| {
            r.media_timeout_ms = 99
        }),
        ("legs[1].lines[0].dtls.role: has no meaning: 0", |r| {
            r.legs[1].lines[0].dtls = Some(wire::Dtls::default());
        }),
        (
            "legs[1].lines[0].dtls.fingerprints[0].hash_function: the hash function is not sha-256, sha-384 or sha-512",
            |r| dtls_of(r, "sha-1", 20),
        ),
        (
            "legs[1].lines[0].dtls.fingerprints[0].hash: not as many pairs of hexadecimal digits as the hash function gives",
            |r| dtls_of(r, "sha-256", 31),
        ),
        ("legs[1].lines[0].ice.local: is missing", |r| {
            r.legs[1].lines[0].ice = Some(wire::Ice::default());
        }),
        (
            "legs[1].lines[0].ice.local.password: ice-pwd has to have 22 to 256 letters, digits, + and /",
            |r| ice_of(r, "abcd", "short", vec![]),
        ),
        (
            "legs[1].lines[0].ice.candidates[0]: must be 1 to 512 printable ASCII characters",
            |r| ice_of(r, "abcd", "abcdefghijklmnopqrstuv", vec!["a\r\nb".into()]),
        ),
    ];
    for (expected, spoil) in cases {
        let mut request = good();
        spoil(&mut request);
        let error = create_from_wire(request).expect_err(expected);
        assert_eq!(error.to_string(), expected);
        let status = tonic::Status::from(error);
        assert_eq!(
            (status.code(), status.message()),
            (Code::InvalidArgument, expected)
        );
        assert!(matches!(refusal_from_status(&status), Some(Refusal::Invalid(_))));
    }
}

fn remote(request: &mut wire::CreateCallRequest) -> &mut wire::Endpoint {
    request.legs[1].lines[0].remote.as_mut().unwrap()
}

fn dtls_of(request: &mut wire::CreateCallRequest, hash_function: &str, len: usize) {
    request.legs[1].lines[0].dtls = Some(wire::Dtls {
        role: wire::DtlsRole::Passive.into(),
        fingerprints: vec![wire::Fingerprint {
            hash_function: hash_function.into(),
            hash: vec![7; len],
        }],
        tls_id: String::new(),
    });
}

fn ice_of(request: &mut wire::CreateCallRequest, ufrag: &str, password: &str, candidates: Vec<String>) {
    request.legs[1].lines[0].ice = Some(wire::Ice {
        mode: wire::IceMode::Lite.into(),
        local: Some(wire::IceCredentials {
            ufrag: ufrag.into(),
            password: password.into(),
        }),
        remote: None,
        candidates,
    });
}

fn codec_of(request: &mut wire::CreateCallRequest) -> &mut wire::Codec {
    &mut request.legs[1].lines[0].codecs[0]
}

#[test]
fn a_disabled_line_may_have_port_zero() {
    let mut request = good();
    remote(&mut request).port = 0;
    request.legs[1].lines[0].disabled = true;
    let (_, spec) = create_from_wire(request).unwrap();
    assert!(!spec.legs[1].lines[0].enabled);
}

#[test]
fn an_ipv4_address_in_ipv6_clothes_is_ipv4() {
    let mut request = good();
    remote(&mut request).ip = "::ffff:192.0.2.7".into();
    let (_, spec) = create_from_wire(request).unwrap();
    assert_eq!(
        spec.legs[1].lines[0].remote,
        Some("192.0.2.7:4000".parse().unwrap())
    );
}

#[test]
fn a_renewal_has_a_limit_and_names_the_bad_one() {
    let many = wire::RenewLeasesRequest {
        call_ids: vec!["x".into(); RENEW_MAX + 1],
    };
    assert_eq!(
        renew_from_wire(&many).unwrap_err().to_string(),
        "call_ids: must be 0 to 10000, is 10001"
    );
    let bad = wire::RenewLeasesRequest {
        call_ids: vec!["x".into(), String::new()],
    };
    assert_eq!(
        renew_from_wire(&bad).unwrap_err().to_string(),
        "call_ids[1]: is empty"
    );
}

#[test]
fn a_status_comes_through_an_exchange_as_it_was() {
    let refusal = refusal_to_status(Refusal::NoPorts);
    let there = status_from_failure(status_to_failure(&refusal));
    assert_eq!(
        (there.code(), there.message()),
        (refusal.code(), refusal.message())
    );
    assert_eq!(refusal_from_status(&there), Some(Refusal::NoPorts));
    let late = status_from_failure(status_to_failure(&tonic::Status::deadline_exceeded("late")));
    assert_eq!(
        (late.code(), late.message()),
        (tonic::Code::DeadlineExceeded, "late")
    );
    assert_eq!(refusal_from_status(&late), None);
    // What no node of ours says.
    for (code, refusal) in [(0, ""), (99, "odd\n"), (u32::MAX, "no such label")] {
        let failure = crate::media_v1::CallFailure {
            code,
            refusal: refusal.into(),
            message: String::new(),
        };
        let status = status_from_failure(failure);
        assert_eq!(status.code(), tonic::Code::Unknown, "{code}");
        assert_eq!(refusal_from_status(&status), None);
    }
}

#[test]
fn every_refusal_has_one_code_and_comes_back() {
    let expected = [
        (Refusal::NoPorts, Code::ResourceExhausted),
        (Refusal::NoCapacity, Code::ResourceExhausted),
        (Refusal::Busy, Code::Unavailable),
        (Refusal::Draining, Code::Unavailable),
        (Refusal::UnknownCall, Code::NotFound),
        (Refusal::CallExists, Code::AlreadyExists),
        (Refusal::UnknownInterface, Code::FailedPrecondition),
        (Refusal::UnknownLeg, Code::FailedPrecondition),
        (Refusal::Invalid("legs must be two"), Code::InvalidArgument),
    ];
    for (refusal, code) in expected {
        let status = refusal_to_status(refusal);
        assert_eq!(status.code(), code, "{refusal:?}");
        assert_eq!(refusal_from_status(&status), Some(refusal));
    }
    assert_eq!(
        refusal_from_status(&tonic::Status::unavailable("no connection")),
        None
    );
}

#[test]
fn a_node_that_reports_nonsense_is_told_apart() {
    let half = wire::LineStatus {
        local_rtp: Some(wire::Endpoint {
            ip: "192.0.2.1".into(),
            port: 4000,
        }),
        path: wire::Path::Uring.into(),
        ..Default::default()
    };
    let call = wire::Call {
        call_id: "c".into(),
        legs: vec![wire::LegStatus {
            leg_id: "a".into(),
            lines: vec![half],
        }],
        ..Default::default()
    };
    let error = report_from_wire(call).unwrap_err();
    assert_eq!(error.to_string(), "legs[0].lines[0].local_rtcp: is missing");
    let event = wire::CallEvent {
        call_id: "c".into(),
        kind: None,
    };
    assert_eq!(
        event_from_wire(event).unwrap_err().to_string(),
        "kind: is missing"
    );
}

#[test]
fn keys_that_do_not_fit_their_suite_are_named_and_not_shown() {
    let good = || wire::SrtpKey {
        suite: wire::SrtpSuite::AeadAes128Gcm.into(),
        master_key: vec![0xa5; 16],
        master_salt: vec![0xa5; 12],
        mki: vec![1],
        lifetime_packets: 0,
    };
    assert!(!format!("{:?}", good()).contains("165"));
    let refused = |key: wire::SrtpKey| {
        let line = wire::MediaLine {
            kind: wire::MediaKind::Audio.into(),
            srtp: Some(wire::Srtp {
                receive: vec![good(), key],
                send: None,
            }),
            ..wire::MediaLine::default()
        };
        super::line::line_from_wire(line)
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(refused(good()), None);
    for (key, path) in [
        (wire::SrtpKey { suite: 0, ..good() }, "srtp.receive[1].suite"),
        (wire::SrtpKey { suite: 9, ..good() }, "srtp.receive[1].suite"),
        (
            wire::SrtpKey {
                master_key: vec![0xa5; 15],
                ..good()
            },
            "srtp.receive[1].master_key",
        ),
        (
            wire::SrtpKey {
                master_salt: vec![0xa5; 14],
                ..good()
            },
            "srtp.receive[1].master_salt",
        ),
        (
            wire::SrtpKey {
                mki: vec![0; 17],
                ..good()
            },
            "srtp.receive[1].mki",
        ),
        (
            wire::SrtpKey {
                lifetime_packets: (1 << 48) + 1,
                ..good()
            },
            "srtp.receive[1].lifetime_packets",
        ),
    ] {
        let error = refused(key).unwrap_or_default();
        assert!(error.starts_with(path), "{error}");
        assert!(!error.contains("165"), "{error}");
    }
}
