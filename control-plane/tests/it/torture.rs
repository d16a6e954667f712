//! RFC 4475 and RFC 5118 against the running binary, over UDP, TCP and WebSocket: each message is answered as the RFC wants, or not at
//! all, and the process answers on.

#[path = "../../crates/sip/tests/it/message/torture_cases.rs"]
mod torture_cases;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};

use torture_cases::{Case, Expectation, cases};

use crate::phone::Phone;
use crate::plane::{Control, LIMIT, Plane, wait};

/// The status that a message gets from a registrar of example.com without passwords and without a media node, where each
/// call that is in order gets as far as 503.
fn expected(case: &Case) -> Option<u16> {
    match (case.expectation, &*case.name) {
        (Expectation::Answer(status), _) => Some(status),
        (Expectation::Silent, _) => None,
        // Responses to nothing that we sent.
        (_, "unreason" | "noreason" | "bcast") => None,
        // In a dialog that there is not.
        (_, "wsinv" | "via-received-with-brackets" | "mult-ip-in-header") => Some(481),
        // Methods that we don't have, and one that nobody has.
        (_, "mpart01") => Some(405),
        (_, "intmeth" | "esc02") => Some(501),
        (_, "unkscm" | "novelsc") => Some(416),
        (_, "bext01") => Some(420),
        (_, "invut") => Some(415),
        // For another domain, and for nobody in ours.
        (_, "unksm2" | "ipv6-good" | "port-ambiguous" | "port-unambiguous" | "escnull") => Some(404),
        // Neither a tag in From nor a Contact makes no dialog.
        (_, "inv2543") => Some(400),
        (_, "esc01" | "longreq" | "baddate" | "sdp01") => Some(503),
        (_, "ipv6-in-sdp" | "mult-ip-in-sdp" | "ipv4-mapped-ipv6") => Some(503),
        (Expectation::Valid, _) => Some(200),
    }
}

fn control() -> Control {
    let mut control = Control::alone();
    // The messages come from many addresses, one of which might be taken for an attacker's.
    control.extra = "[guard]\nallow = [\"127.0.0.0/8\"]\n[registrar]\ndomains = [\"example.com\"]\n\
                     authentication = false\n"
        .into();
    control
}

fn plane() -> Plane {
    control().run()
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.get(..11)?).ok()?;
    line.strip_prefix("SIP/2.0 ")?.parse().ok()
}

