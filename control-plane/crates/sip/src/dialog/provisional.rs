use std::collections::VecDeque;

use sans_io::Timestamp;

use crate::message::{CSeq, HeaderName, Message};
use crate::transaction::Timers;

/// The option tag of RFC 3262.
pub const RELIABLE: &str = "100rel";

/// The highest RSeq that a server may begin with (RFC 3262 §3).
const FIRST_MAX: u32 = (1 << 31) - 1;

/// What a PRACK acknowledges (RFC 3262 §7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rack<'a> {
    /// The `RSeq` of the response.
    pub rseq: u32,
    /// The `CSeq` of the response.
    pub cseq: CSeq<'a>,
}

impl<'a> Rack<'a> {
    /// The `RAck` of a PRACK; `None` if it has none that can be read.
    pub fn of(prack: &'a Message) -> Option<Self> {
        let (rseq, cseq) = prack.header(HeaderName::RAck)?.trim().split_once([' ', '\t'])?;
        Some(Self {
            rseq: rseq.parse().ok()?,
            cseq: CSeq::parse(cseq.trim_start()).ok()?,
        })
    }
}

/// The `RSeq` of a provisional response that wants a PRACK; `None` for one that does not (RFC 3262 §4).
pub fn reliable_rseq(response: &Message) -> Option<u32> {
    let is_provisional = response
        .status()
        .is_some_and(|status| (101..200).contains(&status));
    let rseq = response.number(HeaderName::RSeq).ok().flatten()?;
    (is_provisional && response.has_token(HeaderName::Require, RELIABLE)).then_some(rseq)
}

/// What to do with a reliable provisional response of a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The next in its order: acknowledge it with a PRACK, and take it.
    New,
    /// One that was acknowledged already, or one that is ahead of its turn: as if it had not come.
    Ignored,
}

/// A client's view of the reliable provisional responses of one fork: their order (RFC 3262 §4).
#[derive(Clone, Copy, Debug, Default)]
pub struct ProvisionalOrder {
    latest: Option<u32>,
}

impl ProvisionalOrder {
    /// Takes the `RSeq` of a response. The first may have any number, each further one has the next.
    pub fn receive(&mut self, rseq: u32) -> Received {
        if self
            .latest
            .is_some_and(|latest| latest.checked_add(1) != Some(rseq))
        {
            return Received::Ignored;
        }
        self.latest = Some(rseq);
        Received::New
    }
}

/// A server's reliable provisional responses in one early dialog: each is sent again until its PRACK comes, and the next
/// waits for that (RFC 3262 §3).
///
/// Give a response its [`next_rseq`](Self::next_rseq), then [`push`](Self::push) it. Drop the machine with the INVITE.
#[derive(Clone, Debug)]
pub struct ReliableProvisionals {
    timers: Timers,
    next_rseq: u32,
    waiting: Option<Waiting>,
    queue: VecDeque<Provisional>,
    described: bool,
}

#[derive(Clone, Debug)]
struct Provisional {
    rseq: u32,
    response: Message,
}

/// The response that was sent and has no PRACK yet.
#[derive(Clone, Debug)]
struct Waiting {
    provisional: Provisional,
    step: u8,
    next: Timestamp,
    give_up: Timestamp,
}

/// What [`ReliableProvisionals::handle_timeout`] wants.
#[derive(Clone, Debug)]
pub enum ProvisionalStep {
    /// Send this response again.
    Send(Message),
    /// No PRACK came in 64*T1: refuse the INVITE with a 5xx.
    GiveUp,
}

/// Why a response was not taken, or a PRACK not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionalError {
    /// Too many responses wait for PRACKs: this one is lost.
    #[error("too many provisional responses wait for a PRACK")]
    Full,
    /// The PRACK is for none that waits: 481 (RFC 3262 §3).
    #[error("a PRACK for no response that waits")]
    Unknown,
}

impl ReliableProvisionals {
    /// Responses that wait behind the one that was sent, at most.
    pub const QUEUE_MAX: usize = 8;

    /// None yet. `random` chooses the first `RSeq`, uniformly (§3).
    pub fn new(random: u32, timers: &Timers) -> Self {
        Self {
            timers: timers.clone(),
            next_rseq: random % FIRST_MAX + 1,
            waiting: None,
            queue: VecDeque::new(),
            described: false,
        }
    }

