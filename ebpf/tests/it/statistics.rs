//! What the program counts of a stream against `rtp::StreamStatistics` on the same packets at the same times.

use ebpf::{Action, BurstState, FlowReading, FlowSpec, Relay, StreamReading, StreamState};
use rtp::{BurstSums, Bursts, Packet, StreamStatistics};
use sans_io::Random;

use crate::bench;
use crate::frame;

/// A flow, and the model of each SSRC in it.
struct Twin {
    relay: Relay,
    spec: FlowSpec,
    models: Vec<(u32, StreamStatistics)>,
}

impl Twin {
    fn new(name: &str) -> Option<Self> {
        let relay = bench::relay(name)?;
        let spec = bench::spec(false, true);
        relay.table().install(&spec, &[]).unwrap();
        Some(Self {
            relay,
            spec,
            models: Vec::new(),
        })
    }

    /// Gives the packet to both. The model is told the time at which the program saw it.
    fn send(&mut self, payload_type: u8, seq: u16, timestamp: u32, ssrc: u32, length: usize) {
        let payload = frame::rtp(payload_type, seq, timestamp, ssrc, &vec![0; length]);
        let ran = bench::run(&self.relay, &bench::datagram(&self.spec, &payload).build());
        assert_eq!(ran.action, Action::SendBack);
        let arrival_ns = self.stream(ssrc).last_seen_ns();
        let packet = Packet::parse(&payload).unwrap();
        let clock_rate_hz = bench::TYPES
            .iter()
            .find(|(ours, _)| *ours == payload_type)
            .map(|(_, clock)| *clock)
            .expect("a payload type of the flow");
        match self.models.iter_mut().find(|(ours, _)| *ours == ssrc) {
            Some((_, model)) => {
                model.observe(&packet, clock_rate_hz, arrival_ns);
            }
            None => {
                let model = StreamStatistics::new(&packet, clock_rate_hz, arrival_ns);
                self.models.push((ssrc, model));
            }
        }
    }

    fn stream(&self, ssrc: u32) -> StreamReading {
        bench::reading(&self.relay, &self.spec)
            .streams()
            .find(|stream| stream.ssrc() == ssrc)
            .expect("the SSRC has a stream")
    }

    fn assert_equal(&self) {
        for (ssrc, model) in &self.models {
            let stream = self.stream(*ssrc);
            assert_eq!(stream.packets(), model.packets(), "packets");
            assert_eq!(stream.bytes(), model.bytes(), "bytes");
            assert_eq!(stream.lost(), model.lost(), "lost");
            assert_eq!(stream.duplicates(), model.duplicates(), "duplicates");
            assert_eq!(stream.reordered(), model.reordered(), "reordered");
            assert_eq!(stream.strays(), model.strays(), "strays");
            assert_eq!(stream.highest(), model.highest().0, "highest");
            assert_eq!(stream.is_valid(), model.is_valid(), "valid");
            assert_eq!(stream.payload_type(), model.payload_type().value());
            assert_eq!(stream.jitter_ns(), model.jitter_ns(), "jitter");
            assert_eq!(stream.jitter_max_ns(), model.jitter_max_ns(), "jitter_max");
            assert_eq!(stream.jitter_rtp_units(), model.jitter_rtp_units());
            assert_eq!(sums(&stream), *model.bursts(), "bursts");
        }
    }
}

fn sums(stream: &StreamReading) -> BurstSums {
    let bursts = stream.state().bursts;
    BurstSums {
        c11: bursts.c11,
        c13: bursts.c13,
        c14: bursts.c14,
        c22: bursts.c22,
        c23: bursts.c23,
        c33: bursts.c33,
        burst_lost: bursts.burst_lost,
        since_loss: bursts.since_loss,
    }
}

/// Sends these numbers with a clock of 8 kHz and compares after each.
fn assert_same(name: &str, numbers: &[u16]) {
    let Some(mut twin) = Twin::new(name) else {
        return;
    };
    for (n, seq) in numbers.iter().enumerate() {
        twin.send(0, *seq, n as u32 * 160, 7, 20);
        twin.assert_equal();
    }
}

