use std::net::SocketAddr;

use media_types::Latching;
use rtp::{Packet, PayloadTypeSet, Seq, Ssrc};
use sans_io::Timestamp;

use crate::{DropReason, Learning};

/// Sources that are watched at once while one is learned.
const CANDIDATES: usize = 3;
/// The furthest that the sequence number may move between two packets of a consistent source.
const SEQUENCE_STEP_MAX: u16 = 16;

/// From where a party's RTP is taken: symmetric RTP that learns once and then locks.
///
/// ```text
///               the signalled address sends anything, or another allowed
///               source sends N consistent packets of the line's formats
///   learning ─────────────────────────────────────────────────► locked on that source
///      ▲                                                           │
///      └── the remote address changes, `relearn`, or the policy ───┘
///          no longer allows the source
/// ```
///
/// A source that was locked when the remote address changed is learned again only when it has gone on alone for the window:
/// a party that was replaced may send until its BYE, and from the same host as its successor.
///
/// While learning, packets of other allowed sources are dropped: one packet from a stranger is never forwarded. Once
/// locked, every other source is dropped (the flaw class of CVE-2025-53399 is a lock that a stranger can move). Only a source that has
/// proven by other means that it is the party, by a handshake, takes the lock from another.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Latch {
    locked: Option<SocketAddr>,
    signalled: Option<SocketAddr>,
    candidates: [Option<Candidate>; CANDIDATES],
    policy: Latching,
}

/// A source on trial.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    since: Timestamp,
    source: SocketAddr,
    ssrc: Ssrc,
    seq: Seq,
    /// Consistent ones so far; none for a source that was locked until the party's address changed.
    packets: u8,
}

impl Candidate {
    /// A source that has been replaced, and may go on sending. Its time begins with its next packet.
    const fn replaced(source: SocketAddr) -> Self {
        Self {
            since: Timestamp::ZERO,
            source,
            ssrc: Ssrc(0),
            seq: Seq(0),
            packets: 0,
        }
    }

    const fn is_replaced(&self) -> bool {
        self.packets == 0
    }
}

/// A packet that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// From the locked source.
    Known,
    /// This packet has just locked its source.
    Locked,
}

/// Whether two addresses are the same for a peer: an IPv6 flow label does not matter.
pub(crate) fn is_same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip() == b.ip()
}

impl Latch {
    /// The part of a latch that packets from the locked source read.
    #[cfg(test)]
    pub(crate) const HOT_LEN: usize = size_of::<Option<SocketAddr>>();

    pub(crate) const fn new(policy: Latching, signalled: Option<SocketAddr>) -> Self {
        Self {
            locked: None,
            signalled,
            candidates: [None; CANDIDATES],
            policy,
        }
    }

    /// A latch as it was in an earlier process. A source that the policy does not allow is learned anew.
    pub(crate) fn restored(
        policy: Latching,
        signalled: Option<SocketAddr>,
        locked: Option<SocketAddr>,
    ) -> Self {
        let mut latch = Self::new(policy, signalled);
        latch.locked = locked.filter(|locked| latch.allows(*locked));
        latch
    }

    /// The source that RTP is taken from.
    pub(crate) const fn locked(&self) -> Option<SocketAddr> {
        self.locked
    }

    /// What the party's description says.
    pub(crate) const fn signalled(&self) -> Option<SocketAddr> {
        self.signalled
    }

    /// The policy.
    pub(crate) const fn policy(&self) -> Latching {
        self.policy
    }

