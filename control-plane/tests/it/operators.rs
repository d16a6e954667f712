//! Operators who transfer calls and look for users.

use proto::admin_v1::{
    Binding, Call, CallParty, GetActiveCallsResponse, GetBansRequest, GetBansResponse,
    GetRegistrationsRequest, GetRegistrationsResponse, TransferCallRequest,
};
use sip::HeaderName;
use tonic::{Code, Status, Streaming};

use crate::admin::{ADMIN, Operator, ctl, ctl_is_here};
use crate::attacks::{banned, besieged, is_heard, is_silent};
use crate::phone::Phone;
use crate::plane::{Control, Node, Plane};
use crate::registrar::request;

/// A control plane with an admin API where numbers that begin with 2 lead to `target`, and all others to `callee`.
fn with_target(node: &Node, callee: &Phone, target: &Phone) -> Control {
    let mut control = Control::new(&node.address(), callee.address());
    control.extra = format!(
        "[[route]]\nprefix = \"2\"\nnext_hop = \"sip:{}\"\n{ADMIN}",
        target.address()
    );
    control
}

fn transfer(operator: &mut Operator, call_id: &str, leaves: CallParty, target: &str) -> Result<Call, Status> {
    let request = TransferCallRequest {
        call_id: call_id.into(),
        leaves: leaves.into(),
        target: target.into(),
    };
    let told = operator
        .runtime
        .block_on(operator.client.transfer_call(request))?;
    Ok(told.into_inner().call.unwrap())
}

/// The target answers, who stays gets its offer, who leaves is sent away.
fn complete(stays: &Phone, leaves: &Phone, target: &Phone) {
    let (invite, from) = target.take("INVITE");
    assert!(
        invite.body().is_empty(),
        "the newcomer is called without an offer"
    );
    target.answer(&invite, 180, from);
    target.answer(&invite, 200, from);
    let (offer, from) = stays.take("INVITE");
    assert!(!offer.body().is_empty());
    stays.answer(&offer, 200, from);
    stays.take("ACK");
    let (ack, _) = target.take("ACK");
    assert!(!ack.body().is_empty(), "the answer to the newcomer's offer");
    let (bye, from) = leaves.take("BYE");
    leaves.answer(&bye, 200, from);
}

/// The call when a watcher is told that somebody has another's place.
fn transferred(operator: &Operator, watched: &mut Streaming<GetActiveCallsResponse>) -> Call {
    loop {
        let message = operator.next(watched).expect("the stream goes on");
        let found = message.calls.into_iter().find(|call| call.transferred.is_some());
        if let Some(call) = found {
            return call;
        }
    }
}

#[test]
fn an_operator_transfers_a_call() {
    let Some(node) = Node::start("an_operator_transfers_a_call") else {
        return;
    };
    let (caller, callee, target) = (Phone::new("caller"), Phone::new("callee"), Phone::new("target"));
    let control = with_target(&node, &callee, &target);
    let plane = control.start();
    plane.wait_for_readiness(200);
    let mut operator = Operator::of(&plane);
    let call = caller.call(plane.address("sip udp"), "1000", &callee, "transferred");
    let id = operator.list()[0].call_id.clone();
    let mut watched = operator.calls(true, "");

    for (call_id, leaves, to, code, reason) in [
        (
            "",
            CallParty::Callee,
            "sip:2000@x",
            Code::InvalidArgument,
            "call_id",
        ),
        (
            &*id,
            CallParty::Unspecified,
            "sip:2000@x",
            Code::InvalidArgument,
            "leaves",
        ),
        (&*id, CallParty::Callee, "", Code::InvalidArgument, "target"),
        (
            &*id,
            CallParty::Callee,
            "sip:2000@x y",
            Code::InvalidArgument,
            "target",
        ),
        (
            &*id,
            CallParty::Callee,
            "mailto:a@x",
            Code::InvalidArgument,
            "target",
        ),
        (
            "nobody",
            CallParty::Callee,
            "sip:2000@x",
            Code::NotFound,
            "no such call",
        ),
    ] {
        let refused = transfer(&mut operator, call_id, leaves, to).unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
        assert!(refused.message().starts_with(reason), "{refused:?}");
    }

    let begun = transfer(&mut operator, &id, CallParty::Callee, "sip:2000@x").unwrap();
    assert_eq!((&begun.call_id, begun.transferred), (&id, None));
    let twice = transfer(&mut operator, &id, CallParty::Callee, "sip:2000@x").unwrap_err();
    assert_eq!(twice.code(), Code::FailedPrecondition, "{twice:?}");
    complete(&caller, &callee, &target);
    let now = transferred(&operator, &mut watched);
    let what = now.transferred.unwrap();
    assert_eq!((what.leaves(), &*what.to), (CallParty::Callee, "2000"));
    assert_eq!(plane.metric("ringpath_control_transfers_total", "completed"), 1.0);
    call.hang_up(&target);
    plane.stop();
    assert_eq!(
        crate::records::rows(&control.database()).len(),
        1,
        "one call, one record"
    );
    node.plane.stop();
}

