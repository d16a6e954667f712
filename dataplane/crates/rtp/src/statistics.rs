use crate::bursts::BurstSums;
use crate::{ExtSeq, Packet, PayloadType, RtpTimestamp, Seq};

/// Packets in sequence that make a new stream valid (RFC 3550 §A.1, `MIN_SEQUENTIAL`).
pub const SEQUENTIAL_MIN: u8 = 2;
/// A forward jump of this many numbers or more is not loss but a restart (RFC 3550 §A.1, `MAX_DROPOUT`).
pub const DROPOUT_MAX: u16 = 3_000;
/// A packet this many numbers behind the newest, or more, is not late but a restart (§A.1, `MAX_MISORDER`).
pub const MISORDER_MAX: u16 = 100;
/// When arrival and timestamp disagree by more than this between two packets, the sender has set its timestamps
/// anew (a hold, another source behind the same SSRC); this is not jitter.
pub const TIMESTAMP_JUMP_NS: u64 = 5_000_000_000;

/// What a packet was to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrival {
    /// The newest so far; packets may be missing before it.
    Newest,
    /// Older than the newest and not received before.
    Late,
    /// Received before.
    Duplicate,
    /// Far off the sequence: lost for the count unless the next packet follows it.
    Stray,
    /// The second in sequence after a jump, or a first one that did not follow its predecessor: counting starts
    /// anew, what was counted stays.
    Restart,
}

/// Statistics of one stream (one SSRC in one direction) as a receiver keeps them: RFC 3550 §6.4.1, §A.1, §A.3, §A.8.
///
/// Differences from the sample code of the RFC, all towards exact counts: the extended number has 64 bits; a window
/// of 128 bits tells duplicates from late packets, so that loss is the difference of *distinct* packets; arrival
/// times are nanoseconds, so that jitter does not depend on the clock rate of one payload type; packets from before
/// the first one received extend the sequence backwards. No method allocates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStatistics {
    /// Bit *k* is set when the packet *k* before `highest` was received.
    window: u128,
    packets: u64,
    bytes: u64,
    duplicates: u64,
    reordered: u64,
    strays: u64,
    /// Loss of the sequences that ended in a restart.
    lost_before: u64,
    base: ExtSeq,
    highest: ExtSeq,
    /// Distinct packets from `base` to `highest`.
    distinct: u64,
    last_arrival_ns: u64,
    /// Jitter in nanoseconds × 16, as §A.8 scales it to keep the remainder.
    jitter_x16: u64,
    jitter_max_ns: u64,
    last_timestamp: RtpTimestamp,
    /// Clock rate of the packet that the last two fields are of; 0 when there is none to compare with.
    clock_rate_hz: u32,
    bursts: BurstSums,
    /// The number that would confirm a jump (`bad_seq` of §A.1).
    after_stray: Option<Seq>,
    payload_type: PayloadType,
    /// Packets in sequence still wanted; 0 once the stream is valid.
    probation: u8,
}

/// All that [`StreamStatistics`] knows, as plain numbers: for counting that goes on elsewhere, in the kernel or in
/// another process, and comes back. The fields are those of the statistics, with the names that the kernel path's
/// header has for them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the private fields of StreamStatistics have the words"
)]
pub struct StatisticsState {
    pub window: u128,
    pub packets: u64,
    pub bytes: u64,
    pub duplicates: u64,
    pub reordered: u64,
    pub strays: u64,
    pub lost_before: u64,
    pub base: u64,
    pub highest: u64,
    pub distinct: u64,
    pub last_arrival_ns: u64,
    pub jitter_x16: u64,
    pub jitter_max_ns: u64,
    pub bursts: BurstSums,
    pub last_timestamp: u32,
    pub clock_rate_hz: u32,
    pub after_stray: Option<u16>,
    pub payload_type: PayloadType,
    pub probation: u8,
}

