//! Path (RFC 3327), Service-Route (RFC 3608), outbound flows (RFC 5626), and where a call goes.

use registrar::{Located, PathWithoutSupport};
use sip::{HeaderName, Transport};

use crate::world::{contacts, open, source};

const INSTANCE: &str = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\"";

#[test]
fn a_path_is_kept_echoed_and_used() {
    let mut world = open(|config| config.service_route = vec!["<sip:us.example.com;lr>".into()]);
    world.source = source(Transport::Udp, "203.0.113.5:5070", 1);
    let path =
        "Path: <sip:203.0.113.5:5070;lr>, <sip:edge.example.net;lr;ob>\r\nContact: <sip:a@10.0.0.1>\r\n";
    let response = world.register(&format!("Supported: path\r\n{path}"));
    assert_eq!(response.status(), Some(200));
    let echoed: Vec<&str> = response.values(HeaderName::Path).collect();
    assert_eq!(
        echoed,
        ["<sip:203.0.113.5:5070;lr>", "<sip:edge.example.net;lr;ob>"]
    );
    assert_eq!(
        response.header(HeaderName::ServiceRoute),
        Some("<sip:us.example.com;lr>")
    );
    let Located::At(targets) = world.locate("sip:alice@example.com") else {
        panic!("alice is there")
    };
    assert_eq!(targets[0].routes, echoed);
    assert_eq!(targets[0].destination.remote, "203.0.113.5:5070".parse().unwrap());
    assert_eq!(targets[0].uri, "sip:a@10.0.0.1");
    let response = world.register(path);
    assert_eq!(
        (response.status(), response.header(HeaderName::Unsupported)),
        (Some(420), Some("path"))
    );
    let long = format!(
        "Supported: path\r\nPath: <sip:{}.example;lr>\r\n",
        "h".repeat(1_100)
    );
    assert_eq!(world.status(&long), 400);
    let nul = "Supported: path\r\nPath: \"\\\0\" <sip:edge.example.net;lr>\r\nContact: <sip:a@10.0.0.1>\r\n";
    assert_eq!(world.status(nul), 400);
    let mut lenient = open(|config| config.path_without_support = PathWithoutSupport::Accept);
    // Whose calls would go to another machine than the one that asks.
    assert_eq!(lenient.status(path), 403);
    lenient.source = world.source;
    assert_eq!(lenient.status(path), 200);
}

#[test]
fn calls_go_to_the_contact_or_back_the_way_that_the_register_came() {
    for (transport, from, contact, expected) in [
        (
            Transport::Udp,
            "192.0.2.1:5060",
            "sip:a@192.0.2.1:5062",
            "192.0.2.1:5062",
        ),
        (
            Transport::Udp,
            "192.0.2.1:40000",
            "sip:a@192.0.2.1",
            "192.0.2.1:5060",
        ),
        // Behind a NAT, or under a name that only the user agent knows.
        (
            Transport::Udp,
            "192.0.2.1:40000",
            "sip:a@10.0.0.7:5060",
            "192.0.2.1:40000",
        ),
        (
            Transport::Tcp,
            "192.0.2.1:40000",
            "sip:a@192.0.2.1:5060;transport=tcp",
            "192.0.2.1:40000",
        ),
        (
            Transport::Tcp,
            "192.0.2.1:40000",
            "sip:a@x.invalid;transport=ws",
            "192.0.2.1:40000",
        ),
        (
            Transport::Udp,
            "[2001:db8::1]:5060",
            "sip:a@[2001:db8::1]:5062",
            "[2001:db8::1]:5062",
        ),
        (
            Transport::Udp,
            "10.0.0.1:5060",
            "sip:a@10.0.0.1:5062",
            "10.0.0.1:5062",
        ),
    ] {
        let mut world = open(|_| {});
        world.source = source(transport, from, 9);
        assert_eq!(world.status(&format!("Contact: <{contact}>\r\n")), 200);
        let found = world.targets("sip:alice@example.com");
        assert_eq!(
            found,
            [(contact.to_owned(), expected.to_owned())],
            "{from} {contact}"
        );
    }
}

#[test]
fn a_flow_replaces_itself_and_stands_beside_its_other() {
    let mut world = open(|_| {});
    let register = |reg_id: u32, user: &str| {
        format!("Supported: path, outbound\r\nContact: <sip:{user}@10.0.0.1>;{INSTANCE};reg-id={reg_id}\r\n")
    };
    world.source = source(Transport::Tcp, "192.0.2.1:40001", 1);
    let response = world.register(&register(1, "a"));
    assert_eq!(response.header(HeaderName::Require), Some("outbound"));
    assert!(contacts(&response)[0].contains("reg-id=1") && contacts(&response)[0].contains("urn:uuid"));
    world.source = source(Transport::Tcp, "192.0.2.1:40002", 2);
    world.after(1);
    assert_eq!(
        contacts(&world.register(&register(2, "a"))).len(),
        2,
        "the same URI on another flow"
    );
    let ports = |world: &crate::world::World| -> Vec<String> {
        let targets = world.targets("sip:alice@example.com");
        targets.into_iter().map(|(_, address)| address).collect()
    };
    assert_eq!(
        ports(&world),
        ["192.0.2.1:40002", "192.0.2.1:40001"],
        "the latest flow is tried first"
    );
    world.source = source(Transport::Tcp, "192.0.2.1:40003", 3);
    world.after(1);
    assert_eq!(
        contacts(&world.register(&register(1, "b"))).len(),
        2,
        "another URI on the same flow"
    );
    assert_eq!(ports(&world), ["192.0.2.1:40003", "192.0.2.1:40002"]);
    assert_eq!(world.status(&register(0, "a")), 400);
    let two = format!(
        "Supported: outbound\r\nContact: <sip:a@10.0.0.1>;{INSTANCE};reg-id=1, <sip:b@10.0.0.1>;{INSTANCE};reg-id=2\r\n"
    );
    assert_eq!(world.status(&two), 400, "one flow a REGISTER");
}

