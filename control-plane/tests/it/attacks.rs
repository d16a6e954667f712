//! Attacks from outside against the running binary, by their number in docs/security.md.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sip::message::RequestBuilder;
use sip::{HeaderName, Message};

use crate::phone::Phone;
use crate::plane::{Control, Plane, wait};
use crate::registrar::{authenticated, import, request};

const DOMAIN: &str = "ringpath.example";

/// A control plane with users whose next hop is at none of the addresses that the tests attack from: a next hop may do
/// what others may not.
pub fn besieged(lines: &str) -> Plane {
    let mut control = Control::new("http://127.0.0.1:9", "127.9.9.9:5060".parse().unwrap());
    control.extra = format!("[registrar]\ndomains = [\"{DOMAIN}\"]\n{lines}\n");
    import(&control, "alice;wonderland\nbob;builder\n");
    control.run()
}

fn drops(plane: &Plane, reason: &str) -> f64 {
    plane.metric(
        "ringpath_control_sip_drops_total",
        &format!("reason=\"{reason}\""),
    )
}

pub fn banned(plane: &Plane) -> f64 {
    plane.metric("ringpath_control_guard_bans", "")
}

fn send(phone: &Phone, plane: &Plane, builder: RequestBuilder) {
    phone.send(builder.build().unwrap().bytes(), plane.address("sip udp"));
}

/// The answer to OPTIONS, which everybody who is listened to gets.
pub fn is_heard(phone: &Phone, plane: &Plane, call_id: &str) {
    send(phone, plane, request(phone, "OPTIONS", "ping", call_id));
    assert_eq!(phone.final_of("OPTIONS").status(), Some(200));
}

pub fn is_silent(phone: &Phone) {
    let before = phone.socket.read_timeout().unwrap();
    phone
        .socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let received = phone.socket.recv(&mut [0; 65_535]);
    assert!(received.is_err(), "an answer of {received:?} bytes");
    phone.socket.set_read_timeout(before).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "tests of processes have no other clock")]
fn now() -> Instant {
    Instant::now()
}

fn register_as(phone: &Phone, plane: &Plane, password: &str, call_id: &str) -> u16 {
    let account = sip::digest::Account {
        username: phone.name,
        password,
    };
    let response = authenticated(phone, plane, ("REGISTER", phone.name), account, call_id);
    response.status().unwrap()
}

