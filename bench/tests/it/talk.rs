//! The kit's endpoints through a relay of a few lines: what they count must be what the relay did.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringpath_bench::endpoint::{EndpointSockets, Faults};
use ringpath_bench::host::Host;
use ringpath_bench::speech::{Law, Speech};
use ringpath_bench::talk::{Outcome, Pair, Talk};
use sans_io::Random;

const PACKETS: u64 = 50;

/// What the relay does with the n-th packet of its first direction.
#[derive(Clone, Copy)]
enum Trick {
    Forward,
    Lose(usize),
    Repeat(usize),
    Swap(usize),
    Spoil(usize),
}

/// Two sockets, each of which sends out what the other receives, until `stop`.
struct Relay {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    faces: [SocketAddr; 2],
}

impl Relay {
    fn start(host: &mut Host, parties: [SocketAddr; 2], trick: Trick) -> Self {
        let sockets = [(); 2].map(|()| {
            let socket = UdpSocket::bind(host.address().unwrap()).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            socket
        });
        let faces = [sockets[0].local_addr().unwrap(), sockets[1].local_addr().unwrap()];
        let stop = Arc::new(AtomicBool::new(false));
        let threads = [(0, 1), (1, 0)]
            .map(|(from, to)| {
                let (receiver, sender) = (
                    sockets[from].try_clone().unwrap(),
                    sockets[to].try_clone().unwrap(),
                );
                let stop = Arc::clone(&stop);
                let trick = if from == 0 { trick } else { Trick::Forward };
                std::thread::spawn(move || forward(&receiver, &sender, parties[to], trick, &stop))
            })
            .into();
        Self { stop, threads, faces }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

fn forward(receiver: &UdpSocket, sender: &UdpSocket, to: SocketAddr, trick: Trick, stop: &AtomicBool) {
    let mut held: Option<Vec<u8>> = None;
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut buffer = [0; 2_048];
        let Ok((length, _)) = receiver.recv_from(&mut buffer) else {
            continue;
        };
        let packet = &mut buffer[..length];
        match trick {
            Trick::Lose(n) if n == number => {}
            Trick::Repeat(n) if n == number => {
                sender.send_to(packet, to).unwrap();
                sender.send_to(packet, to).unwrap();
            }
            Trick::Swap(n) if n == number => held = Some(packet.to_vec()),
            Trick::Spoil(n) if n == number => {
                packet[100] ^= 1;
                sender.send_to(packet, to).unwrap();
            }
            _ => {
                sender.send_to(packet, to).unwrap();
                if let Some(held) = held.take() {
                    sender.send_to(&held, to).unwrap();
                }
            }
        }
        number += 1;
    }
}

/// One pair through the relay; endpoint 1 is the one that meets the trick.
fn talk_through(trick: Trick) -> Outcome {
    let mut host = Host::reserve().unwrap();
    let sockets = [
        EndpointSockets::bind(&mut host).unwrap(),
        EndpointSockets::bind(&mut host).unwrap(),
    ];
    let parties = [sockets[0].local(), sockets[1].local()];
    let relay = Relay::start(&mut host, parties, trick);
    let speech = Arc::new(Speech::from_alaw((0..8_000u32).map(|n| ((n * 7) >> 3) as u8).collect()).unwrap());
    let pair = Pair {
        sockets,
        law: Law::Mu,
    };
    let talk = Talk::start(vec![pair], speech, PACKETS, &mut Random::from_number(1)).unwrap();
    for side in 0..2 {
        talk.direct(side, relay.faces[side]).unwrap();
    }
    // Long enough for 50 packets of 20 ms; what is lost on purpose is waited for until then.
    let outcome = talk.finish(Duration::from_secs(2)).unwrap();
    relay.end();
    assert_eq!(
        outcome.accounts[0].received, PACKETS,
        "the way back is undisturbed: {outcome:?}"
    );
    outcome
}

#[test]
fn a_faithful_relay_loses_nothing() {
    let outcome = talk_through(Trick::Forward);
    for account in &outcome.accounts {
        assert_eq!(
            (account.sent, account.received, account.lost),
            (PACKETS, PACKETS, 0),
            "{outcome:?}"
        );
        assert_eq!((account.duplicates, account.reordered), (0, 0), "{outcome:?}");
    }
    assert_eq!(outcome.faults, Faults::default());
}

#[test]
fn a_lost_packet_is_counted_where_it_is_missing() {
    let outcome = talk_through(Trick::Lose(10));
    assert_eq!(
        (outcome.accounts[1].received, outcome.accounts[1].lost),
        (PACKETS - 1, 1),
        "{outcome:?}"
    );
}

#[test]
fn a_repeated_packet_is_a_duplicate() {
    let outcome = talk_through(Trick::Repeat(10));
    assert_eq!(
        (outcome.accounts[1].lost, outcome.accounts[1].duplicates),
        (0, 1),
        "{outcome:?}"
    );
}

#[test]
fn swapped_packets_are_reordered_not_lost() {
    let outcome = talk_through(Trick::Swap(10));
    assert_eq!(
        (outcome.accounts[1].lost, outcome.accounts[1].reordered),
        (0, 1),
        "{outcome:?}"
    );
}

#[test]
fn a_spoiled_payload_is_noticed() {
    let outcome = talk_through(Trick::Spoil(10));
    assert_eq!(
        (outcome.faults.corrupt, outcome.accounts[1].lost),
        (1, 1),
        "{outcome:?}"
    );
}