/// Jitter × 16 that no stream comes to: each packet adds at most [`TIMESTAMP_JUMP_NS`] and takes a sixteenth away.
const JITTER_X16_MAX: u64 = 17 * TIMESTAMP_JUMP_NS;

impl StreamStatistics {
    /// What has been counted so far.
    pub const fn state(&self) -> StatisticsState {
        StatisticsState {
            window: self.window,
            packets: self.packets,
            bytes: self.bytes,
            duplicates: self.duplicates,
            reordered: self.reordered,
            strays: self.strays,
            lost_before: self.lost_before,
            base: self.base.0,
            highest: self.highest.0,
            distinct: self.distinct,
            last_arrival_ns: self.last_arrival_ns,
            jitter_x16: self.jitter_x16,
            jitter_max_ns: self.jitter_max_ns,
            bursts: self.bursts,
            last_timestamp: self.last_timestamp.0,
            clock_rate_hz: self.clock_rate_hz,
            after_stray: match self.after_stray {
                Some(seq) => Some(seq.0),
                None => None,
            },
            payload_type: self.payload_type,
            probation: self.probation,
        }
    }

    /// Statistics that go on from `state`; `None` when its numbers contradict each other, as half a state would that was
    /// read while another processor wrote it.
    pub fn from_state(state: &StatisticsState) -> Option<Self> {
        let first = ExtSeq::first(Seq(0)).0;
        let span = state.highest.checked_sub(state.base)?.checked_add(1)?;
        let unique = state
            .packets
            .checked_sub(state.duplicates)?
            .checked_sub(state.strays)?;
        // A misordered first packet takes the base back by at most that far.
        let is_whole = state.highest >= first
            && state.highest < 1 << 62
            && state.base >= first - u64::from(MISORDER_MAX)
            && (1..=span).contains(&state.distinct)
            && unique >= state.distinct
            && state.reordered <= unique
            && state.lost_before < 1 << 62
            && state.window & 1 == 1
            && (state.after_stray.is_none() || state.strays > 0)
            && state.jitter_x16 <= JITTER_X16_MAX
            && state.jitter_x16 >> 4 <= state.jitter_max_ns
            && state.probation < SEQUENTIAL_MIN;
        is_whole.then_some(Self {
            window: state.window,
            packets: state.packets,
            bytes: state.bytes,
            duplicates: state.duplicates,
            reordered: state.reordered,
            strays: state.strays,
            lost_before: state.lost_before,
            base: ExtSeq(state.base),
            highest: ExtSeq(state.highest),
            distinct: state.distinct,
            last_arrival_ns: state.last_arrival_ns,
            jitter_x16: state.jitter_x16,
            jitter_max_ns: state.jitter_max_ns,
            bursts: state.bursts,
            last_timestamp: RtpTimestamp(state.last_timestamp),
            clock_rate_hz: state.clock_rate_hz,
            after_stray: state.after_stray.map(Seq),
            payload_type: state.payload_type,
            probation: state.probation,
        })
    }

    /// Adds packets of the stream that another counter has forwarded meanwhile and that are missing here: `packets` of
    /// `bytes` in all, each of which looks like a loss as long as there are any.
    pub fn add_unseen(&mut self, packets: u64, bytes: u64) {
        self.packets += packets;
        self.bytes += bytes;
        let missing = self.highest.0 - self.base.0 + 1 - self.distinct;
        let found = packets.min(missing);
        self.distinct += found;
        self.lost_before = self.lost_before.saturating_sub(packets - found);
    }

    /// A stream whose first packet is `packet`. `clock_rate_hz` and `arrival_ns` as in [`Self::observe`].
    pub fn new(packet: &Packet<'_>, clock_rate_hz: u32, arrival_ns: u64) -> Self {
        let first = ExtSeq::first(packet.seq());
        Self {
            window: 1,
            packets: 1,
            bytes: packet.bytes().len() as u64,
            duplicates: 0,
            reordered: 0,
            strays: 0,
            lost_before: 0,
            base: first,
            highest: first,
            distinct: 1,
            last_arrival_ns: arrival_ns,
            jitter_x16: 0,
            jitter_max_ns: 0,
            last_timestamp: packet.timestamp(),
            clock_rate_hz,
            bursts: BurstSums::NEW,
            after_stray: None,
            payload_type: packet.payload_type(),
            probation: SEQUENTIAL_MIN - 1,
        }
    }

