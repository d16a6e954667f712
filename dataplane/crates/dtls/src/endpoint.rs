use std::sync::Arc;

use dimpl::Config;

use crate::{Failure, Identity, Settings};

/// How often a flight is sent again: as often as the time of the handshake allows.
const FLIGHT_RETRIES: usize = 32;

/// What the handshakes of a node share: how they are made, and the certificate that they show.
///
/// Made once: `dimpl` tests its cryptography whenever a configuration is, which takes longer than a handshake.
#[derive(Clone, Debug)]
pub struct Endpoint {
    settings: Settings,
    identity: Arc<Identity>,
    config: Arc<Config>,
}

impl Endpoint {
    /// # Errors
    /// [`Failure::Protocol`] when no handshake could be made by these settings.
    pub fn new(settings: Settings, identity: Arc<Identity>) -> Result<Self, Failure> {
        let mut config = Config::builder()
            .mtu(settings.mtu)
            .flight_start_rto(settings.retransmit_first)
            .flight_retries(FLIGHT_RETRIES)
            .handshake_timeout(settings.timeout);
        if let Some(seed) = settings.insecure_seed {
            config = config.dangerously_set_rng_seed(seed);
        }
        let config = config.build().map_err(|_| Failure::Protocol)?;
        Ok(Self {
            settings,
            identity,
            config: Arc::new(config),
        })
    }

    /// How handshakes are made.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What they show.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.clone()
    }
}