#[test]
fn loss_reordering_duplicates_and_wraps_are_counted_alike() {
    assert_same("in order", &[1, 2, 3, 4, 5]);
    assert_same("loss", &[10, 11, 14, 15, 20]);
    assert_same("reordering", &[10, 11, 14, 12, 13, 15]);
    assert_same("duplicates", &[10, 11, 11, 14, 12, 12, 14]);
    assert_same("wrap", &[65_533, 65_534, 65_535, 0, 1, 65_532, 3]);
    assert_same("before the first", &[100, 101, 98, 99, 97]);
    assert_same("probation", &[7, 9, 11, 12, 13, 200]);
}

#[test]
fn jumps_strays_and_restarts_are_counted_alike() {
    assert_same("restart", &[1, 2, 4, 30_000, 5, 30_000, 30_001, 30_003]);
    assert_same("borders", &[1_000, 1_001, 4_000, 900, 901, 1_002, 7_002, 7_003]);
    assert_same("dropout", &[1_000, 1_001, 4_001, 7_001, 1_002, 10_000]);
    for ahead in [
        1u16, 2, 62, 63, 64, 65, 66, 126, 127, 128, 129, 130, 191, 192, 2_999,
    ] {
        let newest = 1_001 + ahead;
        let numbers: Vec<u16> = [1_000, 1_001, newest]
            .into_iter()
            .chain((1..=101).map(|behind| newest - behind))
            .chain([newest + 1, newest - 98])
            .collect();
        assert_same("window", &numbers);
    }
}

#[test]
fn clocks_events_and_timestamps_set_anew_are_timed_alike() {
    let Some(mut twin) = Twin::new("clocks") else {
        return;
    };
    for (n, (payload_type, timestamp)) in [
        (0, 0u32),
        (0, 160),
        (8, 100_000),
        (8, 99_000),
        (111, 480),
        (111, 4_000_000_000),
        (111, 4_000_000_960),
        (101, 5),
        (101, 5),
        (111, 4_000_003_000),
        (0, u32::MAX),
        (0, 20),
        // 4.9 seconds are jitter, 5.1 are a timestamp set anew; both ways.
        (0, 39_220),
        (0, 80_020),
        (0, 40_820),
        (0, 20),
        (0, 0x8000_0014),
    ]
    .into_iter()
    .enumerate()
    {
        twin.send(payload_type, n as u16, timestamp, 9, n);
        twin.assert_equal();
    }
}

/// Everything at once: two SSRCs, four payload types, loss, reordering, duplicates, jumps.
#[test]
fn random_streams_are_counted_alike() {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => 0x5eed_0002,
    };
    println!("SEED={seed}");
    let mut random = Random::from_number(seed);
    for _ in 0..20 {
        let Some(mut twin) = Twin::new("random streams") else {
            return;
        };
        let mut seqs = [random.below(65_536) as u16, random.below(65_536) as u16];
        for n in 0..500u32 {
            let which = random.below(2) as usize;
            let step = match random.below(40) {
                0 => random.below(65_536) as u16,
                1..=3 => (random.below(140) as u16).wrapping_neg(),
                4..=6 => random.below(140) as u16,
                _ => 1,
            };
            let seq = seqs[which].wrapping_add(step);
            // What comes late does not move the sender.
            if step < 0x8000 {
                seqs[which] = seq;
            }
            let (payload_type, _) = bench::TYPES[random.below(4) as usize];
            let timestamp = n * 160 + random.below(2_000) as u32;
            twin.send(payload_type, seq, timestamp, which as u32 + 1, 10);
        }
        twin.assert_equal();
    }
}

