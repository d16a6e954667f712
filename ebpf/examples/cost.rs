//! What a packet costs in the programs alone, by program-run: no driver, no link, one CPU, everything in its caches.
//!
//! `cargo run --release -p ebpf --example cost`, with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN. Rounds are interleaved;
//! the median and the least and most are printed. A packet that was sent on must fit a flow again, since a program-run
//! repeats with what it left: so each flow has a twin the other way. For that reason every packet is a duplicate of the
//! one before to the statistics, and each row has two flows.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::Command;
use std::time::{Duration, Instant};

use ebpf::{Action, FlowSpec, Media, Neighbour, NextHop, Program, Relay, RelayConfig};
use nix::sched::{CloneFlags, unshare};

const REPEAT: u32 = 200_000;
const ROUNDS: usize = 15;
const FLOWS: u32 = 20_000;
const PAYLOAD_LEN: usize = 172;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

struct Row {
    name: &'static str,
    relay: Option<Relay>,
    echo: Option<Program>,
    packet: Vec<u8>,
    times: Vec<Duration>,
}

impl Row {
    fn relay(name: &'static str, addresses: [&str; 4], next_hop: NextHop, packet: Vec<u8>) -> Self {
        let config = RelayConfig {
            flows_max: FLOWS + 2,
            ..RelayConfig::default()
        };
        let relay = Relay::load(&config).expect("the relay loads");
        let [local, source, from, to] = addresses.map(|text| text.parse().expect("a literal"));
        let media = || Media::Mux(vec![(0, 8_000), (101, 0)]);
        for spec in [
            FlowSpec::new(local, source, from, to, media()),
            FlowSpec::new(to, from, source, local, media()),
        ] {
            let spec = FlowSpec { next_hop, ..spec };
            relay.table().install(&spec, &[]).expect("there is room");
        }
        // The others are there to fill the table.
        for n in 0..FLOWS {
            let port = (n % 20_000) as u16 + 30_000;
            let local = SocketAddr::new(([10, 9, 0, (n / 20_000) as u8]).into(), port);
            let spec = FlowSpec::new(
                local,
                "10.8.0.1:9".parse().expect("a literal"),
                local,
                local,
                media(),
            );
            relay.table().install(&spec, &[]).expect("there is room");
        }
        Self {
            name,
            relay: Some(relay),
            echo: None,
            packet,
            times: Vec::new(),
        }
    }

    fn measure(&mut self) {
        let program = match (&self.relay, &self.echo) {
            (Some(relay), _) => relay.program(),
            (None, Some(echo)) => echo,
            (None, None) => return,
        };
        let run = program.run(&self.packet, REPEAT).expect("program-run");
        let sent = matches!(run.action, Action::SendBack | Action::Redirect);
        assert!(sent, "{}: {:?}", self.name, run.action);
        self.times.push(run.mean);
    }
}

