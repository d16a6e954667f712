//! A crash of the registrar: every user is still there, and every user comes back.

use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::metrics::Metrics;
use crate::sip_load::attempt::{Offer, Outcome, Work};
use crate::sip_load::search::rest;
use crate::sip_load::site::{Server, Site};

/// What happened.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// Before it.
    pub before: Outcome,
    /// After it.
    pub after: Outcome,
    /// Contacts that the control plane had when it was back.
    pub kept: u64,
}

/// Registers all `count` users of the file at `rate`, kills the control plane, counts what it has when it is back, and
/// registers them all again.
pub fn run(site: &Site, server: &mut Server, users: &Path, count: u32, rate: u32) -> anyhow::Result<Outage> {
    let sip = server.sip;
    let offer = |server: &Server| {
        Offer {
            loader: site.loader(),
            work: Work::RegisterDigest(users),
            parties: site.parties,
            server: sip,
            rate,
            calls: count.into(),
            weigh: false,
        }
        .run(&server.contender)
    };
    rest(&server.contender)?;
    let before = offer(server)?;
    server.contender.crash()?;
    let registered = || {
        Metrics::fetch(server.ops)?
            .value("ringpath_control_registrations", "")
            .context("no such metric")
    };
    let kept = registered()? as u64;
    let after = offer(server)?;
    ensure!(
        registered()? as u64 >= u64::from(count),
        "users are missing after they registered again"
    );
    Ok(Outage { before, after, kept })
}

impl Outage {
    /// Whether nobody was lost: `count` contacts outlived the kill, and `count` users registered before and after it.
    pub fn lost_nobody(&self, count: u32) -> bool {
        let all =
            |outcome: &Outcome| outcome.tally.failed == 0 && outcome.tally.successful == u64::from(count);
        self.kept == u64::from(count) && all(&self.before) && all(&self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sipp::Tally;

    #[test]
    fn one_user_who_is_missing_is_lost() {
        let all = Outcome {
            calls: 10,
            tally: Tally {
                successful: 10,
                ..Tally::default()
            },
            ..Outcome::default()
        };
        let outage = Outage {
            before: all,
            after: all,
            kept: 10,
        };
        assert!(outage.lost_nobody(10));
        assert!(!Outage { kept: 9, ..outage }.lost_nobody(10));
        assert!(!outage.lost_nobody(11));
    }
}
