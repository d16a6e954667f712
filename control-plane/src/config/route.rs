use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ops::config::{Problems, Validate};
use serde::Deserialize;
use sip::Transport;
use sip::message::{Scheme, Uri};
use sip_transport::dns::{Cache, Lifetimes, ResolveError, Resolver};

use super::trunk::Account;

/// The longest prefix: telephone numbers have 15 digits, names may be longer.
const PREFIX_BYTES_MAX: usize = 128;

/// The most codes of a route.
const CODES_MAX: usize = 100;

/// One `[[route]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// What the user part of the request URI begins with; empty for all. The longest that fits wins; several routes with
    /// the same prefix are tried in their order.
    pub prefix: String,
    /// Where to: the name of a trunk.
    #[serde(default)]
    pub trunk: Option<String>,
    /// Or `sip:host[:port][;transport=udp|tcp|tls]`.
    #[serde(default)]
    pub next_hop: Option<NextHop>,
    /// The name of the listener that requests to the next hop leave by.
    #[serde(default)]
    pub listener: Option<String>,
    /// Who we are at the next hop and beyond, when our requests are challenged (RFC 3261 §22).
    #[serde(default)]
    pub account: Option<Account>,
    /// What a REFER of the next hop leads to, in calls that the route led there.
    #[serde(default)]
    pub transfer: super::Transfer,
    /// What is agreed with the next hop about SRTP.
    #[serde(default)]
    pub srtp: super::Srtp,
    /// Neighbouring routes of one prefix that have a weight share the calls by it; those without are tried in their order.
    #[serde(default)]
    pub weight: Option<u16>,
    /// Final responses after which the next route is tried, beside 503.
    #[serde(default)]
    pub failover_codes: Vec<u16>,
    /// The next route is tried when this one has neither rung nor answered after this time, whatever else it says.
    #[serde(default)]
    pub attempt_timeout_ms: Option<u64>,
    /// What a redirection (3xx) leads to.
    #[serde(default)]
    pub redirect: Redirect,
    /// What numbers and users begin with that a redirection may lead to.
    #[serde(default)]
    pub redirect_to: Vec<String>,
    /// Those behind it are told who calls even when the caller hides it (RFC 3325).
    #[serde(default)]
    pub trusted: bool,
    /// How they are told who has sent a call on.
    #[serde(default)]
    pub history: History,
    /// Whom `From` names when a registered user calls that has proved who it is.
    #[serde(default)]
    pub from: Named,
}

/// Whom `From` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Named {
    /// Whom the caller names.
    #[default]
    Caller,
    /// The user by its account.
    Account,
}

impl From<Named> for call::Named {
    fn from(named: Named) -> Self {
        match named {
            Named::Caller => Self::Caller,
            Named::Account => Self::Account,
        }
    }
}

/// How a next hop is told who has sent a call on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// As it came.
    #[default]
    Pass,
    /// By History-Info.
    #[serde(rename = "history-info")]
    Info,
    /// By Diversion.
    Diversion,
    /// Not at all.
    Off,
}

/// What a redirection leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Redirect {
    /// Nowhere: 480.
    #[default]
    Refuse,
    /// To those of its contacts that begin with one of `redirect_to`: users at their contacts, others by the routing table.
    Follow,
    /// To the caller.
    Pass,
}

impl From<Redirect> for call::Redirect {
    fn from(redirect: Redirect) -> Self {
        match redirect {
            Redirect::Refuse => Self::Refuse,
            Redirect::Follow => Self::Follow,
            Redirect::Pass => Self::Pass,
        }
    }
}

/// Checks that there are prefixes for redirections that are followed, and for those alone.
pub(super) fn check_redirect_to(problems: &mut Problems, redirect: Redirect, redirect_to: &[String]) {
    let is_followed = redirect == Redirect::Follow;
    if is_followed == redirect_to.is_empty() || redirect_to.len() > CODES_MAX {
        problems.push(
            "redirect_to",
            format!("must have up to {CODES_MAX} prefixes with redirect = \"follow\", and none without"),
        );
    }
}

impl Route {
    /// What is agreed with those behind it; `None` for nothing.
    pub fn peer(&self) -> Option<Arc<call::Peer>> {
        let peer = call::Peer {
            redirect: self.redirect.into(),
            redirect_to: self.redirect_to.clone(),
            trusted: self.trusted,
            history: match self.history {
                History::Pass => call::History::Pass,
                History::Info => call::History::HistoryInfo,
                History::Diversion => call::History::Diversion,
                History::Off => call::History::Off,
            },
            from: self.from.into(),
        };
        (peer != call::Peer::default()).then(|| Arc::new(peer))
    }

    /// When a call leaves it for the next one; `None` for nothing beside the usual.
    pub fn failover(&self) -> Option<Arc<call::Failover>> {
        let failover = call::Failover {
            codes: self.failover_codes.clone(),
            attempt_timeout: self.attempt_timeout_ms.map(Duration::from_millis),
        };
        (failover != call::Failover::default()).then(|| Arc::new(failover))
    }
}

