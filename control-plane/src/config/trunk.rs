use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use call::TrunkId;
use ops::config::{Problems, Validate};
use serde::Deserialize;
use sip::message::Uri;
use trunk::{ProbeTerms, RegistrationTerms, Server, TrunkTerms};

use super::NextHop;

/// The most accounts of a trunk, and realms of an account.
const ACCOUNTS_MAX: usize = 16;
const REALMS_MAX: usize = 100;

/// The longest name.
const NAME_BYTES_MAX: usize = 64;

/// One `[[trunk]]`: a carrier or another network that routes lead to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    /// What routes, metrics, logs and operators call it.
    pub name: String,
    /// Where it is: `sip:host[:port][;transport=udp|tcp|tls]`.
    pub next_hop: NextHop,
    /// The name of the listener that requests leave by.
    #[serde(default)]
    pub listener: Option<String>,
    /// Who we are there and beyond, when our requests are challenged (RFC 3261 §22).
    #[serde(default)]
    pub accounts: Vec<Account>,
    /// Whether we register there, so that calls from it find us.
    #[serde(default)]
    pub register: Option<Register>,
    /// Whether its servers are asked if they are there, so that calls pass over those that are not.
    #[serde(default)]
    pub options: Option<Options>,
    /// What a REFER of the trunk leads to, in calls that routes led there.
    #[serde(default)]
    pub transfer: super::Transfer,
    /// What is agreed with the trunk about SRTP.
    #[serde(default)]
    pub srtp: super::Srtp,
    /// Whether its servers are sent fewer calls when they say so by `oc` (RFC 7339).
    #[serde(default)]
    pub overload_control: bool,
    /// Calls of ours at once; one more goes to the next route, or gets 503.
    #[serde(default)]
    pub calls_max: Option<u32>,
    /// Calls of ours a second; further ones go to the next route, or get 503.
    #[serde(default)]
    pub calls_per_s_max: Option<u32>,
}

/// How we register with a trunk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The user of the address-of-record.
    pub user: String,
    /// Its domain; without one the host of `next_hop`.
    #[serde(default)]
    pub domain: Option<String>,
    /// What calls from the trunk ask for; without one `user`.
    #[serde(default)]
    pub contact_user: Option<String>,
    /// The time that we ask for. The trunk may give less, or want more.
    #[serde(default = "Register::expires_s")]
    pub expires_s: u32,
    /// The wait after a failure doubles with each, from this one on; half of it is left to chance (RFC 5626 §4.5).
    #[serde(default = "Register::retry_base_s")]
    pub retry_base_s: u64,
    /// The longest wait.
    #[serde(default = "Register::retry_max_s")]
    pub retry_max_s: u64,
}

impl Register {
    const fn expires_s() -> u32 {
        3_600
    }

    const fn retry_base_s() -> u64 {
        30
    }

    const fn retry_max_s() -> u64 {
        1_800
    }
}

impl Validate for Register {
    fn validate(&self, problems: &mut Problems) {
        let domain = self.domain.as_deref().unwrap_or("h");
        for (key, user) in [
            ("user", Some(&self.user)),
            ("contact_user", self.contact_user.as_ref()),
        ] {
            let Some(user) = user else { continue };
            let uri = format!("sip:{user}@{domain}");
            let is_user = Uri::parse(&uri).is_ok_and(|uri| uri.user() == Some(user) && uri.host().is_some());
            if user.is_empty() || !is_user {
                problems.push(key, "is no user of a SIP URI, or domain no host");
            }
        }
        problems.range("expires_s", self.expires_s, 60..=86_400);
        problems.range("retry_base_s", self.retry_base_s, 1..=3_600);
        problems.range("retry_max_s", self.retry_max_s, self.retry_base_s..=86_400);
    }
}

/// How the servers of a trunk are asked whether they are there, by OPTIONS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// From one to the next, give or take a tenth.
    pub period_ms: u64,
    /// An answer that takes longer counts as none; one that fails is repeated after this time.
    pub timeout_ms: u64,
    /// So many failures in a row, and a server is down.
    pub down_after: u32,
    /// So many answers in a row, and it is up again.
    pub up_after: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            period_ms: 30_000,
            timeout_ms: 4_000,
            down_after: 3,
            up_after: 2,
        }
    }
}

