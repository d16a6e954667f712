//! Every limit has an answer.

use bytes::Bytes;
use sip::message::framing::StreamFramer;
use sip::message::{HeaderName, Limits, Message, ParseError, ResponseBuilder};

fn message(extra: &str, body: &str) -> Bytes {
    format!(
        "OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
         Call-ID: x\r\nCSeq: 1 OPTIONS\r\n{extra}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

fn outcome(bytes: &Bytes, limits: &Limits) -> Result<(), (ParseError, Option<u16>)> {
    let parsed = Message::parse_datagram_with(bytes.clone(), limits);
    parsed
        .map(|_| ())
        .map_err(|failure| (failure.error, failure.response_code()))
}

#[test]
fn limits_are_exact() {
    let defaults = Limits::default();
    let plain = message("", "");

    let head = Limits {
        head_bytes: plain.len(),
        ..defaults
    };
    assert_eq!(outcome(&plain, &head), Ok(()));
    let head = Limits {
        head_bytes: plain.len() - 1,
        ..defaults
    };
    assert_eq!(outcome(&plain, &head), Err((ParseError::HeadTooLarge, Some(513))));

    let count = Limits {
        headers: 6,
        ..defaults
    };
    assert_eq!(outcome(&plain, &count), Ok(()));
    let count = Limits {
        headers: 5,
        ..defaults
    };
    assert_eq!(
        outcome(&plain, &count),
        Err((ParseError::TooManyHeaders, Some(513)))
    );

    let long = message(&format!("X-A: {}\r\n", "x".repeat(95)), "");
    let header = Limits {
        header_bytes: 100,
        ..defaults
    };
    assert_eq!(outcome(&long, &header), Ok(()));
    let header = Limits {
        header_bytes: 99,
        ..defaults
    };
    assert_eq!(
        outcome(&long, &header),
        Err((ParseError::HeaderTooLarge, Some(513)))
    );

    let body = message("", "12345");
    assert_eq!(
        outcome(
            &body,
            &Limits {
                body_bytes: 5,
                ..defaults
            }
        ),
        Ok(())
    );
    let small = Limits {
        body_bytes: 4,
        ..defaults
    };
    assert_eq!(outcome(&body, &small), Err((ParseError::BodyTooLarge, Some(413))));

    assert_eq!(
        outcome(
            &plain,
            &Limits {
                uri_bytes: 7,
                ..defaults
            }
        ),
        Ok(())
    );
    let uri = Limits {
        uri_bytes: 6,
        ..defaults
    };
    assert_eq!(
        outcome(&plain, &uri),
        Err((ParseError::RequestUriTooLong, Some(414)))
    );

    let contact = message("Contact: <sip:a2345678>\r\n", "");
    assert_eq!(
        outcome(
            &contact,
            &Limits {
                uri_bytes: 12,
                ..defaults
            }
        ),
        Ok(())
    );
    let error = ParseError::UriTooLong(HeaderName::Contact);
    assert_eq!(
        outcome(
            &contact,
            &Limits {
                uri_bytes: 11,
                ..defaults
            }
        ),
        Err((error, Some(513)))
    );

    let route = message("Route: <sip:a;b;c;d;e>;f\r\n", "");
    assert_eq!(
        outcome(
            &route,
            &Limits {
                params: 4,
                ..defaults
            }
        ),
        Ok(())
    );
    let params = Limits {
        params: 3,
        ..defaults
    };
    let error = ParseError::TooManyParams(HeaderName::Route);
    assert_eq!(outcome(&route, &params), Err((error, Some(513))));

    let routes = message("Route: <sip:a>,<sip:b>\r\nRoute: <sip:c>\r\n", "");
    assert_eq!(
        outcome(
            &routes,
            &Limits {
                values: 3,
                ..defaults
            }
        ),
        Ok(())
    );
    assert_eq!(
        outcome(
            &routes,
            &Limits {
                values: 2,
                ..defaults
            }
        ),
        Err((ParseError::TooManyValues(HeaderName::Route), Some(513)))
    );
}

#[test]
fn defaults_hold_what_they_say() {
    let many = |count: usize| message(&"X-A: b\r\n".repeat(count - 6), "");
    assert_eq!(outcome(&many(128), &Limits::default()), Ok(()));
    assert_eq!(
        outcome(&many(129), &Limits::default()),
        Err((ParseError::TooManyHeaders, Some(513)))
    );

    let one = |len: usize| message(&format!("X-A: {}\r\n", "x".repeat(len - 5)), "");
    assert_eq!(outcome(&one(8192), &Limits::default()), Ok(()));
    assert_eq!(
        outcome(&one(8193), &Limits::default()),
        Err((ParseError::HeaderTooLarge, Some(513)))
    );

    let folded = message(&format!("X-A: {}\r\n", "x\r\n ".repeat(2050)), "");
    assert_eq!(
        outcome(&folded, &Limits::default()),
        Err((ParseError::HeaderTooLarge, Some(513)))
    );

    // More than the table can address is lowered, not believed.
    let greedy = Limits {
        head_bytes: usize::MAX,
        headers: usize::MAX,
        ..Limits::default()
    };
    let huge = message(&format!("X-A: {}\r\n", "x".repeat(8000)).repeat(8), "");
    assert_eq!(
        outcome(&huge, &greedy),
        Err((ParseError::HeadTooLarge, Some(513)))
    );
    assert_eq!(
        outcome(&many(129), &greedy),
        Err((ParseError::TooManyHeaders, Some(513)))
    );
}

#[test]
fn stream_without_end_of_head_is_cut_off() {
    let mut framer = StreamFramer::new(Limits::default());
    let mut pushed = 0;
    let error = loop {
        framer.push(b"X-A: one more header that never ends\r\n");
        pushed += 38;
        match framer.next() {
            Ok(item) => assert!(item.is_none()),
            Err(error) => break error,
        }
        assert!(
            pushed <= Limits::default().head_bytes,
            "framer keeps {} bytes",
            framer.buffered()
        );
    };
    assert_eq!((error.reason(), framer.buffered()), ("not_sip", 0));
}

/// Time grows with the length and not with its square, for the shapes that tempt a parser to look again and again.
#[test]
fn awkward_shapes_are_refused_or_read_in_bounds() {
    let shapes = [
        format!("Contact: {}\r\n", "\"".repeat(8000)),
        format!("Contact: {}\r\n", "<".repeat(8000)),
        format!("Contact: {}\r\n", ",".repeat(8000)),
        format!("Route: <sip:a{}>\r\n", ";".repeat(8000)),
        format!("Route: <sip:a>{}\r\n", ";a".repeat(4000)),
        format!("Route: <sip:a{}>\r\n", ";a".repeat(1000)),
        format!("X-A: {}\r\n", "\\".repeat(8000)),
        format!("{}: x\r\n", "a".repeat(8000)),
        "Via: ,\r\n".repeat(100),
    ];
    for shape in shapes {
        let result = outcome(&message(&shape, ""), &Limits::default());
        if let Err((_, code)) = result {
            assert!(matches!(code, Some(400 | 513)), "{}", &shape[..20]);
        }
    }
}

/// Otherwise a request could be made that holds a transaction open for ever.
#[test]
fn every_request_that_is_taken_can_be_answered() {
    let head = message("", "");
    let most_fields = "v:SIP/2.0/UDP a\r\n".repeat(Limits::HEADERS_MAX - 6);
    let longest_field = format!("v:SIP/2.0/UDP a;b={}\r\n", "c".repeat(8192 - 18));
    let room = Limits::HEAD_BYTES_MAX - head.len();
    let most_bytes = format!("v:SIP/2.0/UDP a;b={}\r\n", "c".repeat(8000)).repeat(room / 8020);
    let left = Limits::HEAD_BYTES_MAX - head.len() - most_bytes.len();
    let most_bytes = format!("{most_bytes}v:SIP/2.0/UDP a;b={}\r\n", "c".repeat(left - 20));
    for fields in [most_fields, longest_field, most_bytes] {
        let request = Message::parse_datagram(message(&fields, "")).unwrap();
        let received = request
            .with_top_via_params(Some([192, 0, 2, 255].into()), Some(65_535))
            .unwrap();
        let response = ResponseBuilder::for_request(&received, 488, "Not Acceptable Here")
            .to_tag("0123456789abcdef0123456789abcdef")
            .record_routes()
            .header(HeaderName::Contact, "<sip:192.0.2.255:65535;transport=udp>")
            .header(
                HeaderName::Allow,
                "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE",
            )
            .header(HeaderName::Warning, "399 192.0.2.255 \"no\"")
            .body("application/sdp", &[b'x'; 4096])
            .build();
        assert!(response.is_ok(), "{response:?}");
    }
}
