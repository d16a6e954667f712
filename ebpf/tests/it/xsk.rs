//! The program of AF_XDP sockets on built packets: which it hands over.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::AsFd as _;

use ebpf::{Action, Steering, XskQueue};
use socket2::{Domain, Socket, Type};

use crate::bench::{self, address};
use crate::frame::Datagram;

/// `AF_XDP` (linux/socket.h).
const AF_XDP: i32 = 44;

/// Program-run has packets come by the first queue of loopback.
const QUEUE: XskQueue = XskQueue {
    ifindex: NonZeroU32::MIN,
    number: 0,
};

fn ends(v6: bool) -> (SocketAddr, SocketAddr) {
    if v6 {
        (address("[2001:db8::2]:4000"), address("[2001:db8::1]:20000"))
    } else {
        (address("192.0.2.2:4000"), address("192.0.2.1:20000"))
    }
}

#[test]
fn datagrams_to_ports_of_the_queues_worker_are_handed_over_and_all_else_goes_up() {
    let served = [ends(false).1.ip(), ends(true).1.ip()];
    let steering = match Steering::load(&served) {
        Err(error) if error.is_unavailable() => return bench::skip("xsk", &error),
        steering => steering.unwrap(),
    };
    let xsks = steering.load_xsks().unwrap();
    let run = |packet: &[u8]| {
        let ran = xsks.program().run(packet, 1).unwrap();
        assert_eq!(ran.packet, packet, "nothing is changed");
        ran.action
    };
    let socket = Socket::new(Domain::from(AF_XDP), Type::RAW, None).unwrap();
    for v6 in [false, true] {
        let (party, local) = ends(v6);
        let datagram = Datagram::new(party, local, &[7; 172]);
        let packet = datagram.build();
        assert_eq!(run(&packet), Action::Pass, "nobody's port");
        steering.set_owner(local, Some(3)).unwrap();
        assert_eq!(run(&packet), Action::Pass, "no socket");
        xsks.set(QUEUE, 5, 3, socket.as_fd()).unwrap();
        assert_eq!(run(&packet), Action::Redirect);
        let empty = Datagram::new(party, local, &[]).build();
        assert_eq!(run(&empty), Action::Redirect, "an empty datagram");

        steering.set_owner(local, Some(2)).unwrap();
        assert_eq!(run(&packet), Action::Pass, "another worker's port");
        steering.set_owner(local, Some(3)).unwrap();
        xsks.set(XskQueue { number: 1, ..QUEUE }, 6, 2, socket.as_fd())
            .unwrap();
        assert_eq!(run(&packet), Action::Redirect, "another queue is another's");

        let mut tagged = datagram.clone();
        tagged.tags = vec![(0x8100, 7)];
        assert_eq!(run(&tagged.build()), Action::Pass, "a tag");
        let elsewhere = SocketAddr::new(local.ip(), 20_001);
        assert_eq!(
            run(&Datagram::new(party, elsewhere, &[7; 172]).build()),
            Action::Pass
        );
        let other: SocketAddr = SocketAddr::new(party.ip(), local.port());
        assert_eq!(run(&Datagram::new(party, other, &[7; 172]).build()), Action::Pass);
        for length in 14..packet.len() {
            assert_eq!(run(&packet[..length]), Action::Pass, "cut to {length}");
        }
        let mut tcp = packet.clone();
        tcp[if v6 { 20 } else { 23 }] = 6;
        assert_eq!(run(&tcp), Action::Pass, "TCP, or a wrong checksum");

        xsks.clear(QUEUE).unwrap();
        xsks.clear(QUEUE).unwrap();
        assert_eq!(run(&packet), Action::Pass, "taken from the queue");
        steering.set_owner(local, None).unwrap();
    }
    let (party, local) = ends(false);
    steering.set_owner(local, Some(3)).unwrap();
    xsks.set(QUEUE, 5, 3, socket.as_fd()).unwrap();
    for (at, value, checksum) in [(20, 0x20, 0x2000), (20, 0x00, 0), (21, 1, 1)] {
        let mut packet = Datagram::new(party, local, &[7; 172]).build();
        packet[at] = value;
        let sum = u16::from_be_bytes([packet[24], packet[25]]);
        // The header's checksum goes down by what its words went up (RFC 1624).
        let (difference, borrow) = sum.overflowing_sub(checksum);
        let sum = difference.wrapping_sub(borrow.into());
        packet[24..26].copy_from_slice(&sum.to_be_bytes());
        let expected = if checksum == 0 {
            Action::Redirect
        } else {
            Action::Pass
        };
        assert_eq!(run(&packet), expected, "fragment bits {checksum:#x}");
    }
}
