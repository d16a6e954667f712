use sans_io::Timestamp;
use sip::Destination;

/// How a trunk stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its servers, the preferred first.
    pub servers: Vec<ServerStatus>,
    /// Absent where we do not register.
    pub registration: Option<RegistrationStatus>,
    /// What was seen and done.
    pub counters: Counters,
}

/// How a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// Which.
    pub destination: Destination,
    /// Whether it answers; true where nobody asks.
    pub up: bool,
}

/// How a registration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationStatus {
    /// Until when the trunk knows where we are; `None` when it does not.
    pub until: Option<Timestamp>,
    /// What the last REGISTER met with, if it had no success.
    pub failure: Option<String>,
}

/// What was seen and done at a trunk. All only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Registrations made, refreshed or taken back.
    pub registrations: u64,
    /// Attempts at it that failed at all servers.
    pub registration_failures: u64,
    /// OPTIONS that were answered.
    pub probes_answered: u64,
    /// OPTIONS that were not, or with 408 or 503.
    pub probes_failed: u64,
    /// How often a server went down.
    pub servers_lost: u64,
}
