//! Next hops found by RFC 3263, with a name server of the test's own.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use crate::phone::Phone;
use crate::plane::{Control, Node, Plane};

const A: u16 = 1;
const AAAA: u16 = 28;
const SOA: u16 = 6;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

/// The data of the records of a name and type.
type Zone = HashMap<(&'static str, u16), Vec<Vec<u8>>>;

/// Answers what is in its zone, that the rest is not there, and nothing while it is silent. Ends with its socket's timeout.
struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Option<Zone>>>,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
    /// Types of questions that it never answers.
    deaf_to: Arc<Mutex<Vec<u16>>>,
}

impl NameServer {
    fn start(zone: Zone) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(crate::plane::LIMIT)).unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Some(zone)));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let deaf_to: Arc<Mutex<Vec<u16>>> = Arc::default();
        let (its_zone, its_asked, its_deaf_to) = (zone.clone(), asked.clone(), deaf_to.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                let (question, name, kind) = parse(&buffer[..length]);
                its_asked.lock().unwrap().push((name.clone(), kind));
                if its_deaf_to.lock().unwrap().contains(&kind) {
                    continue;
                }
                let zone = its_zone.lock().unwrap();
                let Some(zone) = &*zone else { continue };
                let found = zone
                    .iter()
                    .find(|((owner, of_kind), _)| (*owner, *of_kind) == (&*name, kind));
                let answer = answer(question, found.map(|(_, records)| &**records), kind);
                // Whoever asked may be gone.
                let _ = socket.send_to(&answer, client);
            }
        });
        Self {
            address,
            zone,
            asked,
            deaf_to,
        }
    }

    fn become_(&self, zone: Option<Zone>) {
        *self.zone.lock().unwrap() = zone;
    }
}

/// The question's bytes with the id before them, its name and its type.
fn parse(message: &[u8]) -> (Vec<u8>, String, u16) {
    let mut labels = Vec::new();
    let mut at = 12;
    while message[at] != 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(String::from_utf8(message[at + 1..end].to_ascii_lowercase()).unwrap());
        at = end;
    }
    let kind = u16::from_be_bytes([message[at + 1], message[at + 2]]);
    let question = [&message[..2], &message[12..at + 5]].concat();
    (question, labels.join("."), kind)
}

