//! Properties over generated messages.

use bytes::Bytes;
use proptest::prelude::*;
use sip::message::framing::{StreamFramer, StreamItem};
use sip::message::{HeaderName, Limits, Message, NameAddr, RequestBuilder, ResponseBuilder, Uri, Via};

fn token() -> impl Strategy<Value = String> {
    "[A-Za-z0-9.!%*_+`'~-]{1,20}"
}

fn unknown_name() -> impl Strategy<Value = String> {
    "X-[A-Za-z0-9.!%*_+`'~-]{1,20}"
}

fn value() -> impl Strategy<Value = String> {
    // Anything but line ends and NUL, without white space at its ends.
    "[^\r\n\0]{0,60}".prop_map(|text| text.trim_matches([' ', '\t']).to_owned())
}

/// Text with much of what could end a line, a value or a name.
fn free_text() -> impl Strategy<Value = String> {
    "([a-z:; ]|\r|\n|\r\n|\r\nVia: x|\0|\t|\"|ü|\\PC){0,6}"
}

fn uri() -> impl Strategy<Value = String> {
    "sips?:([a-z0-9;?/&=+$,#-]{1,12}(:[a-z0-9]{0,5})?@)?([a-z][a-z0-9]{0,8}\\.[a-z]{2,4}|192\\.0\\.2\\.[1-9]|\\[2001:db8::[1-9]\\])(:[1-9][0-9]{0,3})?(;[a-z]{1,6}(=[a-z0-9%]{0})?){0,3}"
}

fn request() -> impl Strategy<Value = (String, String, Vec<(String, String)>, Vec<u8>)> {
    let headers = prop::collection::vec((unknown_name(), value()), 0..10);
    (
        token(),
        uri(),
        headers,
        prop::collection::vec(any::<u8>(), 0..200),
    )
}

fn build(method: &str, uri: &str, headers: &[(String, String)], body: &[u8]) -> Message {
    let mut builder = RequestBuilder::new(method, uri)
        .via("SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKx")
        .header(HeaderName::From, "<sip:a@h>;tag=1")
        .header(HeaderName::To, "<sip:b@h>")
        .header(HeaderName::CallId, "x")
        .header(HeaderName::CSeq, format_args!("7 {method}"));
    for (name, value) in headers {
        builder = builder.header(&**name, value);
    }
    builder.body("application/octet-stream", body).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read((method, uri, headers, body) in request()) {
        let message = build(&method, &uri, &headers, &body);
        let parsed = Message::parse_datagram(message.bytes().clone()).unwrap();
        prop_assert_eq!(&parsed, &message);
        prop_assert_eq!(parsed.method().unwrap().as_str(), &method);
        prop_assert_eq!(parsed.request_uri().unwrap(), &uri);
        prop_assert_eq!(parsed.body(), &body);
        let found: Vec<_> = parsed.headers().filter(|header| header.id == HeaderName::Other).collect();
        prop_assert_eq!(found.len(), headers.len());
        for (header, (name, value)) in found.iter().zip(&headers) {
            prop_assert_eq!((header.name, header.value), (&**name, &**value));
        }
    }

    #[test]
    fn stream_is_read_alike_however_it_is_divided(
        requests in prop::collection::vec(request(), 1..4),
        cuts in prop::collection::vec(1usize..300, 1..20),
        pings in 0usize..4,
    ) {
        let messages: Vec<Message> = requests.iter().map(|(m, u, h, b)| build(m, u, h, b)).collect();
        let mut stream = Vec::new();
        for message in &messages {
            stream.extend_from_slice(&b"\r\n".repeat(pings));
            stream.extend_from_slice(message.bytes());
        }
        let mut framer = StreamFramer::new(Limits::default());
        let (mut found, mut line_ends) = (Vec::new(), 0);
        let mut cuts = cuts.iter().cycle();
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            rest = after;
            framer.push(chunk);
            while let Some(item) = framer.next().unwrap() {
                match item {
                    StreamItem::Message(message) => found.push(message),
                    StreamItem::KeepAlive | StreamItem::Pong => line_ends += 1,
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
        prop_assert_eq!(&found, &messages);
        prop_assert_eq!(line_ends, pings * messages.len());
        prop_assert_eq!(framer.buffered(), 0);
    }

    #[test]
    fn views_never_panic_and_give_back_what_they_were_given(text in "\\PC{0,80}") {
        if let Ok(uri) = Uri::parse(&text) {
            prop_assert_eq!(uri.as_str(), &text);
            prop_assert!(uri.without_headers().len() <= text.len());
            let _ = uri.user_decoded();
        }
        if let Ok(address) = NameAddr::parse(&text) {
            prop_assert!(address.parsed_uri().is_ok());
            let _ = (address.display_text(), address.tag());
        }
        if let Ok(via) = Via::parse(&text) {
            let _ = (via.branch(), via.received(), via.rport());
        }
    }

    #[test]
    fn whatever_is_put_in_adds_no_field_of_its_own(
        fields in prop::collection::vec((free_text(), free_text()), 0..5),
        uri in free_text(),
        reason in free_text(),
    ) {
        let builder = RequestBuilder::new("OPTIONS", &uri);
        let built = fields.iter().fold(builder, |builder, (name, value)| builder.header(&**name, value)).build();
        if let Ok(request) = built {
            prop_assert_eq!(request.request_uri(), Some(&*uri));
            prop_assert_eq!(request.headers().count(), fields.len() + 1);
            for (header, (name, value)) in request.headers().zip(&fields) {
                prop_assert_eq!(HeaderName::of(header.name.as_bytes()), HeaderName::of(name.as_bytes()));
                prop_assert_eq!(header.value, value.trim_matches([' ', '\t']));
            }
        }
        let request = build("OPTIONS", "sip:a@h", &[], b"");
        if let Ok(response) = ResponseBuilder::for_request(&request, 200, &reason).to_tag(&uri).build() {
            prop_assert_eq!(response.headers().count(), 6);
            prop_assert_eq!(response.reason_phrase(), Some(&*reason));
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::parse_datagram(Bytes::from(bytes.clone()));
        let mut framer = StreamFramer::new(Limits::default());
        framer.push(&bytes);
        while let Ok(Some(_)) = framer.next() {}
    }
}
