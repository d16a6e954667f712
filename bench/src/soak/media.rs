//! What has to arrive of what was sent.

use crate::endpoint::Faults;
use crate::relay::drops::Drops;
use crate::relay::outcome::Outcome;

/// Of packets, which the kernel says that it dropped on the way to the node or from it: beyond this the machine is too busy for
/// the soak to show anything.
const DROPPED_PERCENT: u64 = 1;
/// What came of one sending, of which a part went into held calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// Into calls that were open and not held.
    pub sent: u64,
    /// Into calls that were held.
    pub sent_held: u64,
    /// By the kernel, at either end of the veth and at the load's sockets.
    pub dropped_outside: u64,
}

impl Media {
    /// With so many calls held of so many. Every stream has sent as many packets.
    pub fn new(outcome: &Outcome, [held, calls]: [u32; 2], dropped: Drops) -> Self {
        let sent_held = outcome.sent / u64::from(calls) * u64::from(held);
        Self {
            sent: outcome.sent - sent_held,
            sent_held,
            dropped_outside: dropped.veth_relay + dropped.veth_load + dropped.load_sockets,
        }
    }

    /// What is wrong with what arrived.
    pub fn fault(&self, outcome: &Outcome) -> Option<String> {
        let received = outcome.received;
        let missing = self.sent.saturating_sub(received);
        if outcome.duplicates > 0 || outcome.faults != Faults::default() {
            Some(format!("{} duplicates, {:?}", outcome.duplicates, outcome.faults))
        } else if received > self.sent {
            Some(format!(
                "{received} packets arrived of the {} that were sent into calls that are not held",
                self.sent
            ))
        } else if missing > self.dropped_outside {
            Some(format!(
                "of {} packets {missing} did not arrive, and the kernel dropped {} outside of the node",
                self.sent, self.dropped_outside
            ))
        } else if missing * 100 > self.sent * DROPPED_PERCENT {
            Some(format!(
                "of {} packets the kernel dropped {missing} outside of the node: the machine is too busy for a soak",
                self.sent
            ))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hdrhistogram::Histogram;

    use super::*;

    fn outcome(sent: u64, received: u64) -> Outcome {
        let none = || Histogram::new_with_bounds(1, 1_000, 2).unwrap();
        Outcome {
            sent,
            received,
            lost: sent - received,
            no_room: 0,
            duplicates: 0,
            reordered: 0,
            faults: Faults::default(),
            latency_us: none(),
            jitter_us: none(),
            send_late_us: none(),
            sending: Duration::ZERO,
            planned: Duration::ZERO,
            holds: 0,
        }
    }

    fn fault(sent: u64, received: u64, held: u32, veth_relay: u64, relay_sockets: u64) -> Option<String> {
        let outcome = outcome(sent, received);
        let dropped = Drops {
            veth_relay,
            relay_sockets,
            ..Drops::default()
        };
        Media::new(&outcome, [held, 300], dropped).fault(&outcome)
    }

    #[test]
    fn every_packet_of_a_call_that_is_not_held_has_to_arrive() {
        assert_eq!(fault(6_000, 6_000, 0, 0, 0), None);
        assert!(fault(6_000, 5_999, 0, 0, 0).unwrap().contains("1 did not arrive"));
        assert_eq!(fault(6_000, 4_000, 100, 0, 0), None);
        assert!(fault(6_000, 3_999, 100, 0, 0).is_some());
        assert!(fault(6_000, 4_001, 100, 0, 0).is_some(), "a held call was heard");
    }

    #[test]
    fn only_what_was_dropped_outside_of_the_node_is_allowed_for_and_only_so_much() {
        assert_eq!(fault(6_000, 5_990, 0, 10, 0), None);
        assert!(
            fault(6_000, 5_990, 0, 0, 10).is_some(),
            "a full socket is the node's"
        );
        assert!(fault(6_000, 5_000, 0, 1_000, 0).unwrap().contains("too busy"));
    }
}
