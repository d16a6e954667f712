//! What a packet costs in the programs alone, by program-run: no driver, no link, one CPU.
//!
//! `cargo run --release -p ebpf --example cost [FLOWS...]`, with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN. Rounds are
//! interleaved; the median and the least and most are printed.
//!
//! A program-run repeats with the packet that it sent. So the flows of a row form a ring in random order: what leaves one
//! fits the next. With two flows everything is in the nearest cache, with 20,000 (10,000 calls both ways) nothing is that
//! belongs to a flow. A little program before each of them numbers the packet anew with every lap, for the echo too.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::process::Command;
use std::time::{Duration, Instant};

use ebpf::{Action, FlowSpec, Laps, Media, Neighbour, NextHop, Program, Relay, RelayConfig};
use nix::sched::{CloneFlags, unshare};
use sans_io::Random;

const REPEAT: u32 = 200_000;
const ROUNDS: usize = 15;
const PAYLOAD_LEN: usize = 172;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// Where packets of flow 0 come from and to.
const PARTY: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const FIRST_PORT: u16 = 10_000;

struct Row {
    name: String,
    /// Held for as long as the laps go through it.
    relay: Option<Relay>,
    laps: Laps,
    packet: Vec<u8>,
    times: Vec<Duration>,
}

/// Which IP versions the flows of a ring have.
#[derive(Clone, Copy)]
enum Versions {
    V4,
    V6,
    /// In turn.
    Both,
}

impl Versions {
    /// The addresses of a flow's packets, from and to, by its place in the ring.
    fn addresses(self, place: usize, port: u16) -> [SocketAddr; 2] {
        let v6 = |last: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        let v4 = match self {
            Self::V4 => true,
            Self::V6 => false,
            Self::Both => place.is_multiple_of(2),
        };
        if v4 {
            [(PARTY, 4_000).into(), (LOCAL, port).into()]
        } else {
            [(v6(2), 4_000).into(), (v6(1), port).into()]
        }
    }
}

impl Row {
    fn echo() -> Self {
        let echo = Program::load_echo().expect("the echo loads");
        Self {
            name: "echo, the yardstick".into(),
            relay: None,
            laps: Laps::load(&echo, 1).expect("the laps load"),
            packet: frame((PARTY, 14_000).into(), (LOCAL, 20_000).into()),
            times: Vec::new(),
        }
    }

    /// A ring of flows.
    fn relay(name: &str, flows: u32, versions: Versions, next_hop: NextHop) -> Self {
        let config = RelayConfig {
            flows_max: flows,
            ..RelayConfig::default()
        };
        let relay = Relay::load(&config).expect("the relay loads");
        // Neighbours in the ring are neighbours nowhere else.
        let mut ports: Vec<u16> = (0..flows as u16).map(|n| FIRST_PORT + n).collect();
        let mut random = Random::from_number(1);
        for last in (1..ports.len()).rev() {
            ports.swap(last, random.below(last as u64 + 1) as usize);
        }
        for (place, port) in ports.iter().enumerate() {
            let next = (place + 1) % ports.len();
            let [source, local] = versions.addresses(place, *port);
            let [from, to] = versions.addresses(next, ports[next]);
            let media = Media::Mux(vec![(0, 8_000), (101, 0)]);
            let spec = FlowSpec {
                next_hop,
                ..FlowSpec::new(local, source, from, to, media)
            };
            relay.table().install(&spec, &[]).expect("there is room");
        }
        let [source, local] = versions.addresses(0, ports[0]);
        Self {
            name: format!("{name}, {flows} flows"),
            laps: Laps::load(relay.program(), flows).expect("the laps load"),
            relay: Some(relay),
            packet: frame(source, local),
            times: Vec::new(),
        }
    }

    fn measure(&mut self) {
        // Whole laps, so that the next round finds the packet where it begins.
        let flows = self.relay.as_ref().map_or(1, |relay| relay.table().flows_max());
        let run = self.laps.program().run(&self.packet, REPEAT / flows * flows);
        let run = run.expect("program-run");
        let sent = matches!(run.action, Action::SendBack | Action::Redirect);
        assert!(sent, "{}: {:?}", self.name, run.action);
        self.times.push(run.mean);
    }