impl Validate for Options {
    fn validate(&self, problems: &mut Problems) {
        problems.range("period_ms", self.period_ms, 1_000..=3_600_000);
        problems.range(
            "timeout_ms",
            self.timeout_ms,
            100..=self.period_ms.clamp(100, 32_000),
        );
        problems.range("down_after", self.down_after, 1..=100);
        problems.range("up_after", self.up_after, 1..=100);
    }
}

/// An account at a next hop.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    username: String,
    password: String,
    /// The realms that the password is for; none: whichever asks.
    #[serde(default)]
    realms: Vec<String>,
}

impl std::fmt::Debug for Account {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Account({:?}, ***, {:?})", self.username, self.realms)
    }
}

impl Account {
    /// As calls use it.
    fn login(&self) -> call::Login {
        call::Login {
            username: self.username.clone(),
            password: self.password.clone(),
            realms: self.realms.clone(),
        }
    }

    /// Some of them as calls use them; `None` for none.
    pub fn logins(accounts: &[Self]) -> Option<Arc<[call::Login]>> {
        let logins: Arc<[call::Login]> = accounts.iter().map(Self::login).collect();
        (!logins.is_empty()).then_some(logins)
    }
}

impl Validate for Account {
    fn validate(&self, problems: &mut Problems) {
        let realms = self.realms.concat();
        let has_control = |text: &String| text.contains(char::is_control);
        if self.username.is_empty()
            || [&self.username, &self.password, &realms]
                .into_iter()
                .any(has_control)
        {
            problems.push(
                "username",
                "must be there, and no control characters in an account",
            );
        }
        if self.realms.len() > REALMS_MAX {
            problems.push("realms", format!("has more than {REALMS_MAX} entries"));
        }
    }
}

impl Trunk {
    /// How much of our calls it takes.
    pub const fn limits(&self) -> call::TrunkLimits {
        call::TrunkLimits {
            calls_max: self.calls_max,
            calls_per_s_max: self.calls_per_s_max,
        }
    }

    /// What is to be done there beside calls, at these servers. A request is sent again `retries_max` times.
    pub fn terms(&self, id: TrunkId, servers: Vec<Server>, retries_max: u8) -> TrunkTerms {
        let registration = self.register.as_ref().map(|register| RegistrationTerms {
            user: register.user.clone(),
            domain: register
                .domain
                .clone()
                .unwrap_or_else(|| self.next_hop.uri_host.clone()),
            contact_user: register
                .contact_user
                .clone()
                .unwrap_or_else(|| register.user.clone()),
            expires_s: register.expires_s,
            retry_base: Duration::from_secs(register.retry_base_s),
            retry_max: Duration::from_secs(register.retry_max_s),
            retries_max,
        });
        let probe = self.options.as_ref().map(|options| ProbeTerms {
            period: Duration::from_millis(options.period_ms),
            timeout: Duration::from_millis(options.timeout_ms),
            down_after: options.down_after,
            up_after: options.up_after,
        });
        TrunkTerms {
            number: id.0,
            name: self.name.clone(),
            host: self.next_hop.uri_host.clone(),
            logins: Account::logins(&self.accounts).unwrap_or_default(),
            servers,
            registration,
            probe,
        }
    }

    /// Checks all of them together.
    pub fn check_names(trunks: &[Self], problems: &mut Problems) {
        let mut names = HashSet::new();
        for (n, trunk) in trunks.iter().enumerate() {
            if !names.insert(&trunk.name) {
                problems.push(&format!("trunk.{n}.name"), "is that of an earlier one");
            }
        }
    }
}

impl Validate for Trunk {
    fn validate(&self, problems: &mut Problems) {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.chars().all(is_plain) {
            let text = format!("must have 1 to {NAME_BYTES_MAX} of the characters a-z, A-Z, 0-9, -, _ and .");
            problems.push("name", text);
        }
        if self.accounts.len() > ACCOUNTS_MAX {
            problems.push("accounts", format!("has more than {ACCOUNTS_MAX} entries"));
        }
        for (n, account) in self.accounts.iter().enumerate() {
            problems.within(&format!("accounts.{n}"), account);
        }
        if let Some(register) = &self.register {
            problems.within("register", register);
        }
        if let Some(options) = &self.options {
            problems.within("options", options);
        }
        if let Some(calls) = self.calls_max {
            problems.range("calls_max", calls, 1..=1_000_000);
        }
        if let Some(calls) = self.calls_per_s_max {
            problems.range("calls_per_s_max", calls, 1..=100_000);
        }
    }
}
