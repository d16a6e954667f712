//! Figures of trunks.

use std::fmt;

use super::{Page, Sources};
use crate::trunks::TrunkStanding;

impl Sources {
    pub(super) fn trunks(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let trunks = self.standing.now().trunks.clone();
        let name = |trunk: &TrunkStanding| trunk.status.name.clone();
        let up = |trunk: &TrunkStanding| {
            let servers = trunk.status.servers.iter();
            servers.filter(|server| server.up).count() as u64
        };
        let each = |value: &dyn Fn(&TrunkStanding) -> u64| -> Vec<(String, u64)> {
            trunks.iter().map(|trunk| (name(trunk), value(trunk))).collect()
        };
        let help = "Servers of a trunk that answer, or that nobody asks";
        page.gauges("trunk_servers_up", help, "trunk", &each(&up))?;
        let help = "Servers of a trunk";
        let all = |trunk: &TrunkStanding| trunk.status.servers.len() as u64;
        page.gauges("trunk_servers", help, "trunk", &each(&all))?;
        let help = "Calls of ours at a trunk";
        page.gauges(
            "trunk_calls",
            help,
            "trunk",
            &each(&|trunk| trunk.used.calls.into()),
        )?;
        let registered = trunks.iter().filter_map(|trunk| {
            let registration = trunk.status.registration.as_ref()?;
            Some((name(trunk), u64::from(registration.until.is_some())))
        });
        let registered: Vec<(String, u64)> = registered.collect();
        let help = "1 while a trunk knows where we are";
        page.gauges("trunk_registered", help, "trunk", &registered)?;
        let events = trunks.iter().flat_map(|trunk| {
            let (counters, used) = (&trunk.status.counters, &trunk.used);
            let events = [
                ("call", used.attempts),
                ("passed_over_at_limit", used.passed_over_at_limit),
                ("registration", counters.registrations),
                ("registration_failure", counters.registration_failures),
                ("probe_answered", counters.probes_answered),
                ("probe_failed", counters.probes_failed),
                ("server_lost", counters.servers_lost),
            ];
            let name = &*trunk.status.name;
            events.map(|(event, count)| ([name, event], count))
        });
        page.family(
            "trunk_events",
            "What happened at a trunk",
            ["trunk", "event"],
            events,
        )
    }
}
