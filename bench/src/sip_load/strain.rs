//! What is measured relative to a ceiling: set-up time at half of it, goodput beyond it.

use std::time::Duration;

use crate::sip_load::attempt::{Offer, Work};
use crate::sip_load::bench::{Options, Report};
use crate::sip_load::probe::Probe;
use crate::sip_load::row::{Metric, Row};
use crate::sip_load::search::rest;
use crate::sip_load::site::{Server, Site};

/// Memory may grow by this between two moments of an overload and is still flat: noise of an allocator.
const FLAT: f64 = 1.05;

/// What the server adds to the set-up of a call while it has half of `ceiling` calls a second, in each run.
pub fn half_load(
    site: &Site,
    server: &Server,
    ceiling: u32,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    let (mut probed, mut failed) = (0, 0);
    let rate = (ceiling / 2).max(1);
    for _ in 0..options.runs {
        let offer = offer(site, server, rate, options.duration, false);
        let probe = Probe::start(site.probe, server.sip, site.load_core)?;
        let outcome = offer.run(&server.contender);
        let times = probe.finish()?;
        let outcome = outcome?;
        probed += times.through.len();
        failed += times.failed + outcome.tally.failed;
        p50.push(times.added_ms(0.5));
        p99.push(times.added_ms(0.99));
        rest(&server.contender)?;
    }
    let system = server.system;
    let note = format!(
        "{}, set-up at {rate}/s: {probed} calls of the probe through the server and as many straight to its callee, in turns; \
         {failed} calls failed, the load's included.",
        system.name()
    );
    println!("{note}");
    report.notes.push(note);
    report.rows.extend(Row::of(system, Metric::AddedSetupMsP50, p50));
    report.rows.extend(Row::of(system, Metric::AddedSetupMsP99, p99));
    Ok(())
}

/// The share of `ceiling` that succeeds when half as many again are offered. Each run lasts for as long as transactions are
/// kept, and for the time of a run on top: then memory has no reason to grow any more.
pub fn overload(
    site: &Site,
    server: &Server,
    ceiling: u32,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let system = server.system;
    let rate = (f64::from(ceiling) * 1.5).round() as u32;
    let mut shares = Vec::new();
    for _ in 0..options.runs {
        let offer = offer(site, server, rate, site.linger + options.duration, true);
        let outcome = offer.run(&server.contender)?;
        let goodput = outcome.goodput;
        shares.push(goodput / f64::from(ceiling));
        let [early, late] = outcome.memory.map(|bytes| bytes as f64 / 1e6);
        let note = format!(
            "{}, overload: of {rate}/s offered ({:.0} begun) {goodput:.0}/s succeeded, {} retransmissions; busy: server {:.0} %, \
             load {:.0} %; memory {early:.1} MB after six tenths of the time and {late:.1} MB after nine, {}.",
            system.name(),
            outcome.pace,
            outcome.tally.retransmissions,
            outcome.busy[0] * 100.0,
            outcome.busy[1] * 100.0,
            if late <= early * FLAT { "flat" } else { "not flat" },
        );
        println!("{note}");
        report.notes.push(note);
        rest(&server.contender)?;
    }
    report
        .rows
        .extend(Row::of(system, Metric::GoodputShareAt150Percent, shares));
    Ok(())
}

fn offer<'a>(site: &'a Site, server: &Server, rate: u32, duration: Duration, weigh: bool) -> Offer<'a> {
    Offer {
        loader: site.loader(),
        work: Work::Call,
        parties: site.parties,
        server: server.sip,
        rate,
        calls: (f64::from(rate) * duration.as_secs_f64()).round() as u64,
        weigh,
    }
}
