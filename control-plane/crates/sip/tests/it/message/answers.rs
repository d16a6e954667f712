//! What a broken request is answered with, and what is never answered.

use bytes::Bytes;
use sip::message::{HeaderName, Message, ParseError, ParseFailure, ResponseBuilder, SyntaxError};

const GOOD: &str = "OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
    From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: x@y\r\nCSeq: 1 OPTIONS\r\nContact: <sip:a@1.2.3.4>\r\n\
    Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi";

fn refused(text: &[u8]) -> ParseFailure {
    Message::parse_datagram(Bytes::copy_from_slice(text)).expect_err(&String::from_utf8_lossy(text))
}

#[test]
fn faults_have_their_codes() {
    assert!(Message::parse_datagram(Bytes::from(GOOD)).is_ok());
    use HeaderName as H;
    for (from, to, error, code) in [
        ("SIP/2.0\r\nVia", "SIP/3.0\r\nVia", ParseError::Version, Some(505)),
        (
            "sip:b@h SIP",
            "sip:b@h:x SIP",
            ParseError::RequestUri(SyntaxError::Port),
            Some(400),
        ),
        (
            "sip:b@h SIP",
            "sip:b@h?a=b SIP",
            ParseError::RequestUri(SyntaxError::UriHeaders),
            Some(400),
        ),
        (
            "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n",
            "",
            ParseError::Missing(H::Via),
            None,
        ),
        (
            "From: <sip:a@h>;tag=1\r\n",
            "",
            ParseError::Missing(H::From),
            Some(400),
        ),
        ("To: <sip:b@h>\r\n", "", ParseError::Missing(H::To), Some(400)),
        ("Call-ID: x@y\r\n", "", ParseError::Missing(H::CallId), Some(400)),
        (
            "Call-ID: x@y",
            "Call-ID:",
            ParseError::Malformed(H::CallId, SyntaxError::Token),
            Some(400),
        ),
        (
            "Call-ID: x@y",
            "Call-ID: x y",
            ParseError::Malformed(H::CallId, SyntaxError::Token),
            Some(400),
        ),
        ("CSeq: 1 OPTIONS\r\n", "", ParseError::Missing(H::CSeq), Some(400)),
        (
            "CSeq: 1 OPTIONS",
            "CSeq: 1 INVITE",
            ParseError::MethodMismatch,
            Some(400),
        ),
        (
            "CSeq: 1 OPTIONS",
            "CSeq: 2147483648 OPTIONS",
            ParseError::Malformed(H::CSeq, SyntaxError::Number),
            Some(400),
        ),
        (
            "CSeq: 1 OPTIONS",
            "CSeq: 1 OPTIONS\r\nCSeq: 1 OPTIONS",
            ParseError::Duplicate(H::CSeq),
            Some(400),
        ),
        (
            "To: <sip:b@h>",
            "To: <sip:b@h>\r\nt: <sip:c@h>",
            ParseError::Duplicate(H::To),
            Some(400),
        ),
        (
            "Max-Forwards: 70",
            "Max-Forwards: 256",
            ParseError::Malformed(H::MaxForwards, SyntaxError::Number),
            Some(400),
        ),
        (
            "Max-Forwards: 70",
            "Max-Forwards 70",
            ParseError::HeaderLine,
            Some(400),
        ),
        (
            "Max-Forwards: 70",
            "Max Forwards: 70",
            ParseError::HeaderLine,
            Some(400),
        ),
        ("Max-Forwards: 70", ": 70", ParseError::HeaderLine, Some(400)),
        (
            "Max-Forwards: 70",
            "X-A: a\nX-B: b",
            ParseError::BareLineEnd,
            Some(400),
        ),
        (
            "Max-Forwards: 70",
            "X-A: a\rX-B: b",
            ParseError::BareLineEnd,
            Some(400),
        ),
        ("Max-Forwards: 70", "X-A: a\0b", ParseError::Nul, Some(400)),
        ("Max-Forwards: 70", "X-A: \\\0", ParseError::Nul, Some(400)),
        ("Max-Forwards: 70", "X-A: \"\0\"", ParseError::Nul, Some(400)),
        (
            "Contact: <sip:a@1.2.3.4>",
            "Contact: *",
            ParseError::Malformed(H::Contact, SyntaxError::Scheme),
            Some(400),
        ),
        (
            "Content-Length: 2",
            "Content-Length: 3",
            ParseError::BodyTruncated,
            Some(400),
        ),
        (
            "Content-Length: 2",
            "Content-Length: 2a",
            ParseError::ContentLength,
            Some(400),
        ),
        (
            "Content-Length: 2",
            "Content-Length:",
            ParseError::ContentLength,
            Some(400),
        ),
        (
            "Content-Length: 2",
            "Content-Length: 2, 2",
            ParseError::ContentLength,
            Some(400),
        ),
        (
            "Content-Length: 2",
            "Content-Length: 0000000002",
            ParseError::ContentLength,
            Some(400),
        ),
        (
            "Content-Length: 2",
            "l: 2\r\nContent-Length: 1",
            ParseError::ContentLengthConflict,
            Some(400),
        ),
        ("\r\n\r\nhi", "\r\n", ParseError::HeadUnterminated, Some(400)),
        (
            "OPTIONS sip:b@h",
            "ACK sip:b@h:x",
            ParseError::RequestUri(SyntaxError::Port),
            None,
        ),
        (
            "OPTIONS sip:b@h SIP/2.0",
            "SIP/2.0 200 OK\r\nFrom: <sip:a@h>",
            ParseError::Duplicate(H::From),
            None,
        ),
        (
            "OPTIONS sip:b@h SIP/2.0",
            "HELO example.com",
            ParseError::NotSip,
            None,
        ),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let failure = refused(text.as_bytes());
        assert_eq!((failure.error, failure.response_code()), (error, code), "{to:?}");
    }
}

