use bytes::Bytes;
use sip::message::framing::{DatagramKind, StreamFramer, StreamItem};
use sip::message::{
    BuildError, HeaderName, Limits, Message, NameAddr, ParseError, ParseFailure, ResponseBuilder, Uri, Via,
    unquote,
};

/// One datagram, as it comes from the network.
///
/// Asserts: no input panics; a message that is taken can be read by every view that its sender and receiver need; what
/// is printed is read again as the same; the stream framer reads the printed message as the datagram parser does; a
/// request that is refused is answered with text that has no line of the request's making; responses are not answered.
///
/// # Panics
/// When one of these does not hold.
pub fn sip_datagram(data: &[u8]) {
    let kind = DatagramKind::of(data);
    match Message::parse_datagram(Bytes::copy_from_slice(data)) {
        Ok(message) => {
            assert_eq!(kind, DatagramKind::Sip);
            taken(&message, data.len());
        }
        Err(failure) => refused(&failure),
    }
}

fn refused(failure: &ParseFailure) {
    assert!(!failure.error.reason().is_empty());
    if let Some(partial) = &failure.partial {
        look_at(partial);
    }
    let Some((request, code)) = failure.answer() else {
        return;
    };
    assert!(request.is_request() && (400..700).contains(&code));
    let built = ResponseBuilder::for_request(request, code, "Refused")
        .to_tag("fuzz")
        .build();
    answered(request, built);
}

/// A response repeats Via, From, Call-ID and CSeq of the request, and nothing slips between them.
fn answered(request: &Message, built: Result<Message, BuildError>) {
    let response = built.expect("whoever asked can be answered");
    for name in [
        HeaderName::Via,
        HeaderName::From,
        HeaderName::CallId,
        HeaderName::CSeq,
    ] {
        assert!(response.fields(name).eq(request.fields(name)), "{name}");
    }
    let copied = [
        HeaderName::Via,
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::CSeq,
    ];
    let ours = [HeaderName::ContentLength];
    assert!(
        response
            .headers()
            .all(|header| copied.contains(&header.id) || ours.contains(&header.id))
    );
}

fn taken(message: &Message, datagram_len: usize) {
    assert!(message.bytes().len() <= datagram_len);
    assert!(message.is_request() != message.status().is_some());
    let via = message.via().expect("the top Via was checked");
    let _ = (via.branch(), via.unique_branch(), via.received(), via.rport());
    assert!(message.vias().all(|via| via.is_ok()));
    let from = message.from().expect("From was checked");
    let to = message.to().expect("To was checked");
    assert!(from.parsed_uri().is_ok() && to.parsed_uri().is_ok());
    assert!(!message.call_id().expect("Call-ID was checked").is_empty());
    let cseq = message.cseq().expect("CSeq was checked");
    assert!(message.method().is_none_or(|method| method == cseq.method));
    assert!(message.max_forwards().is_ok());
    assert!(
        message
            .routes()
            .chain(message.record_routes())
            .all(|route| route.is_ok())
    );
    if let Some(uri) = message.request_uri() {
        let uri = Uri::parse(uri).expect("the request URI was checked");
        assert!(uri.headers().is_none());
    }
    look_at(message);
    printed(message);
    if message.is_request() {
        let built = ResponseBuilder::for_request(message, 486, "Busy Here")
            .to_tag("fuzz")
            .build();
        answered(message, built);
    }
    let received = message
        .with_top_via_params(Some([192, 0, 2, 1].into()), Some(5060))
        .expect("a top Via");
    let via = received.via().expect("the top Via can be read after the change");
    assert_eq!(
        (via.received(), via.rport()),
        (Some([192, 0, 2, 1].into()), Some(Some(5060)))
    );
    assert_eq!(received.vias().count(), message.vias().count());
}

/// What is printed is read as the same, by the datagram parser and by the framer, and printing again changes nothing.
fn printed(message: &Message) {
    let printed = message.edit().build().expect("what was taken can be printed");
    assert_eq!(
        printed.edit().build().as_ref(),
        Ok(&printed),
        "printing is stable"
    );
    let again = match Message::parse_datagram(printed.bytes().clone()) {
        Ok(again) => again,
        // Long forms are longer than compact ones, and `Content-Length` may be one field more.
        Err(failure) => {
            let limit = matches!(
                failure.error,
                ParseError::HeaderTooLarge | ParseError::HeadTooLarge | ParseError::TooManyHeaders
            );
            return assert!(limit, "what is printed is not read: {failure}");
        }
    };
    assert_eq!(again, printed);
    let content = |message: &Message| -> Vec<(HeaderName, String, String)> {
        let headers = message
            .headers()
            .filter(|header| header.id != HeaderName::ContentLength);
        let name = |id, name: &str| {
            if id == HeaderName::Other {
                name.to_owned()
            } else {
                String::new()
            }
        };
        headers
            .map(|header| (header.id, name(header.id, header.name), header.value.to_owned()))
            .collect()
    };
    assert_eq!(content(&again), content(message));
    assert_eq!(again.body(), message.body());
    assert_eq!(
        (again.method(), again.request_uri()),
        (message.method(), message.request_uri())
    );
    assert_eq!(
        (again.status(), again.reason_phrase()),
        (message.status(), message.reason_phrase())
    );

    // Where it is cut depends on the input alone, so that a finding repeats.
    let wire = printed.bytes();
    let cut = message.body().len() * 31 % wire.len();
    let mut framer = StreamFramer::new(Limits::default());
    framer.push(&wire[..cut]);
    assert!(matches!(framer.next(), Ok(None)));
    framer.push(&wire[cut..]);
    match framer.next() {
        Ok(Some(StreamItem::Message(streamed))) => assert_eq!(streamed, printed),
        other => panic!("the framer says {other:?}"),
    }
    assert!(matches!(framer.next(), Ok(None)));
}

/// Every view on every header: none may panic, whatever it says.
fn look_at(message: &Message) {
    let _ = (
        message.method(),
        message.request_uri(),
        message.reason_phrase(),
        message.content_type(),
    );
    for header in message.headers() {
        assert!(!header.value.contains(['\r', '\n']), "a line end in {header:?}");
        assert!(header.id == HeaderName::of(header.name.as_bytes()));
        for value in message.values(header.id) {
            if let Ok(address) = NameAddr::parse(value) {
                let uri = address.parsed_uri().expect("the URI of a name-addr was checked");
                let _ = (
                    uri.user_decoded(),
                    uri.password(),
                    uri.host(),
                    uri.port(),
                    uri.is_loose_router(),
                );
                let _ = (address.tag(), address.display_text(), uri.without_headers());
                for value in address.params.iter().filter_map(|param| param.value) {
                    let _ = unquote(value);
                }
            }
            if let Ok(via) = Via::parse(value) {
                let _ = (via.branch(), via.unique_branch(), via.received(), via.rport());
            }
        }
        let _ = message.number(header.id);
    }
    let _ = (
        message.via(),
        message.from(),
        message.to(),
        message.cseq(),
        message.max_forwards(),
    );
}
