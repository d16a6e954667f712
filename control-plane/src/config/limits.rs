use std::time::Duration;

use ops::config::{Problems, Validate};
use serde::Deserialize;

/// The most numbers of emergency calls.
const EMERGENCY_NUMBERS_MAX: usize = 1_000;

/// The `[limits]` section: how much is taken on, and how long it may last.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls at once; one more gets 503.
    pub calls_max: usize,
    /// How many of these only emergency calls may take; one in a hundred if it is left out.
    pub emergency_calls_reserved: Option<usize>,
    /// Records of INVITEs refused before they begin a call, at most in one second; further ones leave none. 0 writes none.
    pub refusal_records_per_s_max: u32,
    /// Transactions at once, those that linger included; one more gets 503.
    pub transactions_max: usize,
    /// New requests that may wait to be looked at; one more gets 503. As many as are worked off in half a second at full speed, after
    /// which they are repeated (T1, RFC 3261 §17.1.1.1): how long requests wait is for [`queue_delay_target_ms`](Self::queue_delay_target_ms)
    /// to judge, and a machine that was slow for a moment is to work off what came meanwhile.
    pub new_request_queue: usize,
    /// Responses and requests of calls that exist that may wait; beyond it datagrams are dropped and connections not
    /// read.
    pub urgent_queue: usize,
    /// 503 answers a second to datagrams that are refused for a full queue or a long wait; further ones get none.
    pub refusals_per_s_max: u32,
    /// What a new request may wait. While even the luckiest waits longer, for two seconds, the least important get 503.
    /// 0: only full queues refuse.
    pub queue_delay_target_ms: u64,
    /// Numbers of emergency calls, which are refused last and for which places are kept. The first is called for
    /// `urn:service:sos`.
    pub emergency_numbers: Vec<String>,
    /// `Retry-After` of those 503, in seconds; up to five times as much again is added to those given for full queues.
    pub retry_after_s: u32,
    /// `Max-Forwards` of what we send is at most this.
    pub max_forwards: u8,
    /// How often an INVITE goes to the same next hop again because it challenged us or wants a longer session, and another
    /// request of ours because it was challenged; beyond it the failure counts.
    pub request_retries_max: u8,
    /// A next hop that says nothing for so long is left for the next of the same prefix.
    pub next_hop_timeout_ms: u64,
    /// A next hop that answers 503 with `Retry-After` is left alone for as long as it says, at most this.
    pub rest_max_s: u64,
    /// Targets of redirections that one call is sent to; further ones are not followed.
    pub redirects_max: usize,
    /// Contacts of a user that one call is tried at, the preferred first; further ones are left out.
    pub branches_max: usize,
    /// How many branches a call may have at once, there and beyond (RFC 5393); more get 440.
    pub max_breadth: u32,
    /// Contacts that have not answered within this time are left for those of the next lower preference.
    pub branch_ring_timeout_ms: u64,
    /// A call must be answered within this time.
    pub ring_timeout_ms: u64,
    /// A request that is passed on within a call must be answered within this time.
    pub reinvite_timeout_ms: u64,
    /// The session interval of RFC 4028 that we ask for, and the longest that we agree to.
    pub session_expires_s: u32,
    /// The shortest session interval that we agree to; a shorter one gets 422.
    pub min_se_s: u32,
    /// A call is transferred at most so often; another REFER gets 403.
    pub transfers_per_call_max: u16,
    /// A party whose place somebody else has must say BYE within this time, or we do.
    pub transferor_bye_timeout_ms: u64,
    /// A call ends after this time.
    pub call_duration_max_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_max: 5_000,
            emergency_calls_reserved: None,
            refusal_records_per_s_max: 100,
            transactions_max: 200_000,
            new_request_queue: 4_000,
            urgent_queue: 10_000,
            refusals_per_s_max: 5_000,
            queue_delay_target_ms: 20,
            emergency_numbers: ["112", "911"].map(Into::into).to_vec(),
            retry_after_s: 5,
            max_forwards: 70,
            request_retries_max: 5,
            next_hop_timeout_ms: 4_000,
            rest_max_s: 60,
            redirects_max: 5,
            branches_max: 16,
            max_breadth: 60,
            branch_ring_timeout_ms: 20_000,
            ring_timeout_ms: 180_000,
            reinvite_timeout_ms: 60_000,
            session_expires_s: 1_800,
            min_se_s: sip::dialog::MIN_SE_S,
            transfers_per_call_max: 10,
            transferor_bye_timeout_ms: 5_000,
            call_duration_max_s: 86_400,
        }
    }
}