    /// The `RSeq` that the next response must have.
    pub const fn next_rseq(&self) -> u32 {
        self.next_rseq
    }

    /// Takes a response with `Require: 100rel` and the [`next_rseq`](Self::next_rseq). Gives it back if it is to be sent
    /// now; otherwise it comes when its turn does.
    ///
    /// # Errors
    /// [`ProvisionalError::Full`]; its number was not used then.
    pub fn push(&mut self, now: Timestamp, response: Message) -> Result<Option<Message>, ProvisionalError> {
        if self.queue.len() >= Self::QUEUE_MAX {
            return Err(ProvisionalError::Full);
        }
        let rseq = self.next_rseq;
        self.next_rseq = rseq.saturating_add(1);
        self.queue.push_back(Provisional { rseq, response });
        Ok(if self.waiting.is_none() {
            self.send_next(now)
        } else {
            None
        })
    }

    /// Takes the `RSeq` of a PRACK whose `CSeq` in `RAck` is the INVITE's. Gives the response to send next.
    ///
    /// # Errors
    /// [`ProvisionalError::Unknown`], also for a second PRACK.
    pub fn acknowledge(&mut self, now: Timestamp, rseq: u32) -> Result<Option<Message>, ProvisionalError> {
        self.waiting
            .take_if(|waiting| waiting.provisional.rseq == rseq)
            .ok_or(ProvisionalError::Unknown)?;
        Ok(self.send_next(now))
    }

    /// The INVITE gets its final response: nothing is sent any more, and a PRACK that is on its way is still known (§3).
    pub fn finish(&mut self) {
        self.queue.clear();
    }

    /// Whether a 2xx has to wait: a response with a description has no PRACK yet (§3).
    pub fn holds_success(&self) -> bool {
        self.waiting
            .as_ref()
            .is_some_and(|waiting| !waiting.provisional.response.body().is_empty())
    }

    /// Whether a description was sent: a later response has none, for it would be another answer.
    pub const fn is_described(&self) -> bool {
        self.described
    }

    /// Whether a description was sent or waits to be.
    pub fn will_be_described(&self) -> bool {
        self.described || self.queue.iter().any(|it| !it.response.body().is_empty())
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.waiting
            .as_ref()
            .map(|waiting| waiting.next.min(waiting.give_up))
    }

    /// What is to be done at `now`, if anything. The intervals begin at T1 and double without T2 as their limit (§3).
    pub fn handle_timeout(&mut self, now: Timestamp) -> Option<ProvisionalStep> {
        let waiting = self.waiting.as_mut()?;
        if now >= waiting.give_up {
            return Some(ProvisionalStep::GiveUp);
        }
        if now < waiting.next {
            return None;
        }
        waiting.step = waiting.step.saturating_add(1);
        waiting.next = now + self.timers.doubled_interval(waiting.step);
        Some(ProvisionalStep::Send(waiting.provisional.response.clone()))
    }