/// The ports that the answer may come to: the one of RFC 3261 §18.2.2, and every number in a Via.
fn ports(case: &Case) -> Vec<u16> {
    let text = String::from_utf8_lossy(&case.bytes).to_ascii_lowercase();
    let is_via = |line: &&str| line.starts_with("via") || line.starts_with('v');
    let words = text
        .lines()
        .filter(is_via)
        .flat_map(|line| line.split([' ', ';', ',', ':']));
    let mut ports: Vec<u16> = words
        .filter_map(|word| word.parse().ok())
        .filter(|&port| port > 1_023)
        .collect();
    ports.push(5_060);
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The status of the first final response on a connection; `None` if it ends before.
fn final_status(stream: &mut TcpStream) -> Option<u16> {
    let mut head = Vec::new();
    loop {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
        if head.ends_with(b"\r\n\r\n") {
            // None of these has a body.
            match status(&head) {
                Some(100..200) => head.clear(),
                status => return status,
            }
        }
    }
}

/// The message with a branch that no other has: several of the RFC's share theirs, and would be taken for repetitions.
fn on_its_own(case: &Case, number: &str) -> Vec<u8> {
    const COOKIE: &[u8] = b"branch=z9hG4bK";
    let mut bytes = case.bytes.to_vec();
    let place = bytes.windows(COOKIE.len()).position(|window| window == COOKIE);
    // What follows it says whether the branch is the cookie alone, which is a test of its own.
    if let Some(after) = place.map(|place| place + COOKIE.len())
        && bytes.get(after).is_some_and(u8::is_ascii_graphic)
    {
        bytes.splice(after..after, number.bytes());
    }
    bytes
}

/// A client of WebSocket (RFC 6455) that sends one message in a frame.
struct WebSocket(TcpStream);

impl WebSocket {
    fn open(plane: &Plane) -> Self {
        let mut stream = TcpStream::connect(plane.address("sip ws")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        // The key, and what it is answered with, are those of RFC 6455 §1.3.
        let request = "GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\
                       Sec-WebSocket-Version: 13\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        Self(stream)
    }

    /// Masked with zeros.
    fn send(&mut self, message: &[u8]) {
        let mut frame = vec![0x82];
        match u16::try_from(message.len()).unwrap() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(message);
        self.0.write_all(&frame).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        assert!(
            matches!(head[0], 0x81 | 0x82),
            "a message in one frame: {head:x?}"
        );
        let mut length = [0, head[1]];
        if head[1] == 126 {
            self.0.read_exact(&mut length).unwrap();
        }
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        self.0.read_exact(&mut message).unwrap();
        message
    }

    /// The first final response.
    fn final_response(&mut self) -> Vec<u8> {
        loop {
            let message = self.receive();
            if status(&message).is_some_and(|status| status >= 200) {
                return message;
            }
        }
    }
}

/// Everything that was sent before is dealt with when this has its answer.
fn fence(plane: &Plane, call_id: &str) {
    let phone = Phone::new("fence");
    let address = phone.address().to_string();
    let options = phone
        .request("OPTIONS", "ping", &address, "", call_id)
        .build()
        .unwrap();
    phone.send(options.bytes(), plane.address("sip udp"));
    assert_eq!(phone.final_of("OPTIONS").status(), Some(200));
}

#[test]
fn every_message_gets_the_answer_of_its_rfc_over_udp() {
    let mut plane = plane();
    let mut failures = Vec::new();
    for (number, case) in (1u8..).zip(cases()) {
        // An address for each: what is repeated for want of an ACK does not get in the way.
        let address = Ipv4Addr::new(127, 44, 75, number);
        let bind = |port| {
            let mut socket = None;
            // Another test's program may have the port of all addresses for a moment.
            wait(&format!("port {port}"), || {
                socket = UdpSocket::bind((address, port)).ok();
                socket.is_some()
            });
            socket.unwrap()
        };
        let sockets: Vec<UdpSocket> = ports(&case).into_iter().map(bind).collect();
        let mut buffer = [0; 65_535];
        for socket in &sockets {
            socket.set_nonblocking(true).unwrap();
        }
        sockets[0]
            .send_to(
                &on_its_own(&case, &format!("u{number}")),
                plane.address("sip udp"),
            )
            .unwrap();
        // Datagrams are taken in their order.
        fence(&plane, &format!("udp{number}"));
        let mut found = Vec::new();
        let mut take = || {
            for socket in &sockets {
                while let Ok(length) = socket.recv(&mut buffer) {
                    found.extend(status(&buffer[..length]).filter(|&status| status >= 200));
                }
            }
            !found.is_empty()
        };
        match expected(&case) {
            // Of calls the media nodes are asked.
            Some(_) => wait(&format!("an answer to {}", case.name), take),
            None => drop(take()),
        }
        if found != expected(&case).into_iter().collect::<Vec<_>>() {
            failures.push(format!(
                "{} {}: {found:?}, not {:?}",
                case.section,
                case.name,
                expected(&case)
            ));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(plane.lives());
    plane.stop();
}

#[test]
fn every_message_gets_the_answer_of_its_rfc_over_tcp() {
    let mut plane = plane();
    let mut failures = Vec::new();
    for (number, case) in (1u8..).zip(cases()) {
        let expected = match &*case.name {
            // It says that more is coming than does: nothing to be answered before `sip.tcp.message_timeout_ms`.
            "clerr" => None,
            // What follows the first request puts the connection out of step, and it ends, answered or not.
            "dblreq" => continue,
            _ => expected(&case),
        };
        let mut stream = TcpStream::connect(plane.address("sip tcp")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
            .write_all(&on_its_own(&case, &format!("t{number}")))
            .unwrap();
        let found = match expected {
            Some(_) => final_status(&mut stream),
            None => {
                // The end of what we say: whatever is to be answered is answered before the connection ends.
                stream.shutdown(Shutdown::Write).unwrap();
                final_status(&mut stream)
            }
        };
        if found != expected {
            failures.push(format!(
                "{} {}: {found:?}, not {expected:?}",
                case.section, case.name
            ));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(plane.lives());
    fence(&plane, "tcp");
    plane.stop();
}

#[test]
fn every_message_gets_the_answer_of_its_rfc_over_websocket() {
    let mut control = control();
    control.listen += ", \"ws:127.0.0.1:0\"";
    let mut plane = control.run();
    let phone = Phone::new("fence");
    let mut failures = Vec::new();
    for (number, case) in (1u8..).zip(cases()) {
        let mut client = WebSocket::open(&plane);
        client.send(&on_its_own(&case, &format!("w{number}")));
        let expected = expected(&case);
        if expected.is_none() {
            // What has an answer has it before this has its own.
            let fence = format!("ws{number}");
            let options = phone.request("OPTIONS", "ping", "fence.invalid", "", &fence);
            client.send(options.build().unwrap().bytes());
        }
        let answer = client.final_response();
        let is_fence = String::from_utf8_lossy(&answer).contains("SIP/2.0/UDP fence.invalid");
        let found = status(&answer).filter(|_| !is_fence);
        if found != expected {
            failures.push(format!(
                "{} {}: {found:?}, not {expected:?}",
                case.section, case.name
            ));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(plane.lives());
    plane.stop();
}