fn ipv4(source: [u8; 4], destination: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00]);
    let length = (28 + PAYLOAD_LEN) as u16;
    let mut ip = vec![0x45, 0];
    ip.extend(length.to_be_bytes());
    ip.extend([0, 1, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(source);
    ip.extend(destination);
    let sum: u32 = ip
        .chunks_exact(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let check = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    frame.extend(ip);
    frame.extend(udp(ports));
    frame
}

fn ipv6(source: &str, destination: &str, ports: [u16; 2]) -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("a literal").octets();
    let mut frame = vec![0; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(((8 + PAYLOAD_LEN) as u16).to_be_bytes());
    frame.extend([17, 64]);
    frame.extend(octets(source));
    frame.extend(octets(destination));
    frame.extend(udp(ports));
    frame
}

/// A UDP header, whose checksum nobody looks at, and RTP of 20 ms of G.711.
fn udp(ports: [u16; 2]) -> Vec<u8> {
    let mut udp: Vec<u8> = ports.iter().flat_map(|port| port.to_be_bytes()).collect();
    udp.extend(((8 + PAYLOAD_LEN) as u16).to_be_bytes());
    udp.extend([0x12, 0x34]);
    udp.extend([0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
    udp.resize(8 + PAYLOAD_LEN, 0x55);
    udp
}

/// Reads every flow of a full table, which no packet changes meanwhile.
#[expect(clippy::disallowed_methods, reason = "it measures what a reading takes")]
fn read_all(relay: &Relay) {
    let keys: Vec<_> = relay.table().keys().into_iter().map(|(key, _)| key).collect();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for key in &keys {
            relay.table().read(*key).expect("the map is mapped");
        }
        times.push(start.elapsed() / keys.len() as u32);
    }
    times.sort_unstable();
    let [median, least] = [times[ROUNDS / 2], times[0]].map(|time| time.as_nanos());
    println!(
        "ns to read one flow of {}: {median} ({least} at least)",
        keys.len()
    );
}

fn main() {
    // The routing table of the measurement lies in a network namespace that ends with it.
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs CAP_SYS_ADMIN");
    for line in [
        "link set lo up",
        "link add e0 type veth peer name e1",
        "addr add 10.0.1.1/24 dev e0",
        "addr add 10.0.2.1/24 dev e0",
        "link set e0 up",
        "link set e1 up",
        "route add 10.0.0.0/24 via 10.0.1.2",
        "neigh add 10.0.1.2 lladdr 02:00:00:00:00:07 dev e0",
        "neigh add 10.0.2.2 lladdr 02:00:00:00:00:08 dev e0",
    ] {
        let status = Command::new("ip")
            .args(line.split(' '))
            .status()
            .expect("ip runs");
        assert!(status.success(), "ip {line}");
    }
    fs::write("/proc/sys/net/ipv4/conf/lo/forwarding", "1").expect("forwarding can be set");

    let known = Neighbour {
        ifindex: NonZeroU32::MIN,
        own: MAC,
        address: MAC,
    };
    let v4 = ipv4([10, 0, 1, 2], [10, 0, 0, 1], [4_000, 20_000]);
    let v4_addresses = [
        "10.0.0.1:20000",
        "10.0.1.2:4000",
        "10.0.0.1:20002",
        "10.0.2.2:5000",
    ];
    let v6 = ipv6("2001:db8:1::2", "2001:db8::1", [4_000, 20_000]);
    let v6_addresses = [
        "[2001:db8::1]:20000",
        "[2001:db8:1::2]:4000",
        "[2001:db8::1]:20002",
        "[2001:db8:2::2]:5000",
    ];
    let mixed = [v4_addresses[0], v4_addresses[1], v6_addresses[2], v6_addresses[3]];
    let mut echoed = ipv4([10, 0, 1, 2], [10, 0, 0, 1], [14_000, 20_000]);
    echoed[12] = 0x08;
    let mut rows = vec![
        Row {
            name: "echo, the yardstick",
            relay: None,
            echo: Some(Program::load_echo().expect("the echo loads")),
            packet: echoed,
            times: Vec::new(),
        },
        Row::relay(
            "relay v4, neighbour known",
            v4_addresses,
            NextHop::Neighbour(known),
            v4.clone(),
        ),
        Row::relay(
            "relay v6, neighbour known",
            v6_addresses,
            NextHop::Neighbour(known),
            v6,
        ),
        Row::relay(
            "relay v4, routing table asked",
            v4_addresses,
            NextHop::Routing,
            v4.clone(),
        ),
        Row::relay(
            "relay v4 <-> v6, neighbour known",
            mixed,
            NextHop::Neighbour(known),
            v4,
        ),
    ];
    for _ in 0..ROUNDS {
        for row in &mut rows {
            row.measure();
        }
    }
    let mut table = String::from("ns a packet: median (least to most)\n");
    for row in &mut rows {
        row.times.sort_unstable();
        let at = |place: usize| row.times[place].as_nanos();
        let _ = writeln!(
            table,
            "{:<36} {:>5} ({} to {})",
            row.name,
            at(ROUNDS / 2),
            at(0),
            at(ROUNDS - 1)
        );
    }
    print!("{table}");
    read_all(rows[1].relay.as_ref().expect("the second row is a relay"));
}
