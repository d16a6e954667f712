use crate::Prefix;

/// Which calls have to show credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Calls {
    /// None: every source is a trunk.
    #[default]
    Open,
    /// All that don't come from a trusted network.
    Challenged,
}

/// What becomes of a `Path` in a REGISTER whose sender does not say that it knows of such (RFC 3327 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PathWithoutSupport {
    /// 420: the user agent learns that somebody on the way adds a Path.
    #[default]
    Refuse,
    /// It is used all the same.
    Accept,
}

/// How a [`Registrar`](crate::Registrar) behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Hosts of addresses-of-record. They are one domain under several names: a user is the same in each. The first is
    /// the one that we print.
    pub domains: Vec<String>,
    /// Hosts that are ours beside them, such as the addresses of our listeners: requests may ask for users there.
    pub own_hosts: Vec<String>,
    /// How users are asked for their passwords; `None` lets everybody register everything.
    pub authentication: Option<sip::digest::Config>,
    /// Which calls have to show credentials.
    pub calls: Calls,
    /// Calls that a user may begin in a second, and at once after a silence; more is 503. Zero: no limit.
    pub calls_per_s_max: u32,
    /// Sources whose calls are never challenged.
    pub trusted: Vec<Prefix>,
    /// Seconds that a binding gets whose REGISTER names none.
    pub expires_default_s: u32,
    /// Less is refused with 423 (RFC 3261 §10.3).
    pub expires_min_s: u32,
    /// More is cut to this.
    pub expires_max_s: u32,
    /// Bindings that one address-of-record may have; more is 403.
    pub contacts_max: usize,
    /// Bindings in all; more is 503.
    pub bindings_max: usize,
    /// Bytes of one contact's URI; more is 400.
    pub contact_bytes_max: usize,
    /// Bytes of all Path values of a REGISTER; more is 400.
    pub path_bytes_max: usize,
    /// Whether a contact at another public address than its REGISTER came from is taken. It could aim calls at others.
    pub foreign_contacts: bool,
    /// What becomes of a Path that the user agent does not know of.
    pub path_without_support: PathWithoutSupport,
    /// Whether only registrations over outbound flows are taken: others get 421 (RFC 5626).
    pub requires_outbound: bool,
    /// Routes for the calls of a registered user, as values of `Service-Route` (RFC 3608).
    pub service_route: Vec<String>,
    /// `Flow-Timer` in seconds: how often an outbound flow has to be kept alive (RFC 5626 §4.4); zero says nothing.
    pub flow_timer_s: u32,
    /// `Retry-After` of a 503.
    pub retry_after_s: u32,
}

impl Config {
    /// The defaults for a domain, with its name as realm.
    pub fn new(domain: &str) -> Self {
        Self {
            domains: vec![domain.to_owned()],
            own_hosts: Vec::new(),
            authentication: Some(sip::digest::Config::new(domain)),
            calls: Calls::default(),
            calls_per_s_max: 20,
            trusted: Vec::new(),
            expires_default_s: 3_600,
            expires_min_s: 60,
            expires_max_s: 7_200,
            contacts_max: 10,
            bindings_max: 200_000,
            contact_bytes_max: 512,
            path_bytes_max: 1_024,
            foreign_contacts: false,
            path_without_support: PathWithoutSupport::default(),
            requires_outbound: false,
            service_route: Vec::new(),
            flow_timer_s: 0,
            retry_after_s: 5,
        }
    }
}
