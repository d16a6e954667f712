//! AF_XDP sockets over a veth pair: by the real program, to a party in another network namespace.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ebpf::{Attachment, Link, Mode, Steering, XskQueue, Xsks};
use net_io::steering::{SharedSockets, Steer, Steered};
use net_io::xsk::{NextHop, NextHops, Queue, Tie, XdpPlan};
use net_io::{IoConfig, OpenError, PacketIo, PortId, Ports as _};
use netns::{PARTY_MAC, RELAY_MAC, Wire};

use crate::allocation::allocations;
use crate::back_end::{PATIENCE, expect_all_frames_back, receive_one, skip};

const RELAY: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const PARTY: [&str; 2] = ["192.0.2.2:4000", "[2001:db8::2]:4000"];

/// What one worker is steered with, by the real programs.
#[derive(Debug)]
struct Programs {
    steering: Steering,
    xsks: Xsks,
    _link: Link,
    _attachment: Attachment,
    tied: Mutex<HashSet<u32>>,
}

#[derive(Debug)]
struct Shared(Arc<Programs>);

impl Steer for Shared {
    fn begin(&mut self, local: SocketAddr) -> io::Result<()> {
        let steering = &self.0.steering;
        steering.set_owner(local, Some(0)).map_err(io::Error::other)
    }

    fn end(&mut self, local: SocketAddr) {
        self.0.steering.set_owner(local, None).expect("the map takes it");
    }
}

fn queue(queue: Queue) -> XskQueue {
    XskQueue {
        ifindex: NonZeroU32::new(queue.ifindex).expect("an interface"),
        number: queue.number,
    }
}

impl Tie for Shared {
    fn tie(&mut self, to: Queue, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.0.tied.lock().unwrap().insert(to.number);
        let xsks = &self.0.xsks;
        xsks.set(queue(to), to.number, 0, socket)
            .map_err(io::Error::other)
    }

    fn untie(&mut self, from: Queue) -> io::Result<()> {
        self.0.tied.lock().unwrap().remove(&from.number);
        self.0.xsks.clear(queue(from)).map_err(io::Error::other)
    }
}

/// The way to the party: none in version 0.
#[derive(Clone, Debug, Default)]
struct Known(Arc<AtomicU64>, u32);

