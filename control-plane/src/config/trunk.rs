use std::collections::HashSet;
use std::sync::Arc;

use ops::config::{Problems, Validate};
use serde::Deserialize;

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
    /// Calls of ours at once; one more goes to the next route, or gets 503.
    #[serde(default)]
    pub calls_max: Option<u32>,
    /// Calls of ours a second; further ones go to the next route, or get 503.
    #[serde(default)]
    pub calls_per_s_max: Option<u32>,
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
        if let Some(calls) = self.calls_max {
            problems.range("calls_max", calls, 1..=1_000_000);
        }
        if let Some(calls) = self.calls_per_s_max {
            problems.range("calls_per_s_max", calls, 1..=100_000);
        }
    }
}
