//! Requests and calls over the real transports.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bytes::Bytes;
use sip::message::RequestBuilder;
use sip::{HeaderName, Message};

use crate::phone::Phone;
use crate::plane::{Control, LIMIT, Node, Plane, control_binary};

#[test]
fn options_is_answered_over_udp_and_tcp() {
    let plane = Control::alone().run();
    let phone = Phone::new("ping");
    let options = phone
        .request("OPTIONS", "ping", &phone.address().to_string(), "", "ping")
        .build()
        .unwrap();
    phone.send(options.bytes(), plane.address("sip udp"));
    assert_eq!(phone.final_of("OPTIONS").status(), Some(200));

    let mut stream = TcpStream::connect(plane.address("sip tcp")).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let over_tcp = RequestBuilder::new("OPTIONS", "sip:ping@ringpath.example")
        .via("SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKtcp")
        .header(HeaderName::MaxForwards, 70)
        .header(HeaderName::From, "<sip:a@example.com>;tag=1")
        .header(HeaderName::To, "<sip:ping@ringpath.example>")
        .header(HeaderName::CallId, "tcp")
        .header(HeaderName::CSeq, "1 OPTIONS")
        .build()
        .unwrap();
    stream.write_all(over_tcp.bytes()).unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    let answer = Message::parse_datagram(Bytes::from(bytes)).unwrap();
    assert_eq!(answer.status(), Some(200));
    assert_eq!(answer.via().unwrap().received(), Some([127, 0, 0, 1].into()));
    plane.stop();
}

#[test]
fn ipv6_is_spoken_beside_ipv4() {
    let mut control = Control::alone();
    control.listen = "\"udp:127.0.0.1:0\", \"udp:[::1]:0\"".into();
    let plane = control.run();
    let phone = Phone::at("[::1]:0", "six");
    let via = phone.address().to_string();
    let options = phone.request("OPTIONS", "ping", &via, "", "six").build().unwrap();
    phone.send(options.bytes(), plane.address("sip udp ["));
    assert_eq!(phone.final_of("OPTIONS").status(), Some(200));
    plane.stop();
}

/// RFC 3261 §18.1.1, §8.1.1.8: Via and Contact name the listener that a message leaves by.
#[test]
fn each_party_is_told_the_listener_that_it_is_reached_by() {
    let Some(node) = Node::start("each_party_is_told_the_listener_that_it_is_reached_by") else {
        return;
    };
    let (caller, callee) = (Phone::at("[::1]:0", "caller"), Phone::new("callee"));
    let mut control = Control::new(&node.address(), callee.address());
    control.listen = "\"udp:127.0.0.1:0\", { at = \"udp:[::1]:0\", advertised = \"six.example.com\" }, \
        { at = \"udp:127.0.0.2:0\", advertised = \"out.example.com:5099\", name = \"out\" }"
        .into();
    control.extra = "listener = \"out\"\n".into();
    let plane = control.start();
    plane.wait_for_readiness(200);
    let (six, out) = (plane.address("sip udp ["), plane.address("sip udp 127.0.0.2"));
    let six_name = format!("six.example.com:{}", six.port());

    caller.send(caller.invite("1000", "told").bytes(), six);
    let (invite, from) = callee.take("INVITE");
    assert_eq!(from, out);
    let names = |message: &Message| {
        let via = message.header(HeaderName::Via).unwrap().to_owned();
        let contact = message.header(HeaderName::Contact).unwrap_or_default().to_owned();
        (via, contact)
    };
    let (via, contact) = names(&invite);
    assert!(via.starts_with("SIP/2.0/UDP out.example.com:5099;"), "{via}");
    assert_eq!(contact, "<sip:out.example.com:5099>");
    callee.answer(&invite, 200, from);
    let answer = caller.final_of("INVITE");
    assert_eq!(names(&answer).1, format!("<sip:{six_name}>"));
    let (ack, from) = {
        // The caller's ACK, which the plane passes on as its own.
        let ack = RequestBuilder::new("ACK", &format!("sip:{six_name}"))
            .via(format_args!("SIP/2.0/UDP {};branch=z9hG4bKack", caller.address()))
            .header(HeaderName::MaxForwards, 70)
            .header(HeaderName::From, "<sip:caller@example.com>;tag=told")
            .header(HeaderName::To, answer.header(HeaderName::To).unwrap())
            .header(HeaderName::CallId, "told")
            .header(HeaderName::CSeq, "1 ACK")
            .build()
            .unwrap();
        caller.send(ack.bytes(), six);
        callee.take("ACK")
    };
    assert_eq!(from, out);
    assert!(names(&ack).0.starts_with("SIP/2.0/UDP out.example.com:5099;"));
    // The end of the process hangs up both, each by its own listener.
    plane.ask_to_stop();
    plane.ask_to_stop();
    for (phone, listener, name) in [(&callee, out, "out.example.com:5099"), (&caller, six, &*six_name)] {
        let (bye, from) = phone.take("BYE");
        assert_eq!(from, listener);
        assert!(
            names(&bye).0.starts_with(&format!("SIP/2.0/UDP {name};")),
            "{bye:?}"
        );
        phone.answer(&bye, 200, from);
    }
    node.plane.stop();
}

