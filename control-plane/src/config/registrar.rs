use std::sync::Arc;
use std::time::Duration;

use ops::config::{Problems, Validate};
use serde::Deserialize;
use sip::digest::Algorithm;
use sip::message::{Host, NameAddr};

use super::route::{Named, Redirect, check_redirect_to};

/// The most names of the domain, trusted networks and service routes.
const ENTRIES_MAX: usize = 1_000;

/// The `[registrar]` section. Without it REGISTER is refused and calls go by the routing table alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registrar {
    /// The domain of the users, under all its names; the first is printed.
    pub domains: Vec<String>,
    /// The realm of passwords; the first domain if it is not given.
    #[serde(default)]
    pub realm: Option<String>,
    /// Whether users have to prove who they are.
    #[serde(default = "Registrar::authentication")]
    pub authentication: bool,
    /// What is offered to prove it with, in this order.
    #[serde(default = "Registrar::algorithms")]
    pub algorithms: Vec<String>,
    /// Whether `auth-int` is offered, too.
    #[serde(default = "Registrar::auth_int")]
    pub auth_int: bool,
    /// How long a nonce can be used.
    #[serde(default = "Registrar::nonce_lifetime_s")]
    pub nonce_lifetime_s: u64,
    /// Nonces in use at once; beyond it the oldest have to be got anew.
    #[serde(default = "Registrar::nonces_max")]
    pub nonces_max: usize,
    /// Wrong passwords for one user in `guess_window_s`, from anywhere but where it is registered; then its password is not
    /// looked at from there until some time has passed. 0: no limit.
    #[serde(default = "Registrar::guesses_max")]
    pub guesses_max: u32,
    /// The time in which so many are allowed again, evenly.
    #[serde(default = "Registrar::guess_window_s")]
    pub guess_window_s: u64,
    /// Users that this is remembered of; beyond it those that were guessed at least are forgotten.
    #[serde(default = "Registrar::guessed_users_max")]
    pub guessed_users_max: usize,
    /// What a REFER of a user leads to, in calls of its own and in those to it.
    #[serde(default = "super::Transfer::local")]
    pub transfer: super::Transfer,
    /// What is agreed with users about SRTP, in calls of their own and in those to them.
    #[serde(default)]
    pub srtp: super::Srtp,
    /// Whether calls are challenged, those from `trusted` excepted. If it is not given they are when there is
    /// `authentication`, those from next hops excepted, too.
    #[serde(default)]
    pub challenge_calls: Option<bool>,
    /// Calls that a user may begin in a second; more is 503. 0: no limit.
    #[serde(default = "Registrar::calls_per_s_max")]
    pub calls_per_s_max: u32,
    /// Calls that a user who was challenged may have at once; one more is 403. 0: no limit.
    #[serde(default = "Registrar::calls_max")]
    pub calls_max: u32,
    /// Networks whose calls are not challenged.
    #[serde(default)]
    pub trusted: Vec<String>,
    /// What a binding gets that names no time, the least that is taken (423), and the most that is given.
    #[serde(default = "Registrar::expires_default_s")]
    pub expires_default_s: u32,
    /// See `expires_default_s`.
    #[serde(default = "Registrar::expires_min_s")]
    pub expires_min_s: u32,
    /// See `expires_default_s`.
    #[serde(default = "Registrar::expires_max_s")]
    pub expires_max_s: u32,
    /// Contacts that a user may have; more is 403.
    #[serde(default = "Registrar::contacts_max")]
    pub contacts_max: usize,
    /// Contacts in all; more is 503.
    #[serde(default = "Registrar::bindings_max")]
    pub bindings_max: usize,
    /// Bytes of a contact's URI; more is 400.
    #[serde(default = "Registrar::contact_bytes_max")]
    pub contact_bytes_max: usize,
    /// Bytes of all Path values; more is 400.
    #[serde(default = "Registrar::path_bytes_max")]
    pub path_bytes_max: usize,
    /// Whether contacts at public addresses other than the source's are taken; else 403.
    #[serde(default)]
    pub foreign_contacts: bool,
    /// What a redirection (3xx) of a user's device leads to.
    #[serde(default)]
    pub redirect: Redirect,
    /// What numbers and users begin with that such a redirection may lead to.
    #[serde(default)]
    pub redirect_to: Vec<String>,
    /// Whom `From` names to users' devices when a user calls that has proved who it is.
    #[serde(default)]
    pub from: Named,
    /// Whether a Path is taken whose user agent does not say that it knows of such; else 420.
    #[serde(default)]
    pub path_without_support: bool,
    /// Whether only outbound flows are taken (RFC 5626); others get 421.
    #[serde(default)]
    pub require_outbound: bool,
    /// `Service-Route` values.
    #[serde(default)]
    pub service_route: Vec<String>,
    /// `Flow-Timer`; 0 says nothing.
    #[serde(default)]
    pub flow_timer_s: u32,
    /// How often users are read from the database again.
    #[serde(default = "Registrar::users_refresh_s")]
    pub users_refresh_s: u64,
}

