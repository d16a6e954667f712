//! Sockets that go from one back-end to another in the midst of traffic.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use net_io::steering::{Steered, Steering};
use net_io::uring::Uring;
use net_io::{IoConfig, PacketIo, PortId};

use crate::back_end::*;

/// Packets that each port gets.
const PACKETS: u16 = 3_000;
/// Between two of them.
const PAUSE: Duration = Duration::from_micros(100);

/// Takes what is there, and notes the numbers in the packets by port.
fn take(io: &mut impl PacketIo, ports: &[(PortId, SocketAddr)], heard: &mut [Vec<u16>]) {
    while let Some(received) = io.receive() {
        let at = ports
            .iter()
            .position(|(port, _)| *port == received.port)
            .expect("open");
        let payload = io.payload(&received.frame);
        heard[at].push(u16::from_be_bytes([payload[0], payload[1]]));
        io.release(received.frame);
    }
}

/// Sends to `ports` while `receive` runs, and checks that it heard every packet once and in order.
fn under_traffic(ports: &[SocketAddr], receive: impl FnOnce(&AtomicBool) -> Vec<Vec<u16>>) {
    let done = AtomicBool::new(false);
    let peer = peer(LOOPBACK_V4);
    let heard = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..PACKETS {
                for port in ports {
                    peer.send_to(&number.to_be_bytes(), port)
                        .expect("loopback takes it");
                }
                let _ = rustix::thread::nanosleep(&rustix::thread::Timespec {
                    tv_sec: 0,
                    tv_nsec: PAUSE.subsec_nanos().into(),
                });
            }
            done.store(true, Ordering::Release);
        });
        receive(&done)
    });
    for (port, heard) in ports.iter().zip(&heard) {
        assert_eq!(heard.len(), usize::from(PACKETS), "{port}");
        assert!(heard.iter().copied().eq(0..PACKETS), "{port}: order");
    }
}

/// Everything until the sender is done and the ports are silent.
fn take_all(
    io: &mut impl PacketIo,
    ports: &[(PortId, SocketAddr)],
    heard: &mut [Vec<u16>],
    done: &AtomicBool,
) {
    loop {
        let over = done.load(Ordering::Acquire);
        let before = io.counters().received;
        io.poll(Some(Duration::from_millis(20))).expect("polls");
        take(io, ports, heard);
        if over && io.counters().received == before {
            return;
        }
    }
}

fn take_some(io: &mut impl PacketIo, ports: &[(PortId, SocketAddr)], heard: &mut [Vec<u16>]) {
    while heard[0].len() < 300 {
        io.poll(Some(PATIENCE)).expect("polls");
        take(io, ports, heard);
    }
    io.stop_receiving().expect("stops");
    io.poll(Some(Duration::ZERO)).expect("polls");
    take(io, ports, heard);
    // It has let go: what comes now is the next one's.
    let before = io.counters().received;
    io.poll(Some(Duration::from_millis(30))).expect("polls");
    take(io, ports, heard);
    assert_eq!(io.counters().received, before);
}

/// From one back-end to another, and back to the first when `aborts`.
fn goes_over(mut old: impl PacketIo, mut new: impl PacketIo, aborts: bool) {
    let ports: Vec<(PortId, SocketAddr)> = (0..8).map(|_| open(&mut old, LOOPBACK_V4)).collect();
    let locals: Vec<SocketAddr> = ports.iter().map(|(_, local)| *local).collect();
    under_traffic(&locals, |done| {
        let mut heard = vec![Vec::new(); ports.len()];
        take_some(&mut old, &ports, &mut heard);
        let mut own = old.socket_ports();
        own.sort_unstable();
        let mut wanted: Vec<_> = ports.iter().map(|(port, local)| (*local, *port)).collect();
        wanted.sort_unstable();
        assert_eq!(own, wanted);
        let sockets = ports
            .iter()
            .map(|(port, local)| (*local, old.share_socket(*port).expect("shared")))
            .collect();
        new.stop_receiving().expect("nothing yet");
        new.adopt_sockets(sockets);
        let theirs: Vec<(PortId, SocketAddr)> = locals
            .iter()
            .map(|local| (new.open(*local).expect("adopted"), *local))
            .collect();
        new.adopt_sockets(Vec::new());
        if aborts {
            drop(new);
            old.start_receiving();
            take_all(&mut old, &ports, &mut heard, done);
            return heard;
        }
        drop(old);
        new.start_receiving();
        take_all(&mut new, &theirs, &mut heard, done);
        heard
    });
}

#[test]
fn from_ring_to_ring_nothing_is_lost() {
    let config = IoConfig::default();
    let name = "from_ring_to_ring_nothing_is_lost";
    if let (Some(old), Some(new)) = (uring(name, &config), uring(name, &config)) {
        goes_over(old, new, false);
    }
}

#[test]
fn a_ring_that_gets_its_sockets_back_goes_on() {
    let config = IoConfig::default();
    let name = "a_ring_that_gets_its_sockets_back_goes_on";
    if let (Some(old), Some(new)) = (uring(name, &config), uring(name, &config)) {
        goes_over(old, new, true);
    }
}

#[test]
fn from_a_ring_to_plain_sockets_and_the_other_way_nothing_is_lost() {
    let config = IoConfig::default();
    let name = "from_a_ring_to_plain_sockets_and_the_other_way_nothing_is_lost";
    if let Some(old) = uring(name, &config) {
        goes_over(old, sockets(&config), false);
    }
    if let Some(new) = uring(name, &config) {
        goes_over(sockets(&config), new, false);
    }
    goes_over(sockets(&config), sockets(&config), false);
    goes_over(sockets(&config), sockets(&config), true);
}

/// The shared sockets go from the one to the other, each with a program of its own as two processes have.
fn goes_over_steered<Io: PacketIo>(name: &str, mut old: Io, build: impl FnOnce(Steering) -> Option<Io>) {
    // Below those that the kernel gives to others: steered ports are not bound.
    let locals = (0..8).map(|number| SocketAddr::new(LOOPBACK_V4, 20_000 + number));
    let ports: Vec<(PortId, SocketAddr)> = locals
        .map(|local| (old.open(local).expect("free"), local))
        .collect();
    let locals: Vec<SocketAddr> = ports.iter().map(|(_, local)| *local).collect();
    under_traffic(&locals, |done| {
        let mut heard = vec![Vec::new(); ports.len()];
        let shared = old.share_sockets().expect("shared").expect("steered");
        let steering = steering_to(name, shared).expect("as before");
        let mut new = build(steering).expect("as before");
        new.stop_receiving().expect("stops");
        take_some(&mut old, &ports, &mut heard);
        let theirs: Vec<(PortId, SocketAddr)> = locals
            .iter()
            .map(|local| (new.open(*local).expect("steered"), *local))
            .collect();
        drop(old);
        new.start_receiving();
        take_all(&mut new, &theirs, &mut heard, done);
        heard
    });
}

#[test]
fn steered_ports_go_over_with_the_sockets_that_they_share() {
    let name = "steered_ports_go_over_with_the_sockets_that_they_share";
    let config = IoConfig::default();
    in_a_namespace(name, || {
        if let Some(first) = steering(name, &config) {
            let old = Steered::new(&config, first).expect("a valid configuration");
            goes_over_steered(name, old, |steering| Steered::new(&config, steering).ok());
        }
        if let Some(old) = uring_steered(name, &config) {
            goes_over_steered(name, old, |steering| Uring::steered(&config, steering).ok());
        }
    });
}
