use std::net::UdpSocket;
use std::os::fd::AsFd;

use ebpf::{Steering, SteeringError, SteeringTotals};

use crate::bench::{self, address};
use crate::namespace::{self, Wire};

fn steering(name: &str) -> Option<Steering> {
    let served = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
    match Steering::load(&served) {
        Ok(steering) => Some(steering),
        Err(error) if error.is_unavailable() => {
            bench::skip(name, &error);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn receive(socket: &UdpSocket) -> Vec<u8> {
    match namespace::receive(socket) {
        Ok((bytes, _)) => bytes,
        Err(error) => panic!("no datagram for the socket: {error}"),
    }
}

#[test]
fn ports_go_to_the_socket_of_their_owner_and_all_others_where_they_went() {
    let (Some(steering), Some(wire)) = (steering("steering"), Wire::new("steering")) else {
        return;
    };
    for (v6, relay, party) in [
        (false, "192.0.2.1", "192.0.2.2:4000"),
        (true, "[2001:db8::1]", "[2001:db8::2]:4000"),
    ] {
        let any = if v6 { "[::]:0" } else { "0.0.0.0:0" };
        let workers = [wire.relay.socket(any), wire.relay.socket(any)];
        for (worker, socket) in workers.iter().enumerate() {
            steering.set_socket(worker as u32, v6, socket.as_fd()).unwrap();
        }
        let local = |port: u16| address(&format!("{relay}:{port}"));
        let plain = wire.relay.socket(&format!("{relay}:20004"));
        let link = steering.attach(wire.relay.descriptor()).unwrap();
        let before = steering.totals().unwrap();
        steering.set_owner(local(20_000), Some(0)).unwrap();
        steering.set_owner(local(20_002), Some(1)).unwrap();
        let sender = wire.parties.socket(party);
        for round in 0..20u8 {
            sender.send_to(&[round, 0], local(20_000)).unwrap();
            sender.send_to(&[round, 1], local(20_002)).unwrap();
            sender.send_to(&[round, 2], local(20_004)).unwrap();
            assert_eq!(receive(&workers[0]), [round, 0]);
            assert_eq!(receive(&workers[1]), [round, 1]);
            assert_eq!(receive(&plain), [round, 2]);
        }
        // A port changes its owner between two datagrams, and then has none.
        steering.set_owner(local(20_000), Some(1)).unwrap();
        sender.send_to(b"moved", local(20_000)).unwrap();
        assert_eq!(receive(&workers[1]), b"moved");
        steering.set_owner(local(20_000), None).unwrap();
        let own = wire.relay.socket(&format!("{relay}:20000"));
        sender.send_to(b"none", local(20_000)).unwrap();
        assert_eq!(receive(&own), b"none");
        let totals = steering.totals().unwrap();
        assert_eq!(totals.assigned - before.assigned, 41);
        // The worker's socket is closed: the port is looked up as ever.
        drop(workers);
        let port = wire.relay.socket(&format!("{relay}:20002"));
        sender.send_to(b"closed", local(20_002)).unwrap();
        assert_eq!(receive(&port), b"closed");
        let after = SteeringTotals {
            no_socket: totals.no_socket + 1,
            ..totals
        };
        assert_eq!(steering.totals().unwrap(), after);
        drop(link);
    }
}

#[test]
fn the_same_port_of_another_address_is_left_alone() {
    let (Some(steering), Some(wire)) = (steering("not served"), Wire::new("not served")) else {
        return;
    };
    wire.relay.run(&["ip address add 192.0.2.9/24 dev r0"]).unwrap();
    let worker = wire.relay.socket("0.0.0.0:0");
    steering.set_socket(0, false, worker.as_fd()).unwrap();
    steering.set_owner(address("192.0.2.1:20000"), Some(0)).unwrap();
    assert!(matches!(
        steering.set_owner(address("192.0.2.9:20000"), Some(0)),
        Err(SteeringError::Address(_))
    ));
    let _link = steering.attach(wire.relay.descriptor()).unwrap();
    let own = wire.relay.socket("192.0.2.9:20000");
    let sender = wire.parties.socket("192.0.2.2:4000");
    sender.send_to(b"own", address("192.0.2.9:20000")).unwrap();
    assert_eq!(receive(&own), b"own");
    assert_eq!(steering.totals().unwrap(), SteeringTotals::default());
}

#[test]
fn a_worker_beyond_the_last_is_refused() {
    let Some(steering) = steering("worker") else {
        return;
    };
    assert!(matches!(
        steering.set_owner(address("192.0.2.1:20000"), Some(128)),
        Err(SteeringError::Worker(128))
    ));
}
