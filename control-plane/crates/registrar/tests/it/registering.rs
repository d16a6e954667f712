//! RFC 3261 §10.

use registrar::{Change, Located, Refusal};
use sip::{HeaderName, Source, Transport};

use crate::world::{DOMAIN, World, closed, contacts, open, source};

#[test]
fn a_contact_is_bound_told_and_found() {
    let mut world = open(|_| {});
    let response = world.register("Contact: <sip:alice@192.0.2.1:5062>;q=0.5\r\nExpires: 600\r\n");
    assert_eq!(response.status(), Some(200));
    assert!(response.to().unwrap().tag().is_some());
    assert_eq!(
        contacts(&response),
        ["<sip:alice@192.0.2.1:5062>;expires=600;q=0.500"]
    );
    let found = [("sip:alice@192.0.2.1:5062".to_owned(), "192.0.2.1:5062".to_owned())];
    assert_eq!(world.targets("sip:alice@EXAMPLE.com"), found);
    assert_eq!(world.locate("sip:bob@example.com"), Located::Away);
    assert_eq!(world.locate("sip:carol@example.com"), Located::Unknown);
    assert_eq!(world.locate("sip:alice@elsewhere.example"), Located::Unknown);
    assert!(matches!(world.registrar.poll_change(), Some(Change::Put { .. })));
    assert_eq!(world.registrar.poll_change(), None);
}

#[test]
fn expiry_is_taken_from_the_contact_then_the_header_then_the_default() {
    let mut world = open(|_| {});
    let response = world.register(
        "Contact: <sip:a@192.0.2.1>;expires=100, <sip:b@192.0.2.1>, <sip:c@192.0.2.1>;expires=999999\r\nExpires: 200\r\n",
    );
    assert_eq!(
        contacts(&response),
        [
            "<sip:a@192.0.2.1>;expires=100",
            "<sip:b@192.0.2.1>;expires=200",
            "<sip:c@192.0.2.1>;expires=7200"
        ]
    );
    let response = world.register("Contact: <sip:a@192.0.2.1>;expires=soon\r\n");
    assert_eq!(
        contacts(&response)[0],
        "<sip:a@192.0.2.1>;expires=3600",
        "a broken one is an hour"
    );
    let response = world.register("Contact: <sip:d@192.0.2.1>\r\n");
    assert_eq!(contacts(&response)[3], "<sip:d@192.0.2.1>;expires=3600");
}

#[test]
fn bindings_run_out_and_are_refreshed() {
    let mut world = open(|_| {});
    world.register("Contact: <sip:a@192.0.2.1>\r\nExpires: 100\r\n");
    world.after(60);
    let response = world.register("Contact: <sip:A@192.0.2.1>, <sip:a@192.0.2.1;x=y>\r\nExpires: 100\r\n");
    assert_eq!(
        contacts(&response).len(),
        2,
        "users compare with case, unknown parameters not at all"
    );
    world.after(99);
    assert_eq!(world.registrar.binding_count(), 2);
    assert_eq!(
        contacts(&world.register("")).len(),
        2,
        "a REGISTER without Contact asks"
    );
    world.after(1);
    assert_eq!(
        (
            world.registrar.binding_count(),
            world.registrar.registered_count()
        ),
        (0, 0)
    );
    assert_eq!(world.locate("sip:alice@example.com"), Located::Away);
    assert_eq!(world.registrar.counters().expired, 2);
    assert_eq!(world.registrar.counters().refreshed, 1);
}

#[test]
fn too_brief_is_refused_with_the_least() {
    let mut world = open(|_| {});
    let response = world.register("Contact: <sip:a@192.0.2.1>\r\nExpires: 59\r\n");
    assert_eq!(
        (response.status(), response.header(HeaderName::MinExpires)),
        (Some(423), Some("60"))
    );
    assert_eq!(world.status("Contact: <sip:a@192.0.2.1>\r\nExpires: 60\r\n"), 200);
}

#[test]
fn contacts_are_taken_back_one_by_one_and_all_at_once() {
    let mut world = open(|_| {});
    world.register("Contact: <sip:a@192.0.2.1>, <sip:b@192.0.2.1>, <sip:c@192.0.2.1>\r\n");
    let response = world.register("Contact: <sip:b@192.0.2.1>;expires=0\r\n");
    assert_eq!(contacts(&response).len(), 2);
    // `*` beside another contact does not even pass the parser.
    for wrong in ["Contact: *\r\n", "Contact: *\r\nExpires: 60\r\n"] {
        assert_eq!(world.status(wrong), 400, "{wrong}");
    }
    assert_eq!(world.registrar.binding_count(), 2);
    let response = world.register("Contact: *\r\nExpires: 0\r\n");
    assert_eq!((response.status(), contacts(&response).len()), (Some(200), 0));
    assert_eq!(world.registrar.binding_count(), 0);
    assert_eq!(world.registrar.poll_timeout(), None, "nothing is left to run out");
}

