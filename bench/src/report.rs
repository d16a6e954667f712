//! What a trial found: as JSON for programs, as a table for people.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use crate::call_log::Entry;
use crate::endpoint::Faults;
use crate::node_client::Held;
use crate::quality;
use crate::reception::{Account, PLAYOUT_BUFFER_MS};
use crate::talk::Outcome;

/// When calls were invited and answered, by SIPp's clock.
#[derive(Debug, Default)]
pub struct Times {
    invited_us: HashMap<String, u64>,
    set_up_us: Vec<u64>,
}

impl Times {
    /// Takes a line of the caller's log.
    pub fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Invited { call, at_us } => {
                self.invited_us.insert(call.clone(), *at_us);
            }
            Entry::Answered { call, at_us } => {
                if let Some(invited_us) = self.invited_us.remove(call) {
                    self.set_up_us.push(at_us.saturating_sub(invited_us));
                }
            }
            Entry::Talk { .. } => {}
        }
    }

    /// From the INVITE sent to the 200 received, one a call, in milliseconds, ascending.
    pub fn set_up_ms(mut self) -> Vec<f64> {
        self.set_up_us.sort_unstable();
        self.set_up_us.iter().map(|&us| us as f64 / 1e3).collect()
    }
}

/// The value below which a share of the ascending values lies; zero of none.
fn quantile(ascending: &[f64], share: f64) -> f64 {
    let place = (ascending.len() as f64 * share).ceil() as usize;
    ascending
        .get(place.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// One plane's part of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PlaneLoad {
    /// Which.
    pub plane: String,
    /// Processor time during the calls, user and system.
    pub cpu_s: f64,
    /// The same as a share of one core.
    pub cpu_share: f64,
    /// Resident memory before the calls.
    pub resident_bytes_idle: u64,
    /// Resident memory after them.
    pub resident_bytes: u64,
}

/// All streams of one way taken together.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Way {
    /// Packets that the senders handed to the kernel.
    pub sent: u64,
    /// Distinct packets at the receivers.
    pub received: u64,
    /// Sent and not received.
    pub lost: u64,
    /// Copies beyond the first.
    pub duplicates: u64,
    /// Arrived after a later one.
    pub reordered: u64,
    /// Arrived after their playout time.
    pub late: u64,
    /// The highest interarrival jitter of any stream.
    pub jitter_ms_max: f64,
    /// The mean over the streams of their jitter at the end.
    pub jitter_ms_mean: f64,
    /// The median of the streams' median delays.
    pub delay_ms_p50: f64,
    /// The slowest packet.
    pub delay_ms_max: f64,
    /// The worst stream.
    pub mos_min: f64,
    /// The mean over the streams.
    pub mos_mean: f64,
}

impl Way {
    fn of<'a>(streams: impl Iterator<Item = &'a Account>) -> Self {
        let mut way = Self {
            mos_min: f64::INFINITY,
            ..Self::default()
        };
        let mut delays = Vec::new();
        let mut mos_sum = 0.0;
        for account in streams {
            way.sent += account.sent;
            way.received += account.received;
            way.lost += account.lost;
            way.duplicates += account.duplicates;
            way.reordered += account.reordered;
            way.late += account.late;
            way.jitter_ms_max = way.jitter_ms_max.max(account.jitter_ms_max);
            way.jitter_ms_mean += account.jitter_ms;
            way.delay_ms_max = way.delay_ms_max.max(account.delay_ms_max);
            delays.push(account.delay_ms_p50);
            let mos = quality::mos(account);
            way.mos_min = way.mos_min.min(mos);
            mos_sum += mos;
        }
        delays.sort_unstable_by(f64::total_cmp);
        way.delay_ms_p50 = quantile(&delays, 0.5);
        if delays.is_empty() {
            way.mos_min = 0.0;
        } else {
            way.jitter_ms_mean /= delays.len() as f64;
            way.mos_mean = mos_sum / delays.len() as f64;
        }
        way
    }
}