    fn send_next(&mut self, now: Timestamp) -> Option<Message> {
        let provisional = self.queue.pop_front()?;
        let response = provisional.response.clone();
        self.described |= !response.body().is_empty();
        self.waiting = Some(Waiting {
            provisional,
            step: 0,
            next: now + self.timers.doubled_interval(0),
            give_up: now + self.timers.transaction_timeout(),
        });
        Some(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Method;
    use bytes::Bytes;

    fn response(rseq: u32, fields: &str, body: &str) -> Message {
        let text = format!(
            "SIP/2.0 183 Session Progress\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: <sip:b@h>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nRSeq: {rseq}\r\n{fields}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Message::parse_datagram(Bytes::from(text)).unwrap()
    }

    fn prack(rack: &str) -> Message {
        let text = format!(
            "PRACK sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: <sip:b@h>;tag=2\r\nCall-ID: x\r\nCSeq: 2 PRACK\r\nRAck: {rack}\r\n\r\n"
        );
        Message::parse_datagram(Bytes::from(text)).unwrap()
    }

    #[test]
    fn rack_is_read_or_refused() {
        let message = prack("776656 \t 1 INVITE");
        let rack = Rack::of(&message).unwrap();
        assert_eq!(
            (rack.rseq, rack.cseq.seq, rack.cseq.method),
            (776_656, 1, Method::Invite)
        );
        for text in [
            "",
            "1",
            "1 INVITE",
            "x 1 INVITE",
            "1 x INVITE",
            "4294967296 1 INVITE",
        ] {
            assert_eq!(Rack::of(&prack(text)), None, "{text}");
        }
    }

    #[test]
    fn a_response_is_reliable_if_it_says_both() {
        assert_eq!(
            reliable_rseq(&response(7, "Require: precondition, 100rel\r\n", "")),
            Some(7)
        );
        assert_eq!(reliable_rseq(&response(7, "", "")), None);
    }

    #[test]
    fn responses_are_taken_in_their_order() {
        let mut order = ProvisionalOrder::default();
        let got = [5, 5, 7, 6, 4, 7, 8].map(|rseq| order.receive(rseq) == Received::New);
        assert_eq!(got, [true, false, false, true, false, true, true]);
        let mut last = ProvisionalOrder {
            latest: Some(u32::MAX),
        };
        assert_eq!(last.receive(0), Received::Ignored);
    }

    #[test]
    fn the_first_number_is_within_its_range() {
        for random in [0, 1, FIRST_MAX - 1, FIRST_MAX, u32::MAX] {
            let first = ReliableProvisionals::new(random, &Timers::default()).next_rseq();
            assert!((1..=FIRST_MAX).contains(&first), "{random}: {first}");
        }
    }

    #[test]
    fn a_response_is_repeated_in_the_rhythm_of_the_rfc_and_given_up_after_64_t1() {
        let mut sender = ReliableProvisionals::new(0, &Timers::default());
        assert!(
            sender
                .push(Timestamp::ZERO, response(1, "", "v=0"))
                .unwrap()
                .is_some()
        );
        let mut sent = Vec::new();
        let end = loop {
            let at = sender.poll_timeout().unwrap();
            match sender.handle_timeout(at).expect("it is due") {
                ProvisionalStep::Send(_) => sent.push(at.as_nanos() / 1_000_000),
                ProvisionalStep::GiveUp => break at,
            }
            assert!(sender.handle_timeout(at).is_none(), "once a deadline");
        };
        assert_eq!(sent, [500, 1_500, 3_500, 7_500, 15_500, 31_500]);
        assert_eq!(end, Timestamp::from_millis(32_000));
        assert!(sender.holds_success());
    }

    #[test]
    fn the_next_waits_for_the_prack_of_the_one_before() {
        let now = Timestamp::ZERO;
        let mut sender = ReliableProvisionals::new(9, &Timers::default());
        let first = sender.next_rseq();
        assert!(sender.push(now, response(first, "", "")).unwrap().is_some());
        assert!(!sender.holds_success(), "no description waits");
        assert!(
            sender
                .push(now, response(first + 1, "", "v=0"))
                .unwrap()
                .is_none()
        );
        assert!(!sender.is_described() && sender.will_be_described());
        assert_eq!(
            sender.acknowledge(now, first + 1).unwrap_err(),
            ProvisionalError::Unknown
        );
        let next = sender.acknowledge(now, first).unwrap().expect("its turn");
        assert_eq!(next.number(HeaderName::RSeq), Ok(Some(first + 1)));
        assert!(sender.holds_success() && sender.is_described());
        assert!(sender.acknowledge(now, first + 1).unwrap().is_none());
        assert_eq!(
            sender.acknowledge(now, first + 1).unwrap_err(),
            ProvisionalError::Unknown
        );
        assert!(!sender.holds_success() && sender.poll_timeout().is_none());
    }

    #[test]
    fn what_waits_is_limited() {
        let mut sender = ReliableProvisionals::new(0, &Timers::default());
        for n in 0..=ReliableProvisionals::QUEUE_MAX {
            let rseq = sender.next_rseq();
            assert!(
                sender.push(Timestamp::ZERO, response(rseq, "", "")).is_ok(),
                "{n}"
            );
        }
        let rseq = sender.next_rseq();
        assert_eq!(
            sender.push(Timestamp::ZERO, response(rseq, "", "")).unwrap_err(),
            ProvisionalError::Full
        );
        assert_eq!(sender.next_rseq(), rseq);
    }
}
