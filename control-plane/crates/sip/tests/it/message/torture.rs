//! RFC 4475 and RFC 5118: each message is taken, answered or dropped as the RFC wants.

use bytes::Bytes;
use sip::message::framing::{StreamFramer, StreamItem};
use sip::message::{HeaderName, Host, Limits, Message, ResponseBuilder, Scheme, reason_phrase};

use super::torture_cases::{Case, Expectation, cases};

/// The message of that name.
pub fn case(name: &str) -> Case {
    cases()
        .into_iter()
        .find(|case| case.name == name)
        .unwrap_or_else(|| panic!("no message {name}"))
}

fn classify(bytes: &Bytes) -> Expectation {
    match Message::parse_datagram(bytes.clone()) {
        Ok(_) => Expectation::Valid,
        Err(failure) => failure
            .response_code()
            .map_or(Expectation::Silent, Expectation::Answer),
    }
}

#[test]
fn every_message_gets_what_the_rfc_wants() {
    let cases = cases();
    assert_eq!(cases.len(), 49 + 12);
    let failures: Vec<String> = cases
        .iter()
        .filter(|case| classify(&case.bytes) != case.expectation)
        .map(|case| {
            let error = Message::parse_datagram(case.bytes.clone())
                .err()
                .map(|failure| failure.error);
            format!(
                "{} {}: expected {:?}, parser says {error:?}",
                case.section, case.name, case.expectation
            )
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

#[test]
fn every_refused_request_can_be_answered_readably() {
    let mut answered = 0;
    for case in cases() {
        let Err(failure) = Message::parse_datagram(case.bytes) else {
            continue;
        };
        let Some((request, code)) = failure.answer() else {
            continue;
        };
        let response = ResponseBuilder::for_request(request, code, reason_phrase(code))
            .to_tag("t")
            .build();
        let response = response.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let copied = [
            HeaderName::Via,
            HeaderName::CallId,
            HeaderName::CSeq,
            HeaderName::From,
        ];
        for name in copied {
            assert_eq!(
                response.header(name),
                request.header(name),
                "{}: {name}",
                case.name
            );
        }
        answered += 1;
    }
    assert_eq!(answered, 20);
}

#[test]
fn valid_messages_mean_the_same_after_printing() {
    for case in cases() {
        if case.expectation != Expectation::Valid {
            continue;
        }
        let message = Message::parse_datagram(case.bytes).unwrap();
        let printed = message.edit().build();
        let Ok(printed) = printed else {
            panic!("{}: {printed:?}", case.name)
        };
        let again = Message::parse_datagram(printed.bytes().clone()).unwrap();
        let content = |message: &Message| -> Vec<(HeaderName, String)> {
            let headers = message
                .headers()
                .filter(|header| header.id != HeaderName::ContentLength);
            headers
                .map(|header| (header.id, header.value.to_owned()))
                .collect()
        };
        assert_eq!(content(&message), content(&again), "{}", case.name);
        assert_eq!(message.body(), again.body(), "{}", case.name);
        assert_eq!(message.method(), again.method(), "{}", case.name);
        assert_eq!(message.request_uri(), again.request_uri(), "{}", case.name);
    }
}

/// On a stream, a message whose end is certain does not harm the next one.
#[test]
fn framer_goes_on_or_stops_by_whether_the_end_is_certain() {
    let next = case("ipv6-good").bytes;
    for case in cases() {
        let mut framer = StreamFramer::new(Limits::default());
        framer.push(&case.bytes);
        framer.push(&next);
        let mut items = 0;
        let last = loop {
            match framer.next() {
                Ok(Some(StreamItem::Message(message))) => {
                    items += 1;
                    if message.bytes() == &next {
                        break "went on";
                    }
                }
                Ok(Some(_)) => items += 1,
                Ok(None) => break "waits",
                Err(error) => break error.reason(),
            }
            assert!(items < 10);
        };
        let expected = match &*case.name {
            "ncl" => "content_length",
            "mcl01" => "content_length_conflict",
            "inv2543" => "content_length_missing",
            "clerr" => "waits",
            // Its second request has a body that is longer than it says.
            "dblreq" => "not_sip",
            _ => "went on",
        };
        assert_eq!(last, expected, "{}", case.name);
    }
}

#[test]
fn wsinv_is_read_through_its_white_space() {
    let message = Message::parse_datagram(case("wsinv").bytes).unwrap();
    let to = message.to().unwrap();
    assert_eq!(
        (to.uri, to.tag()),
        ("sip:vivekg@chair-dnrc.example.com", Some("1918181833n"))
    );
    let from = message.from().unwrap();
    assert_eq!(
        (from.display_text().unwrap().as_ref(), from.tag()),
        ("J Rosenberg \\\"", Some("98asjd8"))
    );
    assert_eq!(message.max_forwards(), Ok(Some(68)));
    assert_eq!(message.cseq().unwrap().seq, 9);
    assert_eq!(message.header(HeaderName::Subject), Some(""));
    assert_eq!(
        message.header("NewFangledHeader"),
        Some("newfangled value   continued newfangled value")
    );
    let vias: Vec<_> = message.vias().map(|via| via.unwrap()).collect();
    assert_eq!(
        vias.iter().map(|via| via.branch().unwrap()).collect::<Vec<_>>(),
        ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]
    );
    assert_eq!(vias[1].host, Host::Name("spindle.example.com"));
    let contact = message.contact().unwrap().unwrap();
    assert_eq!(
        (contact.param("newparam"), contact.param("q")),
        (Some("newvalue"), Some("0.33"))
    );
    assert_eq!(contact.display_text().unwrap(), "Quoted string \"\"");
    assert!(
        message
            .routes()
            .next()
            .unwrap()
            .unwrap()
            .parsed_uri()
            .unwrap()
            .is_loose_router()
    );
    assert_eq!(message.body().len(), 150);
}

#[test]
fn details_that_the_rfc_asks_for() {
    let parse = |name| Message::parse_datagram(case(name).bytes).unwrap();

    let intmeth = parse("intmeth");
    assert_eq!(
        intmeth.method().unwrap().as_str(),
        "!interesting-Method0123456789_*+`.%indeed'~"
    );
    let from = intmeth.from().unwrap();
    assert_eq!(from.param("fromParam''~+*_!.-%"), Some("\"работающий\""));
    assert_eq!(
        intmeth.to().unwrap().display_text().unwrap(),
        "BEL:\u{7} NUL:\0 DEL:\u{7f}"
    );

    // Escaped characters in names are other names: C%6Fntact is no Contact, RE%47IST%45R no REGISTER.
    let esc02 = parse("esc02");
    assert_eq!(esc02.contacts().count(), 2);
    assert_eq!(esc02.method().unwrap().as_str(), "RE%47IST%45R");

    let esc01 = parse("esc01");
    let uri = sip::message::Uri::parse(esc01.request_uri().unwrap()).unwrap();
    assert_eq!(
        (uri.scheme(), uri.user_decoded().unwrap().as_ref()),
        (Scheme::Sip, "sips:user@example.com")
    );

    let escnull = parse("escnull");
    let users: Vec<_> = escnull
        .contacts()
        .map(|c| c.unwrap().parsed_uri().unwrap().user().unwrap().to_owned())
        .collect();
    assert_eq!(users, ["%00", "%00%00"]);

    // The second request of the datagram is surplus, and no message.
    assert!(parse("dblreq").bytes().ends_with(b"Content-Length: 0\r\n\r\n"));

    let noreason = parse("noreason");
    assert_eq!(
        (noreason.status(), noreason.reason_phrase()),
        (Some(100), Some(""))
    );

    let cparam01 = parse("cparam01");
    assert!(
        cparam01
            .contact()
            .unwrap()
            .unwrap()
            .params
            .contains("unknownparam")
    );
    let cparam02 = parse("cparam02");
    let contact = cparam02.contact().unwrap().unwrap();
    assert!(
        !contact.params.contains("unknownparam")
            && contact.parsed_uri().unwrap().params().contains("unknownparam")
    );

    assert_eq!(parse("longreq").vias().count(), 34);
    assert_eq!(parse("badbranch").via().unwrap().unique_branch(), None);
    assert_eq!(parse("zeromf").max_forwards(), Ok(Some(0)));

    let three_colons = parse("ipv6-bug-abnf-3-colons");
    let uri = sip::message::Uri::parse(three_colons.request_uri().unwrap()).unwrap();
    assert_eq!(uri.host(), Some(Host::V6("2001:db8::192.0.2.1".parse().unwrap())));
    let ambiguous = parse("port-ambiguous");
    assert_eq!(
        sip::message::Uri::parse(ambiguous.request_uri().unwrap())
            .unwrap()
            .port(),
        None
    );
    for name in ["via-received-with-brackets", "via-received-without-brackets"] {
        assert_eq!(
            parse(name).via().unwrap().received(),
            Some("2001:db8::9:255".parse().unwrap())
        );
    }
}