impl NextHops for Known {
    fn version(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn find(&mut self, _from: IpAddr, to: IpAddr) -> Option<NextHop> {
        let is_party = PARTY.iter().any(|party| {
            let party: SocketAddr = party.parse().unwrap();
            party.ip() == to
        });
        (self.version() > 0 && is_party).then_some(NextHop {
            ifindex: self.1,
            own: RELAY_MAC,
            address: PARTY_MAC,
        })
    }
}

struct Bed {
    programs: Arc<Programs>,
    known: Known,
}

/// Runs a test in the relay's namespace with a back-end of one worker there.
fn with_xdp(name: &str, config: &IoConfig, body: impl FnOnce(&mut Steered, &Wire, &Bed) + Send) {
    let Some(wire) = Wire::new(name) else { return };
    let known = Known(Arc::default(), wire.relay.ifindex("r0").get());
    wire.relay.inside(|| {
        let addresses = RELAY.map(|address| address.parse().unwrap());
        let steering = match Steering::load(&addresses) {
            Ok(steering) => steering,
            Err(error) => return skip(name, &error.to_string()),
        };
        let xsks = steering.load_xsks().expect("loads where steering does");
        let sockets = SharedSockets::open(&addresses, &config.socket).expect("raw sockets");
        for ipv6 in [false, true] {
            let socket = sockets.receiver(ipv6).expect("both versions");
            steering.set_socket(0, ipv6, socket).expect("a bound socket");
        }
        let namespace = std::fs::File::open("/proc/thread-self/ns/net").expect("procfs");
        let link = steering.attach(namespace.as_fd()).expect("attaches");
        let attachment = match Attachment::new(xsks.program(), "r0", &[Mode::Native]) {
            Ok(attachment) => attachment,
            Err(error) => return skip(name, &error.to_string()),
        };
        let programs = Arc::new(Programs {
            steering,
            xsks,
            _link: link,
            _attachment: attachment,
            tied: Mutex::default(),
        });
        let plan = XdpPlan {
            interfaces: vec![known.1],
            first: 0,
            step: 1,
            tie: Box::new(Shared(programs.clone())),
            hops: Box::new(known.clone()),
        };
        let steering = net_io::steering::Steering {
            sockets,
            steer: Box::new(Shared(programs.clone())),
            xdp: Some(plan),
        };
        let mut io = match Steered::new(config, steering) {
            Ok(io) => io,
            Err(error) => return skip(name, &error.to_string()),
        };
        known.0.store(1, Ordering::Relaxed);
        body(&mut io, &wire, &Bed { programs, known });
    });
}

fn open(io: &mut Steered, ip: &str) -> (PortId, SocketAddr) {
    let port = io.open(SocketAddr::new(ip.parse().unwrap(), 0)).expect("opens");
    (port, io.local_address(port).expect("open"))
}

/// A packet there, and its echo back; true when each was by AF_XDP.
fn echo(io: &mut Steered, party: &UdpSocket, local: SocketAddr, payload: &[u8]) -> [bool; 2] {
    let before = io.counters().clone();
    party.send_to(payload, local).expect("sent");
    let received = receive_one(io);
    assert_eq!(received.source, party.local_addr().unwrap());
    assert_eq!(io.payload(&received.frame), payload);
    let mut frame = received.frame;
    if let Some(first) = io.payload_mut(&mut frame).first_mut() {
        *first ^= 0xff;
    }
    io.send(frame, received.port, received.source);
    io.poll(Some(Duration::ZERO)).expect("polls");
    let (echoed, from) = netns::receive(party).expect("comes back");
    assert_eq!(from, local);
    assert_eq!(echoed.len(), payload.len());
    if let Some(first) = payload.first() {
        assert_eq!((echoed[0], &echoed[1..]), (first ^ 0xff, &payload[1..]));
    }
    let after = io.counters();
    assert_eq!(
        (after.received, after.sent),
        (before.received + 1, before.sent + 1)
    );
    [
        after.xdp_received > before.xdp_received,
        after.xdp_sent > before.xdp_sent,
    ]
}

#[test]
fn packets_of_both_ip_versions_come_and_leave_by_af_xdp() {
    let name = "packets_of_both_ip_versions_come_and_leave_by_af_xdp";
    with_xdp(name, &IoConfig::default(), |io, wire, _| {
        for version in 0..2 {
            let party = wire.parties.socket(PARTY[version]);
            let (port, local) = open(io, RELAY[version]);
            for length in [0, 1, 12, 172, 173, 1_200] {
                let payload: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
                assert_eq!(echo(io, &party, local, &payload), [true, true], "{length} bytes");
            }
            io.close(port);
        }
        assert_eq!(io.counters().malformed, 0);
        expect_all_frames_back(io);
    });
}

#[test]
fn what_has_no_way_by_af_xdp_goes_through_the_kernel() {
    let name = "what_has_no_way_by_af_xdp_goes_through_the_kernel";
    with_xdp(name, &IoConfig::default(), |io, wire, bed| {
        let party = wire.parties.socket(PARTY[0]);
        let (_, local) = open(io, RELAY[0]);
        assert_eq!(
            echo(io, &party, local, &[7; 1_400]),
            [true, false],
            "a long packet"
        );
        // A datagram in two fragments; its echo would need two, which raw sockets do not make.
        party.send_to(&[8; 1_600], local).expect("sent in fragments");
        let received = receive_one(io);
        assert_eq!(received.frame.len(), 1_600);
        io.release(received.frame);
        assert_eq!(echo(io, &party, local, &[9; 172]), [true, true], "the next");
        bed.known.0.store(0, Ordering::Relaxed);
        io.poll(Some(Duration::ZERO)).expect("polls");
        assert_eq!(echo(io, &party, local, &[9; 172]), [true, false], "no next hop");
        bed.known.0.store(2, Ordering::Relaxed);
        io.poll(Some(Duration::ZERO)).expect("polls");
        assert_eq!(echo(io, &party, local, &[9; 172]), [true, true], "known again");
        expect_all_frames_back(io);
    });
}

#[test]
fn a_closed_port_is_the_kernels_and_another_worker_gets_nothing() {
    let name = "a_closed_port_is_the_kernels_and_another_worker_gets_nothing";
    with_xdp(name, &IoConfig::default(), |io, wire, bed| {
        let party = wire.parties.socket(PARTY[0]);
        let (port, local) = open(io, RELAY[0]);
        assert_eq!(echo(io, &party, local, &[1; 20]), [true, true]);
        // The port of a worker that has no socket here, and no shared one either.
        bed.programs.steering.set_owner(local, Some(1)).expect("taken");
        party.send_to(&[2; 20], local).expect("sent");
        bed.programs.steering.set_owner(local, Some(0)).expect("taken");
        assert_eq!(echo(io, &party, local, &[3; 20]), [true, true]);
        io.close(port);
        let socket = UdpSocket::bind(local).expect("free");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        party.send_to(&[4; 20], local).expect("sent");
        assert_eq!(netns::receive(&socket).expect("comes").0, [4; 20]);
        let taken = io.open(local);
        assert_eq!(taken, Err(OpenError::InUse));
        expect_all_frames_back(io);
    });
}

#[test]
fn who_stops_receiving_leaves_all_that_comes_to_the_shared_sockets() {
    let name = "who_stops_receiving_leaves_all_that_comes_to_the_shared_sockets";
    with_xdp(name, &IoConfig::default(), |io, wire, bed| {
        let party = wire.parties.socket(PARTY[0]);
        let (_, local) = open(io, RELAY[0]);
        assert_eq!(echo(io, &party, local, &[1; 20]), [true, true]);
        // In the ring when receiving ends: still to be taken.
        party.send_to(&[2; 20], local).expect("sent");
        assert_eq!(echo_in_order(io, 1), [vec![2; 20]]);
        party.send_to(&[3; 20], local).expect("sent");
        io.stop_receiving().expect("stops");
        assert!(bed.programs.tied.lock().unwrap().is_empty());
        let before = io.counters().xdp_received;
        party.send_to(&[4; 20], local).expect("sent");
        party.send_to(&[5; 20], local).expect("sent");
        io.start_receiving();
        // Those that came meanwhile are not lost, whichever way they came.
        assert_eq!(echo_in_order(io, 3), [vec![3; 20], vec![4; 20], vec![5; 20]]);
        assert_eq!(io.counters().xdp_received, before, "by the shared socket");
        assert_eq!(echo(io, &party, local, &[6; 20]), [true, true]);
        expect_all_frames_back(io);
    });
}

/// So many payloads in the order in which they come.
fn echo_in_order(io: &mut Steered, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|_| {
            let received = receive_one(io);
            let payload = io.payload(&received.frame).to_vec();
            io.release(received.frame);
            payload
        })
        .collect()
}