#[test]
fn what_comes_late_changes_nothing() {
    let mut world = open(|_| {});
    let late = world.request("Contact: <sip:a@192.0.2.1>, <sip:b@192.0.2.1>\r\nExpires: 60\r\n");
    let first = world.request("Contact: <sip:a@192.0.2.1>\r\nExpires: 600\r\n");
    assert_eq!(world.send(&first).status(), Some(200));
    assert_eq!(
        world.send(&late).status(),
        Some(500),
        "not even the contact that is new"
    );
    assert_eq!(world.registrar.binding_count(), 1);
    let gone = world.request_with("alice", "call-1", 1, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(world.send(&gone).status(), Some(500));
    let restarted = world.request_with(
        "alice",
        "call-2",
        1,
        "Contact: <sip:a@192.0.2.1>\r\nExpires: 700\r\n",
    );
    assert_eq!(
        contacts(&world.send(&restarted)),
        ["<sip:a@192.0.2.1>;expires=700"]
    );
}

#[test]
fn every_limit_has_its_answer() {
    let mut world = open(|config| {
        config.contacts_max = 2;
        config.bindings_max = 3;
    });
    assert_eq!(
        world.status("Contact: <sip:a@192.0.2.1>, <sip:b@192.0.2.1>\r\n"),
        200
    );
    assert_eq!(world.status("Contact: <sip:c@192.0.2.1>\r\n"), 403);
    let many: Vec<String> = (0..20).map(|n| format!("<sip:{n}@192.0.2.1>")).collect();
    let many = format!("Contact: {}\r\n", many.join(", "));
    assert_eq!(world.status(&many), 403);
    let bobs = world.request_with("bob", "b", 1, "Contact: <sip:a@192.0.2.1>, <sip:b@192.0.2.1>\r\n");
    let response = world.send(&bobs);
    assert_eq!(response.status(), Some(503));
    let retry_after = response.number(HeaderName::RetryAfter).unwrap().unwrap();
    assert!((5..=10).contains(&retry_after));
    assert_eq!(
        world.status("Contact: <sip:a@192.0.2.1>\r\n"),
        200,
        "those that are in may stay"
    );
    assert_eq!(world.registrar.binding_count(), 2);
    let long = format!("Contact: <sip:{}@192.0.2.1>\r\n", "a".repeat(600));
    assert_eq!(world.status(&long), 400);
    world.registrar.set_full(true);
    assert_eq!(
        world.status("Contact: <sip:a@192.0.2.1>\r\n"),
        503,
        "nobody is promised what cannot be kept"
    );
}

#[test]
fn what_is_not_for_us_is_refused_by_its_reason() {
    let mut world = open(|config| config.own_hosts = vec!["198.51.100.1".into()]);
    let mut send = |from: &str, to: &str| {
        let request = world.request("Contact: <sip:a@192.0.2.1>\r\n");
        let text = String::from_utf8(request.bytes().to_vec())
            .unwrap()
            .replace(from, to);
        let request = sip::Message::parse_datagram(text.into()).unwrap();
        world.send(&request)
    };
    assert_eq!(
        send("REGISTER sip:example.com", "REGISTER sip:198.51.100.1:5060").status(),
        Some(200)
    );
    assert_eq!(
        send("REGISTER sip:example.com", "REGISTER sip:else.example").status(),
        Some(404)
    );
    assert_eq!(
        send("To: <sip:alice@example.com", "To: <sip:alice@else.example").status(),
        Some(404)
    );
    assert_eq!(
        send("To: <sip:alice@example.com", "To: <sips:alice@example.com").status(),
        Some(404)
    );
    assert_eq!(
        send("To: <sip:alice@example.com", "To: <sip:example.com").status(),
        Some(404)
    );
    let response = send("Contact", "Require: path, tomorrow\r\nContact");
    assert_eq!(
        (response.status(), response.header(HeaderName::Unsupported)),
        (Some(420), Some("tomorrow"))
    );
    assert_eq!(
        send("Contact: <sip:a@", "Contact: <sip:a@203.0.113.9>, <sip:a@").status(),
        Some(403)
    );
    assert_eq!(
        send("Contact: <sip:a@192.0.2.1>", "Contact: <sip:a@192.0.2.1>;q=2").status(),
        Some(400)
    );
    assert_eq!(
        world.registrar.counters().registers_refused.iter().sum::<u64>(),
        7
    );
}

#[test]
fn only_who_proves_to_be_the_user_gets_in() {
    let mut world = closed(|_| {});
    let fields = "Contact: <sip:a@192.0.2.1>\r\n";
    let challenge = world.register(fields);
    assert_eq!(challenge.status(), Some(401));
    assert_eq!(challenge.fields(HeaderName::WwwAuthenticate).count(), 3);
    let credentials = world.credentials(&challenge, "REGISTER", "sip:example.com", "alice", "wonderland");
    let request = world.request(&format!("{credentials}{fields}"));
    assert_eq!(world.send(&request).status(), Some(200));
    assert_eq!(world.send(&request).status(), Some(401), "a replay");
    // Wrong password and nobody are the same to look at.
    for (user, password) in [("alice", "wrong"), ("nobody", "x")] {
        let challenge = world.register(fields);
        let credentials = world.credentials(&challenge, "REGISTER", "sip:example.com", user, password);
        let request = world.request_with(user, "other", 1, &format!("{credentials}{fields}"));
        assert_eq!(world.send(&request).status(), Some(401));
    }
    // Bob's password opens nothing of alice's.
    let challenge = world.register(fields);
    let credentials = world.credentials(&challenge, "REGISTER", "sip:example.com", "bob", "builder");
    assert_eq!(
        world.status(&format!("{credentials}Contact: *\r\nExpires: 0\r\n")),
        403
    );
    assert_eq!(world.registrar.binding_count(), 1);
    let refused = world.registrar.counters().registers_refused;
    let of = |reason: &str| {
        refused[Refusal::REASONS
            .iter()
            .position(|&known| known == reason)
            .unwrap()]
    };
    assert_eq!(
        (of("replayed"), of("wrong_credentials"), of("forbidden")),
        (1, 2, 1)
    );
    assert_eq!(of("no_credentials"), 4);
}

#[test]
fn a_challenge_is_no_larger_than_twice_what_asked_for_it() {
    let mut world = closed(|_| {});
    let request =
        world.request("Contact: <sip:alice@192.0.2.1:5060>\r\nUser-Agent: phone\r\nMax-Forwards: 70\r\n");
    let response = world.send(&request);
    assert!(
        response.bytes().len() <= 2 * request.bytes().len() + 200,
        "{}",
        response.bytes().len()
    );
}

#[test]
fn bindings_come_back_as_they_were() {
    let mut world = open(|_| {});
    world.register("Contact: <sip:a@192.0.2.1>;q=0.3, <sip:b@192.0.2.1>\r\nExpires: 600\r\n");
    let mut kept = Vec::new();
    while let Some(change) = world.registrar.poll_change() {
        let Change::Put { user, binding } = change else {
            panic!("{change:?}")
        };
        kept.push((user, binding));
    }
    let mut next = open(|_| {});
    next.registrar.restore(kept);
    assert_eq!(
        next.registrar.poll_change(),
        None,
        "what came from the store need not go there"
    );
    assert_eq!(
        next.targets("sip:alice@example.com"),
        world.targets("sip:alice@example.com")
    );
    let late = next.request_with("alice", "call-1", 1, "Contact: <sip:a@192.0.2.1>\r\n");
    assert_eq!(
        next.send(&late).status(),
        Some(500),
        "the order of requests is known over a restart"
    );
    next.after(600);
    assert_eq!(next.registrar.binding_count(), 0);
}

/// Attack 4, from many sources: alice's phone is registered, and 10 a second guess at her password.
#[test]
fn who_is_registered_is_not_kept_out_by_those_who_guess() {
    let mut world = closed(|config| {
        let digest = config.authentication.as_mut().unwrap();
        digest.guesses_max = 5;
    });
    let uri = format!("sip:{DOMAIN}");
    let home = world.source;
    let attempt = |world: &mut World, from: Source, password: &str| {
        world.source = from;
        let challenge = world.register("Contact: <sip:alice@192.0.2.1>\r\n");
        let fields = world.credentials(&challenge, "REGISTER", &uri, "alice", password);
        world.status(&format!("{fields}Contact: <sip:alice@{}>\r\n", from.remote.ip()))
    };
    assert_eq!(attempt(&mut world, home, "wonderland"), 200);
    for n in 0..100 {
        let from = source(Transport::Udp, &format!("198.51.100.{n}:5060"), 1);
        assert_eq!(attempt(&mut world, from, "guess"), 401);
    }
    let guessed = registrar::Refusal::REASONS
        .iter()
        .position(|reason| *reason == "guess_limit");
    let refused = world.registrar.counters().registers_refused;
    assert_eq!(refused[guessed.unwrap()], 95);
    let moved = source(Transport::Udp, "203.0.113.1:5060", 1);
    assert_eq!(attempt(&mut world, moved, "wonderland"), 401, "as a guess");
    assert_eq!(attempt(&mut world, home, "wonderland"), 200);
    // 600 s for five: another look after two minutes.
    world.after(120);
    assert_eq!(attempt(&mut world, moved, "wonderland"), 200);
}