impl Limits {
    /// Places within `calls_max` that only emergency calls may take.
    pub fn emergency_calls_reserved(&self) -> usize {
        self.emergency_calls_reserved.unwrap_or(self.calls_max / 100)
    }

    /// Which calls are emergency calls.
    pub fn emergency_numbers(&self) -> sip::EmergencyNumbers {
        sip::EmergencyNumbers::new(self.emergency_numbers.iter().cloned())
    }
}

impl Validate for Limits {
    fn validate(&self, problems: &mut Problems) {
        problems.range("calls_max", self.calls_max, 1..=1_000_000);
        if let Some(reserved) = self.emergency_calls_reserved {
            let others = self.calls_max.saturating_sub(1);
            problems.range("emergency_calls_reserved", reserved, 0..=others);
        }
        problems.range(
            "refusal_records_per_s_max",
            self.refusal_records_per_s_max,
            0..=10_000,
        );
        problems.range("transactions_max", self.transactions_max, 100..=10_000_000);
        problems.range("new_request_queue", self.new_request_queue, 1..=1_000_000);
        problems.range("urgent_queue", self.urgent_queue, 1..=1_000_000);
        problems.range("refusals_per_s_max", self.refusals_per_s_max, 1..=1_000_000);
        problems.range("queue_delay_target_ms", self.queue_delay_target_ms, 0..=10_000);
        if self.emergency_numbers.len() > EMERGENCY_NUMBERS_MAX {
            let text = format!("has more than {EMERGENCY_NUMBERS_MAX} entries");
            problems.push("emergency_numbers", text);
        }
        let is_number = |number: &String| {
            let is_digit = |byte: u8| byte.is_ascii_digit() || b"+*#".contains(&byte);
            !number.is_empty() && number.len() <= 32 && number.bytes().all(is_digit)
        };
        for number in self.emergency_numbers.iter().filter(|number| !is_number(number)) {
            problems.push(
                "emergency_numbers",
                format!("has \"{number}\", which is no number"),
            );
        }
        problems.range("retry_after_s", self.retry_after_s, 1..=3_600);
        problems.range("max_forwards", self.max_forwards, 1..=255);
        problems.range("request_retries_max", self.request_retries_max, 1..=20);
        problems.range("next_hop_timeout_ms", self.next_hop_timeout_ms, 100..=32_000);
        problems.range("rest_max_s", self.rest_max_s, 1..=3_600);
        problems.range("redirects_max", self.redirects_max, 0..=32);
        problems.range("branches_max", self.branches_max, 1..=32);
        problems.range("max_breadth", self.max_breadth, 1..=10_000);
        problems.range(
            "branch_ring_timeout_ms",
            self.branch_ring_timeout_ms,
            1_000..=3_600_000,
        );
        problems.range("ring_timeout_ms", self.ring_timeout_ms, 1_000..=3_600_000);
        problems.range("transfers_per_call_max", self.transfers_per_call_max, 0..=1_000);
        problems.range(
            "transferor_bye_timeout_ms",
            self.transferor_bye_timeout_ms,
            100..=60_000,
        );
        problems.range("reinvite_timeout_ms", self.reinvite_timeout_ms, 1_000..=600_000);
        problems.range(
            "session_expires_s",
            self.session_expires_s,
            sip::dialog::MIN_SE_S..=86_400,
        );
        problems.range(
            "min_se_s",
            self.min_se_s,
            sip::dialog::MIN_SE_S..=self.session_expires_s.max(sip::dialog::MIN_SE_S),
        );
        problems.range("call_duration_max_s", self.call_duration_max_s, 1..=30 * 86_400);
    }
}

/// What happens at SIGTERM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// How long calls may go on after the first SIGTERM, while new ones get 503. What is left then is hung up. Without
    /// calls the control plane stops at once; a second signal cuts the time short.
    pub grace_ms: u64,
}

impl Default for Shutdown {
    /// Two seconds: enough for calls that are just ending, short enough for a supervisor that waits ten.
    fn default() -> Self {
        Self { grace_ms: 2_000 }
    }
}

impl Shutdown {
    /// [`Self::grace_ms`].
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

impl Validate for Shutdown {
    fn validate(&self, problems: &mut Problems) {
        problems.range("grace_ms", self.grace_ms, 0..=86_400_000);
    }
}
