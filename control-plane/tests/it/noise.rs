//! What is not SIP, or badly so: answered or counted, and survived.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::phone::Phone;
use crate::plane::{Control, LIMIT, Plane};

fn lives(plane: &mut Plane, phone: &Phone, call_id: &str) {
    let options = phone
        .request("OPTIONS", "ping", &phone.address().to_string(), "", call_id)
        .build()
        .unwrap();
    phone.send(options.bytes(), plane.address("sip udp"));
    assert_eq!(phone.final_of("OPTIONS").status(), Some(200));
    assert!(plane.lives());
}

/// Garbage that repeats: a number generator of a few lines, seeded by the test.
fn garbage(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let length = next() % 1_500;
    (0..length).map(|_| next() as u8).collect()
}

#[test]
fn garbage_over_udp_is_counted_and_survived() {
    let mut plane = Control::alone().run();
    let phone = Phone::new("noise");
    let good = phone.invite("1000", "noise");
    for seed in 0..200 {
        phone.send(&garbage(seed), plane.address("sip udp"));
        // A good message with one byte changed, and one cut off.
        let mut damaged = good.bytes().to_vec();
        let at = seed as usize * 7 % damaged.len();
        damaged[at] ^= 0x40;
        phone.send(&damaged, plane.address("sip udp"));
        phone.send(&good.bytes()[..at], plane.address("sip udp"));
    }
    plane.wait_for_metric("ringpath_control_sip_parse_errors_total", "", 200.0);
    let sober = Phone::new("sober");
    lives(&mut plane, &sober, "after-noise");
    plane.stop();
}

#[test]
fn a_broken_request_gets_400_and_an_unknown_version_505() {
    let plane = Control::alone().run();
    let phone = Phone::new("broken");
    let good = String::from_utf8(phone.invite("1000", "broken").bytes().to_vec()).unwrap();
    for (text, status) in [
        (good.replace("CSeq: 1 INVITE", "CSeq: one INVITE"), "SIP/2.0 400 "),
        (good.replace("Call-ID: broken\r\n", ""), "SIP/2.0 400 "),
        (good.replacen(" SIP/2.0", " SIP/9.0", 1), "SIP/2.0 505 "),
    ] {
        phone.send(text.as_bytes(), plane.address("sip udp"));
        let mut buffer = [0; 4_096];
        let length = phone.socket.recv(&mut buffer).unwrap();
        let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(answer.starts_with(status), "{answer}");
    }
    assert_eq!(
        plane.metric(
            "ringpath_control_sip_parse_errors_total",
            "reason=\"malformed_header\""
        ),
        1.0
    );
    assert_eq!(
        plane.metric(
            "ringpath_control_sip_parse_errors_total",
            "reason=\"missing_header\""
        ),
        1.0
    );
    assert_eq!(
        plane.metric("ringpath_control_sip_parse_errors_total", "reason=\"version\""),
        1.0
    );
    plane.stop();
}

#[test]
fn garbage_over_tcp_closes_its_connection_alone() {
    let mut plane = Control::alone().run();
    let mut kept = TcpStream::connect(plane.address("sip tcp")).unwrap();
    kept.set_read_timeout(Some(LIMIT)).unwrap();
    for seed in 1..30 {
        let mut stream = TcpStream::connect(plane.address("sip tcp")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut bytes = garbage(seed);
        // A first byte that no message has, so that it cannot pass for the beginning of one.
        bytes.insert(0, 0xFF);
        // The other side may have closed already.
        let _ = stream.write_all(&bytes);
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "seed {seed}"),
        }
    }
    plane.wait_for_metric("ringpath_control_sip_drops_total", "connection_framing", 29.0);
    kept.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    kept.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
    lives(&mut plane, &Phone::new("sober"), "after-tcp-noise");
    plane.stop();
}

#[test]
fn a_flood_of_new_calls_is_shed_with_503_and_the_process_answers_on() {
    let mut control = Control::alone();
    control.extra = "[limits]\nnew_request_queue = 4\n".into();
    let mut plane = control.run();
    let flood = Phone::new("flood");
    for number in 0..400 {
        flood.send(
            flood.invite("1000", &format!("flood{number}")).bytes(),
            plane.address("sip udp"),
        );
    }
    // Some are shed at the queue, the others for want of a media node; all get 503.
    for _ in 0..100 {
        assert_eq!(flood.final_of("INVITE").status(), Some(503));
    }
    plane.wait_for_metric("ringpath_control_sip_drops_total", "reason=\"overload\"", 1.0);
    lives(&mut plane, &Phone::new("sober"), "after-flood");
    plane.stop();
}
