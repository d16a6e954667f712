use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;

use super::Files;
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
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = None;
    loop {
        ticks.tick().await;
        let shared = shared.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let stamp = shared.tls.as_ref().map(|tls| tls.files.stamp());
            if known.is_some() && stamp != known {
                shared.reload();
            }
            stamp
        });
        // It fails when the runtime ends, and this task with it.
        known = looked.await.unwrap_or_default();
    }
}

impl Shared {
    /// Takes the files as they are now; counts and logs how that went. Reads files and keys, which no message shall wait
    /// for: not for a thread that has other work.
    pub(crate) fn reload(&self) {
        let Some(tls) = &self.tls else { return };
        let result = tls.reload();
        self.counters.reload(result.is_ok());
        match result {
            Ok(()) => tracing::info!("TLS certificate, key and CA are taken anew"),
            Err(error) => tracing::error!(%error, "TLS goes on with what it has"),
        }
    }
}