#[test]
fn ringpathctl_transfers_a_call() {
    let name = "ringpathctl_transfers_a_call";
    let Some(node) = Node::start(name).filter(|_| ctl_is_here(name)) else {
        return;
    };
    let (caller, callee, target) = (Phone::new("caller"), Phone::new("callee"), Phone::new("target"));
    let plane = with_target(&node, &callee, &target).run();
    plane.wait_for_readiness(200);
    let mut operator = Operator::of(&plane);
    let server = format!("http://{}", plane.address("admin grpc"));
    let _call = caller.call(plane.address("sip udp"), "1000", &callee, "transferred");
    let id = operator.list()[0].call_id.clone();
    let mut watched = operator.calls(true, "");
    assert_eq!(ctl(&server, &["transfer", "nobody", "sip:2000@x"]).0, 4);
    assert_eq!(ctl(&server, &["transfer", &id, "nonsense"]).0, 1);
    let (status, told, _) = ctl(&server, &["transfer", &id, "sip:2000@x", "--leaves", "caller"]);
    assert!(status == 0 && told.contains(&id), "{told}");
    complete(&callee, &caller, &target);
    let now = transferred(&operator, &mut watched);
    assert_eq!(now.transferred.unwrap().leaves(), CallParty::Caller);
    let (_, told, _) = ctl(&server, &["call", &id]);
    assert!(told.contains("in the caller's place: 2000"), "{told}");
    let (_, told, _) = ctl(&server, &["call", &id, "--json"]);
    assert!(told.contains("\"leaves\": \"caller\""), "{told}");
    plane.stop();
    node.plane.stop();
}

fn registered(
    operator: &mut Operator,
    wanted: GetRegistrationsRequest,
) -> Result<GetRegistrationsResponse, Status> {
    let told = operator.client.get_registrations(wanted);
    Ok(operator.runtime.block_on(told)?.into_inner())
}

fn register(plane: &Plane, name: &'static str) -> Phone {
    let phone = Phone::new(name);
    let register = request(&phone, "REGISTER", name, name).build().unwrap();
    phone.send(register.bytes(), plane.address("sip udp"));
    let answer = phone.final_of("REGISTER");
    assert_eq!(
        (answer.status(), answer.has(HeaderName::Contact)),
        (Some(200), true)
    );
    phone
}

