//! Nothing that is put into a builder or an edit adds a line of its own (SIP.md §4 rows 26 and 37).

use bytes::Bytes;
use sip::message::{BuildError, HeaderName, Message, RequestBuilder, ResponseBuilder};

fn request() -> Message {
    let text = "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
        Call-ID: x\r\nCSeq: 1 INVITE\r\nSubject: one\r\n two\r\nContent-Length: 0\r\n\r\n";
    Message::parse_datagram(Bytes::from(text)).unwrap()
}

#[test]
fn every_door_refuses_line_ends_and_nul() {
    let request = request();
    for evil in [
        "x\r\nEvil: 1",
        "x\nEvil: 1",
        "x\rEvil: 1",
        "x\0",
        "\r\n\r\nx",
        "x\r\n folded",
    ] {
        let results = [
            RequestBuilder::new("A", "sip:a").header("X-A", evil).build(),
            RequestBuilder::new("A", "sip:a").header(evil, "x").build(),
            RequestBuilder::new("A", "sip:a").via(evil).build(),
            RequestBuilder::new("A", "sip:a").body(evil, b"").build(),
            RequestBuilder::new(evil, "sip:a").build(),
            RequestBuilder::new("A", evil).build(),
            ResponseBuilder::for_request(&request, 200, evil).build(),
            ResponseBuilder::for_request(&request, 200, "OK")
                .to_tag(evil)
                .build(),
            ResponseBuilder::for_request(&request, 200, "OK")
                .header("X-A", evil)
                .build(),
            ResponseBuilder::for_request(&request, 200, "OK")
                .body(evil, b"")
                .build(),
            request.edit().request_uri(evil).build(),
            request.edit().prepend(HeaderName::Via, evil).build(),
            request.edit().prepend("X-A", evil).build(),
            request.edit().append("X-A", evil).build(),
            request.edit().set(HeaderName::Subject, evil).build(),
            request.edit().replace_first_value(HeaderName::Via, evil).build(),
            request.edit().body(evil, b"").build(),
        ];
        for (index, result) in results.iter().enumerate() {
            assert!(result.is_err(), "door {index} let {evil:?} through");
        }
    }
}

#[test]
fn copied_folding_is_no_line_end() {
    let request = request();
    assert_eq!(request.header(HeaderName::Subject), Some("one   two"));
    let copy = RequestBuilder::new("A", "sip:a")
        .copy_from(&request, HeaderName::Subject)
        .build()
        .unwrap();
    assert_eq!(copy.headers().count(), 2);
    let copy = RequestBuilder::new("A", "sip:a")
        .header(HeaderName::Subject, request.header(HeaderName::Subject).unwrap())
        .build();
    assert!(copy.is_ok());
}

#[test]
fn what_has_not_the_form_of_a_message_is_not_built() {
    assert_eq!(
        RequestBuilder::new("A", "sip:a")
            .header("Content-Length", 5)
            .build(),
        Err(BuildError::Value(HeaderName::ContentLength))
    );
    assert!(
        RequestBuilder::new("A", "sip:a")
            .header("X-A", "x".repeat(66_000))
            .build()
            .is_err()
    );
    let many = (0..160).fold(RequestBuilder::new("A", "sip:a"), |builder, _| {
        builder.header("X-A", "b")
    });
    assert!(many.build().is_err());
}
