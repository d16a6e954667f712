//! Users: imported, registered, found again after a kill, and called.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use sip::digest::{Account, Request, answer};
use sip::message::{RequestBuilder, ResponseBuilder};
use sip::{HeaderName, Message};

use crate::phone::Phone;
use crate::plane::{Control, Plane, control_binary};

const DOMAIN: &str = "ringpath.example";

/// A control plane's folder with three users in its database.
fn with_users(lines: &str) -> Control {
    let mut control = Control::alone();
    control.extra = format!("[registrar]\ndomains = [\"{DOMAIN}\"]\n{lines}\n");
    import(
        &control,
        "# name;password\nalice;wonderland\nbob;builder\n\ncarol;singer\n",
    );
    control
}

pub fn import(control: &Control, users: &str) {
    let folder = control.folder.path();
    let (config, file) = (folder.join("import.toml"), folder.join("users.csv"));
    std::fs::write(&config, control.text()).unwrap();
    std::fs::write(&file, users).unwrap();
    let done = Command::new(control_binary())
        .arg("--config")
        .arg(&config)
        .arg("--import-users")
        .arg(&file)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let users = users
        .lines()
        .filter(|line| line.contains(';') && !line.starts_with('#'))
        .count();
    assert_eq!(
        String::from_utf8_lossy(&done.stdout),
        format!("{users} users imported\n")
    );
}

pub fn request(phone: &Phone, method: &str, user: &str, call_id: &str) -> RequestBuilder {
    phone.request(method, user, &phone.address().to_string(), "", call_id)
}

/// The final response to a request with these further fields.
fn send(phone: &Phone, plane: &Plane, builder: RequestBuilder, method: &str) -> Message {
    phone.send(builder.build().unwrap().bytes(), plane.address("sip udp"));
    phone.final_of(method)
}

/// Sends the request, answers the challenge with that password, and gives the final response.
pub fn authenticated(
    phone: &Phone,
    plane: &Plane,
    (method, user): (&str, &str),
    account: Account<'_>,
    call_id: &str,
) -> Message {
    let challenge = send(phone, plane, request(phone, method, user, call_id), method);
    assert!(matches!(challenge.status(), Some(401 | 407)), "{challenge:?}");
    let uri = format!("sip:{user}@{DOMAIN}");
    let body = Request {
        method,
        uri: &uri,
        body: b"",
    };
    let fields = answer(&challenge, body, account, "c0ffee", false).unwrap();
    let again = request(phone, method, user, &format!("{call_id}-again"));
    let again = fields
        .iter()
        .fold(again, |again, (name, value)| again.header(*name, value));
    send(phone, plane, again, method)
}

fn register(phone: &Phone, plane: &Plane, call_id: &str) -> Message {
    let account = Account {
        username: phone.name,
        password: "wonderland",
    };
    authenticated(phone, plane, ("REGISTER", phone.name), account, call_id)
}

#[test]
fn a_user_registers_outlives_a_kill_and_is_called() {
    let control = with_users("");
    let mut plane = control.start();
    let alice = Phone::new("alice");
    let response = register(&alice, &plane, "r1");
    assert_eq!(response.status(), Some(200), "{}", plane.log());
    let contact = response.contact().unwrap().unwrap();
    assert_eq!(format!("<{}>", contact.uri), alice.contact());
    assert_eq!(contact.param("expires"), Some("3600"));
    assert_eq!(plane.metric("ringpath_control_registrations", ""), 1.0);
    assert_eq!(plane.metric("ringpath_control_users ", ""), 3.0);
    assert_eq!(
        plane.metric("ringpath_control_registers_refused_total", "no_credentials"),
        1.0
    );

    plane.kill();
    let plane = control.start();
    assert_eq!(plane.metric("ringpath_control_registrations", ""), 1.0);
    let caller = Phone::new("trunk");
    let invite = request(&caller, "INVITE", "alice", "call").build().unwrap();
    caller.send(invite.bytes(), plane.address("sip udp"));
    let (invite, from) = alice.take("INVITE");
    assert_eq!(format!("<{}>", invite.request_uri().unwrap()), alice.contact());
    assert!(
        invite.to().unwrap().uri.starts_with("sip:alice@"),
        "{:?}",
        invite.to()
    );
    alice.answer(&invite, 486, from);
    assert_eq!(caller.final_of("INVITE").status(), Some(486));

    let away = request(&caller, "INVITE", "carol", "away");
    assert_eq!(send(&caller, &plane, away, "INVITE").status(), Some(480));
    plane.stop();
}

#[test]
fn calls_are_challenged_when_the_file_says_so() {
    let plane = with_users("challenge_calls = true\ntrusted = [\"192.0.2.0/24\"]").run();
    let bob = Phone::new("bob");
    let right = Account {
        username: "bob",
        password: "builder",
    };
    let wrong = Account {
        password: "breaker",
        ..right
    };
    let refused = authenticated(&bob, &plane, ("INVITE", "carol"), wrong, "wrong");
    assert_eq!(refused.status(), Some(407));
    let away = authenticated(&bob, &plane, ("INVITE", "carol"), right, "right");
    assert_eq!(away.status(), Some(480), "let in, and nobody is there");
    assert_eq!(
        plane.metric("ringpath_control_user_calls_refused_total", "wrong_credentials"),
        1.0
    );
    plane.stop();
}