#[test]
fn more_than_the_frames_can_hold_is_dropped_and_counted_and_no_frame_is_lost() {
    let name = "more_than_the_frames_can_hold_is_dropped_and_counted_and_no_frame_is_lost";
    let config = IoConfig {
        frames: 64,
        xdp_frames_receiving: 16,
        ..IoConfig::default()
    };
    with_xdp(name, &config, |io, wire, _| {
        let party = wire.parties.socket(PARTY[0]);
        let (_, local) = open(io, RELAY[0]);
        for number in 0..100u8 {
            party.send_to(&[number; 20], local).expect("sent");
        }
        assert_eq!(echo_in_order(io, 1), [vec![0; 20]]);
        while let Some(received) = io.receive() {
            io.release(received.frame);
        }
        // Stopping takes the count from the kernel.
        io.stop_receiving().expect("stops");
        let counters = io.counters();
        assert_eq!(counters.kernel_drops, Some(100 - counters.xdp_received));
        assert_eq!(counters.xdp_received, 16);
        io.start_receiving();
        assert_eq!(echo(io, &party, local, &[6; 20]), [true, true]);
        expect_all_frames_back(io);
    });
}

#[test]
fn the_steady_state_over_af_xdp_allocates_nothing() {
    let name = "the_steady_state_over_af_xdp_allocates_nothing";
    with_xdp(name, &IoConfig::default(), |io, wire, _| {
        let party = wire.parties.socket(PARTY[0]);
        let (_, local) = open(io, RELAY[0]);
        assert_eq!(echo(io, &party, local, &[1; 172]), [true, true]);
        let mut relayed = 0;
        let mut allocated = 0;
        for _ in 0..20 {
            for _ in 0..40 {
                party.send_to(&[1; 172], local).expect("sent");
            }
            let before = allocations();
            let mut round = 0;
            while round < 40 {
                io.poll(Some(PATIENCE)).expect("polls");
                while let Some(received) = io.receive() {
                    io.send(received.frame, received.port, received.source);
                    round += 1;
                }
            }
            io.poll(Some(Duration::ZERO)).expect("polls");
            allocated += allocations() - before;
            for _ in 0..40 {
                netns::receive(&party).expect("comes back");
            }
            relayed += round;
        }
        assert_eq!((relayed, allocated), (800, 0));
        expect_all_frames_back(io);
    });
}

#[test]
fn a_queue_that_is_taken_is_an_error() {
    let name = "a_queue_that_is_taken_is_an_error";
    with_xdp(name, &IoConfig::default(), |_, _, bed| {
        let plan = XdpPlan {
            interfaces: vec![bed.known.1],
            first: 0,
            step: 1,
            tie: Box::new(Shared(bed.programs.clone())),
            hops: Box::new(bed.known.clone()),
        };
        let config = IoConfig::default();
        let addresses = RELAY.map(|address| address.parse().unwrap());
        let steering = net_io::steering::Steering {
            sockets: SharedSockets::open(&addresses, &config.socket).expect("raw sockets"),
            steer: Box::new(Shared(bed.programs.clone())),
            xdp: Some(plan),
        };
        let error = Steered::new(&config, steering).err().expect("taken");
        assert_eq!(error.raw_os_error(), Some(16), "EBUSY, not {error}");
    });
}