    /// Counts a packet of the stream.
    ///
    /// `clock_rate_hz` is the RTP clock of its payload type; 0 leaves the packet out of the jitter, for formats whose
    /// packets repeat a timestamp on purpose (RFC 4733 events). `arrival_ns` is on any monotonic clock.
    pub fn observe(&mut self, packet: &Packet<'_>, clock_rate_hz: u32, arrival_ns: u64) -> Arrival {
        self.packets += 1;
        self.bytes += packet.bytes().len() as u64;
        self.payload_type = packet.payload_type();
        let arrival = self.place(packet.seq());
        match arrival {
            Arrival::Newest | Arrival::Late => self.time(packet.timestamp(), clock_rate_hz, arrival_ns),
            Arrival::Restart => {
                self.clock_rate_hz = 0;
                self.time(packet.timestamp(), clock_rate_hz, arrival_ns);
            }
            Arrival::Duplicate | Arrival::Stray => {}
        }
        arrival
    }

    /// Puts a sequence number into its place (§A.1).
    fn place(&mut self, seq: Seq) -> Arrival {
        let ahead = seq.0.wrapping_sub(self.highest.seq().0);
        if ahead == 0 {
            self.duplicates += 1;
            return Arrival::Duplicate;
        }
        if self.probation > 0 {
            if ahead != 1 {
                self.restart(seq, 1);
                self.probation = SEQUENTIAL_MIN - 1;
                return Arrival::Restart;
            }
            self.probation -= 1;
        }
        if ahead < DROPOUT_MAX {
            self.highest = ExtSeq(self.highest.0 + u64::from(ahead));
            self.window = self.window.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
            self.distinct += 1;
            if ahead > 1 {
                self.bursts.lose(u32::from(ahead) - 1);
            }
            self.bursts.receive();
            return Arrival::Newest;
        }
        let behind = ahead.wrapping_neg();
        if behind < MISORDER_MAX {
            let bit = 1 << behind;
            if self.window & bit != 0 {
                self.duplicates += 1;
                return Arrival::Duplicate;
            }
            self.window |= bit;
            self.distinct += 1;
            self.reordered += 1;
            self.base = self.base.min(ExtSeq(self.highest.0 - u64::from(behind)));
            return Arrival::Late;
        }
        if self.after_stray == Some(seq) {
            // Two in sequence: the other side has restarted. The stray before this packet was its first.
            self.strays -= 1;
            self.restart(seq, 2);
            return Arrival::Restart;
        }
        self.after_stray = Some(seq.wrapping_add(1));
        self.strays += 1;
        Arrival::Stray
    }

    /// Begins a new sequence that ends in `seq` and of which `received` packets have come, without a gap.
    fn restart(&mut self, seq: Seq, received: u16) {
        self.lost_before = self.lost();
        self.highest = ExtSeq::first(seq);
        self.base = ExtSeq(self.highest.0 - u64::from(received - 1));
        self.distinct = u64::from(received);
        self.window = (1 << received) - 1;
        self.after_stray = None;
        self.bursts.receive();
    }

    /// Interarrival jitter (§6.4.1, §A.8), between this packet and the one that arrived before it.
    fn time(&mut self, timestamp: RtpTimestamp, clock_rate_hz: u32, arrival_ns: u64) {
        if clock_rate_hz == 0 {
            return;
        }
        if self.clock_rate_hz == clock_rate_hz {
            let sent = i64::from(timestamp.distance_from(self.last_timestamp)) * 1_000_000_000
                / i64::from(clock_rate_hz);
            let arrived = arrival_ns.wrapping_sub(self.last_arrival_ns) as i64;
            let difference = arrived.saturating_sub(sent).unsigned_abs();
            if difference <= TIMESTAMP_JUMP_NS {
                self.jitter_x16 = self.jitter_x16 + difference - ((self.jitter_x16 + 8) >> 4);
                self.jitter_max_ns = self.jitter_max_ns.max(self.jitter_ns());
            }
        }
        self.clock_rate_hz = clock_rate_hz;
        self.last_timestamp = timestamp;
        self.last_arrival_ns = arrival_ns;
    }