#[test]
fn registrations_are_told_page_by_page_or_of_one_user() {
    let mut control = Control::alone();
    control.extra = format!("[registrar]\ndomains = [\"ringpath.example\"]\nauthentication = false\n{ADMIN}");
    crate::registrar::import(&control, "alice;a\nbob;b\ncarol;c\n");
    let plane = control.run();
    let mut operator = Operator::of(&plane);
    let phones = ["alice", "bob", "carol"].map(|name| register(&plane, name));

    let one = |user: &str| GetRegistrationsRequest {
        user: user.into(),
        ..Default::default()
    };
    let bob = registered(&mut operator, one("bob")).unwrap();
    assert_eq!((bob.total, &*bob.next_page), (3, ""));
    let Binding {
        contact,
        address,
        transport,
        expires_unix_ms,
        ..
    } = &bob.bindings[0];
    assert_eq!(format!("<{contact}>"), phones[1].contact());
    assert_eq!((address, &**transport), (&phones[1].address().to_string(), "udp"));
    assert!(*expires_unix_ms > 0);
    assert!(
        registered(&mut operator, one("nobody"))
            .unwrap()
            .bindings
            .is_empty()
    );

    let mut wanted = GetRegistrationsRequest {
        page_size: 2,
        ..Default::default()
    };
    let mut users = Vec::new();
    loop {
        let page = registered(&mut operator, wanted.clone()).unwrap();
        users.extend(page.bindings.into_iter().map(|binding| binding.user));
        if page.next_page.is_empty() {
            break;
        }
        wanted.page = page.next_page;
    }
    assert_eq!(users, ["alice", "bob", "carol"], "in the order they run out");

    for (page, page_size, field) in [("x", 2, "page"), ("1-y", 2, "page"), ("", 1_001, "page_size")] {
        let wrong = GetRegistrationsRequest {
            page: page.into(),
            page_size,
            ..Default::default()
        };
        let refused = registered(&mut operator, wrong).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(field), "{refused:?}");
    }

    if ctl_is_here("registrations_are_told_page_by_page_or_of_one_user") {
        let server = format!("http://{}", plane.address("admin grpc"));
        let (status, told, _) = ctl(&server, &["registrations"]);
        assert_eq!((status, told.lines().count()), (0, 4), "{told}");
        assert!(told.starts_with("USER "), "{told}");
        let (status, told, _) = ctl(&server, &["registrations", "bob", "--json"]);
        assert_eq!((status, told.lines().count()), (0, 1), "{told}");
        assert!(
            told.contains("\"user\":\"bob\"") && told.contains(address.as_str()),
            "{told}"
        );
    }
    plane.stop();
}

#[test]
fn without_a_registrar_there_are_no_registrations() {
    let mut control = Control::alone();
    control.extra = ADMIN.into();
    let plane = control.run();
    let mut operator = Operator::of(&plane);
    let told = registered(&mut operator, GetRegistrationsRequest::default()).unwrap();
    assert_eq!(told, GetRegistrationsResponse::default());
    plane.stop();
}

#[test]
fn an_operator_bans_a_network_and_lifts_the_ban() {
    if !ctl_is_here("an_operator_bans_a_network_and_lifts_the_ban") {
        return;
    }
    let plane = besieged(ADMIN);
    let mut operator = Operator::of(&plane);
    let mut bans = || {
        let told = operator.client.get_bans(GetBansRequest {});
        operator.runtime.block_on(told).unwrap().into_inner()
    };
    assert_eq!(bans(), GetBansResponse::default());
    let (stranger, neighbour) = (
        Phone::at("127.0.7.1:0", "stranger"),
        Phone::at("127.0.8.1:0", "neighbour"),
    );
    is_heard(&stranger, &plane, "before");

    let server = format!("http://{}", plane.address("admin grpc"));
    for (wrong, reason) in [
        (["ban", "127.0.0.0/7"], "network: is wider than /8"),
        (["ban", "nobody"], "network: is no address or network"),
    ] {
        let (status, _, told) = ctl(&server, &wrong);
        assert!(status == 1 && told.contains(reason), "{told}");
    }
    let (status, _, told) = ctl(&server, &["ban", "127.0.7.0/24", "--for", "0"]);
    assert!(status == 1 && told.contains("lasts_s"), "{told}");
    let (status, told, _) = ctl(&server, &["ban", "127.0.7.9/24", "--for", "600"]);
    assert!(status == 0 && told.contains("127.0.7.0/24"), "{told}");

    let request = stranger.request("OPTIONS", "ping", &stranger.address().to_string(), "", "banned");
    stranger.send(request.build().unwrap().bytes(), plane.address("sip udp"));
    is_silent(&stranger);
    is_heard(&neighbour, &plane, "others");
    let told = bans();
    assert_eq!((told.total, &*told.bans[0].network), (1, "127.0.7.0/24"));
    assert_eq!(told.bans[0].reason, "operator");
    assert_eq!(banned(&plane), 1.0);
    let (_, listed, _) = ctl(&server, &["bans", "--json"]);
    assert!(listed.contains("\"network\": \"127.0.7.0/24\""), "{listed}");
    let (_, listed, _) = ctl(&server, &["bans"]);
    assert!(
        listed.contains("127.0.7.0/24") && listed.contains("LEFT"),
        "{listed}"
    );

    assert_eq!(ctl(&server, &["unban", "127.0.7.1"]).0, 4, "exactly that network");
    assert_eq!(ctl(&server, &["unban", "127.0.7.0/24"]).0, 0);
    assert_eq!(bans(), GetBansResponse::default());
    is_heard(&stranger, &plane, "after");
    plane.stop();
}
