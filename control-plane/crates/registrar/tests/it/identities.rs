//! GRUUs (RFC 5627).

use registrar::Located;

use crate::world::{World, contacts, open};

fn contact(user: &str, number: u32) -> String {
    format!("<sip:{user}@192.0.2.1>;+sip.instance=\"<urn:uuid:{number}>\"")
}

/// The value of a parameter of the contact of `user`.
fn gruu(response: &sip::Message, user: &str, name: &str) -> String {
    let contacts = contacts(response);
    let contact = contacts
        .iter()
        .find(|contact| contact.contains(&format!("sip:{user}@192")))
        .unwrap();
    let (_, rest) = contact.split_once(&format!("{name}=\"")).unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

fn uris(world: &World, uri: &str) -> Vec<String> {
    world.targets(uri).into_iter().map(|(uri, _)| uri).collect()
}

#[test]
fn a_public_gruu_leads_to_its_instance() {
    let mut world = open(|_| {});
    let fields = format!(
        "Supported: gruu\r\nContact: {}, {}\r\n",
        contact("a", 1),
        contact("b", 2)
    );
    let response = world.register(&fields);
    let public = gruu(&response, "b", "pub-gruu");
    assert_eq!(public, "sip:alice@example.com;gr=urn:uuid:2");
    assert_eq!(uris(&world, &public), ["sip:b@192.0.2.1"]);
    assert_eq!(world.locate("sip:alice@example.com;gr=urn:uuid:3"), Located::Away);
    assert_eq!(uris(&world, "sip:alice@example.com").len(), 2);
    let silent = world.register(&format!("Contact: {}\r\n", contact("a", 1)));
    assert!(!contacts(&silent).iter().any(|contact| contact.contains("gruu")));
}

#[test]
fn a_temporary_gruu_tells_nothing_and_ends_with_its_call_id() {
    let mut world = open(|_| {});
    let fields = format!(
        "Supported: gruu\r\nContact: {}, {}\r\n",
        contact("a", 1),
        contact("b", 2)
    );
    let first = gruu(&world.register(&fields), "b", "temp-gruu");
    let second = gruu(&world.register(&fields), "b", "temp-gruu");
    assert_ne!(first, second);
    assert!(!first.contains("alice"));
    for temporary in [&first, &second] {
        assert_eq!(uris(&world, temporary), ["sip:b@192.0.2.1"], "both are good");
    }
    let forged: String = first.replacen(|c: char| c.is_ascii_digit(), "f", 3);
    assert_ne!(forged, first);
    assert_eq!(world.locate(&forged), Located::Unknown);
    let restarted = world.request_with("alice", "call-2", 1, &fields);
    world.send(&restarted);
    assert_eq!(world.locate(&first), Located::Away, "void with another Call-ID");
    for broken in [
        "sip:tgruu.@example.com;gr",
        "sip:tgruu.0@example.com;gr",
        "sip:tgruu.zz@example.com;gr",
    ] {
        assert_eq!(world.locate(broken), Located::Unknown);
    }
}

#[test]
fn an_instance_that_is_no_urn_is_refused() {
    let mut world = open(|_| {});
    for broken in ["<a\\\"b>", "<a b>", "<a;b>", "<a%zz>", "<\u{fc}>"] {
        let fields = format!("Contact: <sip:a@192.0.2.1>;+sip.instance=\"{broken}\"\r\n");
        assert_eq!(world.status(&fields), 400, "{broken}");
    }
}