#[test]
fn rport_brings_the_answer_to_where_the_request_came_from() {
    let plane = Control::alone().run();
    let phone = Phone::new("natted");
    let request = phone
        .request("OPTIONS", "ping", "192.0.2.7:5999", ";rport", "natted")
        .build()
        .unwrap();
    phone.send(request.bytes(), plane.address("sip udp"));
    let answer = phone.final_of("OPTIONS");
    let via = answer.via().unwrap();
    assert_eq!(via.received(), Some([127, 0, 0, 1].into()));
    assert_eq!(via.rport(), Some(Some(phone.address().port())));
    plane.stop();
}

#[test]
fn without_rport_the_answer_goes_to_the_port_of_the_via() {
    let plane = Control::alone().run();
    let (sender, named) = (Phone::new("sender"), Phone::new("named"));
    let via = format!("192.0.2.7:{}", named.address().port());
    let request = sender
        .request("OPTIONS", "ping", &via, "", "elsewhere")
        .build()
        .unwrap();
    sender.send(request.bytes(), plane.address("sip udp"));
    assert_eq!(
        named.final_of("OPTIONS").via().unwrap().received(),
        Some([127, 0, 0, 1].into())
    );
    plane.stop();
}

#[test]
fn without_a_media_node_a_call_gets_503_with_retry_after() {
    let plane = Control::alone().run();
    let phone = Phone::new("early");
    phone.send(phone.invite("1000", "early").bytes(), plane.address("sip udp"));
    let refused = phone.final_of("INVITE");
    assert_eq!(
        (refused.status(), refused.header(HeaderName::RetryAfter)),
        (Some(503), Some("5"))
    );
    plane.stop();
}

#[test]
fn without_anchored_media_parties_get_each_others_addresses_and_no_node_is_needed() {
    let (caller, callee) = (Phone::new("caller"), Phone::new("callee"));
    let control = Control::new("", callee.address());
    let node = "[[media_node]]\nname = \"media-1\"\naddress = \"\"\n";
    assert!(control.text().contains(node));
    let text = control.text().replace(node, "[media]\nanchored = false\n");
    let plane = Plane::start(&control_binary(), control.folder.path(), &text, &[]);
    plane.wait_for_readiness(200);
    let to = plane.address("sip udp");
    caller.send(caller.invite("1000", "direct").bytes(), to);
    let (invite, from) = callee.take("INVITE");
    let offer = String::from_utf8_lossy(invite.body()).into_owned();
    assert!(
        offer.contains("c=IN IP4 127.0.0.1\r\n") && offer.contains("m=audio 49170 "),
        "{offer}"
    );
    callee.answer(&invite, 486, from);
    assert_eq!(caller.final_of("INVITE").status(), Some(486));
    caller.call(to, "1000", &callee, "whole").hang_up(&callee);
    plane.stop();
    let rows = crate::records::rows(&control.database());
    assert_eq!(rows.len(), 2);
    assert!(
        rows.iter()
            .any(|row| (row.status, row.node.as_deref()) == (Some(200), Some("direct"))),
        "{rows:?}"
    );
}

#[test]
fn a_call_runs_over_both_planes_and_leaves_nothing_behind() {
    let Some(node) = Node::start("a_call_runs_over_both_planes_and_leaves_nothing_behind") else {
        return;
    };
    let (caller, callee) = (Phone::new("caller"), Phone::new("callee"));
    let control = Control::new(&node.address(), callee.address());
    let plane = control.start();
    plane.wait_for_readiness(200);
    let call = caller.call(plane.address("sip udp"), "1000", &callee, "whole");
    assert_eq!(plane.metric("ringpath_control_calls_active", ""), 1.0);
    assert_eq!(plane.metric("ringpath_control_media_node_calls", ""), 1.0);
    call.hang_up(&callee);
    crate::plane::wait("the call is over", || {
        plane.metric("ringpath_control_calls_active", "") == 0.0
    });
    assert_eq!(plane.metric("ringpath_control_media_node_calls", ""), 0.0);
    assert_eq!(
        plane.metric("ringpath_control_calls_ended_total", "released_by=\"caller\""),
        1.0
    );
    plane.stop();
    let rows = crate::records::rows(&control.database());
    assert_eq!(
        (rows[0].status, rows[0].node.as_deref()),
        (Some(200), Some("media-1"))
    );
    // One call id in the logs of both planes.
    assert!(
        node.plane.log().contains(&rows[0].call_id),
        "{}",
        node.plane.log()
    );
    node.plane.stop();
}

#[test]
fn a_call_whose_media_node_dies_is_hung_up() {
    let Some(mut node) = Node::start("a_call_whose_media_node_dies_is_hung_up") else {
        return;
    };
    let (caller, callee) = (Phone::new("caller"), Phone::new("callee"));
    let mut control = Control::new(&node.address(), callee.address());
    control.extra = "[media]\ngone_after_ms = 300\npoll_interval_ms = 100\n".into();
    let plane = control.start();
    plane.wait_for_readiness(200);
    let _call = caller.call(plane.address("sip udp"), "1000", &callee, "orphaned");
    node.plane.kill();
    for phone in [&caller, &callee] {
        let (bye, from) = phone.take("BYE");
        phone.answer(&bye, 200, from);
    }
    assert_eq!(
        plane.metric("ringpath_control_media_events_total", "call_lost"),
        1.0
    );
    plane.stop();
    let rows = crate::records::rows(&control.database());
    assert_eq!(
        (rows[0].released_by.as_deref(), rows[0].caller_packets),
        (Some("system"), None)
    );
}
