//! Shapes that the agents of others send: each must be taken, and say what it is meant to say.

use bytes::Bytes;
use sip::message::{HeaderName, Message, Scheme, Uri};

/// A request of which `fields` replace or follow the plain ones.
fn request(uri: &str, fields: &[&str]) -> Message {
    let plain = [
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-1",
        "From: <sip:a@example.com>;tag=1",
        "To: <sip:b@example.com>",
        "Call-ID: 1-2@192.0.2.1",
        "CSeq: 1 INVITE",
    ];
    let name = |field: &str| HeaderName::of(field.split(':').next().unwrap_or_default().trim().as_bytes());
    let kept = plain.iter().filter(|plain| {
        let replaced = fields.iter().any(|field| name(field) == name(plain));
        !replaced
    });
    let lines: Vec<&str> = kept.chain(fields).copied().collect();
    let text = format!(
        "INVITE {uri} SIP/2.0\r\n{}\r\nContent-Length: 0\r\n\r\n",
        lines.join("\r\n")
    );
    match Message::parse_datagram(Bytes::from(text.clone())) {
        Ok(message) => message,
        Err(failure) => panic!("{}:\n{text}", failure.error),
    }
}

#[test]
fn request_uris_of_others_are_read() {
    for (uri, user, host) in [
        ("sip:service@127.0.0.1:5060", Some("service"), "127.0.0.1"),
        ("sip:*21*100%23@10.0.0.1", Some("*21*100%23"), "10.0.0.1"),
        ("sip:*21#@10.0.0.1", Some("*21#"), "10.0.0.1"),
        (
            "sip:+14155550100;npdi=yes;rn=+14155550199@sbc.example.com:5061;user=phone;transport=tls",
            Some("+14155550100;npdi=yes;rn=+14155550199"),
            "sbc.example.com",
        ),
        ("sip:alice@3f2a9c1b:5060", Some("alice"), "3f2a9c1b"),
        ("sip:alice@my_container:5060", Some("alice"), "my_container"),
        (
            "sip:h4s8dk2@df7jal23ls0d.invalid;transport=ws",
            Some("h4s8dk2"),
            "df7jal23ls0d.invalid",
        ),
        ("sips:bob@[2001:db8::5]:5061;ob", Some("bob"), "[2001:db8::5]"),
        ("sip:10.0.0.1;lr=on;ftag=as58f4201b;did=94b.3f7", None, "10.0.0.1"),
        (
            "sip:user@example.com;gruu;opaque=user:epid:xyz-012AB;gruu",
            Some("user"),
            "example.com",
        ),
        (
            "sip:1000@10.0.0.1:5060;rinstance=2ab1bd3a7d7d9ac6;x=YWJjZA==",
            Some("1000"),
            "10.0.0.1",
        ),
        ("sip:conf%2B1@example.com.", Some("conf%2B1"), "example.com."),
    ] {
        let message = request(uri, &[]);
        let parsed = Uri::parse(message.request_uri().unwrap()).unwrap();
        assert_eq!(
            (parsed.user(), parsed.host().unwrap().to_string().as_str()),
            (user, host)
        );
    }
    let emergency = request("urn:service:sos", &["CSeq: 1 INVITE"]);
    assert_eq!(
        Uri::parse(emergency.request_uri().unwrap()).unwrap().scheme(),
        Scheme::Other("urn")
    );
}

#[test]
fn addresses_of_others_are_read() {
    for (field, display, tag) in [
        (
            "From: sipp <sip:sipp@127.0.0.1:5061>;tag=3247SIPpTag001",
            Some("sipp"),
            Some("3247SIPpTag001"),
        ),
        (
            "From: \"\" <sip:100@10.0.0.1>;tag=as7c2b;x",
            Some("\"\""),
            Some("as7c2b"),
        ),
        (
            "From: \"Doe, John (Sales)\"<sip:100@10.0.0.1>;tag=a.b-c_d",
            Some("\"Doe, John (Sales)\""),
            Some("a.b-c_d"),
        ),
        (
            "From: Müller GmbH <sip:100@10.0.0.1>;tag=1",
            Some("Müller GmbH"),
            Some("1"),
        ),
        (
            "From: \"Müller\" <sip:100@10.0.0.1>;tag=1",
            Some("\"Müller\""),
            Some("1"),
        ),
        (
            "From: <sip:+49301234@example.com;user=phone>;epid=0123ABCD;tag=4f1c",
            None,
            Some("4f1c"),
        ),
        (
            "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1c1",
            Some("\"Anonymous\""),
            Some("1c1"),
        ),
        ("From: tel:+4930123456;tag=55", None, Some("55")),
        (
            "From: \"+4930123456\" <tel:+4930123456;phone-context=example.com>;tag=6",
            Some("\"+4930123456\""),
            Some("6"),
        ),
        ("From: sip:100@10.0.0.1;tag=gK0e4a", None, Some("gK0e4a")),
        ("f:<sip:100@10.0.0.1>;tag=x=y", None, Some("x=y")),
        (
            "From: \"back\\\\slash \\\"q\\\"\" <sip:1@h.example>;tag=q",
            Some("\"back\\\\slash \\\"q\\\"\""),
            Some("q"),
        ),
    ] {
        let message = request("sip:b@h.example", &[field]);
        let from = message.from().unwrap();
        assert_eq!((from.display, from.tag()), (display, tag), "{field}");
    }
}