/// Where calls go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NextHop {
    /// The protocol.
    pub transport: Transport,
    /// The host as written, IPv6 without brackets.
    pub host: String,
    /// The host, when it is an address.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// The protocol, if one is written; else the domain may say (RFC 3263 §4.1).
    pub written_transport: Option<Transport>,
    /// The port, if one is written; else the domain may say (RFC 3263 §4.2).
    pub written_port: Option<u16>,
    /// Host and port as they go into the request URI: IPv6 in brackets, the port if one is written.
    pub uri_host: String,
}

impl TryFrom<String> for NextHop {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |reason: &str| format!("\"{text}\" {reason}");
        let uri = Uri::parse(&text).map_err(|error| wrong(&format!("is not a SIP URI: {error}")))?;
        if uri.scheme() != Scheme::Sip {
            return Err(wrong("is not a sip: URI"));
        }
        if uri.user().is_some() {
            return Err(wrong("has a user part; a next hop is a host"));
        }
        let host = uri.host().ok_or_else(|| wrong("has no host"))?;
        let written_transport = match uri.param("transport") {
            None => None,
            Some(name) => {
                // Nobody is called by WebSocket who has not connected first.
                let known = Transport::of_uri_param(name).filter(|known| !known.is_websocket());
                Some(known.ok_or_else(|| wrong("has a transport other than udp, tcp and tls"))?)
            }
        };
        let transport = written_transport.unwrap_or(Transport::Udp);
        let port = uri.port().unwrap_or(transport.default_port());
        if port == 0 {
            return Err(wrong("has port 0"));
        }
        let address = host.ip();
        if address.is_some_and(|address| address.is_unspecified() || address.is_multicast()) {
            return Err(wrong("is no address of one host"));
        }
        let uri_host = match uri.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let host = address.map_or_else(|| host.to_string(), |address| address.to_string());
        Ok(Self {
            transport,
            host,
            address,
            port,
            written_transport,
            written_port: uri.port(),
            uri_host,
        })
    }
}

impl NextHop {
    /// Whether the domain says which protocol is spoken (RFC 3263 §4.1).
    pub const fn is_open(&self) -> bool {
        self.address.is_none() && self.written_transport.is_none() && self.written_port.is_none()
    }
}

impl Validate for Route {
    fn validate(&self, problems: &mut Problems) {
        if self.trunk.is_some() == self.next_hop.is_some() {
            problems.push(
                "next_hop",
                "is missing, or there beside trunk: one of the two is needed",
            );
        }
        if self.trunk.is_some() && (self.listener.is_some() || self.account.is_some()) {
            problems.push("trunk", "has its own listener and accounts");
        }
        if let Some(account) = &self.account {
            problems.within("account", account);
        }
        if let Some(weight) = self.weight {
            problems.range("weight", weight, 1..=u16::MAX);
        }
        if let Some(timeout) = self.attempt_timeout_ms {
            problems.range("attempt_timeout_ms", timeout, 100..=600_000);
        }
        let is_failure = |code: &u16| (300..700).contains(code);
        if !self.failover_codes.iter().all(is_failure) || self.failover_codes.len() > CODES_MAX {
            problems.push(
                "failover_codes",
                format!("must be up to {CODES_MAX} codes from 300 to 699"),
            );
        }
        check_redirect_to(problems, self.redirect, &self.redirect_to);
        let visible = self
            .prefix
            .chars()
            .all(|c| !c.is_control() && c != ' ' && c != '@');
        if self.prefix.len() > PREFIX_BYTES_MAX || !visible {
            problems.push(
                "prefix",
                format!("must have at most {PREFIX_BYTES_MAX} bytes, without spaces, controls and @"),
            );
        }
    }
}

/// The `[dns]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// The name servers; without any those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long a server has for an answer; it is asked twice.
    pub timeout_ms: u64,
    /// Answers are kept for as long as they say, but at least this long.
    pub ttl_min_s: u64,
    /// And at most this long: names are looked up again at the latest then. A name that is not found keeps its last
    /// addresses.
    pub refresh_s: u64,
    /// How long it is kept that something is not there, when the answer does not say.
    pub negative_ttl_s: u64,
    /// Answers kept at most; beyond it the one that would go first goes.
    pub cache_entries_max: usize,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout_ms: 2_000,
            ttl_min_s: 5,
            refresh_s: 60,
            negative_ttl_s: 30,
            cache_entries_max: 10_000,
        }
    }
}

impl Dns {
    /// The resolver.
    ///
    /// # Errors
    /// When the system's name servers cannot be read.
    pub fn resolver(&self) -> Result<Resolver, ResolveError> {
        let lifetimes = Lifetimes {
            min: Duration::from_secs(self.ttl_min_s),
            max: Duration::from_secs(self.refresh_s),
            negative: Duration::from_secs(self.negative_ttl_s),
        };
        let cache = Cache::new(lifetimes, self.cache_entries_max);
        Resolver::new(&self.servers, Duration::from_millis(self.timeout_ms), cache)
    }
}

impl Validate for Dns {
    fn validate(&self, problems: &mut Problems) {
        problems.range("timeout_ms", self.timeout_ms, 50..=30_000);
        problems.range("ttl_min_s", self.ttl_min_s, 1..=86_400);
        problems.range("refresh_s", self.refresh_s, self.ttl_min_s.max(1)..=86_400);
        problems.range("negative_ttl_s", self.negative_ttl_s, 1..=86_400);
        problems.range("cache_entries_max", self.cache_entries_max, 10..=1_000_000);
    }
}
