use rtp::{Packet, PayloadType, Ssrc, StreamStatistics};
use sans_io::Timestamp;

use crate::format::Formats;
use crate::{Aside, StreamState};

/// One SSRC as it comes from a party.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) ssrc: Ssrc,
    /// Clock rate of `payload_type`, kept so that it is looked up only when the type changes.
    clock_rate_hz: u32,
    pub(crate) first: Timestamp,
    pub(crate) latest: Timestamp,
    pub(crate) statistics: StreamStatistics,
    payload_type: PayloadType,
    /// The kernel's table counts it; `statistics` is what was read there last.
    pub(crate) is_lent: bool,
    /// Score of the latest second, × 100; 0 when there was nothing to judge.
    pub(crate) mos_x100: u16,
    /// Loss and packets when that was judged, their low bits.
    judged: (u32, u32),
    /// Packets that came to user space while the table counted, and that it saw missing, as far as it was told of them.
    aside: Aside,
    /// Those that it is to be told of.
    untold: Aside,
}

impl Stream {
    pub(crate) fn new(now: Timestamp, packet: &Packet<'_>, formats: &Formats) -> Self {
        let payload_type = packet.payload_type();
        let clock_rate_hz = formats.jitter_clock_hz(payload_type);
        Self {
            ssrc: packet.ssrc(),
            clock_rate_hz,
            first: now,
            latest: now,
            statistics: StreamStatistics::new(packet, clock_rate_hz, now.as_nanos()),
            payload_type,
            is_lent: false,
            mos_x100: 0,
            judged: (0, 0),
            aside: Aside::NONE,
            untold: Aside::NONE,
        }
    }

    /// Counts a packet. Does not allocate.
    pub(crate) fn observe(&mut self, now: Timestamp, packet: &Packet<'_>, formats: &Formats) {
        if self.is_lent {
            self.untold = self.untold.and(Aside {
                packets: 1,
                bytes: packet.bytes().len() as u32,
            });
            self.latest = now;
            return;
        }
        if packet.payload_type() != self.payload_type {
            self.payload_type = packet.payload_type();
            self.clock_rate_hz = formats.jitter_clock_hz(self.payload_type);
        }
        self.latest = now;
        self.statistics
            .observe(packet, self.clock_rate_hz, now.as_nanos());
    }

    /// A stream that was counted elsewhere until now; `None` when what is said of it contradicts itself.
    pub(crate) fn from_state(state: &StreamState, formats: &Formats) -> Option<Self> {
        let statistics = StreamStatistics::from_state(&state.statistics)?;
        let payload_type = statistics.payload_type();
        Some(Self {
            ssrc: state.ssrc,
            clock_rate_hz: formats.jitter_clock_hz(payload_type),
            first: state.first,
            latest: state.latest,
            statistics,
            payload_type,
            is_lent: false,
            mos_x100: 0,
            judged: (0, 0),
            aside: state.aside,
            untold: Aside::NONE,
        })
    }

    /// What is known of it, to be counted on elsewhere.
    pub(crate) fn state(&self) -> StreamState {
        StreamState {
            ssrc: self.ssrc,
            first: self.first,
            latest: self.latest,
            statistics: self.counted().state(),
            aside: Aside::NONE,
        }
    }

    /// What the table goes on from: packets that it never saw stay apart.
    pub(crate) const fn lend(&mut self) -> StreamState {
        self.is_lent = true;
        self.aside = self.aside.and(std::mem::replace(&mut self.untold, Aside::NONE));
        StreamState {
            ssrc: self.ssrc,
            first: self.first,
            latest: self.latest,
            statistics: self.statistics.state(),
            aside: self.aside,
        }
    }

    /// What the table is to be told of packets that it has not seen; `None` when it knows.
    pub(crate) fn untold(&self) -> Option<Aside> {
        // Within what a table can add to what it has.
        let all = self.aside.and(self.untold);
        Some(all.since(self.aside)).filter(|untold| self.is_lent && *untold != Aside::NONE)
    }

    /// The table was told.
    pub(crate) const fn told(&mut self) {
        self.aside = self.aside.and(std::mem::replace(&mut self.untold, Aside::NONE));
    }

    /// Takes over what the table says of this very stream.
    pub(crate) fn replace(&mut self, read: Self) {
        if !self.is_lent {
            // It came to user space first, unknown to the table.
            let came = Aside {
                packets: u32::try_from(self.statistics.packets()).unwrap_or(u32::MAX),
                bytes: u32::try_from(self.statistics.bytes()).unwrap_or(u32::MAX),
            };
            self.untold = self.untold.and(self.aside).and(came);
        }
        *self = Self {
            first: self.first.min(read.first),
            latest: self.latest.max(read.latest),
            mos_x100: self.mos_x100,
            judged: self.judged,
            untold: self.untold,
            ..read
        };
    }

    /// The statistics of all its packets, those counted aside included.
    pub(crate) fn counted(&self) -> StreamStatistics {
        let mut statistics = self.statistics.clone();
        let aside = self.aside.and(self.untold);
        statistics.add_unseen(u64::from(aside.packets), u64::from(aside.bytes));
        statistics
    }

    /// Loss, 0 to 1, since this was asked last; `None` when no packet has come since.
    pub(crate) fn loss_since_judged(&mut self, statistics: &StreamStatistics) -> Option<f64> {
        let unique = statistics.packets() - statistics.duplicates() - statistics.strays();
        let judged = (statistics.lost() as u32, unique as u32);
        let before = std::mem::replace(&mut self.judged, judged);
        let came = judged.1.wrapping_sub(before.1);
        // A late packet takes a loss back that was judged already.
        let lost = (judged.0.wrapping_sub(before.0) as i32).max(0) as u32;
        (came > 0).then(|| f64::from(lost) / (f64::from(lost) + f64::from(came)))
    }

    /// The formats of the line have changed.
    pub(crate) fn reformat(&mut self, formats: &Formats) {
        self.clock_rate_hz = formats.jitter_clock_hz(self.payload_type);
    }
}
