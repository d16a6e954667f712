use crate::{DropReason, KernelCounters, OpenError};

/// Totals of one engine since it was made. Every packet handed over is in exactly one of `rtp_forwarded`,
/// `rtcp_forwarded`, `set_up` and the drops, but that what of `set_up` was refused later is among the drops, too; those of `kernel`
/// were never handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// RTP packets forwarded.
    pub rtp_forwarded: u64,
    /// RTCP datagrams forwarded.
    pub rtcp_forwarded: u64,
    /// Datagrams of ICE and DTLS that were for a line's setting up.
    pub set_up: u64,
    pub(crate) set_up_refused: u64,
    /// Bytes of UDP payload forwarded.
    pub bytes_forwarded: u64,
    /// Sources learned and locked.
    pub latches: u64,
    /// Streams whose statistics gave way to those of a newer one.
    pub streams_evicted: u64,
    /// Events that nobody polled in time.
    pub events_missed: u64,
    /// Calls made.
    pub calls_created: u64,
    /// Calls of an earlier process that were made again.
    pub calls_restored: u64,
    /// Calls that their control plane deleted.
    pub calls_deleted: u64,
    /// Calls that the engine ended.
    pub calls_ended: u64,
    /// Ports that did not open because something else had them.
    pub ports_in_use: u64,
    /// Ports that the kernel refused to open for another reason, such as an address that the machine has lost.
    pub ports_refused: u64,
    /// Ports that did not open because the process, or the back-end, can hold no more.
    pub ports_exhausted: u64,
    pub(crate) drops: Drops,
    /// What the kernel path did beyond all this.
    pub kernel: KernelCounters,
}

impl Counters {
    /// Packets forwarded, RTP and RTCP.
    pub const fn forwarded(&self) -> u64 {
        self.rtp_forwarded + self.rtcp_forwarded
    }

    /// Packets dropped for one reason.
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.0[reason as usize]
    }

    /// Packets dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.drops.0.iter().sum()
    }

    pub(crate) const fn count_unopened(&mut self, error: OpenError) {
        match error {
            OpenError::InUse => self.ports_in_use += 1,
            OpenError::Refused => self.ports_refused += 1,
            OpenError::Exhausted => self.ports_exhausted += 1,
        }
    }

    /// Packets handed over.
    pub fn received(&self) -> u64 {
        self.forwarded() + self.dropped_total() + self.set_up - self.set_up_refused
    }
}

/// Packets dropped, by reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drops([u64; DropReason::COUNT]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; DropReason::COUNT])
    }
}

impl Drops {
    /// Packets dropped for one reason.
    pub const fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Counts packets that were dropped for `reason`.
    pub const fn add(&mut self, reason: DropReason, packets: u64) {
        self.0[reason as usize] += packets;
    }

    /// Adds the counts of `other`.
    pub(crate) fn add_all(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// What was counted beyond `before`; zero where that is less.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        for (count, before) in since.0.iter_mut().zip(before.0) {
            *count = count.saturating_sub(before);
        }
        since
    }

    pub(crate) const fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// Those that are not zero, by label.
    pub fn report(&self) -> Vec<(&'static str, u64)> {
        let counted = DropReason::ALL.iter().zip(self.0);
        counted
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason.reason(), count))
            .collect()
    }
}
