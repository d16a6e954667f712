use std::net::IpAddr;
use std::time::Duration;

use sans_io::Timestamp;

use crate::bans::Bans;
use crate::sources::Sources;
use crate::{Ban, Change, Config, Counters, Evidence, Network, Offence, Refusal};

/// Stands before the parser.
///
/// # Calling contract
///
/// - [`admit`](Self::admit) for every message before anything else is done with it.
/// - [`report`](Self::report) and [`vouch`](Self::vouch) when something is learned about a source.
/// - After either, [`poll_change`](Self::poll_change) until it is empty.
///
/// `now` comes from one monotonic clock and never goes back. A source is an IPv4 address or an IPv6 /64
/// ([`Network::of_source`]).
///
/// # Who cannot be locked out
///
/// Those of [`Config::allow`] and of [`set_peers`](Self::set_peers) are never limited or banned by points. Against those who
/// have proven a password of late only what they have proven counts: datagrams in their name can be anybody's. Every ban
/// ends by itself.
#[derive(Debug)]
pub struct Guard {
    config: Config,
    peers: Vec<Network>,
    bans: Bans,
    sources: Sources,
    counters: Counters,
}

impl Guard {
    /// One that knows nobody.
    pub fn new(config: Config) -> Self {
        Self {
            bans: Bans::new(config.bans_max),
            sources: Sources::new(config.sources_max),
            peers: Vec::new(),
            counters: Counters::default(),
            config,
        }
    }

    /// The next hops as they are now, which are allowed as those of [`Config::allow`] are.
    pub fn set_peers(&mut self, mut peers: Vec<Network>) {
        peers.sort_unstable();
        peers.dedup();
        self.peers = peers;
    }

    /// Whether a source is allowed whatever it sends.
    pub fn is_allowed(&self, source: IpAddr) -> bool {
        let is_in = |networks: &[Network]| networks.iter().any(|network| network.contains(source));
        is_in(&self.config.allow) || self.peers.binary_search(&Network::of_source(source)).is_ok()
    }