#[test]
fn attack_01_sipvicious_learns_nothing_and_is_banned() {
    const NAME: &str = "attack_01_sipvicious_learns_nothing_and_is_banned";
    let plane = besieged("");
    let port = plane.address("sip udp").port().to_string();
    let mut learned = String::new();
    let svmap = ("svmap", &["-p", &port, "127.0.0.1"][..]);
    let tools = [
        svmap,
        ("svwar", &["-p", &port, "-m", "REGISTER", "-D", "127.0.0.1"]),
        (
            "svwar",
            &["-p", &port, "-m", "INVITE", "-e", "100-130", "127.0.0.1"],
        ),
        (
            "svcrack",
            &["-p", &port, "-u", "alice", "-r", "100-200", "127.0.0.1"],
        ),
    ];
    // Each stops at the first silence; all together are enough to be banned, and whoever comes then is not heard.
    let at_once = tools.into_iter().chain([svmap; 3]).map(|(tool, arguments)| {
        Command::new("timeout")
            // A port to begin with that nobody else wants: it takes it of all addresses.
            .args(["-s", "KILL", "5", tool, "-P", "25067"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    for run in at_once.collect::<Vec<_>>() {
        let run = run.wait_with_output().unwrap();
        if run.status.code() == Some(127) {
            let reason = format!("SKIP {NAME}: sipvicious is not installed (make bench-bootstrap)");
            assert!(
                std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
                "{reason}"
            );
            eprintln!("{reason}");
            return;
        }
        learned += &String::from_utf8_lossy(&run.stdout);
        learned += &String::from_utf8_lossy(&run.stderr);
    }
    let late = Phone::at("127.0.0.1:0", "late");
    send(&late, &plane, request(&late, "OPTIONS", "ping", "late"));
    is_silent(&late);
    for secret in ["alice", "bob", "ringpath", "Ringpath", "reqauth"] {
        let found = learned
            .lines()
            .find(|line| line.contains(secret) && line.contains('|'));
        assert_eq!(found, None, "{secret} was told: {learned}");
    }
    assert!(drops(&plane, "scanner") >= 4.0, "{learned}");
    assert!(drops(&plane, "banned") >= 1.0, "{learned}");
    assert_eq!(banned(&plane), 1.0);
    is_heard(&Phone::at("127.0.0.2:0", "neighbour"), &plane, "others");
    plane.stop();
}

#[test]
fn attack_02_scanners_get_no_answer() {
    let plane = besieged("");
    for (number, agent) in ["friendly-scanner", "sipcli/v1.8", "VaxSIPUserAgent/3.1", "pplsip"]
        .iter()
        .enumerate()
    {
        let scanner = Phone::at(&format!("127.0.2.{}:0", number + 1), "scanner");
        let options = request(&scanner, "OPTIONS", "100", agent).header(HeaderName::UserAgent, agent);
        send(&scanner, &plane, options);
        is_silent(&scanner);
    }
    assert_eq!(drops(&plane, "scanner"), 4.0);
    assert_eq!(
        plane.metric("ringpath_control_guard_offences_total", "offence=\"scanner\""),
        4.0
    );
    plane.stop();
}

/// What of a response must not depend on whether there is such a user.
fn shape(response: &Message, user: &str) -> String {
    let mut shape = format!("{:?}", response.status());
    for header in response.headers() {
        let value = header.value.replace(user, "USER");
        // These are another in every response.
        let is_own = [
            HeaderName::Via,
            HeaderName::From,
            HeaderName::To,
            HeaderName::CallId,
        ]
        .contains(&header.id);
        let value = match value.split_once("nonce=\"") {
            Some((before, after)) => format!("{before}nonce{}", after.split_once('"').unwrap().1),
            None => value,
        };
        shape += &format!("\n{}: {}", header.id, if is_own { "" } else { &value });
    }
    shape
}

/// How long each of two users' wrong passwords takes, typically; and what the answers look like.
fn compare(plane: &Plane, method: &str, attempt: usize, shapes: &mut BTreeSet<String>) -> [f64; 2] {
    const ROUNDS: usize = 100;
    let mut times: [Vec<Duration>; 2] = Default::default();
    for round in 0..ROUNDS {
        // Who goes first is changed each round, and both names have one length.
        for of in [round % 2, 1 - round % 2] {
            let name = ["alice", "mabel"][of];
            let phone = Phone::at("127.0.0.3:0", name);
            let account = sip::digest::Account {
                username: name,
                password: "wrong",
            };
            let call_id = format!("{method}{of}{attempt}{round}");
            let begun = now();
            let refused = authenticated(&phone, plane, (method, name), account, &call_id);
            times[of].push(begun.elapsed());
            shapes.insert(shape(&refused, name));
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        // What the machine does beside has least part in the fast ones.
        times[ROUNDS / 4].as_secs_f64()
    })
}

#[test]
fn attack_03_known_and_unknown_users_get_the_same_answer_in_the_same_time() {
    const ATTEMPTS: usize = 5;
    let mut control = Control::new("http://127.0.0.1:9", "127.9.9.9:5060".parse().unwrap());
    control.extra = format!("[guard]\nban_score = 0\n[registrar]\ndomains = [\"{DOMAIN}\"]\n");
    import(&control, "alice;wonderland\n");
    let plane = control.run();
    for method in ["REGISTER", "INVITE"] {
        let mut shapes = BTreeSet::new();
        let mut found = Vec::new();
        // A difference that is there is there in each attempt; one of the machine's is not.
        let is_same = (0..ATTEMPTS).any(|attempt| {
            let [known, unknown] = compare(&plane, method, attempt, &mut shapes);
            found.push((known, unknown));
            known.max(unknown) / known.min(unknown) < 1.2
        });
        assert!(is_same, "{method}: seconds for known and unknown: {found:?}");
        assert_eq!(shapes.len(), 1, "{shapes:#?}");
    }
    plane.stop();
}

#[test]
fn attack_04_who_guesses_passwords_is_banned_and_the_user_stays() {
    let plane = besieged("[guard]\nban_s = 3600");
    let alice = Phone::at("127.0.0.4:0", "alice");
    assert_eq!(register_as(&alice, &plane, "wonderland", "own"), 200);
    let thief = Phone::at("127.0.0.66:0", "alice");
    for guess in 0..10 {
        assert_eq!(
            register_as(&thief, &plane, &format!("guess{guess}"), &format!("g{guess}")),
            401
        );
    }
    assert_eq!(banned(&plane), 1.0, "{}", plane.log());
    send(&thief, &plane, request(&thief, "REGISTER", "alice", "eleventh"));
    is_silent(&thief);
    assert_eq!(register_as(&alice, &plane, "wonderland", "again"), 200);
    assert_eq!(plane.metric("ringpath_control_registrations", ""), 1.0);
    plane.stop();
}

#[test]
fn attack_08_a_forged_unregister_gets_401_and_the_binding_stays() {
    let plane = besieged("");
    let alice = Phone::at("127.0.0.4:0", "alice");
    assert_eq!(register_as(&alice, &plane, "wonderland", "own"), 200);
    let forger = Phone::at("127.0.0.66:0", "alice");
    let wildcard = forger
        .request("REGISTER", "alice", &forger.address().to_string(), "", "forged")
        .header(HeaderName::Expires, 0);
    send(&forger, &plane, wildcard);
    assert_eq!(forger.final_of("REGISTER").status(), Some(401));
    assert_eq!(plane.metric("ringpath_control_registrations", ""), 1.0);
    plane.stop();
}

/// And 10: nothing is kept of who does not say who it is.
#[test]
fn attack_09_a_flood_without_credentials_leaves_no_state() {
    let plane = besieged("");
    let flood = Phone::at("127.0.0.66:0", "flood");
    for number in 0..500 {
        send(
            &flood,
            &plane,
            request(&flood, "REGISTER", "alice", &format!("r{number}")),
        );
        flood.send(
            flood.invite("bob", &format!("i{number}")).bytes(),
            plane.address("sip udp"),
        );
        assert_eq!(flood.final_of("REGISTER").status(), Some(401));
        assert_eq!(flood.final_of("INVITE").status(), Some(407));
    }
    assert_eq!(plane.metric("ringpath_control_transactions", ""), 0.0);
    assert_eq!(
        plane.metric("ringpath_control_transaction_events_total", "server"),
        0.0
    );
    plane.stop();
}

#[test]
fn attack_14_forged_requests_and_responses_leave_no_state() {
    let plane = besieged("");
    let forger = Phone::at("127.0.0.66:0", "forger");
    for (number, method) in ["BYE", "INVITE", "UPDATE", "INFO"]
        .iter()
        .cycle()
        .take(200)
        .enumerate()
    {
        let call_id = format!("forged{number}");
        let forged = request(&forger, method, "bob", &call_id).build().unwrap();
        let text = String::from_utf8(forged.bytes().to_vec()).unwrap();
        let text = text.replacen(
            "To: <sip:bob@ringpath.example>",
            "To: <sip:bob@ringpath.example>;tag=guess",
            1,
        );
        forger.send(text.as_bytes(), plane.address("sip udp"));
        assert_eq!(forger.final_of(method).status(), Some(481), "{text}");
        let branch = format!("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{number}\r\n");
        let response = text.split_once("From:").unwrap().1;
        forger.send(
            format!("{branch}From:{response}").as_bytes(),
            plane.address("sip udp"),
        );
    }
    assert_eq!(plane.metric("ringpath_control_transactions", ""), 0.0);
    assert_eq!(
        plane.metric("ringpath_control_sip_outside_dialogs_total", ""),
        200.0
    );
    plane.wait_for_metric(
        "ringpath_control_transaction_events_total",
        "stray_responses",
        1.0,
    );
    plane.stop();
}

#[test]
fn attack_34_a_challenge_is_sent_once_with_a_tag_that_stays_and_its_ack_is_absorbed() {
    let plane = besieged("");
    let phone = Phone::at("127.0.0.5:0", "caller");
    let invite = phone.invite("bob", "once");
    let mut tags = BTreeSet::new();
    for _ in 0..3 {
        phone.send(invite.bytes(), plane.address("sip udp"));
        let challenge = phone.final_of("INVITE");
        assert_eq!(challenge.status(), Some(407));
        assert!(challenge.bytes().len() < 3 * invite.bytes().len());
        tags.insert(challenge.to().unwrap().tag().unwrap().to_owned());
    }
    assert_eq!(tags.len(), 1, "{tags:?}");
    let ack = RequestBuilder::new("ACK", invite.request_uri().unwrap())
        .via(invite.header(HeaderName::Via).unwrap())
        .header(HeaderName::From, invite.header(HeaderName::From).unwrap())
        .header(
            HeaderName::To,
            format_args!(
                "{};tag={}",
                invite.header(HeaderName::To).unwrap(),
                tags.first().unwrap()
            ),
        )
        .header(HeaderName::CallId, "once")
        .header(HeaderName::CSeq, "1 ACK");
    send(&phone, &plane, ack);
    // A transaction would have repeated its answer after T1, 500 ms.
    phone
        .socket
        .set_read_timeout(Some(Duration::from_millis(900)))
        .unwrap();
    assert!(phone.socket.recv(&mut [0; 65_535]).is_err());
    assert_eq!(plane.metric("ringpath_control_transactions", ""), 0.0);
    plane.stop();
}

/// Proxies with strangers behind them are in `guard.allow`: that is no leave to call out at somebody's cost.
#[test]
fn who_is_never_banned_is_challenged_all_the_same() {
    let plane = besieged("[guard]\nallow = [\"127.0.0.0/8\"]");
    let stranger = Phone::new("stranger");
    send(&stranger, &plane, request(&stranger, "INVITE", "+4930", "out"));
    assert_eq!(stranger.final_of("INVITE").status(), Some(407));
    plane.stop();
}

#[test]
fn a_ban_ends_by_itself_and_whoever_is_allowed_is_not_banned() {
    let plane = besieged("[guard]\nban_s = 1\nallow = [\"127.0.0.77\"]");
    let probe = |phone: &Phone, call_id: &str| {
        let options = request(phone, "OPTIONS", "100", call_id).header(HeaderName::UserAgent, "sipcli");
        send(phone, &plane, options);
    };
    let bans = || plane.metric("ringpath_control_guard_events_total", "event=\"banned\"");
    let scanner = Phone::at("127.0.0.66:0", "scanner");
    let mut number = 0;
    wait("a datagram of a banned source", || {
        number += 1;
        probe(&scanner, &format!("probe{number}"));
        drops(&plane, "banned") >= 1.0
    });
    wait("the end of the ban", || {
        send(&scanner, &plane, request(&scanner, "OPTIONS", "ping", "later"));
        scanner
            .socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        scanner.socket.recv(&mut [0; 65_535]).is_ok()
    });
    let before = bans();
    let allowed = Phone::at("127.0.0.77:0", "scanner");
    for number in 0..2 * number.max(5) {
        probe(&allowed, &format!("allowed{number}"));
    }
    is_heard(&allowed, &plane, "allowed");
    assert_eq!(bans(), before, "the allowed source is banned");
    plane.stop();
}