    /// Where RTP for the party goes: to the learned source, before that to the signalled address.
    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        self.locked.or(self.signalled)
    }

    /// Takes over a new description. The lock stays unless the remote address changes, `relearn` is asked for or the
    /// new policy does not allow the locked source. True when the lock was lifted.
    pub(crate) fn change(&mut self, policy: Latching, signalled: Option<SocketAddr>, relearn: bool) -> bool {
        let moved = match (self.signalled, signalled) {
            (Some(old), Some(new)) => !is_same(old, new),
            (None, None) => false,
            _ => true,
        };
        let was_signalled = self.signalled.is_some();
        (self.policy, self.signalled) = (policy, signalled);
        let Some(locked) = self.locked else {
            if moved || relearn {
                for place in &mut self.candidates {
                    *place = place.filter(Candidate::is_replaced);
                }
            }
            return false;
        };
        // A party that names the very address that was learned has not moved.
        let named = signalled.is_some_and(|signalled| is_same(signalled, locked));
        if relearn || (moved && !named) || !self.allows(locked) {
            // One that held without an address is the same when it comes back.
            let is_replaced = moved && was_signalled && signalled.is_some();
            *self = Self::new(policy, signalled);
            if is_replaced {
                self.candidates[0] = Some(Candidate::replaced(locked));
            }
            return true;
        }
        false
    }

    /// Locks on a source that has proven by other means that it is the party, whoever was taken for it before, unless the policy does
    /// not allow it. True when it is locked now and was not.
    pub(crate) fn lock(&mut self, source: SocketAddr) -> bool {
        let is_locked = self.locked.is_some_and(|locked| is_same(locked, source));
        let locks = !is_locked && self.allows(source);
        if locks {
            self.locked = Some(source);
            self.candidates = [None; CANDIDATES];
        }
        locks
    }

    /// Judges the source of a valid RTP packet. Does not allocate.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        packet: &Packet<'_>,
        payload_types: &PayloadTypeSet,
        learning: &Learning,
    ) -> Result<Admission, DropReason> {
        match self.locked {
            Some(locked) if is_same(locked, source) => Ok(Admission::Known),
            Some(_) => Err(DropReason::SourceLocked),
            None => self.learn(now, source, packet, payload_types, learning),
        }
    }

    #[cold]
    fn learn(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        packet: &Packet<'_>,
        payload_types: &PayloadTypeSet,
        learning: &Learning,
    ) -> Result<Admission, DropReason> {
        if !self.allows(source) {
            return Err(DropReason::SourceRefused);
        }
        // A party that was signalled need not prove itself: comfort noise that nobody listed may well come first.
        if !self.signalled.is_some_and(|signalled| is_same(signalled, source)) {
            if !payload_types.is_empty() && !payload_types.contains(packet.payload_type()) {
                return Err(DropReason::PayloadType);
            }
            if self.try_source(now, source, packet, learning) < learning.packets {
                return Err(DropReason::SourceLearning);
            }
        }
        self.locked = Some(source);
        self.candidates = [None; CANDIDATES];
        Ok(Admission::Locked)
    }

    /// Whether the policy lets RTP come from `source`.
    fn allows(&self, source: SocketAddr) -> bool {
        match (self.policy, self.signalled) {
            (Latching::AnyAddress, _) => true,
            (Latching::SameAddress, Some(signalled)) => signalled.ip() == source.ip(),
            (Latching::Off, Some(signalled)) => is_same(signalled, source),
            (Latching::SameAddress | Latching::Off, None) => false,
        }
    }

    /// Counts a packet for its source; how many consistent ones there are now.
    fn try_source(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        packet: &Packet<'_>,
        learning: &Learning,
    ) -> u8 {
        let first = Candidate {
            since: now,
            source,
            ssrc: packet.ssrc(),
            seq: packet.seq(),
            packets: 1,
        };
        let known = self
            .candidates
            .iter_mut()
            .flatten()
            .find(|candidate| is_same(candidate.source, source));
        if let Some(candidate) = known {
            if candidate.is_replaced() {
                if candidate.since == Timestamp::ZERO {
                    candidate.since = now;
                }
                if now.saturating_since(candidate.since) <= learning.window {
                    return 0;
                }
                *candidate = first;
                return candidate.packets;
            }
            let step = packet.seq().distance_from(candidate.seq).unsigned_abs();
            let follows = packet.ssrc() == candidate.ssrc
                && (1..=SEQUENCE_STEP_MAX).contains(&step)
                && now.saturating_since(candidate.since) <= learning.window;
            if follows {
                candidate.packets = candidate.packets.saturating_add(1);
                candidate.seq = packet.seq();
            } else {
                *candidate = first;
            }
            return candidate.packets;
        }
        // A stranger takes a free place, else that of a candidate whose window is over, else that of the one with the
        // fewest packets and of these the oldest.
        let rank = |candidate: &Option<Candidate>| match candidate {
            None => (0, 0, Timestamp::ZERO),
            Some(left) if left.is_replaced() => (3, 0, left.since),
            Some(old) if now.saturating_since(old.since) > learning.window => (1, 0, old.since),
            Some(young) => (2, young.packets, young.since),
        };
        if let Some(place) = self.candidates.iter_mut().min_by_key(|candidate| rank(candidate)) {
            *place = Some(first);
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SIGNALLED: &str = "192.0.2.1:4000";
    const LEARNING: Learning = Learning {
        packets: 3,
        window: Duration::from_secs(2),
    };

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn rtp(payload_type: u8, seq: u16, ssrc: u32) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[0] = 0x80;
        bytes[1] = payload_type;
        bytes[2..4].copy_from_slice(&seq.to_be_bytes());
        bytes[8..].copy_from_slice(&ssrc.to_be_bytes());
        bytes
    }

    /// A latch with its clock: one packet each 20 ms.
    struct Bench {
        latch: Latch,
        now: Timestamp,
        types: PayloadTypeSet,
    }

    impl Bench {
        fn new(policy: Latching, signalled: Option<&str>) -> Self {
            let mut types = PayloadTypeSet::EMPTY;
            types.insert(rtp::PayloadType::PCMA);
            Self {
                latch: Latch::new(policy, signalled.map(at)),
                now: Timestamp::ZERO,
                types,
            }
        }

        fn packet(&mut self, source: &str, bytes: &[u8]) -> Result<Admission, DropReason> {
            self.now = self.now + Duration::from_millis(20);
            let packet = Packet::parse(bytes).unwrap();
            self.latch
                .admit(self.now, at(source), &packet, &self.types, &LEARNING)
        }
    }

    #[test]
    fn who_has_proven_itself_takes_the_lock_from_another() {
        let mut latch = Latch::new(Latching::SameAddress, Some(at(SIGNALLED)));
        assert!(latch.lock(at("192.0.2.1:5000")));
        assert!(!latch.lock(at("192.0.2.1:5000")), "it has it");
        assert!(
            latch.lock(at("192.0.2.1:6000")),
            "whoever was taken for it before"
        );
        assert_eq!(latch.destination(), Some(at("192.0.2.1:6000")));
        assert!(!latch.lock(at("203.0.113.9:4000")), "not beyond the policy");
        assert_eq!(latch.locked(), Some(at("192.0.2.1:6000")));
    }

    #[test]
    fn the_signalled_address_is_locked_at_its_first_packet() {
        for policy in [Latching::Off, Latching::SameAddress, Latching::AnyAddress] {
            let mut bench = Bench::new(policy, Some(SIGNALLED));
            assert_eq!(
                bench.packet(SIGNALLED, &rtp(8, 1, 1)),
                Ok(Admission::Locked),
                "{policy:?}"
            );
            assert_eq!(bench.packet(SIGNALLED, &rtp(8, 2, 1)), Ok(Admission::Known));
            assert_eq!(
                bench.packet("192.0.2.1:4001", &rtp(8, 3, 1)),
                Err(DropReason::SourceLocked)
            );
            assert_eq!(bench.latch.locked(), Some(at(SIGNALLED)));
        }
    }

    #[test]
    fn the_policy_says_who_may_be_learned() {
        let (same_address, stranger) = ("192.0.2.1:9", "203.0.113.9:4000");
        for (policy, signalled, source, learns) in [
            (Latching::Off, Some(SIGNALLED), same_address, false),
            (Latching::Off, None, same_address, false),
            (Latching::SameAddress, Some(SIGNALLED), same_address, true),
            (Latching::SameAddress, Some(SIGNALLED), stranger, false),
            (Latching::SameAddress, None, stranger, false),
            (Latching::AnyAddress, Some(SIGNALLED), stranger, true),
            (Latching::AnyAddress, None, stranger, true),
        ] {
            let mut bench = Bench::new(policy, signalled);
            let verdicts: Vec<_> = (1..=3).map(|seq| bench.packet(source, &rtp(8, seq, 1))).collect();
            let expected = if learns {
                let learning = Err(DropReason::SourceLearning);
                vec![learning, learning, Ok(Admission::Locked)]
            } else {
                vec![Err(DropReason::SourceRefused); 3]
            };
            assert_eq!(verdicts, expected, "{policy:?} {signalled:?} {source}");
        }
    }

    #[test]
    fn a_source_is_learned_from_consistent_packets_only() {
        let source = "203.0.113.9:4000";
        let mut bench = Bench::new(Latching::AnyAddress, None);
        let learning = Err(DropReason::SourceLearning);
        assert_eq!(bench.packet(source, &rtp(8, 1, 1)), learning);
        assert_eq!(
            bench.packet(source, &rtp(8, 2, 2)),
            learning,
            "another SSRC begins anew"
        );
        assert_eq!(bench.packet(source, &rtp(8, 3, 2)), learning);
        assert_eq!(
            bench.packet(source, &rtp(8, 3, 2)),
            learning,
            "a repetition begins anew"
        );
        assert_eq!(
            bench.packet(source, &rtp(8, 40, 2)),
            learning,
            "a jump begins anew"
        );
        assert_eq!(bench.packet(source, &rtp(0, 41, 2)), Err(DropReason::PayloadType));
        assert_eq!(bench.packet(source, &rtp(8, 41, 2)), learning);
        bench.now = bench.now + LEARNING.window;
        assert_eq!(
            bench.packet(source, &rtp(8, 42, 2)),
            learning,
            "too late begins anew"
        );
        assert_eq!(bench.packet(source, &rtp(8, 44, 2)), learning);
        assert_eq!(
            bench.packet(source, &rtp(8, 43, 2)),
            Ok(Admission::Locked),
            "reordering does no harm"
        );
    }

    #[test]
    fn strangers_in_between_do_not_stop_the_party_from_being_learned() {
        let mut bench = Bench::new(Latching::AnyAddress, None);
        for seq in 1..=3 {
            let verdict = bench.packet("203.0.113.9:4000", &rtp(8, seq, 1));
            assert_eq!(verdict.is_ok(), seq == 3);
            for port in 0..2 {
                let stranger = format!("198.51.100.7:{}", 1_000 + 10 * seq + port);
                assert!(bench.packet(&stranger, &rtp(8, seq, 9)).is_err());
            }
        }
        assert_eq!(bench.latch.locked(), Some(at("203.0.113.9:4000")));
    }

    #[test]
    fn the_lock_is_lifted_by_a_new_address_relearn_or_a_stricter_policy() {
        let nat = "192.0.2.1:7777";
        let locked = || {
            let mut bench = Bench::new(Latching::SameAddress, Some(SIGNALLED));
            let last = (1..=3)
                .map(|seq| bench.packet(nat, &rtp(8, seq, 1)))
                .last()
                .unwrap();
            assert_eq!(last, Ok(Admission::Locked));
            bench.latch
        };
        let same = Latching::SameAddress;
        assert!(!locked().change(same, Some(at(SIGNALLED)), false));
        assert!(!locked().change(Latching::AnyAddress, Some(at(SIGNALLED)), false));
        assert!(
            !locked().change(same, Some(at(nat)), false),
            "the learned address itself was signalled"
        );
        assert!(locked().change(same, Some(at(SIGNALLED)), true));
        assert!(locked().change(same, Some(at("192.0.2.1:4002")), false));
        assert!(locked().change(Latching::Off, Some(at(SIGNALLED)), false));
        assert!(locked().change(same, None, false));
        let mut latch = locked();
        latch.change(same, Some(at("192.0.2.8:1")), false);
        assert_eq!(
            (latch.locked(), latch.destination()),
            (None, Some(at("192.0.2.8:1")))
        );
    }

    /// Who is transferred to somebody behind the same NAT goes on sending until its BYE, and the other is behind another port.
    #[test]
    fn who_was_locked_gives_the_newcomer_a_chance() {
        let (left, newcomer) = (SIGNALLED, "192.0.2.1:5001");
        let replaced = || {
            let mut bench = Bench::new(Latching::SameAddress, Some(SIGNALLED));
            assert!(bench.packet(left, &rtp(8, 1, 1)).is_ok());
            assert!(
                bench
                    .latch
                    .change(Latching::SameAddress, Some(at("192.0.2.1:5000")), false)
            );
            bench
        };
        let learning = Err(DropReason::SourceLearning);
        let mut bench = replaced();
        for seq in 2..12 {
            assert_eq!(bench.packet(left, &rtp(8, seq, 1)), learning);
        }
        // Another update while nobody is known.
        let unlocked = bench
            .latch
            .change(Latching::SameAddress, Some(at("192.0.2.1:5002")), false);
        assert!(!unlocked);
        let verdicts: Vec<_> = (1..=3)
            .map(|seq| {
                assert_eq!(bench.packet(left, &rtp(8, 11 + seq, 1)), learning);
                bench.packet(newcomer, &rtp(8, seq, 2))
            })
            .collect();
        assert_eq!(verdicts, [learning, learning, Ok(Admission::Locked)]);

        // It may be the only one that there is: an address was told anew, and the NAT gave it the same port.
        let mut bench = replaced();
        let packets = LEARNING.window.as_millis() as u16 / 20 + 4;
        let taken = (2..2 + packets).position(|seq| bench.packet(left, &rtp(8, seq, 1)).is_ok());
        assert_eq!(taken, Some(usize::from(packets) - 1));
        // A party behind a NAT that held by the address 0.0.0.0 (RFC 3264 §8.4) is known at its third packet.
        let mut bench = Bench::new(Latching::SameAddress, Some(SIGNALLED));
        let nat = |bench: &mut Bench, seq| bench.packet("192.0.2.1:7777", &rtp(8, seq, 1)).is_ok();
        assert_eq!([1, 2, 3].map(|seq| nat(&mut bench, seq)), [false, false, true]);
        assert!(bench.latch.change(Latching::SameAddress, None, false));
        bench
            .latch
            .change(Latching::SameAddress, Some(at(SIGNALLED)), false);
        assert_eq!([4, 5, 6].map(|seq| nat(&mut bench, seq)), [false, false, true]);
        // Whoever is named again need not wait.
        let mut bench = replaced();
        bench.latch.change(Latching::SameAddress, Some(at(left)), false);
        assert_eq!(bench.packet(left, &rtp(8, 2, 1)), Ok(Admission::Locked));
    }

    /// A packet of the network: source, number, SSRC and payload type, each of a few.
    fn packets() -> impl Strategy<Value = Vec<(usize, u16, u32, u8)>> {
        let payload_type = prop_oneof![9 => Just(8u8), 1 => Just(0)];
        proptest::collection::vec((0usize..5, 0u16..30, 0u32..2, payload_type), 0..120)
    }

    proptest! {
        /// Whatever comes: only an allowed source is locked, only the locked one passes, and the lock does not move.
        #[test]
        fn the_lock_holds_whatever_comes(policy in 0usize..3, signalled: bool, packets in packets()) {
            const SOURCES: [&str; 5] =
                [SIGNALLED, "192.0.2.1:4001", "192.0.2.1:9", "203.0.113.9:4000", "203.0.113.9:4001"];
            let policy = [Latching::Off, Latching::SameAddress, Latching::AnyAddress][policy];
            let mut bench = Bench::new(policy, signalled.then_some(SIGNALLED));
            let mut locked = None;
            for (source, seq, ssrc, payload_type) in packets {
                let verdict = bench.packet(SOURCES[source], &rtp(payload_type, seq, ssrc));
                match (locked, verdict) {
                    (None, Ok(Admission::Locked)) => {
                        let allowed = match policy {
                            Latching::Off => signalled && source == 0,
                            Latching::SameAddress => signalled && source < 3,
                            Latching::AnyAddress => true,
                        };
                        let known = payload_type == 8 || (signalled && source == 0);
                        prop_assert!(allowed && known, "{source} with {payload_type}");
                        locked = Some(source);
                    }
                    (None, verdict) => prop_assert!(verdict.is_err()),
                    (Some(party), verdict) if party == source => {
                        prop_assert_eq!(verdict, Ok(Admission::Known));
                    }
                    (Some(_), verdict) => prop_assert_eq!(verdict, Err(DropReason::SourceLocked)),
                }
                prop_assert_eq!(bench.latch.locked(), locked.map(|party| at(SOURCES[party])));
            }
        }
    }
}