/// The result of a trial.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// `demo` or `load`.
    pub name: String,
    /// Calls that were placed.
    pub calls: u64,
    /// Calls that did not go through the whole scenario at both ends, or whose speech did not arrive whole.
    pub calls_failed: u64,
    /// Calls of which every packet of both ways arrived.
    pub calls_with_whole_speech: u64,
    /// From INVITE sent to 200 received, at the caller, median.
    pub setup_ms_p50: f64,
    /// 99 % were as quick.
    pub setup_ms_p99: f64,
    /// The slowest call.
    pub setup_ms_max: f64,
    /// The median of the same scenario from SIPp straight to SIPp: what of it is not ours.
    pub setup_ms_p50_sipp_alone: f64,
    /// SIP messages that SIPp sent again.
    pub retransmissions: u64,
    /// RTP packets sent by all endpoints.
    pub rtp_sent: u64,
    /// Distinct RTP packets received, counted at the receivers.
    pub rtp_received: u64,
    /// Sent and not received.
    pub rtp_lost: u64,
    /// The highest RFC 3550 interarrival jitter of any stream, this kit's own lateness included.
    pub jitter_ms_max: f64,
    /// The lowest MOS (ITU-T G.107) of any stream.
    pub mos_min: f64,
    /// The packet back-end of the data plane.
    pub backend: String,
    /// Why that one.
    pub backend_reason: String,
    /// What the callees received.
    pub caller_to_callee: Way,
    /// What the callers received.
    pub callee_to_caller: Way,
    /// What went wrong at the endpoints apart from loss.
    pub faults: Faults,
    /// RTCP packets sent.
    pub rtcp_sent: u64,
    /// RTCP packets received.
    pub rtcp_received: u64,
    /// The latest that the kit sent a packet after its time.
    pub send_late_ms_max: f64,
    /// The playout buffer that the MOS assumes.
    pub playout_buffer_ms: u64,
    /// Speech each way in each call.
    pub talk_s: f64,
    /// Calls started a second.
    pub rate_per_s: u32,
    /// Of SSRCs, sequence numbers and timestamps.
    pub seed: u64,
    /// What the media node still held after the last BYE.
    pub held_after: Held,
    /// Call records in the database.
    pub cdrs: u64,
    /// Of those, answered with 200.
    pub cdrs_answered: u64,
    /// Of those, with every packet of both ways counted by the media node and none lost.
    pub cdrs_whole: u64,
    /// Data plane and control plane.
    pub planes: [PlaneLoad; 2],
}

impl Report {
    /// Set-up times of the run and of SIPp alone, both ascending.
    pub fn set_set_up(&mut self, set_up_ms: &[f64], alone_ms: &[f64]) {
        self.setup_ms_p50 = quantile(set_up_ms, 0.5);
        self.setup_ms_p99 = quantile(set_up_ms, 0.99);
        self.setup_ms_max = quantile(set_up_ms, 1.0);
        self.setup_ms_p50_sipp_alone = quantile(alone_ms, 0.5);
    }

    /// What the endpoints counted.
    pub fn set_media(&mut self, outcome: &Outcome) {
        let accounts = &outcome.accounts;
        let side = |side: usize| accounts.iter().skip(side).step_by(2);
        // What the callee's endpoint, the second of a pair, counted is what the caller said.
        self.callee_to_caller = Way::of(side(0));
        self.caller_to_callee = Way::of(side(1));
        let ways = [&self.callee_to_caller, &self.caller_to_callee];
        self.rtp_sent = ways.iter().map(|way| way.sent).sum();
        self.rtp_received = ways.iter().map(|way| way.received).sum();
        self.rtp_lost = ways.iter().map(|way| way.lost).sum();
        self.jitter_ms_max = ways[0].jitter_ms_max.max(ways[1].jitter_ms_max);
        self.mos_min = ways[0].mos_min.min(ways[1].mos_min);
        self.calls_with_whole_speech = accounts
            .chunks(2)
            .filter(|pair| pair.iter().all(|account| account.sent > 0 && account.lost == 0))
            .count() as u64;
        self.faults = outcome.faults;
        self.rtcp_sent = outcome.rtcp_sent;
        self.rtcp_received = outcome.rtcp_received;
        self.send_late_ms_max = outcome.send_late_ms_max;
        self.playout_buffer_ms = PLAYOUT_BUFFER_MS;
    }

