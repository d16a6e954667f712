use std::fmt::Write;
use std::net::IpAddr;

use media_types::Direction;
use proptest::prelude::*;
use sdp::{Origin, Session, agree, rewrite};

use crate::our_lines;

const DIRECTIONS: [Direction; 4] = [
    Direction::SendRecv,
    Direction::SendOnly,
    Direction::RecvOnly,
    Direction::Inactive,
];

fn direction_line(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "a=sendrecv\r\n",
        Direction::SendOnly => "a=sendonly\r\n",
        Direction::RecvOnly => "a=recvonly\r\n",
        Direction::Inactive => "a=inactive\r\n",
    }
}

/// A line as a party might describe it: media type, port, direction, address, an unknown attribute.
type Line = (bool, u16, usize, Option<IpAddr>, String);

fn line() -> impl Strategy<Value = Line> {
    let port = prop_oneof![1 => Just(0u16), 8 => 1u16..];
    let address = proptest::option::of(
        any::<IpAddr>().prop_filter("a host", |ip| !ip.is_multicast() && !ip.is_unspecified()),
    );
    (
        any::<bool>(),
        port,
        0..4usize,
        address,
        "x-[a-z]{1,8}(:[ -~]{0,30})?",
    )
}

fn describe(lines: &[Line]) -> String {
    let mut text = "v=0\r\no=- 5 6 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n".to_owned();
    for (audio, port, direction, address, attribute) in lines {
        let media = if *audio { "audio" } else { "video" };
        write!(text, "m={media} {port} RTP/AVP 0\r\n").unwrap();
        if let Some(ip) = address {
            write!(text, "c=IN {} {ip}\r\n", if ip.is_ipv6() { "IP6" } else { "IP4" }).unwrap();
        }
        write!(
            text,
            "{}a={attribute}\r\n",
            direction_line(DIRECTIONS[*direction])
        )
        .unwrap();
    }
    text
}

proptest! {
    #[test]
    fn rewriting_keeps_lines_and_directions_and_hides_addresses(lines in proptest::collection::vec(line(), 0..8)) {
        let session = Session::parse(describe(&lines).as_bytes()).unwrap();
        let ours = our_lines(&session);
        let out = rewrite(&session, &ours, &[], &mut Origin::new(1));
        let printed = Session::parse(out.as_bytes()).unwrap();
        prop_assert_eq!(printed.line_count(), lines.len());
        for ((before, after), ours) in session.lines().zip(printed.lines()).zip(&ours) {
            prop_assert_eq!(before.media(), after.media());
            prop_assert_eq!(after.remote(), ours.as_ref().map(|ours| ours.local.rtp));
            if ours.is_some() {
                prop_assert_eq!(before.direction(), after.direction());
            }
        }
        let connections: Vec<_> = out.lines().filter(|l| l.starts_with("c=") || l.starts_with("o=")).collect();
        for connection in connections {
            let address = connection.rsplit(' ').next().unwrap();
            prop_assert!(["198.51.100.1", "2001:db8:ffff::1", "0.0.0.0"].contains(&address), "{}", connection);
        }
    }

    #[test]
    fn a_line_is_enabled_when_both_sides_enabled_it(lines in proptest::collection::vec((line(), 0..2u16), 0..8)) {
        let offered: Vec<Line> = lines.iter().map(|(line, _)| line.clone()).collect();
        let answered: Vec<Line> = lines.iter().map(|(line, accept)| {
            let mut line = line.clone();
            line.1 = line.1.saturating_mul(*accept);
            line
        }).collect();
        let offer = Session::parse(describe(&offered).as_bytes()).unwrap();
        let answer = Session::parse(describe(&answered).as_bytes()).unwrap();
        let agreement = agree(&offer, &answer).unwrap();
        for (index, (offerer, answerer)) in agreement.offerer.iter().zip(&agreement.answerer).enumerate() {
            let both = offer.line_specs()[index].enabled && answer.line_specs()[index].enabled;
            prop_assert_eq!((offerer.enabled, answerer.enabled), (both, both));
            prop_assert_eq!((offerer.remote.is_some(), answerer.remote.is_some()), (both, both));
        }
    }
}