/// RFC 1035 §4.1. Records live for a second.
fn answer(question: Vec<u8>, records: Option<&[Vec<u8>]>, kind: u16) -> Vec<u8> {
    let (id, question) = question.split_at(2);
    let count = records.map_or(0, <[_]>::len) as u8;
    let is_nothing = u8::from(count == 0);
    // A response, recursion desired and available; NXDOMAIN for nothing.
    let mut message = [
        id,
        &[0x81, 0x80 + 3 * is_nothing, 0, 1, 0, count, 0, is_nothing, 0, 0],
        question,
    ]
    .concat();
    let mut record = |kind: u16, data: &[u8]| {
        message.extend([0xC0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 1]);
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(data);
    };
    records.into_iter().flatten().for_each(|data| record(kind, data));
    if count == 0 {
        record(SOA, &[[0, 0].as_slice(), &[0; 16], &1u32.to_be_bytes()].concat());
    }
    message
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn srv(priority: u16, port: u16, target: &str) -> Vec<u8> {
    let numbers = [priority, 0, port].map(u16::to_be_bytes).concat();
    [numbers, wire_name(target)].concat()
}

fn naptr(services: &str, replacement: &str) -> Vec<u8> {
    let mut data = vec![0, 1, 0, 1, 1, b's', services.len() as u8];
    data.extend(services.as_bytes());
    data.push(0);
    data.extend(wire_name(replacement));
    data
}

fn localhost() -> Vec<u8> {
    Ipv4Addr::LOCALHOST.octets().to_vec()
}

/// A domain that has SIP over UDP at these ports, the first preferred.
fn domain(ports: &[u16]) -> Zone {
    let servers = ports
        .iter()
        .zip(1..)
        .map(|(&port, priority)| srv(priority, port, "host.carrier.test"));
    HashMap::from([
        (
            ("carrier.test", NAPTR),
            vec![naptr("SIP+D2U", "_sip._udp.carrier.test")],
        ),
        (("_sip._udp.carrier.test", SRV), servers.collect()),
        (("host.carrier.test", A), vec![localhost()]),
    ])
}

fn plane(node: &Node, server: &NameServer) -> (Control, Plane) {
    let nobody = "127.0.0.1:9".parse().unwrap();
    let mut control = Control::new(&node.address(), nobody);
    control.extra = format!(
        "[dns]\nservers = [\"{}\"]\nttl_min_s = 1\nrefresh_s = 5\ntimeout_ms = 200\n\
         [limits]\nnext_hop_timeout_ms = 300\n",
        server.address
    );
    let text = control.text().replace("sip:127.0.0.1:9", "sip:carrier.test");
    let plane = Plane::start(&crate::plane::control_binary(), control.folder.path(), &text, &[]);
    plane.wait_for_readiness(200);
    crate::plane::wait("the next hop is found", || {
        plane.metric("ringpath_control_next_hops_unresolved", "") == 0.0
    });
    (control, plane)
}

/// RFC 3263 §4.1 to §4.3: services, servers, addresses; one that is silent and one that answers 503 are passed over within
/// the call.
#[test]
fn a_call_finds_its_next_hop_and_passes_over_servers_that_do_not_serve() {
    let Some(node) = Node::start("a_call_finds_its_next_hop_and_passes_over_servers_that_do_not_serve")
    else {
        return;
    };
    let (caller, silent) = (Phone::new("caller"), Phone::new("silent"));
    let (busy, callee) = (Phone::new("busy"), Phone::new("callee"));
    let ports = [&silent, &busy, &callee].map(|phone| phone.address().port());
    let server = NameServer::start(domain(&ports));
    let (_control, plane) = plane(&node, &server);
    let asked = server.asked.lock().unwrap().clone();
    let mut kinds: Vec<u16> = asked.iter().map(|(_, kind)| *kind).collect();
    // A question whose answer is late is asked again.
    kinds.dedup();
    assert_eq!(kinds[..3], [NAPTR, SRV, A], "{asked:?}");

    let refusing = std::thread::spawn(move || {
        let (invite, from) = busy.take("INVITE");
        busy.answer(&invite, 503, from);
        busy.take("ACK");
    });
    let call = caller.call(plane.address("sip udp"), "1000", &callee, "found");
    refusing.join().unwrap();
    let (invite, _) = silent.take("INVITE");
    assert_eq!(invite.request_uri(), Some("sip:1000@carrier.test"));
    call.hang_up(&callee);
    assert_eq!(
        plane.metric("ringpath_control_call_events_total", "next_hop_skipped"),
        2.0
    );
    plane.stop();
    node.plane.stop();
}

/// RFC 3263 §4.3, RFC 2308: what has lived its time is asked for again; a name that is gone keeps its last addresses, and so
/// does one whose servers are silent.
#[test]
fn addresses_follow_the_domain_and_stay_when_it_is_gone() {
    let Some(node) = Node::start("addresses_follow_the_domain_and_stay_when_it_is_gone") else {
        return;
    };
    let (caller, first, second) = (Phone::new("caller"), Phone::new("first"), Phone::new("second"));
    let server = NameServer::start(domain(&[first.address().port()]));
    let (_control, plane) = plane(&node, &server);
    let sip = plane.address("sip udp");
    caller.call(sip, "1000", &first, "one").hang_up(&first);
    let changes = || plane.log().matches("addresses of next hops changed").count();
    let before = changes();
    server.become_(Some(domain(&[second.address().port()])));
    crate::plane::wait("the change is seen", || changes() > before);
    caller.call(sip, "1000", &second, "two").hang_up(&second);
    server.become_(Some(Zone::new()));
    plane.wait_for_metric("ringpath_control_dns_lookups_total", "nothing", 1.0);
    server.become_(None);
    plane.wait_for_metric("ringpath_control_dns_lookups_total", "failed", 1.0);
    caller.call(sip, "1000", &second, "three").hang_up(&second);
    assert!(plane.metric("ringpath_control_dns_lookups_total", "found") >= 2.0);
    plane.stop();
    node.plane.stop();
}

/// A name whose NAPTR and AAAA questions go unanswered has what the others bring, and is asked for again.
#[test]
fn a_question_without_an_answer_does_not_cost_the_name() {
    let callee = Phone::new("callee");
    let server = NameServer::start(domain(&[callee.address().port()]));
    *server.deaf_to.lock().unwrap() = vec![NAPTR, AAAA];
    let mut control = Control::alone();
    control.listen = "\"udp:127.0.0.1:0\", \"udp:[::1]:0\"".into();
    control.extra = format!(
        "[dns]\nservers = [\"{}\"]\nttl_min_s = 1\nrefresh_s = 5\ntimeout_ms = 100\n",
        server.address
    );
    let text = control.text().replace("sip:127.0.0.1:9", "sip:carrier.test");
    let plane = Plane::start(&crate::plane::control_binary(), control.folder.path(), &text, &[]);
    plane.wait_for_metric("ringpath_control_dns_lookups_total", "found", 2.0);
    assert_eq!(plane.metric("ringpath_control_next_hops_unresolved", ""), 0.0);
    let asked = server.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|(_, kind)| *kind == AAAA), "{asked:?}");
    // Without the servers of the service the host alone is no answer.
    server.deaf_to.lock().unwrap().push(SRV);
    plane.wait_for_metric("ringpath_control_dns_lookups_total", "failed", 1.0);
    plane.stop();
}
