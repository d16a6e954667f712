use std::sync::Arc;
use std::time::Duration;

use sip::Destination;
use sip::digest::Login;

/// What is to be done at one trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkTerms {
    /// Its number: the same for as long as there is a trunk of that name.
    pub number: u32,
    /// Its name, for logs.
    pub name: String,
    /// `host` or `host:port` of the request URI of OPTIONS, IPv6 in brackets.
    pub host: String,
    /// Who we are there, when we are challenged.
    pub logins: Arc<[Login]>,
    /// Where it is, the preferred first; none while its name is not found.
    pub servers: Vec<Server>,
    /// Whether we register there.
    pub registration: Option<RegistrationTerms>,
    /// Whether its servers are asked if they are there.
    pub probe: Option<ProbeTerms>,
}

/// A server of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where requests go.
    pub destination: Destination,
    /// How we call ourselves towards it: `host` or `host:port`, IPv6 in brackets.
    pub own_host: String,
}

/// How we register with a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationTerms {
    /// The user of the address-of-record, escaped as in a URI.
    pub user: String,
    /// Its domain, which is the request URI: `host` or `host:port`.
    pub domain: String,
    /// The user of our Contact, which calls from the trunk ask for.
    pub contact_user: String,
    /// The time that we ask for, in seconds.
    pub expires_s: u32,
    /// The wait after a failure is drawn from a range that doubles with each: its first upper bound, and its last (RFC 5626
    /// §4.5).
    pub retry_base: Duration,
    /// See `retry_base`.
    pub retry_max: Duration,
    /// How often one REGISTER is sent again because it was challenged or asked for too short a time.
    pub retries_max: u8,
}

/// How the servers of a trunk are asked whether they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeTerms {
    /// From one OPTIONS to the next, give or take a tenth.
    pub period: Duration,
    /// An answer that takes longer counts as none. Failed ones are repeated after this time until it is clear how things
    /// stand.
    pub timeout: Duration,
    /// So many failures in a row, and a server is down.
    pub down_after: u32,
    /// So many answers in a row, and it is up again.
    pub up_after: u32,
}
