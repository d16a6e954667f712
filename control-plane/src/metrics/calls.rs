//! Figures of calls, and of the routing table that they go by.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use super::{Page, Sources};

impl Sources {
    pub(super) fn calls(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let now = self.standing.now().clone();
        page.gauge(
            "calls_active",
            "Calls, from the INVITE until nothing is left to be done",
            now.calls as u64,
        )?;
        page.gauge("dialogs", "Dialogs, early ones included", now.dialogs as u64)?;
        page.gauge(
            "transactions",
            "Transactions, those that linger included",
            now.transactions as u64,
        )?;
        page.gauge(
            "calls_refused_now",
            "1 while new calls are refused",
            u64::from(now.refusing.is_some()),
        )?;
        let call::Counters {
            calls_attempted,
            calls_answered,
            calls_ended,
            calls_refused_at_limit,
            calls_refused_at_user_limit,
            refusals_recorded,
            refusals_unrecorded,
            requests_refused,
            requests_without_state,
            descriptions_refused,
            media_failures,
            next_hops_skipped,
            next_hops_at_limit,
            next_hops_rested,
            next_hops_spared,
            overloads_heard,
            overloads_ignored,
            redirects_followed,
            redirects_refused,
            branches_left_out,
            forks_dismissed,
            sessions_expired,
            transfers_begun,
            transfers_completed,
            transfers_failed,
            transfers_refused,
            transfers_passed,
            unacknowledged,
        } = now.call_counters;
        page.counters(
            "transfers",
            "Transfers of calls by what happened to them",
            "stage",
            &[
                ("begun", transfers_begun),
                ("completed", transfers_completed),
                ("failed", transfers_failed),
                ("refused", transfers_refused),
                ("passed_on", transfers_passed),
            ],
        )?;
        let refusals: Vec<(&str, u64)> = now
            .srtp_refusals
            .iter()
            .map(|(&reason, &count)| (reason, count))
            .collect();
        page.counters(
            "srtp_refusals",
            "Offers and answers that were refused, or could not be made, for their security",
            "reason",
            &refusals,
        )?;
        page.counters(
            "calls",
            "Calls by what happened to them",
            "stage",
            &[
                ("attempted", calls_attempted),
                ("answered", calls_answered),
                ("ended", calls_ended),
            ],
        )?;
        let ended = now
            .ended
            .iter()
            .map(|((outcome, by), count)| ([*outcome, *by], *count));
        page.family(
            "calls_ended",
            "Calls that ended",
            ["outcome", "released_by"],
            ended,
        )?;
        page.counters(
            "call_events",
            "What calls met with",
            "event",
            &[
                ("refused_at_limit", calls_refused_at_limit),
                ("refused_at_user_limit", calls_refused_at_user_limit),
                ("refusal_recorded", refusals_recorded),
                ("refusal_unrecorded", refusals_unrecorded),
                ("request_refused", requests_refused),
                ("request_without_state", requests_without_state),
                ("description_refused", descriptions_refused),
                ("media_failure", media_failures),
                ("next_hop_skipped", next_hops_skipped),
                ("next_hop_at_limit", next_hops_at_limit),
                ("next_hop_rested", next_hops_rested),
                ("next_hop_spared", next_hops_spared),
                ("overload_heard", overloads_heard),
                ("overload_ignored", overloads_ignored),
                ("redirect_followed", redirects_followed),
                ("redirect_refused", redirects_refused),
                ("branch_left_out", branches_left_out),
                ("fork_dismissed", forks_dismissed),
                ("session_expired", sessions_expired),
                ("unacknowledged", unacknowledged),
            ],
        )?;
        page.counters(
            "transaction_events",
            "What the transaction layer saw and did",
            "event",
            &now.transaction_counters.all(),
        )?;
        page.counter(
            "sip_outside_dialogs",
            "Requests with a tag of ours in no dialog, answered 481",
            now.outside_dialogs,
        )?;
        page.gauge(
            "next_hops_unresolved",
            "Routes whose next hop has no usable address",
            self.lookups.unresolved.load(Relaxed),
        )?;
        page.counters(
            "config_reloads",
            "Trunks and routes read again",
            "result",
            &[
                ("taken", self.reloads.taken.load(Relaxed)),
                ("refused", self.reloads.refused.load(Relaxed)),
            ],
        )?;
        let lookups = &*self.lookups;
        page.counters(
            "dns_lookups",
            "Names of next hops that were looked up",
            "result",
            &[
                ("found", lookups.found.load(Relaxed)),
                ("nothing", lookups.nothing.load(Relaxed)),
                ("failed", lookups.failed.load(Relaxed)),
            ],
        )?;
        page.gauge(
            "dns_answers",
            "Answers of the DNS that are remembered",
            lookups.remembered.load(Relaxed),
        )
    }
}
