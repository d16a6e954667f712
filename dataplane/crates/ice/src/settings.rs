use std::time::Duration;

use media_types::IceMode;

/// How pairs are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much of ICE it does.
    pub mode: IceMode,
    /// From the moment that the party's credentials are known to the first nominated pair.
    pub timeout: Duration,
    /// How long a pair that was nominated may be silent before consent is lost (RFC 7675 §5.1 says 30 s).
    pub consent: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: IceMode::Lite,
            timeout: Duration::from_secs(30),
            consent: Duration::from_secs(30),
        }
    }
}
