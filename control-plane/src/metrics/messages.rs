//! Figures of SIP messages and of who sends them.

use std::fmt;

use super::{Page, Sources};

impl Sources {
    pub(super) fn messages(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let counted = self.transport.counters();
        let messages = || counted.messages.iter();
        let requests =
            messages().filter_map(|line| Some(([line.method?, line.direction.as_str()], line.count)));
        page.family("sip_requests", "SIP requests", ["method", "direction"], requests)?;
        let statuses: Vec<(String, &str, u64)> = messages()
            .filter_map(|line| Some((line.status?.to_string(), line.direction.as_str(), line.count)))
            .collect();
        let responses = statuses
            .iter()
            .map(|(status, direction, count)| ([status.as_str(), *direction], *count));
        page.family(
            "sip_responses",
            "SIP responses",
            ["status", "direction"],
            responses,
        )?;
        page.counters(
            "sip_parse_errors",
            "Messages that were malformed",
            "reason",
            &counted.malformed,
        )?;
        let drops: Vec<_> = counted
            .drops
            .iter()
            .map(|(drop, count)| (drop.reason(), *count))
            .collect();
        page.counters(
            "sip_drops",
            "What was not passed on, not sent, or closed",
            "reason",
            &drops,
        )?;
        let (guard, bans) = self.transport.guard();
        let offences: Vec<_> = guard::Offence::ALL
            .iter()
            .zip(guard.offences)
            .map(|(offence, count)| (offence.as_str(), count))
            .collect();
        page.counters(
            "guard_offences",
            "What spoke against sources",
            "offence",
            &offences,
        )?;
        page.counters(
            "guard_events",
            "Networks that were banned and are no longer, and offences that did not count",
            "event",
            &[
                ("banned", guard.banned),
                ("lifted", guard.lifted),
                ("forgiven", guard.forgiven),
            ],
        )?;
        page.gauge("guard_bans", "Networks that are banned", bans as u64)?;
        page.gauge(
            "sip_refused_permille",
            "The share of new requests that is refused for their long wait, in thousandths",
            self.transport.refused_permille(),
        )?;
        let help = "Responses that told a neighbour how much less we want (RFC 7339)";
        page.counter("sip_overloads_told", help, counted.overloads_told)?;
        page.counter("sip_keep_alives", "Keep-alives received", counted.keep_alives)?;
        page.counter(
            "sip_stun_answers",
            "STUN binding requests that were answered",
            counted.bindings,
        )?;
        let [clients, ours] = counted.handshakes;
        page.counters(
            "sip_tls_handshakes",
            "TLS handshakes that succeeded",
            "role",
            &[("server", clients), ("client", ours)],
        )?;
        let [taken, refused] = counted.reloads;
        page.counters(
            "sip_tls_reloads",
            "Times that TLS files were read again",
            "result",
            &[("taken", taken), ("refused", refused)],
        )?;
        if let Some(drops) = self.transport.kernel_drops() {
            page.counter(
                "sip_receive_buffer_drops",
                "Datagrams dropped by the kernel: receive buffer full",
                drops,
            )?;
        }
        page.gauge(
            "sip_connections",
            "Connections, over TLS or not",
            self.transport.connections() as u64,
        )?;
        let (urgent, new) = self.transport.waiting();
        page.gauges(
            "sip_waiting",
            "Messages that wait to be looked at",
            "queue",
            &[("urgent".into(), urgent as u64), ("new".into(), new as u64)],
        )
    }
}