    /// Packets received, duplicates and strays included.
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// Bytes of RTP received, headers included.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Packets whose number had been received already.
    pub const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Distinct packets that came after one with a higher number.
    pub const fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Packets far off the sequence that nothing followed.
    pub const fn strays(&self) -> u64 {
        self.strays
    }

    /// The sums of bursts and gaps of loss. A late packet counts as lost in them, as for a player that doesn't wait.
    pub const fn bursts(&self) -> &BurstSums {
        &self.bursts
    }

    /// Packets expected less distinct packets received (§A.3); never negative.
    pub const fn lost(&self) -> u64 {
        self.lost_before + (self.highest.0 - self.base.0 + 1) - self.distinct
    }

    /// Loss as a share of the packets expected, 0 to 1, over the life of the stream.
    pub fn loss_ratio(&self) -> f64 {
        let unique = self.packets - self.duplicates - self.strays;
        self.lost() as f64 / (self.lost() + unique).max(1) as f64
    }

    /// The newest number received, extended.
    pub const fn highest(&self) -> ExtSeq {
        self.highest
    }

    /// Whether enough packets have come in sequence for the stream to be one (§A.1).
    pub const fn is_valid(&self) -> bool {
        self.probation == 0
    }

    /// Payload type of the latest packet.
    pub const fn payload_type(&self) -> PayloadType {
        self.payload_type
    }

    /// Interarrival jitter in nanoseconds.
    pub const fn jitter_ns(&self) -> u64 {
        self.jitter_x16 >> 4
    }

    /// The highest jitter so far, in nanoseconds.
    pub const fn jitter_max_ns(&self) -> u64 {
        self.jitter_max_ns
    }

