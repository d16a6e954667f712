//! Packets that others send into live calls, on each path: none is heard, none turns a call away, every one is counted.

use std::net::SocketAddr;
use std::time::Duration;

use proto::media_v1 as wire;
use sans_io::Random;

use crate::node::{Backend, Node};
use crate::party::{SILENCE, packet_in, rtcp, rtp};
use crate::process::PATIENCE;
use crate::wire::{Bed, Call, UNPINNED, run, settings};

/// Spoofed packets into each call.
const SPOOFED: usize = 10_000;

/// A call on `path`, and others who send into it all that they can think of.
async fn attacked(bed: Bed, backend: Backend, kernel: &str, path: wire::Path) {
    let mut node = Node::with(backend, settings(kernel)).await;
    let mut call = Call::new(&bed, &mut node, "attacked").await;
    call.becomes(&mut node, path).await;
    let ports = ["192.0.2.2:0", "192.0.2.3:0", "192.0.2.2:0"]
        .map(|any| any.parse::<SocketAddr>().expect("an address"));
    let attackers = ports.map(|any| bed.socket(any));
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_122);
    eprintln!("SEED={seed}");
    let mut random = Random::from_number(seed);
    let victims = [(call.for_a, call.a.ssrc), (call.for_b, call.b.ssrc)];
    for round in 0..SPOOFED / 100 {
        for n in 0..100 {
            let (to, ssrc) = victims[n % 2];
            let packet = spoofed(&mut random, ssrc, round as u16);
            let attacker = &attackers[random.below(3) as usize];
            attacker.send_to(&packet, to).await.expect("sent");
        }
        // Whatever else were heard would be out of order.
        call.exchange(2).await;
        // On the kernel path that does not wait for the process, and the sockets have room for a few hundred packets only.
        until_counted(&call, &mut node, (round as u64 + 1) * 100).await;
    }
    let report = call.report(&mut node).await;
    let mut sum = 0;
    for (leg, party) in [(0, &call.a), (1, &call.b)] {
        let line = &report.legs[leg].lines[0];
        sum += line.drops.values().sum::<u64>();
        assert_eq!(line.path(), path, "{}", line.path_reason);
        assert_eq!(line.learned, Some(crate::node::endpoint(party.address())));
        assert_eq!((line.streams.len(), line.streams[0].ssrc), (1, party.ssrc));
        let stream = &line.streams[0];
        assert_eq!((stream.lost, stream.duplicates, stream.reordered), (0, 0, 0));
        assert!(line.drops.contains_key("source_locked"), "{:?}", line.drops);
    }
    assert_eq!(sum, SPOOFED as u64, "{report:#?}");
    for attacker in &attackers {
        assert!(
            packet_in(attacker, SILENCE / 10).await.is_none(),
            "the call was turned away"
        );
    }
    call.exchange(50).await;
    node.stop().await;
}

/// Waits until the node has counted so many packets that it did not forward.
async fn until_counted(call: &Call, node: &mut Node, packets: u64) {
    let counted = async {
        loop {
            let report = call.report(node).await;
            let lines = report.legs.iter().map(|leg| &leg.lines[0]);
            let counted: u64 = lines.flat_map(|line| line.drops.values()).sum();
            if counted >= packets {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, counted).await.is_err() {
        panic!("not all of {packets} are counted: {:#?}", call.report(node).await);
    }
}

/// Something that could pass for media: sizes, SSRCs, payload types and numbers of all kinds, the right ones among them.
fn spoofed(random: &mut Random, ssrc: u32, sequence: u16) -> Vec<u8> {
    let ssrc = if random.chance_permille(500) {
        ssrc
    } else {
        random.next_u64() as u32
    };
    let sequence = sequence
        .wrapping_mul(2)
        .wrapping_add(random.below(8) as u16)
        .wrapping_add(100);
    let payload_type = if random.chance_permille(500) {
        0
    } else {
        random.below(128) as u8
    };
    match random.below(10) {
        0 => (0..random.below(1_400))
            .map(|_| random.next_u64() as u8)
            .collect(),
        1 => rtcp(ssrc),
        2 => {
            let mut packet = rtp(ssrc, sequence, payload_type);
            packet.truncate(random.below(173) as usize);
            packet
        }
        3 => {
            let mut packet = rtp(ssrc, sequence, payload_type);
            packet.resize(172 + random.below(1_200) as usize, 0xd5);
            packet
        }
        _ => rtp(ssrc, sequence, payload_type),
    }
}

#[test]
fn spoofed_packets_change_nothing_on_the_kernel_path() {
    run(
        "spoofed_packets_change_nothing_on_the_kernel_path",
        async |bed: Bed| {
            attacked(bed, Backend::Uring, UNPINNED, wire::Path::Kernel).await;
        },
    );
}

#[test]
fn spoofed_packets_change_nothing_where_the_kernel_passes_them_up() {
    run(
        "spoofed_packets_change_nothing_where_the_kernel_passes_them_up",
        async |bed: Bed| {
            let kernel = format!("{UNPINNED}refused = \"pass\"\n");
            attacked(bed, Backend::Uring, &kernel, wire::Path::Kernel).await;
        },
    );
}

#[test]
fn spoofed_packets_change_nothing_on_the_uring_path() {
    run(
        "spoofed_packets_change_nothing_on_the_uring_path",
        async |bed: Bed| {
            attacked(bed, Backend::Uring, "mode = \"off\"\n", wire::Path::Uring).await;
        },
    );
}

#[test]
fn spoofed_packets_change_nothing_on_the_socket_path() {
    run(
        "spoofed_packets_change_nothing_on_the_socket_path",
        async |bed: Bed| {
            attacked(bed, Backend::Socket, "mode = \"off\"\n", wire::Path::Socket).await;
        },
    );
}
