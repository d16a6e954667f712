//! What keeps the routing table true: names looked up again and again, and trunks and routes read again from the file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sip_transport::View;
use tokio::sync::{mpsc, watch};

use crate::config::{self, Config};
use crate::plan::Plan;
use crate::routing::Table;

/// How often the file was read again, for metrics.
#[derive(Debug, Default)]
pub struct Reloads {
    /// Trunks and routes were taken.
    pub taken: AtomicU64,
    /// The file has mistakes, and nothing changed.
    pub refused: AtomicU64,
}

/// Keeps a table true and tells what has changed.
#[derive(Debug)]
pub struct Keeper {
    /// The table.
    pub table: Table,
    /// Where the configuration is.
    pub file: PathBuf,
    /// What it said at the start.
    pub config: Config,
    /// That it is to be read again.
    pub reread: mpsc::Receiver<()>,
    /// Which peers of TLS there are.
    pub transport: View,
    /// For metrics.
    pub reloads: Arc<Reloads>,
    /// Who acts on it.
    pub tell: watch::Sender<Plan>,
}

impl Keeper {
    /// Looks names up when their answers have lived their time, `soonest` apart at the least and `latest` at the most, and reads
    /// the file when it is told to.
    pub async fn run(mut self, soonest: Duration, latest: Duration) {
        loop {
            let again = self.table.look_up().await;
            let plan = self.table.plan();
            self.tell.send_if_modified(|told| {
                let changed = *told != plan;
                if changed {
                    tracing::info!("addresses of next hops changed");
                    *told = plan;
                }
                changed
            });
            let now = self.table.now();
            let wait = again.map_or(soonest, |again| again.saturating_since(now));
            let sleep = async {
                match self.table.has_names() {
                    true => tokio::time::sleep(wait.clamp(soonest, latest)).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                Some(()) = self.reread.recv() => self.read().await,
            }
        }
    }

    /// Takes trunks and routes as the file has them now, all or none: none if what is read at the start alone does not fit.
    async fn read(&mut self) {
        let file = self.file.clone();
        let read = move || ops::config::load::<Config>(&file, config::ENVIRONMENT_PREFIX);
        let config = match tokio::task::spawn_blocking(read).await {
            Ok(Ok(config)) => config,
            Ok(Err(problems)) => return self.refuse(&problems.to_string()),
            Err(error) => return self.refuse(&error.to_string()),
        };
        if rest(&config) != rest(&self.config) {
            tracing::warn!(
                "of what has changed in the configuration, only [[trunk]] and [[route]] are taken now"
            );
        }
        // A listener or a certificate that the file has gained is not there before the next start.
        let taken = Config {
            trunks: config.trunks.clone(),
            routes: config.routes.clone(),
            ..self.config.clone()
        };
        if let Err(problems) = ops::config::check(&taken) {
            return self.refuse(&problems.to_string());
        }
        let peers = self.table.peers_with(&config.trunks, &config.routes);
        if self.config.sip.tls.is_some()
            && let Err(error) = self.transport.name_peers(&peers)
        {
            return self.refuse(&error.to_string());
        }
        self.table.take(&config.trunks, &config.routes, peers);
        self.reloads.taken.fetch_add(1, Relaxed);
        let (trunks, routes) = (config.trunks.len(), config.routes.len());
        tracing::info!(trunks, routes, "trunks and routes are read again");
    }

    fn refuse(&self, reason: &str) {
        self.reloads.refused.fetch_add(1, Relaxed);
        tracing::error!(reason, "the configuration cannot be used; nothing has changed");
    }
}

/// All that is read at the start alone.
fn rest(config: &Config) -> String {
    let rest = Config {
        trunks: Vec::new(),
        routes: Vec::new(),
        ..config.clone()
    };
    format!("{rest:?}")
}