    /// Interarrival jitter in units of the RTP clock, as a report block has it; 0 before the clock is known.
    pub const fn jitter_rtp_units(&self) -> u32 {
        (self.jitter_ns() as u128 * self.clock_rate_hz as u128 / 1_000_000_000) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::Header;

    const MS: u64 = 1_000_000;

    /// Feeds packets of 172 bytes to statistics.
    #[derive(Default)]
    struct Feed(Option<StreamStatistics>);

    impl Feed {
        fn packet(
            &mut self,
            seq: u16,
            timestamp: u32,
            clock_rate_hz: u32,
            arrival_ns: u64,
        ) -> Option<Arrival> {
            let header = Header {
                seq: Seq(seq),
                timestamp: RtpTimestamp(timestamp),
                ..Header::default()
            };
            let mut bytes = [0; 172];
            header.write(&[0; 160], &mut bytes).unwrap();
            let packet = Packet::parse(&bytes).unwrap();
            match &mut self.0 {
                Some(statistics) => Some(statistics.observe(&packet, clock_rate_hz, arrival_ns)),
                None => {
                    self.0 = Some(StreamStatistics::new(&packet, clock_rate_hz, arrival_ns));
                    None
                }
            }
        }

        /// Packets that only their number matters of.
        fn numbers(numbers: &[u16]) -> (Vec<Arrival>, StreamStatistics) {
            let mut feed = Self::default();
            let arrivals = numbers
                .iter()
                .filter_map(|seq| feed.packet(*seq, 0, 0, 0))
                .collect();
            (arrivals, feed.0.expect("there was a packet"))
        }
    }

    #[test]
    fn loss_reordering_and_duplicates_are_told_apart() {
        use Arrival::{Duplicate, Late, Newest};
        let (arrivals, statistics) = Feed::numbers(&[10, 11, 14, 12, 12, 14, 15]);
        assert_eq!(arrivals, [Newest, Newest, Late, Duplicate, Duplicate, Newest]);
        assert_eq!((statistics.packets(), statistics.bytes()), (7, 7 * 172));
        assert_eq!(
            (statistics.lost(), statistics.reordered(), statistics.duplicates()),
            (1, 1, 2)
        );
        assert!((statistics.loss_ratio() - 1.0 / 6.0).abs() < 1e-9);
    }

    #[test]
    fn a_wrap_is_no_loss() {
        let (_, statistics) = Feed::numbers(&[65_533, 65_534, 65_535, 0, 1]);
        assert_eq!((statistics.lost(), statistics.highest().0), (0, 2 * 65_536 + 1));
    }

    #[test]
    fn a_packet_from_before_the_first_extends_the_sequence_backwards() {
        let (arrivals, statistics) = Feed::numbers(&[100, 101, 98]);
        assert_eq!(arrivals[1], Arrival::Late);
        assert_eq!(
            (statistics.lost(), statistics.reordered()),
            (1, 1),
            "99 is missing"
        );
    }

    /// RFC 3550 §A.1: a large jump counts only once a second packet follows it.
    #[test]
    fn a_restart_needs_two_packets_in_sequence_and_keeps_earlier_losses() {
        use Arrival::{Newest, Restart, Stray};
        let (arrivals, statistics) = Feed::numbers(&[1, 2, 4, 30_000, 5, 30_000, 30_001, 30_003]);
        assert_eq!(arrivals, [Newest, Newest, Stray, Newest, Stray, Restart, Newest]);
        assert_eq!((statistics.lost(), statistics.strays()), (2, 1), "3 and 30,002");
        assert_eq!(statistics.packets(), 8);
    }

    #[test]
    fn a_source_is_valid_after_two_packets_in_sequence() {
        let (_, one) = Feed::numbers(&[7]);
        assert!(!one.is_valid());
        let (arrivals, skipping) = Feed::numbers(&[7, 9, 11]);
        assert_eq!(arrivals, [Arrival::Restart, Arrival::Restart]);
        assert!(!skipping.is_valid());
        assert_eq!(skipping.lost(), 0, "a source on probation has lost nothing yet");
        assert!(Feed::numbers(&[7, 9, 10]).1.is_valid());
    }

    #[test]
    fn the_borders_of_dropout_and_misorder_are_those_of_the_rfc() {
        let last = |number: u16| *Feed::numbers(&[1_000, 1_001, number]).0.last().unwrap();
        assert_eq!(last(1_001 + DROPOUT_MAX - 1), Arrival::Newest);
        assert_eq!(last(1_001 + DROPOUT_MAX), Arrival::Stray);
        assert_eq!(last(1_001 - MISORDER_MAX + 1), Arrival::Late);
        assert_eq!(last(1_001 - MISORDER_MAX), Arrival::Stray);
    }

    #[test]
    fn a_steady_stream_has_no_jitter_at_any_clock_rate() {
        for clock_rate_hz in [8_000u32, 16_000, 44_100, 48_000, 90_000] {
            let mut feed = Feed::default();
            for n in 0..500u64 {
                let timestamp = (n * u64::from(clock_rate_hz) / 50) as u32;
                feed.packet(n as u16, timestamp, clock_rate_hz, n * 20 * MS);
            }
            assert!(feed.0.unwrap().jitter_ns() <= 1, "{clock_rate_hz} Hz");
        }
    }

    /// Alternating 5 ms early and late: |D| is 10 ms from packet to packet, and the mean converges to it.
    #[test]
    fn jitter_converges_to_the_mean_difference() {
        let mut feed = Feed::default();
        for n in 0..400u64 {
            feed.packet(n as u16, n as u32 * 160, 8_000, n * 20 * MS + n % 2 * 10 * MS);
        }
        let statistics = feed.0.unwrap();
        assert!(
            statistics.jitter_ns().abs_diff(10 * MS) < MS / 100,
            "{}",
            statistics.jitter_ns()
        );
        assert_eq!(
            statistics.jitter_rtp_units(),
            statistics.jitter_ns() as u32 / 125_000
        );
    }

    #[test]
    fn new_timestamps_events_and_another_clock_are_no_jitter() {
        let mut feed = Feed::default();
        feed.packet(1, 0, 8_000, 0);
        feed.packet(2, 160, 8_000, 20 * MS);
        feed.packet(3, 1_000_000_000, 8_000, 40 * MS);
        feed.packet(4, 1_000_000_160, 8_000, 60 * MS);
        feed.packet(5, 1_000_000_160, 0, 80 * MS);
        feed.packet(6, 1_000_000_160, 0, 100 * MS);
        feed.packet(7, 1_000_000_640, 8_000, 120 * MS);
        feed.packet(8, 77, 16_000, 140 * MS);
        feed.packet(9, 77 + 320, 16_000, 160 * MS);
        assert_eq!(feed.0.unwrap().jitter_max_ns(), 0);
    }

    /// What the network did to one packet of a stream sent without a break.
    #[derive(Clone, Debug)]
    struct Fate {
        copies: u8,
        /// Places that it is late by.
        late: u8,
        delay_ms: u8,
    }

    fn fate() -> impl Strategy<Value = Fate> {
        (
            prop_oneof![1 => Just(0u8), 8 => Just(1), 1 => Just(2)],
            prop_oneof![4 => Just(0u8), 1 => 0u8..40],
            0u8..60,
        )
            .prop_map(|(copies, late, delay_ms)| Fate {
                copies,
                late,
                delay_ms,
            })
    }

    proptest! {
        /// Against sets of numbers and the floating-point formula of RFC 3550 §6.4.1.
        #[test]
        fn statistics_equal_a_naive_model(first: u16, fates in proptest::collection::vec(fate(), 0..400)) {
            // The first two arrive in order, which makes the stream valid; the rest as the network likes.
            let mut arriving: Vec<(u64, u64)> = vec![(0, 0), (1, 1)];
            let mut rest: Vec<(u64, u64)> = Vec::new();
            for (n, fate) in fates.iter().enumerate() {
                let n = n as u64 + 2;
                for copy in 0..u64::from(fate.copies) {
                    rest.push((n + u64::from(fate.late) + copy * 3, n));
                }
            }
            rest.sort();
            arriving.extend(rest);
            let mut feed = Feed::default();
            let mut seen = HashSet::new();
            let (mut duplicates, mut reordered, mut newest) = (0, 0, 0);
            let (mut jitter, mut before): (f64, Option<(f64, f64)>) = (0.0, None);
            let mut now_ms = 0u64;
            for (_, n) in &arriving {
                now_ms += fates.get(*n as usize).map_or(20, |fate| u64::from(fate.delay_ms));
                feed.packet(first.wrapping_add(*n as u16), *n as u32 * 160, 8_000, now_ms * MS);
                if !seen.insert(*n) {
                    duplicates += 1;
                    continue;
                }
                reordered += u64::from(*n < newest);
                newest = newest.max(*n);
                let (arrived, sent) = (now_ms as f64, *n as f64 * 20.0);
                if let Some((arrived_before, sent_before)) = before {
                    let difference = (arrived - arrived_before) - (sent - sent_before);
                    jitter += (difference.abs() - jitter) / 16.0;
                }
                before = Some((arrived, sent));
            }
            let statistics = feed.0.unwrap();
            prop_assert_eq!(statistics.packets(), arriving.len() as u64);
            prop_assert_eq!(statistics.duplicates(), duplicates);
            prop_assert_eq!(statistics.reordered(), reordered);
            prop_assert_eq!(statistics.lost(), newest + 1 - seen.len() as u64);
            prop_assert_eq!(statistics.highest().seq(), Seq(first.wrapping_add(newest as u16)));
            let difference = statistics.jitter_ns() as f64 / 1e6 - jitter;
            prop_assert!(difference.abs() < 0.001, "{} ms off", difference);
        }

        /// Any numbers at any time: nothing overflows, and every packet is counted once.
        #[test]
        fn any_sequence_is_counted(
            packets in proptest::collection::vec((any::<u16>(), any::<u32>(), any::<u64>(), 0u32..3), 1..300),
        ) {
            let mut feed = Feed::default();
            let mut by_kind = [0u64; 2];
            for (seq, timestamp, arrival_ns, clock) in &packets {
                let clock_rate_hz = [0, 8_000, u32::MAX][*clock as usize];
                match feed.packet(*seq, *timestamp, clock_rate_hz, *arrival_ns) {
                    Some(Arrival::Duplicate) => by_kind[0] += 1,
                    Some(Arrival::Late) => by_kind[1] += 1,
                    _ => {}
                }
            }
            let statistics = feed.0.unwrap();
            prop_assert_eq!(StreamStatistics::from_state(&statistics.state()), Some(statistics.clone()));
            prop_assert_eq!(statistics.packets(), packets.len() as u64);
            prop_assert_eq!([statistics.duplicates(), statistics.reordered()], by_kind);
            prop_assert!(statistics.jitter_ns() <= statistics.jitter_max_ns());
            prop_assert!((0.0..=1.0).contains(&statistics.loss_ratio()));
        }
    }

    #[test]
    fn counting_goes_on_where_a_state_left_it() {
        let numbers = [10, 11, 14, 12, 12, 30_000, 15, 40_000, 40_001, 40_003];
        let (_, whole) = Feed::numbers(&numbers);
        for cut in 1..numbers.len() {
            let (_, first) = Feed::numbers(&numbers[..cut]);
            let mut feed = Feed(StreamStatistics::from_state(&first.state()));
            for seq in &numbers[cut..] {
                feed.packet(*seq, 0, 0, 0);
            }
            assert_eq!(feed.0.as_ref(), Some(&whole), "cut at {cut}");
        }
    }

    #[test]
    fn a_state_that_contradicts_itself_is_no_state() {
        let (_, statistics) = Feed::numbers(&[1, 2, 4, 3, 9]);
        let good = statistics.state();
        assert!(StreamStatistics::from_state(&good).is_some());
        let bad = [
            StatisticsState {
                base: good.highest + 1,
                ..good
            },
            StatisticsState { distinct: 0, ..good },
            StatisticsState {
                distinct: 100,
                ..good
            },
            StatisticsState { packets: 1, ..good },
            StatisticsState {
                highest: 7,
                base: 7,
                ..good
            },
            StatisticsState {
                highest: u64::MAX,
                ..good
            },
            StatisticsState {
                duplicates: 99,
                ..good
            },
            StatisticsState {
                after_stray: Some(1),
                ..good
            },
            StatisticsState { window: 0, ..good },
            StatisticsState {
                jitter_x16: u64::MAX,
                ..good
            },
            StatisticsState { probation: 2, ..good },
        ];
        for state in bad {
            assert_eq!(StreamStatistics::from_state(&state), None, "{state:?}");
        }
    }

    #[test]
    fn packets_that_went_another_way_are_no_losses() {
        let (_, mut statistics) = Feed::numbers(&[1, 2, 5, 6]);
        statistics.add_unseen(2, 40);
        assert_eq!((statistics.packets(), statistics.lost()), (6, 0));
        assert_eq!(statistics.bytes(), 4 * 172 + 40);
        statistics.add_unseen(1, 20);
        assert_eq!((statistics.packets(), statistics.lost()), (7, 0));
    }

    #[test]
    fn statistics_are_three_cache_lines_at_most() {
        assert!(
            size_of::<StreamStatistics>() <= 192,
            "{}",
            size_of::<StreamStatistics>()
        );
    }
}