impl Registrar {
    /// What is agreed with users' devices; `None` for nothing.
    pub fn peer(&self) -> Option<Arc<call::Peer>> {
        let peer = call::Peer {
            redirect: self.redirect.into(),
            redirect_to: self.redirect_to.clone(),
            from: self.from.into(),
            ..call::Peer::default()
        };
        (peer != call::Peer::default()).then(|| Arc::new(peer))
    }

    const fn authentication() -> bool {
        true
    }

    fn algorithms() -> Vec<String> {
        Algorithm::ALL.iter().map(ToString::to_string).collect()
    }

    const fn auth_int() -> bool {
        true
    }

    const fn nonce_lifetime_s() -> u64 {
        300
    }

    const fn nonces_max() -> usize {
        200_000
    }

    const fn guesses_max() -> u32 {
        30
    }

    const fn guess_window_s() -> u64 {
        600
    }

    const fn guessed_users_max() -> usize {
        20_000
    }

    const fn expires_default_s() -> u32 {
        3_600
    }

    const fn expires_min_s() -> u32 {
        60
    }

    const fn expires_max_s() -> u32 {
        7_200
    }

    const fn contacts_max() -> usize {
        10
    }

    const fn bindings_max() -> usize {
        200_000
    }

    const fn contact_bytes_max() -> usize {
        512
    }

    const fn path_bytes_max() -> usize {
        1_024
    }

    const fn calls_per_s_max() -> u32 {
        20
    }

    const fn calls_max() -> u32 {
        100
    }

    const fn users_refresh_s() -> u64 {
        30
    }

    /// Whether calls from next hops are never challenged.
    pub const fn trusts_next_hops(&self) -> bool {
        self.challenge_calls.is_none()
    }

    /// The realm of passwords.
    pub fn realm(&self) -> &str {
        let first = self.domains.first().map_or("", String::as_str);
        self.realm.as_deref().unwrap_or(first)
    }

    /// What the registrar is made with. `own_hosts` are ours beside the domains.
    pub fn config(&self, own_hosts: Vec<String>, retry_after_s: u32) -> registrar::Config {
        let algorithms = self.algorithms.iter().filter_map(|name| Algorithm::of(name));
        let digest = sip::digest::Config {
            algorithms: algorithms.collect(),
            offers_auth_int: self.auth_int,
            nonce_lifetime: Duration::from_secs(self.nonce_lifetime_s),
            nonces_max: self.nonces_max,
            guesses_max: self.guesses_max,
            guess_window: Duration::from_secs(self.guess_window_s),
            guessed_users_max: self.guessed_users_max,
            ..sip::digest::Config::new(self.realm())
        };
        registrar::Config {
            domains: self.domains.clone(),
            own_hosts,
            authentication: self.authentication.then_some(digest),
            calls: match self.challenge_calls.unwrap_or(self.authentication) {
                true => registrar::Calls::Challenged,
                false => registrar::Calls::Open,
            },
            calls_per_s_max: self.calls_per_s_max,
            trusted: self.trusted.iter().filter_map(|text| text.parse().ok()).collect(),
            expires_default_s: self.expires_default_s,
            expires_min_s: self.expires_min_s,
            expires_max_s: self.expires_max_s,
            contacts_max: self.contacts_max,
            bindings_max: self.bindings_max,
            contact_bytes_max: self.contact_bytes_max,
            path_bytes_max: self.path_bytes_max,
            foreign_contacts: self.foreign_contacts,
            path_without_support: match self.path_without_support {
                true => registrar::PathWithoutSupport::Accept,
                false => registrar::PathWithoutSupport::Refuse,
            },
            requires_outbound: self.require_outbound,
            service_route: self.service_route.clone(),
            flow_timer_s: self.flow_timer_s,
            retry_after_s,
        }
    }
}

