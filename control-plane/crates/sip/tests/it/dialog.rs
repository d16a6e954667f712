//! Dialogs by the paragraphs of RFC 3261 §12 and §13.

use bytes::Bytes;
use sip::dialog::{Dialog, DialogError, DialogId, DialogSet, DialogState, SetChange};
use sip::message::HeaderName;
use sip::{Message, Transmit, Transport};

use crate::bench::{PEER, message, to};

fn invite() -> Message {
    message(
        "INVITE sip:bob@example.com SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
        Max-Forwards: 70
        Record-Route: <sip:p2.example.com;lr>, \"P, 1\" <sip:p1.example.com;lr;x=1>
        From: \"Alice; A\" <sip:alice@example.com>;tag=a1;other=1
        To: <sip:bob@example.com>
        Call-ID: call-1
        CSeq: 7 INVITE
        Contact: <sip:alice@192.0.2.1:5060;ob>",
    )
}

fn response(status: u16, tag: &str, fields: &str) -> Message {
    message(&format!(
        "SIP/2.0 {status} Reason
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
        From: \"Alice; A\" <sip:alice@example.com>;tag=a1;other=1
        To: Bob <sip:bob@example.com>;tag={tag}
        Call-ID: call-1
        CSeq: 7 INVITE
        {fields}"
    ))
}

const CONTACT: &str = "Contact: <sip:bob@198.51.100.7:5070>";

fn ok(tag: &str) -> Message {
    response(200, tag, CONTACT)
}

fn in_dialog(method: &str, seq: u32, contact: &str) -> Message {
    message(&format!(
        "{method} sip:bob@198.51.100.7:5070 SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{seq}{method}
        From: <sip:alice@example.com>;tag=a1
        To: <sip:bob@example.com>;tag=b1
        Call-ID: call-1
        CSeq: {seq} {method}
        Contact: <{contact}>"
    ))
}

fn values(request: &Message, name: HeaderName) -> Vec<&str> {
    request.fields(name).collect()
}

#[test]
fn the_server_takes_routes_in_order_and_the_client_in_reverse() {
    let server = Dialog::of_server(&invite(), "b1").expect("a dialog");
    let routes = ["<sip:p2.example.com;lr>", "\"P, 1\" <sip:p1.example.com;lr;x=1>"];
    assert_eq!(server.routes().collect::<Vec<_>>(), routes, "§12.1.1");
    assert_eq!(server.target(), "sip:alice@192.0.2.1:5060;ob");
    assert_eq!(server.state(), DialogState::Early);

    let fields =
        format!("{CONTACT}\nRecord-Route: <sip:p2.example.com;lr>\nRecord-Route: <sip:p1.example.com;lr>");
    let client = Dialog::of_client(&invite(), &response(200, "b1", &fields)).expect("a dialog");
    assert_eq!(
        client.routes().collect::<Vec<_>>(),
        ["<sip:p1.example.com;lr>", "<sip:p2.example.com;lr>"],
        "§12.1.2"
    );
    assert_eq!(client.target(), "sip:bob@198.51.100.7:5070");
    assert_eq!(client.state(), DialogState::Confirmed);
}

#[test]
fn both_ends_name_the_dialog_alike() {
    let server = Dialog::of_server(&invite(), "b1").expect("a dialog");
    let client = Dialog::of_client(&invite(), &ok("b1")).expect("a dialog");
    assert_eq!(
        DialogId::of_request(&in_dialog("BYE", 8, "sip:x@y")),
        Ok(Some(server.id().clone()))
    );
    assert_eq!(DialogId::of_response(&ok("b1")), Ok(Some(client.id().clone())));
    assert_eq!(DialogId::of_request(&invite()), Ok(None), "outside any dialog");
}

#[test]
fn a_request_of_the_server_goes_back_to_the_contact_along_the_routes() {
    let mut server = Dialog::of_server(&invite(), "b1").expect("a dialog");
    let bye = server.request("BYE", 70).build().expect("well-formed");
    assert_eq!(bye.request_uri(), Some("sip:alice@192.0.2.1:5060;ob"));
    assert_eq!(
        values(&bye, HeaderName::Route),
        ["<sip:p2.example.com;lr>", "\"P, 1\" <sip:p1.example.com;lr;x=1>"]
    );
    assert_eq!(bye.header(HeaderName::From), Some("<sip:bob@example.com>;tag=b1"));
    assert_eq!(
        bye.header(HeaderName::To),
        Some("\"Alice; A\" <sip:alice@example.com>;tag=a1")
    );
    assert_eq!(
        bye.header(HeaderName::CSeq),
        Some("1 BYE"),
        "a space of its own (§12.1.1)"
    );
    assert_eq!(server.next_hop(), "sip:p2.example.com;lr");
}

