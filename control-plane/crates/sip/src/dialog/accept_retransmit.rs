use sans_io::Timestamp;

use crate::Transmit;
use crate::transaction::Timers;

/// The repetition of a 2xx to INVITE until its ACK arrives (RFC 3261 §13.3.1.4).
///
/// The transaction sends the 2xx once and no more (RFC 6026 §7.1); the user repeats it, end to end, so on reliable
/// transports as well: after T1, then in intervals that double up to T2. After 64*T1 without an ACK the dialog stands,
/// but the session ends: the user sends a BYE.
///
/// Make it when the 2xx is given to the transaction, drop it when the ACK comes.
#[derive(Clone, Debug)]
pub struct AcceptRetransmit {
    transmit: Transmit,
    timers: Timers,
    step: u8,
    next: Timestamp,
    give_up: Timestamp,
}

/// What an [`AcceptRetransmit`] wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptStep {
    /// Send the 2xx again.
    Send(Transmit),
    /// No ACK came. Send a BYE, and drop the repetition.
    GiveUp,
}

impl AcceptRetransmit {
    /// The 2xx was sent for the first time at `now`. `transmit` is that 2xx, and where
    /// [`response_destination`](crate::transaction::response_destination) says it goes.
    pub fn new(now: Timestamp, timers: &Timers, transmit: Transmit) -> Self {
        let give_up = now + timers.transaction_timeout();
        Self {
            transmit,
            next: now + timers.capped_interval(0),
            give_up,
            step: 0,
            timers: timers.clone(),
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Timestamp {
        self.next.min(self.give_up)
    }

    /// What is to be done at `now`, if anything.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Option<AcceptStep> {
        if now >= self.give_up {
            return Some(AcceptStep::GiveUp);
        }
        if now < self.next {
            return None;
        }
        self.step = self.step.saturating_add(1);
        self.next = now + self.timers.capped_interval(self.step);
        Some(AcceptStep::Send(self.transmit.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bytes::Bytes;

    use super::*;
    use crate::{Destination, Transport};

    #[test]
    fn a_2xx_is_repeated_in_the_rhythm_of_the_rfc_and_given_up_after_64_t1() {
        let destination = Destination {
            transport: Transport::Tcp,
            remote: SocketAddr::from(([127, 0, 0, 1], 5060)),
            flow: None,
        };
        let transmit = Transmit {
            destination,
            bytes: Bytes::from_static(b"200"),
        };
        let mut repeat = AcceptRetransmit::new(Timestamp::ZERO, &Timers::default(), transmit.clone());
        let mut sent = Vec::new();
        let end = loop {
            let at = repeat.poll_timeout();
            match repeat.handle_timeout(at).expect("it is due") {
                AcceptStep::Send(again) => {
                    assert_eq!(again, transmit);
                    sent.push(at.as_nanos() / 1_000_000);
                    assert_eq!(repeat.handle_timeout(at), None, "once a deadline");
                }
                AcceptStep::GiveUp => break at,
            }
        };
        assert_eq!(
            sent,
            [
                500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500
            ]
        );
        assert_eq!(end, Timestamp::from_millis(32_000));
    }
}