/// Counting goes on where it was when a flow is taken out and put in again, between any two packets.
#[test]
fn counting_moves_out_of_the_kernel_and_back_without_a_seam() {
    let mut random = Random::from_number(0x5eed_0005);
    let Some(mut twin) = Twin::new("handover") else {
        return;
    };
    let Some(whole) = Twin::new("handover, whole") else {
        return;
    };
    let mut seq = 65_000u16;
    let mut late_or_lost = [0u16; 1_200];
    for (n, late) in late_or_lost.iter_mut().enumerate() {
        *late = match random.below(30) {
            0 => 40_000,
            1..=3 => (random.below(110) as u16).wrapping_neg(),
            4..=6 => random.below(20) as u16,
            _ => 1,
        };
        if n % 200 == 150 {
            // A stray, and the packet that confirms the jump when it was not handed over between them.
            *late = 30_000;
        }
    }
    for (n, step) in late_or_lost.into_iter().enumerate() {
        let sent = seq.wrapping_add(step);
        if step < 0x8000 {
            seq = sent;
        }
        let (payload_type, _) = bench::TYPES[random.below(4) as usize];
        let ssrc = 1 + random.below(3) as u32;
        twin.send(payload_type, sent, n as u32 * 160, ssrc, 10);
        let payload = frame::rtp(payload_type, sent, n as u32 * 160, ssrc, &[0; 10]);
        bench::run(&whole.relay, &bench::datagram(&whole.spec, &payload).build());
        if n % 7 == 3 {
            let table = twin.relay.table();
            let reading = table.remove(twin.spec.key()).unwrap().unwrap();
            let states: Vec<_> = reading.streams().map(|stream| stream.state()).collect();
            table.install(&twin.spec, &states).unwrap();
            let again = bench::reading(&twin.relay, &twin.spec);
            let mut moved: Vec<_> = again.streams().map(|stream| stream.state()).collect();
            moved.sort_by_key(|stream| states.iter().position(|state| state.ssrc == stream.ssrc));
            assert_eq!(moved, states);
            assert_eq!(again.rtp_packets(), 0, "the flow's own counters begin anew");
        }
        twin.assert_equal();
    }
    // A flow that nobody took out has the same.
    for stream in bench::reading(&whole.relay, &whole.spec).streams() {
        assert_eq!(sums(&twin.stream(stream.ssrc())), sums(&stream));
    }
}

#[test]
fn of_more_streams_than_a_flow_keeps_the_latest_heard_stay() {
    let Some(relay) = bench::relay("many streams") else {
        return;
    };
    let spec = bench::spec(false, false);
    let states: Vec<StreamState> = (1..=6u64).map(|n| heard(n as u32, 100 * n)).collect();
    relay.table().install(&spec, &states).unwrap();
    let reading = bench::reading(&relay, &spec);
    let mut kept: Vec<u32> = reading.streams().map(|stream| stream.ssrc()).collect();
    kept.sort_unstable();
    assert_eq!(kept, [3, 4, 5, 6]);
    assert_eq!((reading.streams_evicted(), reading.lost_evicted()), (2, 4));
}

/// A stream of ten packets of which two more were lost.
fn heard(ssrc: u32, last_seen_ns: u64) -> StreamState {
    StreamState {
        ssrc,
        first_seen_ns: 1,
        last_seen_ns,
        packets: 10,
        bytes: 1_720,
        duplicates: 0,
        reordered: 0,
        strays: 0,
        lost_before: 0,
        base: 65_536,
        highest: 65_547,
        distinct: 10,
        window: 0xff3,
        last_arrival_ns: last_seen_ns,
        jitter_x16: 0,
        jitter_max_ns: 0,
        last_timestamp: 0,
        clock_rate_hz: 8_000,
        after_stray: None,
        payload_type: 0,
        probation: 0,
        bursts: BurstState::default(),
        aside_packets: 0,
        aside_bytes: 0,
    }
}

