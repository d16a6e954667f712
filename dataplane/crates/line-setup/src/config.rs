use std::time::Duration;

/// How lines are set up, and how much of it at once.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// From the party's credentials to the first pair.
    pub ice_timeout: Duration,
    /// How long a party may be silent before consent is lost (RFC 7675 §5.1).
    pub ice_consent: Duration,
    /// Handshakes under way at once in all; one more does not begin.
    pub handshakes_max: usize,
    /// Handshakes that one address may begin in a second.
    pub handshakes_per_source_max: u32,
    /// Places that may try a handshake with a line at once, where its party may be elsewhere than it says.
    pub places_per_line_max: usize,
    /// Handshakes of one line, those that came to nothing included, before others than the signalled address may begin no more.
    pub handshakes_per_line_max: u32,
    /// Handshakes that we begin with one place of a party, when one after the other is broken: somebody else may have a hand in it,
    /// and the next may do.
    pub attempts_max: u32,
    /// How long a handshake that is done answers flights that were lost: twice what a party goes on repeating.
    pub linger: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ice_timeout: Duration::from_secs(30),
            ice_consent: Duration::from_secs(30),
            handshakes_max: 1_024,
            handshakes_per_source_max: 1_000,
            places_per_line_max: 3,
            handshakes_per_line_max: 16,
            attempts_max: 8,
            linger: Duration::from_secs(60),
        }
    }
}