    /// What keeps the run from being a success, for people; empty when it is one.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |good: bool, problem: String| {
            if !good {
                problems.push(problem);
            }
        };
        check(
            self.calls_failed == 0,
            format!("{} of {} calls failed", self.calls_failed, self.calls),
        );
        check(self.rtp_sent > 0, "no speech was sent".to_owned());
        check(
            self.rtp_lost == 0,
            format!("{} RTP packets were lost", self.rtp_lost),
        );
        check(
            self.faults == Faults::default(),
            format!("the endpoints saw {:?}", self.faults),
        );
        check(
            self.held_after == Held::default(),
            format!("the node still holds {:?}", self.held_after),
        );
        check(
            [self.cdrs, self.cdrs_answered, self.cdrs_whole] == [self.calls; 3],
            format!(
                "{} calls, {} records, {} of them answered, {} of them with every packet",
                self.calls, self.cdrs, self.cdrs_answered, self.cdrs_whole
            ),
        );
        problems
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (to, back) = (&self.caller_to_callee, &self.callee_to_caller);
        writeln!(
            f,
            "calls              {} placed, {} failed",
            self.calls, self.calls_failed
        )?;
        writeln!(
            f,
            "set-up time        p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms (SIPp to SIPp alone: p50 {:.1} ms)",
            self.setup_ms_p50, self.setup_ms_p99, self.setup_ms_max, self.setup_ms_p50_sipp_alone
        )?;
        writeln!(f, "back-end           {} ({})", self.backend, self.backend_reason)?;
        writeln!(
            f,
            "                   {:>18} {:>18}",
            "caller to callee", "callee to caller"
        )?;
        let mut row = |name: &str, a: String, b: String| writeln!(f, "{name:<18} {a:>18} {b:>18}");
        row("RTP sent", to.sent.to_string(), back.sent.to_string())?;
        row("RTP received", to.received.to_string(), back.received.to_string())?;
        row("RTP lost", to.lost.to_string(), back.lost.to_string())?;
        row(
            "jitter max",
            format!("{:.2} ms", to.jitter_ms_max),
            format!("{:.2} ms", back.jitter_ms_max),
        )?;
        row(
            "delay p50",
            format!("{:.2} ms", to.delay_ms_p50),
            format!("{:.2} ms", back.delay_ms_p50),
        )?;
        row(
            "delay max",
            format!("{:.2} ms", to.delay_ms_max),
            format!("{:.2} ms", back.delay_ms_max),
        )?;
        row(
            "MOS min",
            format!("{:.2}", to.mos_min),
            format!("{:.2}", back.mos_min),
        )?;
        writeln!(
            f,
            "RTCP               {} sent, {} received",
            self.rtcp_sent, self.rtcp_received
        )?;
        for plane in &self.planes {
            writeln!(
                f,
                "{:<18} {:.1} % of a core, {:.1} MB resident",
                plane.plane,
                plane.cpu_share * 100.0,
                plane.resident_bytes as f64 / 1e6
            )?;
        }
        write!(
            f,
            "afterwards         {} calls and {} ports held, {} call records, {} of them with every packet",
            self.held_after.calls, self.held_after.port_pairs, self.cdrs, self.cdrs_whole
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_up_times_pair_each_invite_with_its_answer() {
        let mut times = Times::default();
        for (call, invited, answered) in [("a", 1_000, 5_500), ("b", 2_000, 4_000)] {
            times.take(&Entry::Invited {
                call: call.to_owned(),
                at_us: invited,
            });
            times.take(&Entry::Answered {
                call: call.to_owned(),
                at_us: answered,
            });
        }
        times.take(&Entry::Invited {
            call: "never answered".to_owned(),
            at_us: 0,
        });
        assert_eq!(times.set_up_ms(), [2.0, 4.5]);
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), 10.0);
        assert_eq!(quantile(&values, 0.99), 20.0);
        assert_eq!(quantile(&values, 1.0), 20.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn a_lost_packet_fails_its_call_and_the_run() {
        let whole = Account {
            sent: 10,
            received: 10,
            ..Account::default()
        };
        let gap = Account {
            sent: 10,
            received: 9,
            lost: 1,
            ..Account::default()
        };
        let outcome = Outcome {
            accounts: vec![whole, whole, whole, gap],
            faults: Faults::default(),
            rtcp_sent: 0,
            rtcp_received: 0,
            send_late_ms_max: 0.0,
        };
        let mut report = Report {
            calls: 2,
            cdrs: 2,
            cdrs_answered: 2,
            cdrs_whole: 2,
            ..Report::default()
        };
        report.set_media(&outcome);
        assert_eq!(report.calls_with_whole_speech, 1);
        assert_eq!(
            (report.rtp_sent, report.rtp_received, report.rtp_lost),
            (40, 39, 1)
        );
        assert_eq!(report.caller_to_callee.lost, 1);
        assert_eq!(report.problems().len(), 1, "{:?}", report.problems());
    }
}