    /// Whether a message of `source` is looked at. Costs a hash or two; does not allocate.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&mut self, now: Timestamp, source: IpAddr) -> Result<(), Refusal> {
        if self.bans.holds(now, source) {
            return Err(Refusal::Banned);
        }
        let (rate, burst) = (self.config.source_rate_per_s, self.config.source_burst);
        if rate == 0
            || self.sources.find(now, source).bucket.take(now, rate, burst)
            || self.is_allowed(source)
        {
            return Ok(());
        }
        Err(Refusal::Rate)
    }

    /// Whether `source` has proven a password of late.
    pub fn is_vouched(&mut self, now: Timestamp, source: IpAddr) -> bool {
        self.sources.find(now, source).vouched_until > now
    }

    /// Notes that `source` has proven a password: its account is cleared, and it is believed for
    /// [`Config::vouched_for`].
    pub fn vouch(&mut self, now: Timestamp, source: IpAddr) {
        let account = self.sources.find(now, source);
        account.score_milli = 0;
        account.vouched_until = now + self.config.vouched_for;
    }

    /// Notes what speaks against `source`, and bans it when that is too much.
    pub fn report(&mut self, now: Timestamp, source: IpAddr, offence: Offence, evidence: Evidence) {
        self.counters.offences[offence as usize] += 1;
        let is_allowed = self.config.ban_score == 0 || self.is_allowed(source);
        let account = self.sources.find(now, source);
        let is_believed = account.vouched_until > now && evidence == Evidence::Datagram;
        if is_allowed || is_believed {
            self.counters.forgiven += 1;
            return;
        }
        let most = u64::from(self.config.ban_score) * 1_000;
        let window_ms = (self.config.ban_window.as_millis() as u64).max(1);
        let since_ms = now.saturating_since(account.scored).as_millis() as u64;
        let forgotten = most.saturating_mul(since_ms) / window_ms;
        let score =
            u64::from(account.score_milli).saturating_sub(forgotten) + u64::from(offence.points_milli());
        account.scored = now;
        account.score_milli = u32::try_from(score).unwrap_or(u32::MAX);
        if score >= most {
            account.score_milli = 0;
            let until = now + self.config.ban_lasts;
            self.add(now, Network::of_source(source), until, Some(offence));
        }
    }

    /// Bans a network for so long, by an operator's order.
    pub fn ban(&mut self, now: Timestamp, network: Network, lasts: Duration) {
        self.add(now, network, now + lasts, None);
    }

    fn add(&mut self, now: Timestamp, network: Network, until: Timestamp, offence: Option<Offence>) {
        self.counters.banned += 1;
        let ban = Ban {
            network,
            until,
            offence,
        };
        self.counters.lifted += self.bans.add(now, ban);
    }

    /// Lifts the ban of exactly that network, and clears its account. `false` if there is none.
    pub fn unban(&mut self, now: Timestamp, network: Network) -> bool {
        self.sources.find(now, network.address()).score_milli = 0;
        let is_lifted = self.bans.lift(network);
        self.counters.lifted += u64::from(is_lifted);
        is_lifted
    }

    /// The bans that hold, in no order.
    pub fn bans(&mut self, now: Timestamp) -> Vec<Ban> {
        self.counters.lifted += self.bans.expire(now);
        self.bans.iter().collect()
    }

    /// How many there are, those included whose time is over and that nobody has asked about since.
    pub fn ban_count(&self) -> usize {
        self.bans.len()
    }

    /// What it saw and did.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The next change of the ban list.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.bans.poll_change()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn report(guard: &mut Guard, source: &str, offence: Offence, evidence: Evidence, times: u32) {
        for _ in 0..times {
            guard.report(at(1), ip(source), offence, evidence);
        }
    }

    #[test]
    fn a_scanner_is_banned_after_four_packets_and_let_in_again_in_time() {
        let mut guard = Guard::new(Config::default());
        report(&mut guard, "192.0.2.1", Offence::Scanner, Evidence::Datagram, 3);
        assert_eq!(guard.admit(at(1), ip("192.0.2.1")), Ok(()));
        report(&mut guard, "192.0.2.1", Offence::Scanner, Evidence::Datagram, 1);
        assert_eq!(guard.admit(at(1), ip("192.0.2.1")), Err(Refusal::Banned));
        assert_eq!(guard.admit(at(1), ip("192.0.2.2")), Ok(()));
        let network = Network::of_source(ip("192.0.2.1"));
        let until = at(601);
        let offence = Some(Offence::Scanner);
        let ban = Ban {
            network,
            until,
            offence,
        };
        assert_eq!(guard.poll_change(), Some(Change::Banned(ban)));
        assert_eq!(guard.bans(at(2)), [ban]);
        assert_eq!(guard.bans(at(600)).len(), 1);
        assert_eq!(guard.admit(at(601), ip("192.0.2.1")), Ok(()));
        assert_eq!(guard.poll_change(), Some(Change::Lifted(network)));
    }

    #[test]
    fn an_ipv6_source_is_its_64() {
        let mut guard = Guard::new(Config::default());
        for host in 1..=4 {
            let source = format!("2001:db8::{host}");
            report(&mut guard, &source, Offence::Scanner, Evidence::Datagram, 1);
        }
        assert_eq!(guard.admit(at(1), ip("2001:db8::ffff")), Err(Refusal::Banned));
        assert_eq!(guard.admit(at(1), ip("2001:db8:0:1::1")), Ok(()));
    }

    #[test]
    fn points_are_forgotten() {
        let mut guard = Guard::new(Config::default());
        for second in 0..2_000 {
            guard.report(
                at(second),
                ip("192.0.2.1"),
                Offence::Malformed,
                Evidence::Datagram,
            );
        }
        assert_eq!(guard.ban_count(), 0, "one a second is no attack");
    }

    #[test]
    fn who_is_allowed_is_neither_limited_nor_banned() {
        let mut guard = Guard::new(Config {
            allow: vec!["192.0.2.0/24".parse().unwrap()],
            source_rate_per_s: 10,
            source_burst: 10,
            ..Config::default()
        });
        guard.set_peers(vec![Network::of_source(ip("198.51.100.1"))]);
        for source in ["192.0.2.7", "198.51.100.1"] {
            report(&mut guard, source, Offence::Scanner, Evidence::Proven, 50);
            assert!(
                (0..100).all(|_| guard.admit(at(1), ip(source)).is_ok()),
                "{source}"
            );
        }
        let stranger = (0..100).filter(|_| guard.admit(at(1), ip("203.0.113.1")).is_ok());
        assert_eq!(stranger.count(), 10);
    }

    #[test]
    fn datagrams_forged_in_the_name_of_a_registered_user_do_not_ban_it() {
        let mut guard = Guard::new(Config::default());
        guard.vouch(at(1), ip("192.0.2.1"));
        report(&mut guard, "192.0.2.1", Offence::Scanner, Evidence::Datagram, 50);
        assert_eq!(guard.admit(at(1), ip("192.0.2.1")), Ok(()));
        report(
            &mut guard,
            "192.0.2.1",
            Offence::Credentials,
            Evidence::Proven,
            10,
        );
        assert_eq!(guard.admit(at(1), ip("192.0.2.1")), Err(Refusal::Banned));
    }

    #[test]
    fn operators_ban_and_lift() {
        let mut guard = Guard::new(Config {
            bans_max: 2,
            ..Config::default()
        });
        let wide: Network = "203.0.113.0/24".parse().unwrap();
        guard.ban(at(1), wide, Duration::from_secs(10));
        assert_eq!(guard.admit(at(1), ip("203.0.113.200")), Err(Refusal::Banned));
        assert_eq!(guard.bans(at(1))[0].offence, None);
        assert!(guard.unban(at(1), wide));
        assert!(!guard.unban(at(1), wide));
        assert_eq!(guard.admit(at(1), ip("203.0.113.200")), Ok(()));
        for last in 1..=3 {
            let network = Network::of_source([192, 0, 2, last].into());
            guard.ban(at(1), network, Duration::from_secs(u64::from(last)));
        }
        assert_eq!(guard.ban_count(), 2, "the one that ends first made room");
        assert_eq!(guard.admit(at(1), ip("192.0.2.1")), Ok(()));
        assert_eq!(guard.admit(at(1), ip("192.0.2.3")), Err(Refusal::Banned));
    }
}