    /// Every packet was counted, none as lost, late or received before.
    fn check(&self) {
        let Some(relay) = &self.relay else { return };
        for flow in relay.table().flows() {
            let stream = flow.reading.streams().next().expect("a packet came");
            assert_eq!(flow.reading.refused_total(), 0);
            assert_eq!((stream.lost(), stream.reordered()), (0, 0), "{}", self.name);
            assert!(stream.duplicates() <= ROUNDS as u64, "{}", self.name);
        }
    }
}

/// A frame with a UDP header whose checksum nobody looks at, and RTP of 20 ms of G.711.
fn frame(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut frame = vec![0; 12];
    match (source, destination) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            frame.extend([0x08, 0x00]);
            let mut ip = vec![0x45, 0];
            ip.extend(((28 + PAYLOAD_LEN) as u16).to_be_bytes());
            ip.extend([0, 1, 0x40, 0, 64, 17, 0, 0]);
            ip.extend(source.ip().octets());
            ip.extend(destination.ip().octets());
            let sum: u32 = ip
                .chunks_exact(2)
                .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
                .sum();
            let check = !((sum & 0xffff) + (sum >> 16)) as u16;
            ip[10..12].copy_from_slice(&check.to_be_bytes());
            frame.extend(ip);
        }
        (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(((8 + PAYLOAD_LEN) as u16).to_be_bytes());
            frame.extend([17, 64]);
            frame.extend(source.ip().octets());
            frame.extend(destination.ip().octets());
        }
        _ => unreachable!("a flow's packets are of one version"),
    }
    frame.extend(source.port().to_be_bytes());
    frame.extend(destination.port().to_be_bytes());
    frame.extend(((8 + PAYLOAD_LEN) as u16).to_be_bytes());
    frame.extend([0x12, 0x34]);
    frame.extend([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    frame.extend([0x55; PAYLOAD_LEN - 12]);
    frame
}

/// Reads every flow of a full table, which no packet changes meanwhile.
#[expect(clippy::disallowed_methods, reason = "it measures what a reading takes")]
fn read_all(relay: &Relay) {
    let keys: Vec<_> = relay.table().keys().into_iter().map(|(key, _)| key).collect();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for key in &keys {
            assert!(relay.table().read(*key).is_some());
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
        "addr add 10.0.9.1/24 dev e0",
        "link set e0 up",
        "link set e1 up",
        "route add 10.0.0.0/24 via 10.0.9.2",
        "neigh add 10.0.9.2 lladdr 02:00:00:00:00:07 dev e0",
    ] {
        let status = Command::new("ip")
            .args(line.split(' '))
            .status()
            .expect("ip runs");
        assert!(status.success(), "ip {line}");
    }
    fs::write("/proc/sys/net/ipv4/conf/lo/forwarding", "1").expect("forwarding can be set");

    let known = NextHop::Neighbour(Neighbour {
        ifindex: NonZeroU32::MIN,
        own: MAC,
        address: MAC,
    });
    let mut sizes: Vec<u32> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse().expect("a number of flows"))
        .collect();
    if sizes.is_empty() {
        sizes = vec![2, 200, 2_000, 20_000];
    }
    let mut rows = vec![Row::echo()];
    for flows in &sizes {
        rows.push(Row::relay("relay v4", *flows, Versions::V4, known));
    }
    for (name, versions, next_hop) in [
        ("relay v6", Versions::V6, known),
        ("relay v4 <-> v6", Versions::Both, known),
        ("relay v4, routing table asked", Versions::V4, NextHop::Routing),
    ] {
        rows.push(Row::relay(name, 2, versions, next_hop));
    }
    for _ in 0..ROUNDS {
        for row in &mut rows {
            row.measure();
        }
    }
    let mut table = String::from("ns a packet: median (least to most)\n");
    for row in &mut rows {
        row.times.sort_unstable();
        row.check();
        let at = |place: usize| row.times[place].as_nanos();
        let _ = writeln!(
            table,
            "{:<44} {:>5} ({} to {})",
            row.name,
            at(ROUNDS / 2),
            at(0),
            at(ROUNDS - 1)
        );
    }
    print!("{table}");
    read_all(rows[sizes.len()].relay.as_ref().expect("the row is a relay's"));
}