#[test]
fn requests_of_the_client_count_up_and_the_ack_has_the_number_of_its_invite() {
    let mut client = Dialog::of_client(&invite(), &ok("b1")).expect("a dialog");
    let ack = client.ack(7, 70).build().expect("well-formed");
    assert_eq!(
        (ack.header(HeaderName::CSeq), client.local_seq()),
        (Some("7 ACK"), Some(7))
    );
    for (method, cseq) in [("INFO", "8 INFO"), ("INVITE", "9 INVITE"), ("BYE", "10 BYE")] {
        let request = client.request(method, 70).build().expect("well-formed");
        assert_eq!(request.header(HeaderName::CSeq), Some(cseq));
        assert_eq!(
            request.header(HeaderName::From),
            Some("\"Alice; A\" <sip:alice@example.com>;tag=a1")
        );
        assert_eq!(
            request.header(HeaderName::To),
            Some("Bob <sip:bob@example.com>;tag=b1")
        );
    }
}

#[test]
fn a_strict_router_gets_its_own_uri_and_the_target_comes_last() {
    let fields = format!(
        "{CONTACT}\nRecord-Route: <sip:p2.example.com;lr>, <sip:p1.example.com;transport=tcp;method=INVITE?Subject=x>"
    );
    let mut client = Dialog::of_client(&invite(), &response(200, "b1", &fields)).expect("a dialog");
    let bye = client.request("BYE", 70).build().expect("well-formed");
    assert_eq!(
        bye.request_uri(),
        Some("sip:p1.example.com;transport=tcp"),
        "§12.2.1.1, §19.1.1"
    );
    assert_eq!(
        values(&bye, HeaderName::Route),
        ["<sip:p2.example.com;lr>", "<sip:bob@198.51.100.7:5070>"]
    );
    assert!(client.next_hop().starts_with("sip:p1.example.com"), "§8.1.2");
}

#[test]
fn a_strict_router_behind_a_loose_one_is_left_to_it() {
    let fields = format!("{CONTACT}\nRecord-Route: <sip:strict.example.com>, <sip:loose.example.com;lr>");
    let mut client = Dialog::of_client(&invite(), &response(200, "b1", &fields)).expect("a dialog");
    let bye = client.request("BYE", 70).build().expect("well-formed");
    assert_eq!(bye.request_uri(), Some("sip:bob@198.51.100.7:5070"));
    assert_eq!(
        values(&bye, HeaderName::Route),
        ["<sip:loose.example.com;lr>", "<sip:strict.example.com>"]
    );
}

#[test]
fn a_lower_cseq_is_out_of_order_and_ack_and_cancel_are_exempt() {
    let mut server = Dialog::of_server(&invite(), "b1").expect("a dialog");
    assert_eq!(
        server.handle_request(&in_dialog("INFO", 9, "sip:x@y")),
        Ok(()),
        "a gap is no fault (§12.2.2)"
    );
    let late = server.handle_request(&in_dialog("INFO", 8, "sip:x@y"));
    assert_eq!(late, Err(DialogError::OutOfOrder));
    assert_eq!(late.map_err(DialogError::status), Err(500));
    assert_eq!(server.handle_request(&in_dialog("ACK", 7, "sip:x@y")), Ok(()));
    assert_eq!(server.handle_request(&in_dialog("BYE", 10, "sip:x@y")), Ok(()));
}

#[test]
fn only_target_refresh_requests_move_the_target() {
    let mut server = Dialog::of_server(&invite(), "b1").expect("a dialog");
    server
        .refresh_target(&in_dialog("INFO", 8, "sip:elsewhere@192.0.2.9"))
        .expect("well-formed");
    assert_eq!(server.target(), "sip:alice@192.0.2.1:5060;ob");
    for (method, seq) in [("INVITE", 9), ("UPDATE", 10)] {
        let target = format!("sip:{method}@192.0.2.9");
        server
            .refresh_target(&in_dialog(method, seq, &target))
            .expect("well-formed");
        assert_eq!(server.target(), target);
    }
}