#[test]
fn contacts_and_routes_of_others_are_read() {
    let message = request(
        "sip:b@h.example",
        &[
            "Contact: <sip:100@10.0.0.1:5060;ob>;reg-id=1;+sip.instance=\"<urn:uuid:00000000-0000-0000-0000-000c29a1b2c3>\"",
            "m: sip:sipp@127.0.0.1:5061, \"b\" <sip:c@h.example?X=y>;q=0.5;expires=3600;+u.sip!devicename.ccm.example=\"SEP0\"",
            "Record-Route: <sip:10.0.0.9;transport=tcp;r2=on;lr;ftag=1>,<sip:10.0.0.9;r2=on;lr>",
            "Route: <sip:pxy@10.0.0.8:5060;lr>;hidden, <sip:10.0.0.7;lr=true>",
        ],
    );
    let contacts: Vec<_> = message.contacts().map(|contact| contact.unwrap()).collect();
    assert_eq!(contacts.len(), 3);
    assert_eq!(
        contacts[0].param("+sip.instance"),
        Some("\"<urn:uuid:00000000-0000-0000-0000-000c29a1b2c3>\"")
    );
    assert_eq!(contacts[2].param("expires"), Some("3600"));
    assert!(
        message.record_routes().chain(message.routes()).all(|route| route
            .unwrap()
            .parsed_uri()
            .unwrap()
            .is_loose_router())
    );
    assert_eq!(message.routes().count(), 2);
}

#[test]
fn vias_of_others_are_read() {
    for (field, branch) in [
        (
            "Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bK-3247-1-0",
            Some("z9hG4bK-3247-1-0"),
        ),
        (
            "Via: SIP/2.0/TCP 10.0.0.1:5060;rport;branch=z9hG4bKPjabc.def;alias",
            Some("z9hG4bKPjabc.def"),
        ),
        (
            "Via: SIP/2.0/TLS sbc.example.com:5061;branch=z9hG4bK7c5a==;i=a1",
            Some("z9hG4bK7c5a=="),
        ),
        (
            "Via: SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK56sdasks",
            Some("z9hG4bK56sdasks"),
        ),
        (
            "Via: SIP/2.0/UDP 10.0.0.1:5060;received=10.0.0.2;rport=1024;branch=z9hG4bK1",
            Some("z9hG4bK1"),
        ),
        (
            "Via: SIP/2.0/UDP 10.0.0.1;maddr=224.0.1.75;ttl=1;branch=z9hG4bK2;oc;oc-algo=\"loss,rate\"",
            Some("z9hG4bK2"),
        ),
        (
            "Via: SIP/2.0/udp 10.0.0.1:5060 ;branch=z9hG4bK3",
            Some("z9hG4bK3"),
        ),
        ("Via: SIP/2.0/UDP 10.0.0.1;branch=1", Some("1")),
        ("Via: SIP/2.0/UDP 10.0.0.1", None),
    ] {
        let message = request("sip:b@h.example", &[field]);
        assert_eq!(message.via().unwrap().branch(), branch, "{field}");
    }
}

#[test]
fn other_headers_of_others_pass_untouched() {
    let fields = [
        "User-Agent: Example/1.0 (a (nested) comment) \"quote",
        "X-Header-With-Quote: \"open",
        "Allow:",
        "Authorization: Digest username=\"a,b\", realm=\"r\", nonce=\"n==\", uri=\"sip:h\", response=\"0\"",
        "Date: Sat, 13 Nov 2010 23:29:00 GMT",
        "P-Access-Network-Info: IEEE-802.11;i-wlan-node-id=ffeeddccbbaa",
        "Session-ID: ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000",
        "Warning: 399 h \"a, b\"",
        "User-to-User: 56a390f3d2b7310023a2;encoding=hex",
        "Subject: caf\u{e9} < now, or > later;",
    ];
    let message = request("sip:b@h.example", &fields);
    for field in fields {
        let (name, value) = field.split_once(':').unwrap();
        assert_eq!(message.header(name), Some(value.trim()), "{field}");
    }
    let printed = message.edit().build().unwrap();
    for field in fields {
        let (name, value) = field.split_once(':').unwrap();
        assert_eq!(printed.header(name), Some(value.trim()), "{field}");
    }
}
