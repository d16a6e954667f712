use std::time::Duration;

/// How much of ICE an agent does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Answers checks and makes none (RFC 8445 §2.5): for nodes with public addresses. The party is controlling.
    #[default]
    Lite,
    /// Makes checks and nominates: the side that offered first, and any full agent whose party is lite.
    Controlling,
    /// Makes checks and lets the party nominate.
    Controlled,
}

/// How pairs are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much of ICE it does.
    pub mode: Mode,
    /// From the moment that the party's credentials are known to the first nominated pair.
    pub timeout: Duration,
    /// How long a pair that was nominated may be silent before consent is lost (RFC 7675 §5.1 says 30 s).
    pub consent: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Lite,
            timeout: Duration::from_secs(30),
            consent: Duration::from_secs(30),
        }
    }
}
