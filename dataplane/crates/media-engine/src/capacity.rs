/// What an engine holds and can hold, as of the latest command or timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Calls now.
    pub calls: usize,
    /// Calls at most.
    pub calls_max: usize,
    /// Port pairs (RTP and RTCP) over all addresses.
    pub port_pairs: usize,
    /// Those that a new line could have.
    pub port_pairs_free: usize,
    /// Those that rest after release, or that something else on the machine was found to hold.
    pub port_pairs_quarantined: usize,
}