#[test]
fn a_user_who_is_added_later_gets_in() {
    let control = with_users("users_refresh_s = 1");
    let plane = control.start();
    let dave = Phone::new("dave");
    assert_eq!(register(&dave, &plane, "early").status(), Some(401));
    import(&control, "dave;wonderland\n");
    plane.wait_for_metric("ringpath_control_users ", "", 4.0);
    assert_eq!(register(&dave, &plane, "late").status(), Some(200));
    plane.stop();
}

#[test]
fn without_a_registrar_register_is_refused() {
    let plane = Control::alone().run();
    let alice = Phone::new("alice");
    let response = send(
        &alice,
        &plane,
        request(&alice, "REGISTER", "alice", "none"),
        "REGISTER",
    );
    assert_eq!(response.status(), Some(405));
    assert!(response.has(HeaderName::Allow));
    plane.stop();
}

/// A device whose connection has ended does not keep a call from the user's other one, though it is preferred.
#[test]
fn a_call_passes_over_a_device_whose_connection_has_ended() {
    let plane = with_users("authentication = false").run();
    let sip = plane.address("sip tcp");
    let mut device = TcpStream::connect(sip).unwrap();
    device.set_read_timeout(Some(crate::plane::LIMIT)).unwrap();
    let local = device.local_addr().unwrap();
    write!(
        device,
        "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/TCP {local};branch=z9hG4bKgone\r\n\
         From: <sip:alice@{DOMAIN}>;tag=1\r\nTo: <sip:alice@{DOMAIN}>\r\nCall-ID: gone\r\nCSeq: 1 REGISTER\r\n\
         Contact: <sip:gone@{local};transport=tcp>;q=1.0\r\nContent-Length: 0\r\n\r\n"
    )
    .unwrap();
    let mut answer = [0; 4_096];
    let length = device.read(&mut answer).unwrap();
    assert!(answer[..length].starts_with(b"SIP/2.0 200"));
    let desk = Phone::new("alice");
    let at_desk = request(&desk, "REGISTER", "alice", "desk").build().unwrap();
    desk.send(at_desk.bytes(), plane.address("sip udp"));
    assert_eq!(desk.final_of("REGISTER").status(), Some(200));
    drop(device);
    plane.wait_for_metric("ringpath_control_registrations", "", 1.0);
    crate::plane::wait("the connection is gone", || {
        plane.metric("ringpath_control_sip_connections", "") == 0.0
    });
    let caller = Phone::new("caller");
    let invite = request(&caller, "INVITE", "alice", "call").build().unwrap();
    caller.send(invite.bytes(), plane.address("sip udp"));
    let (invite, from) = desk.take("INVITE");
    desk.answer(&invite, 486, from);
    assert_eq!(caller.final_of("INVITE").status(), Some(486));
    assert_eq!(
        plane.metric("ringpath_control_call_events_total", "next_hop_skipped"),
        0.0
    );
    plane.stop();
}

/// A phone that answers 302 sends its calls on to a colleague, and both are told the caller's account instead of the number
/// that it shows.
#[test]
fn a_phone_sends_its_calls_on_to_a_colleague() {
    let lines = "redirect = \"follow\"\nredirect_to = [\"bob\"]\nfrom = \"account\"\nchallenge_calls = true";
    let plane = with_users(lines).run();
    let (alice, bob, caller) = (Phone::new("alice"), Phone::new("bob"), Phone::new("+4930555"));
    let account = |username, password| Account { username, password };
    assert_eq!(register(&alice, &plane, "r1").status(), Some(200));
    let asked = ("REGISTER", "bob");
    let registered = authenticated(&bob, &plane, asked, account("bob", "builder"), "r2");
    assert_eq!(registered.status(), Some(200));

    let challenge = send(
        &caller,
        &plane,
        request(&caller, "INVITE", "alice", "c1"),
        "INVITE",
    );
    let uri = format!("sip:alice@{DOMAIN}");
    let body = Request {
        method: "INVITE",
        uri: &uri,
        body: b"",
    };
    let fields = answer(&challenge, body, account("carol", "singer"), "c0ffee", false).unwrap();
    let again = fields.iter().fold(
        request(&caller, "INVITE", "alice", "c2"),
        |again, (name, value)| again.header(*name, value),
    );
    caller.send(again.build().unwrap().bytes(), plane.address("sip udp"));

    let (invite, from) = alice.take("INVITE");
    assert!(
        invite.from().unwrap().uri.starts_with("sip:carol@"),
        "{:?}",
        invite.from()
    );
    let moved = ResponseBuilder::for_request(&invite, 302, "Moved Temporarily")
        .to_tag("moved")
        .header(HeaderName::Contact, format_args!("<sip:bob@{DOMAIN}>"));
    alice.send(moved.build().unwrap().bytes(), from);
    let (invite, from) = bob.take("INVITE");
    assert_eq!(format!("<{}>", invite.request_uri().unwrap()), bob.contact());
    assert!(
        invite.from().unwrap().uri.starts_with("sip:carol@"),
        "{:?}",
        invite.from()
    );
    bob.answer(&invite, 486, from);
    // The challenge may come again: nobody has acknowledged it.
    let last = std::iter::repeat_with(|| caller.final_of("INVITE")).find(|it| it.call_id() == Ok("c2"));
    assert_eq!(last.and_then(|last| last.status()), Some(486), "{}", plane.log());
    let followed = plane.metric("ringpath_control_call_events_total", "redirect_followed");
    assert_eq!(followed, 1.0);
    plane.stop();
}
