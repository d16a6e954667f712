use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;

use super::{Files, Tls};
use crate::transport::Shared;

/// When the files were written last, and their sizes: what tells that one has changed.
type Stamp = Vec<Option<(SystemTime, u64)>>;

impl Files {
    fn stamp(&self) -> Stamp {
        let stamp = |path: &Path| {
            // Of what a symbolic link points at, so that exchanging the link counts.
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        let paths = [Some(&self.certificate), Some(&self.key), self.ca.as_ref()];
        paths.into_iter().flatten().map(|path| stamp(path)).collect()
    }
}

/// Looks at the files every `interval` for ever, and takes them when one has changed. Files that cannot be used, as when
/// only one of certificate and key is written yet, leave everything as it is until one changes again.
pub(crate) async fn watch(shared: Arc<Shared>, interval: Duration) {
    let Some(tls) = &shared.tls else { return };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = tls.files.stamp();
    loop {
        ticks.tick().await;
        let stamp = tls.files.stamp();
        if stamp != known {
            known = stamp;
            shared.reload(tls);
        }
    }
}

impl Shared {
    /// Takes the files as they are now; counts and logs how that went.
    pub(crate) fn reload(&self, tls: &Tls) {
        let result = tls.reload();
        self.counters.reload(result.is_ok());
        match result {
            Ok(()) => tracing::info!("TLS certificate, key and CA are taken anew"),
            Err(error) => tracing::error!(%error, "TLS goes on with what it has"),
        }
    }
}