#[test]
fn the_2xx_brings_the_routes_anew_and_the_target() {
    let early = response(
        180,
        "b1",
        "Contact: <sip:early@192.0.2.3>\nRecord-Route: <sip:p1.example.com;lr>",
    );
    let mut client = Dialog::of_client(&invite(), &early).expect("a dialog");
    assert_eq!(
        (client.state(), client.target()),
        (DialogState::Early, "sip:early@192.0.2.3")
    );
    client
        .handle_response(&response(
            200,
            "b1",
            &format!("{CONTACT}\nRecord-Route: <sip:p9.example.com;lr>"),
        ))
        .unwrap();
    assert_eq!(
        (client.state(), client.target()),
        (DialogState::Confirmed, "sip:bob@198.51.100.7:5070")
    );
    assert_eq!(
        client.routes().collect::<Vec<_>>(),
        ["<sip:p9.example.com;lr>"],
        "§13.2.2.4"
    );
    // Afterwards the routes stand (§12.2).
    client
        .handle_response(&response(
            200,
            "b1",
            "Contact: <sip:new@192.0.2.4>\nRecord-Route: <sip:p8.example.com;lr>",
        ))
        .unwrap();
    assert_eq!(client.target(), "sip:new@192.0.2.4");
    assert_eq!(client.routes().collect::<Vec<_>>(), ["<sip:p9.example.com;lr>"]);
}

#[test]
fn what_makes_no_dialog_is_named() {
    let none = |response: &Message| Dialog::of_client(&invite(), response).err();
    assert_eq!(none(&response(100, "b1", CONTACT)), Some(DialogError::NoDialog));
    assert_eq!(none(&response(486, "b1", CONTACT)), Some(DialogError::NoDialog));
    assert_eq!(
        none(&response(200, "b1", "Subject: x")),
        Some(DialogError::NoContact)
    );
    assert_eq!(
        none(&response(180, "b1", "Subject: x")),
        None,
        "some ring without a Contact"
    );
    let without_contact = invite()
        .edit()
        .remove(HeaderName::Contact)
        .build()
        .expect("well-formed");
    assert_eq!(
        Dialog::of_server(&without_contact, "b1")
            .err()
            .map(DialogError::status),
        Some(400)
    );
}

#[test]
fn a_repeated_2xx_draws_the_ack_of_its_invite_again() {
    let mut client = Dialog::of_client(&invite(), &ok("b1")).expect("a dialog");
    assert_eq!(client.repeat_ack(&ok("b1")), None, "nothing was acknowledged yet");
    let ack = Transmit {
        destination: to(Transport::Udp, PEER),
        bytes: Bytes::from_static(b"ACK"),
    };
    client.keep_ack(7, ack.clone());
    assert_eq!(client.repeat_ack(&ok("b1")), Some(ack));
    assert_eq!(client.repeat_ack(&ok("fork")), None);
    assert_eq!(client.repeat_ack(&response(180, "b1", CONTACT)), None);
    let of_reinvite = ok("b1")
        .edit()
        .set(HeaderName::CSeq, "8 INVITE")
        .build()
        .expect("well-formed");
    assert_eq!(client.repeat_ack(&of_reinvite), None);
}

#[test]
fn each_fork_has_a_dialog_of_its_own() {
    let mut set = DialogSet::new(invite(), 3);
    let change = |set: &mut DialogSet, response: &Message| match set.handle_response(response) {
        Ok(SetChange::None) => "none".to_owned(),
        Ok(SetChange::New(dialog)) => format!("new {:?}", dialog.state()),
        Ok(SetChange::Early(_)) => "early".to_owned(),
        Ok(SetChange::Confirmed(_)) => "confirmed".to_owned(),
        Ok(SetChange::Repeated(_)) => "repeated".to_owned(),
        Ok(SetChange::Taken) => "taken".to_owned(),
        Err(error) => error.to_string(),
    };
    assert_eq!(change(&mut set, &response(100, "b1", CONTACT)), "none");
    assert_eq!(change(&mut set, &response(180, "b1", CONTACT)), "new Early");
    assert_eq!(change(&mut set, &response(183, "b2", CONTACT)), "new Early");
    assert_eq!(change(&mut set, &response(183, "b1", CONTACT)), "early");
    assert_eq!(change(&mut set, &ok("b1")), "confirmed");
    assert_eq!(
        change(&mut set, &response(180, "b1", CONTACT)),
        "none",
        "overtaken by its 2xx"
    );
    assert_eq!(change(&mut set, &ok("b1")), "repeated");
    assert_eq!(change(&mut set, &ok("b3")), "new Confirmed");
    assert_eq!(change(&mut set, &ok("b4")), "too many forks");
    assert_eq!(
        set.find("b2").map(|dialog| dialog.state()),
        Some(DialogState::Early)
    );
    assert_eq!(set.iter().count(), 3);

    assert!(set.take("b1").is_some());
    assert_eq!(change(&mut set, &ok("b1")), "taken");
    assert_eq!(set.iter().count(), 2);
    assert_eq!(change(&mut set, &response(486, "b2", CONTACT)), "none");
}
