use std::time::Duration;

/// Numbers a trunk for as long as its name stands in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrunkId(pub u32);

/// How much of our calls a trunk takes. Calls that come from it do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrunkLimits {
    /// Calls at once, those that are being set up included; `None`: as many as there are.
    pub calls_max: Option<u32>,
    /// INVITEs a second, up to one second's worth of them at once; `None`: without a limit. 1 at least.
    pub calls_per_s_max: Option<u32>,
}

/// When a call leaves a next hop for the one after it, beside silence, broken connections and 503.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failover {
    /// Final responses that do so.
    pub codes: Vec<u16>,
    /// And so does a next hop that has neither rung nor answered after this time, whatever else it says.
    pub attempt_timeout: Option<Duration>,
}

/// How a trunk stands with its calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrunkUse {
    /// Calls at it now.
    pub calls: u32,
    /// Calls that were sent to it since it is known.
    pub attempts: u64,
    /// Calls that it was passed over for because it had as many as it takes.
    pub passed_over_at_limit: u64,
}
