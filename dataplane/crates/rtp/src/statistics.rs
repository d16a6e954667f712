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
    /// The number that would confirm a jump (`bad_seq` of §A.1).
    after_stray: Option<Seq>,
    payload_type: PayloadType,
    /// Packets in sequence still wanted; 0 once the stream is valid.
    probation: u8,
}

impl StreamStatistics {
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