/// What user space got stays with the stream while packets come, the flow changes and another process reads.
#[test]
fn packets_of_user_space_are_kept_beside_their_stream() {
    let Some(relay) = bench::relay("packets aside") else {
        return;
    };
    let spec = bench::spec(false, false);
    let (key, table) = (spec.key(), relay.table());
    assert!(!table.add_aside(key, 7, 1, 172), "no flow");
    let given = StreamState {
        aside_packets: 1,
        aside_bytes: 172,
        ..heard(7, 100)
    };
    table.install(&spec, &[heard(6, 50), given]).unwrap();
    assert!(!table.add_aside(key, 8, 1, 172), "no such stream");
    assert!(table.add_aside(key, 7, 2, 344));
    assert!(table.add_aside(key, 6, 1, u32::MAX));
    table.replace(&spec, &[]).unwrap();
    table.reload();
    assert!(table.add_aside(key, 7, 1, 20));
    let aside = |reading: &FlowReading| {
        let mut aside: Vec<_> = reading
            .streams()
            .map(|stream| stream.state())
            .map(|state| (state.ssrc, state.packets, state.aside_packets, state.aside_bytes))
            .collect();
        aside.sort_unstable();
        aside
    };
    let kept = [(6, 10, 1, u32::MAX), (7, 10, 4, 536)];
    let reading = table.read(key).unwrap();
    assert_eq!(aside(&reading), kept);
    assert_eq!(reading.rtp_packets(), 0, "it has forwarded none of them");
    assert_eq!(aside(&table.remove(key).unwrap().unwrap()), kept);
}

#[test]
fn a_fifth_ssrc_takes_the_place_of_the_one_unheard_for_longest() {
    let Some(mut twin) = Twin::new("ssrc change") else {
        return;
    };
    for ssrc in [1u32, 2, 3, 4] {
        twin.send(0, 100, 0, ssrc, 20);
        twin.send(0, 103, 160, ssrc, 20);
        twin.send(0, 104, 160, ssrc, 20);
        twin.send(0, 106, 160, ssrc, 20);
    }
    twin.send(0, 107, 320, 1, 20);
    twin.send(0, 500, 0, 5, 20);
    twin.models.retain(|(ssrc, _)| *ssrc != 2);
    twin.assert_equal();
    let reading = bench::reading(&twin.relay, &twin.spec);
    let mut left: Vec<u32> = reading.streams().map(|stream| stream.ssrc()).collect();
    left.sort_unstable();
    assert_eq!(left, [1, 3, 4, 5]);
    assert_eq!(reading.streams_evicted(), 1);
    assert_eq!(reading.lost_evicted(), 1, "105 of the second");
    assert_eq!(reading.rtp_packets(), 18);
}

/// RFC 3611 §A.2, one packet at a time, over the fate of every number in order.
fn bursts_of_the_rfc(received: &[bool]) -> Bursts {
    let (mut lost, mut pkt) = (0u32, 17u32);
    let [mut c11, mut c13, mut c14, mut c22, mut c23, mut c33] = [0f64; 6];
    for received in received {
        if *received {
            pkt += 1;
            continue;
        }
        if pkt >= 16 {
            if lost == 1 {
                c14 += 1.0;
            } else {
                c13 += 1.0;
            }
            lost = 1;
            c11 += f64::from(pkt);
        } else {
            lost += 1;
            if pkt == 0 {
                c33 += 1.0;
            } else {
                c23 += 1.0;
                c22 += f64::from(pkt - 1);
            }
        }
        pkt = 0;
    }
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    Bursts {
        burst_density: share(c23 + c33, c22 + 2.0 * c23 + c33),
        gap_density: share(c14, c11 + c14),
        burst_packets: share(c22 + 2.0 * c23 + c33 + c13, c13),
        gap_packets: share(c11 + c14 + c13, c13),
        bursts: c13 as u32,
    }
}

#[test]
fn bursts_and_gaps_are_those_of_rfc_3611() {
    let mut random = Random::from_number(0x5eed_0003);
    for loss_percent in [0, 2, 10, 40] {
        let Some(mut twin) = Twin::new("bursts") else {
            return;
        };
        // The stream begins with two in order and ends with one received: a loss shows when the next packet comes.
        let mut received = vec![true, true];
        received.extend((0..400).map(|_| random.below(100) >= loss_percent));
        received.push(true);
        for (n, _) in received.iter().enumerate().filter(|(_, received)| **received) {
            twin.send(0, n as u16, n as u32 * 160, 3, 20);
        }
        // The program counts from the second packet on: the first began the stream.
        assert_eq!(
            sums(&twin.stream(3)).figures(),
            bursts_of_the_rfc(&received[1..]),
            "{loss_percent} %"
        );
        twin.assert_equal();
    }
}