#[test]
fn text_that_is_not_utf8_is_refused_and_not_repeated() {
    let good = GOOD.replace("Call-ID: x@y", "Call-ID: x@?");
    let mut text = good.into_bytes();
    let at = text.iter().position(|byte| *byte == b'?').unwrap();
    text[at] = 0xff;
    let failure = refused(&text);
    assert_eq!(
        (failure.error, failure.response_code()),
        (ParseError::NotUtf8, Some(400))
    );
    let (request, code) = failure.answer().unwrap();
    let response = ResponseBuilder::for_request(request, code, "Bad Request")
        .build()
        .unwrap();
    assert_eq!(
        (response.has(HeaderName::CallId), response.has(HeaderName::From)),
        (false, true)
    );
}

#[test]
fn answer_holds_no_line_that_the_request_smuggled() {
    let text = GOOD.replace("From: <sip:a@h>;tag=1", "From: <sip:a@h>;tag=1\nX-Evil: 1");
    let failure = refused(text.as_bytes());
    let (request, code) = failure.answer().unwrap();
    let response = ResponseBuilder::for_request(request, code, "Bad Request")
        .build()
        .unwrap();
    assert!(!response.has(HeaderName::From));
    assert!(!String::from_utf8_lossy(response.bytes()).contains("Evil"));
}

#[test]
fn equal_content_lengths_are_taken() {
    let text = GOOD.replace("Content-Length: 2", "l: 2\r\nContent-Length: 2");
    assert_eq!(Message::parse_datagram(Bytes::from(text)).unwrap().body(), b"hi");
}

#[test]
fn surplus_is_cut_and_missing_length_takes_the_rest() {
    let surplus = Message::parse_datagram(Bytes::from(format!("\r\n\r\n{GOOD}surplus"))).unwrap();
    assert_eq!((surplus.body(), surplus.bytes().len()), (&b"hi"[..], GOOD.len()));
    let open = GOOD.replace("Content-Length: 2\r\n", "") + " there";
    assert_eq!(
        Message::parse_datagram(Bytes::from(open)).unwrap().body(),
        b"hi there"
    );
}

#[test]
fn nothing_is_no_message() {
    for text in [&b""[..], b"\r\n", b"\r\n\r\n"] {
        let failure = refused(text);
        assert_eq!(
            (failure.error, failure.response_code()),
            (ParseError::Empty, None)
        );
    }
}