#[test]
fn a_proxy_that_keeps_no_flow_is_told() {
    let mut world = open(|_| {});
    let contact = format!("Contact: <sip:a@10.0.0.1>;{INSTANCE};reg-id=1\r\n");
    let second = "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKq\r\n";
    let send = |path: &str| format!("Supported: path, outbound\r\n{second}{path}{contact}");
    assert_eq!(world.status(&send("")), 439);
    assert_eq!(world.status(&send("Path: <sip:192.0.2.1;lr>\r\n")), 439);
    assert_eq!(
        world.status(&send("Path: <sip:192.0.2.1;lr>, <sip:192.0.2.9;lr;ob>\r\n")),
        200
    );
    let without = format!("Supported: path\r\n{second}{contact}");
    let response = world.register(&without);
    assert_eq!(response.status(), Some(200), "who doesn't know outbound has none");
    assert!(!response.has(HeaderName::Require));
}

#[test]
fn outbound_can_be_demanded() {
    let mut world = open(|config| {
        config.requires_outbound = true;
        config.flow_timer_s = 120;
    });
    let response = world.register("Contact: <sip:a@10.0.0.1>\r\n");
    assert_eq!(
        (response.status(), response.header(HeaderName::Require)),
        (Some(421), Some("outbound"))
    );
    let flow = format!("Supported: outbound\r\nContact: <sip:a@10.0.0.1>;{INSTANCE};reg-id=1\r\n");
    let response = world.register(&flow);
    assert_eq!(
        (response.status(), response.header(HeaderName::FlowTimer)),
        (Some(200), Some("120"))
    );
    assert_eq!(world.status("Contact: *\r\nExpires: 0\r\n"), 200);
}

#[test]
fn preference_decides_who_is_tried_first() {
    let mut world = open(|_| {});
    world.register(
        "Contact: <sip:c@192.0.2.1>;q=0, <sip:a@192.0.2.1>, <sip:b@192.0.2.1>;q=0.75, <sip:d@192.0.2.1?x=y>;q=0.8\r\n",
    );
    let uris: Vec<String> = world
        .targets("sip:alice@example.com")
        .into_iter()
        .map(|(uri, _)| uri)
        .collect();
    assert_eq!(
        uris,
        [
            "sip:a@192.0.2.1",
            "sip:d@192.0.2.1",
            "sip:b@192.0.2.1",
            "sip:c@192.0.2.1"
        ]
    );
}

/// RFC 5630 §4, RFC 3261 §26.2.2.
#[test]
fn a_sips_contact_is_called_over_tls_or_not_at_all() {
    for (transport, from, contact, expected) in [
        // The connection that it registered over.
        (
            Transport::Tls,
            "192.0.2.1:40000",
            "sips:a@192.0.2.1",
            Some("192.0.2.1:40000"),
        ),
        // At the address that it names itself.
        (
            Transport::Tcp,
            "192.0.2.1:40000",
            "sips:a@192.0.2.1",
            Some("192.0.2.1:5061"),
        ),
        (
            Transport::Udp,
            "192.0.2.1:5060",
            "sips:a@192.0.2.1:5071;transport=tcp",
            Some("192.0.2.1:5071"),
        ),
        // Behind a NAT there is no way but the one it came, and that is not secret.
        (Transport::Udp, "203.0.113.5:4000", "sips:a@10.0.0.1", None),
        (
            Transport::Tls,
            "203.0.113.5:4000",
            "sips:a@10.0.0.1",
            Some("203.0.113.5:4000"),
        ),
    ] {
        let mut world = open(|_| {});
        world.source = source(transport, from, 1);
        assert_eq!(world.status(&format!("Contact: <{contact}>\r\n")), 200);
        let located = world.locate("sip:alice@example.com");
        match (located, expected) {
            (Located::At(targets), Some(address)) => {
                let destination = targets[0].destination;
                assert_eq!(destination.transport, Transport::Tls, "{contact} from {from}");
                assert_eq!(destination.remote, address.parse().unwrap());
            }
            (Located::Away, None) => {}
            other => panic!("{contact} over {transport:?}: {other:?}"),
        }
    }
}

/// Nobody is connected to by WebSocket (RFC 7118 §5): a device that names it and came by another way is called by that one.
#[test]
fn a_contact_on_websocket_of_a_device_that_is_elsewhere_is_called_where_it_came_from() {
    for (transport, contact) in [
        (Transport::Udp, "sip:a@192.0.2.1:5070;transport=ws"),
        (Transport::Tcp, "sip:a@192.0.2.1:5070;transport=wss"),
        (Transport::Tls, "sips:a@192.0.2.1;transport=ws"),
    ] {
        let mut world = open(|_| {});
        world.source = source(transport, "192.0.2.1:40000", 1);
        assert_eq!(world.status(&format!("Contact: <{contact}>\r\n")), 200);
        let Located::At(targets) = world.locate("sip:alice@example.com") else {
            panic!("{contact} over {transport:?} is there")
        };
        let destination = targets[0].destination;
        assert_eq!(
            (destination.transport, destination.remote.to_string().as_str()),
            (transport, "192.0.2.1:40000"),
            "{contact}"
        );
    }
}