impl Validate for Registrar {
    fn validate(&self, problems: &mut Problems) {
        if self.domains.is_empty() || self.domains.len() > ENTRIES_MAX {
            problems.push("domains", format!("must have 1 to {ENTRIES_MAX} entries"));
        }
        for domain in self.domains.iter().filter(|domain| Host::parse(domain).is_err()) {
            problems.push("domains", format!("has \"{domain}\", which is no host"));
        }
        if self
            .realm
            .as_ref()
            .is_some_and(|realm| realm.is_empty() || realm.chars().any(char::is_control))
        {
            problems.push("realm", "must be a text without control characters");
        }
        if self.algorithms.is_empty() {
            problems.push("algorithms", "is empty: nobody could prove anything");
        }
        for name in self
            .algorithms
            .iter()
            .filter(|name| Algorithm::of(name).is_none())
        {
            problems.push(
                "algorithms",
                format!("has \"{name}\": MD5, SHA-256 and SHA-512-256 are known"),
            );
        }
        if self.trusted.len() > ENTRIES_MAX {
            problems.push("trusted", format!("has more than {ENTRIES_MAX} entries"));
        }
        for network in &self.trusted {
            if let Err(reason) = network.parse::<registrar::Prefix>() {
                problems.push("trusted", format!("has \"{network}\", which {reason}"));
            }
        }
        for route in self
            .service_route
            .iter()
            .filter(|route| NameAddr::parse(route).is_err())
        {
            problems.push(
                "service_route",
                format!("has \"{route}\", which is no <sip:host;lr>"),
            );
        }
        check_redirect_to(problems, self.redirect, &self.redirect_to);
        if self.from == Named::Account && !self.authentication {
            problems.push("from", "needs authentication = true to know the account");
        }
        if self.challenge_calls == Some(true) && !self.authentication {
            problems.push("challenge_calls", "needs authentication = true");
        }
        problems.range("nonce_lifetime_s", self.nonce_lifetime_s, 1..=86_400);
        problems.range("nonces_max", self.nonces_max, 1..=100_000_000);
        problems.range("guesses_max", self.guesses_max, 0..=1_000_000);
        problems.range("guess_window_s", self.guess_window_s, 1..=86_400);
        problems.range("guessed_users_max", self.guessed_users_max, 8..=10_000_000);
        problems.range("expires_min_s", self.expires_min_s, 1..=3_600);
        problems.range(
            "expires_default_s",
            self.expires_default_s,
            self.expires_min_s..=self.expires_max_s,
        );
        problems.range(
            "expires_max_s",
            self.expires_max_s,
            self.expires_min_s..=31_536_000,
        );
        problems.range("calls_per_s_max", self.calls_per_s_max, 0..=1_000_000);
        problems.range("calls_max", self.calls_max, 0..=1_000_000);
        problems.range("contacts_max", self.contacts_max, 1..=100);
        problems.range("bindings_max", self.bindings_max, 1..=10_000_000);
        problems.range("contact_bytes_max", self.contact_bytes_max, 64..=4_096);
        problems.range("path_bytes_max", self.path_bytes_max, 0..=8_192);
        problems.range("flow_timer_s", self.flow_timer_s, 0..=86_400);
        problems.range("users_refresh_s", self.users_refresh_s, 1..=86_400);
    }
}
