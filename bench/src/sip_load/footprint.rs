//! Memory of a registration, of a call that rings and of one that is held: the slope between two numbers of them.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::sip_load::attempt::{Offer, Work};
use crate::sip_load::contender::{Role, System};
use crate::sip_load::site::{Server, Site};
use crate::wait;

/// Longer than any measurement here; the parties are ended before.
const HELD: Duration = Duration::from_secs(3_600);
/// Registrations and calls of one step are there within their time and this.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much to load.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// Registrations, or calls, before the first look, and by the second.
    pub counts: [u32; 2],
    /// So many a second.
    pub rate: u32,
}

impl Steps {
    /// Before the first look as many as give transactions, whose memory allocators keep, their highest number: `rate` for as
    /// long as they are kept. By the second `more` on top.
    pub fn after_the_peak(rate: u32, linger: Duration, more: u32) -> Self {
        let peak = (f64::from(rate) * linger.as_secs_f64()).ceil() as u32;
        Self {
            counts: [peak, peak + more],
            rate,
        }
    }
}

/// What one more takes, in bytes.
fn slope(steps: &Steps, bytes: [u64; 2]) -> f64 {
    let [few, many] = steps.counts;
    (bytes[1] as f64 - bytes[0] as f64) / f64::from(many - few)
}

/// Of a contact of a user.
pub fn of_registration(site: &mut Site, system: System, steps: &Steps) -> anyhow::Result<f64> {
    let server = site.start(system, Role::Registrar)?;
    let mut bytes = [0; 2];
    let mut there = 0;
    for (bytes, count) in bytes.iter_mut().zip(steps.counts) {
        let users = site.fields("registrations.csv", there, count - there)?;
        let offer = Offer {
            loader: site.loader(),
            work: Work::Register(&users),
            parties: site.parties,
            server: server.sip,
            rate: steps.rate,
            calls: u64::from(count - there),
            weigh: false,
        };
        let outcome = offer.run(&server.contender)?;
        ensure!(
            outcome.tally.failed == 0,
            "{} of {} registrations failed",
            outcome.tally.failed,
            outcome.calls
        );
        there = count;
        wait::pass(site.settling());
        *bytes = server.contender.memory_bytes()?;
    }
    server.contender.stop()?;
    Ok(slope(steps, bytes))
}

/// Of a call that rings: its INVITE has been answered 180 and nothing else.
pub fn of_ringing_call(site: &mut Site, system: System, steps: &Steps) -> anyhow::Result<f64> {
    let server = site.start(system, Role::Calls)?;
    of_calls(
        site,
        server,
        "load/ring",
        [HELD, Duration::ZERO],
        Duration::from_millis(500),
        steps,
    )
}

/// Of a call that has been answered, when its transactions are over.
pub fn of_held_call(site: &mut Site, system: System, steps: &Steps) -> anyhow::Result<f64> {
    let server = site.start(system, Role::Dialogs)?;
    let settling = site.settling();
    of_calls(site, server, "load/call", [Duration::ZERO, HELD], settling, steps)
}

/// The callee rings, and the caller talks, for so long; memory is looked at `settling` after the last call was begun.
fn of_calls(
    site: &mut Site,
    server: Server,
    callee: &str,
    [rings, talks]: [Duration; 2],
    settling: Duration,
    steps: &Steps,
) -> anyhow::Result<f64> {
    let callers = [site.address()?, site.address()?];
    let loader = site.loader();
    let mut uas = loader.callee(callee, site.parties[1], rings)?;
    let talks = talks.as_millis().to_string();
    let mut bytes = [0; 2];
    let mut there = 0;
    let mut running = Vec::new();
    for ((bytes, count), caller) in bytes.iter_mut().zip(steps.counts).zip(callers) {
        let more = count - there;
        running.push(loader.caller(
            "load/call",
            [caller, server.sip],
            steps.rate,
            more.into(),
            &["-d", &talks],
        )?);
        let time = Duration::from_secs_f64(f64::from(more) / f64::from(steps.rate));
        uas.wait_for_calls(count.into(), time + PATIENCE)?;
        there = count;
        wait::pass(settling);
        *bytes = server.contender.memory_bytes()?;
        // That none has ended meanwhile.
        uas.wait_for_calls(count.into(), PATIENCE)?;
    }
    // The calls are abandoned, and so is the server: what it does about that is not looked at.
    for mut party in running {
        party.process.kill()?;
    }
    uas.process.kill()?;
    server.contender.kill().context("ending the server")?;
    Ok(slope(steps, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_leaves_out_what_was_there_before() {
        let steps = Steps::after_the_peak(1_000, Duration::from_secs(5), 4_000);
        assert_eq!(steps.counts, [5_000, 9_000]);
        assert_eq!(slope(&steps, [50_000_000, 70_000_000]), 5_000.0);
        assert!(
            slope(&steps, [50_000_000, 49_000_000]) < 0.0,
            "noise is not hidden"
        );
    }
}
