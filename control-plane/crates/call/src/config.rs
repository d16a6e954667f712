use std::time::Duration;

use media_types::{InterfaceName, Latching};

use crate::{Routes, Srtp, SrtpSuite, TransferPolicy};

/// What a media timeout does to an answered call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum MediaTimeout {
    /// Both parties get a BYE with a `Reason`.
    #[default]
    EndCall,
    /// It is logged and nothing else.
    Ignore,
}

/// How a [`B2bua`](crate::B2bua) behaves. `Config::default()` listens nowhere and routes nothing.
#[derive(Clone, Debug)]
pub struct Config {
    /// The transactions: listeners with what we call ourselves there, timers, limits.
    pub transactions: sip::transaction::Config,
    /// Where calls go.
    pub routes: Routes,
    /// Networks of peers whose word counts about who calls (RFC 3325 §2.3).
    pub trusted: Vec<guard::Network>,
    /// Whether a registrar stands beside us: REGISTERs and the places of calls are the shell's to decide then.
    pub has_registrar: bool,
    /// Calls at once, from the INVITE until the call is over; another one gets 503.
    pub calls_max: usize,
    /// Calls at once of one user who has proved to be it; another one gets 403, unless it is an emergency call. Zero: no limit.
    pub calls_per_account_max: u32,
    /// How many of `calls_max` only emergency calls may take. These take the others first.
    pub emergency_calls_reserved: usize,
    /// Which calls those are.
    pub emergency_numbers: sip::EmergencyNumbers,
    /// Records of INVITEs that are refused before they begin a call, at most in one second; further ones are counted
    /// and leave none.
    pub refusal_records_per_s_max: u32,
    /// `Max-Forwards` of what we send is one less than what we got and at most this (RFC 3261 §8.1.1.6).
    pub max_forwards: u8,
    /// `Retry-After` of a 503 of ours, in seconds, when nothing better is known.
    pub retry_after_s: u32,
    /// How often an INVITE goes to the same next hop again because it challenged us or wants a longer session, and another
    /// request of ours because it was challenged; beyond it the failure counts.
    pub request_retries_max: u8,
    /// A next hop that said nothing for so long is left for the next one in the list. The last in the list has the
    /// whole of timer B.
    pub next_hop_timeout: Duration,
    /// A next hop that answers 503 with `Retry-After` is left alone for as long as it says, at most this.
    pub rest_max: Duration,
    /// Targets of redirections that one call is sent to; further ones are not followed.
    pub redirects_max: usize,
    /// Contacts of a user that one call is tried at, the preferred first; further ones are left out.
    pub branches_max: usize,
    /// How many branches a call may have at once, there and beyond, when its INVITE does not say fewer (RFC 5393 §5.3).
    pub max_breadth: u32,
    /// Contacts that have not answered within this time are left for those with the next lower preference.
    pub branch_ring_timeout: Duration,
    /// The called party must answer within this time of the INVITE to it: else CANCEL, and 480 or 408 to the caller.
    pub ring_timeout: Duration,
    /// A re-INVITE that was passed on must be answered within this time.
    pub reinvite_timeout: Duration,
    /// What a REFER of a caller leads to that is no user of ours, or of which the shell has not said so in
    /// [`Asked::transfer`](crate::Asked::transfer).
    pub caller_transfer: TransferPolicy,
    /// What is agreed about SRTP with such a caller.
    pub caller_srtp: Srtp,
    /// The suites of SRTP that may be used, in the order in which they are offered.
    pub srtp_suites: Vec<SrtpSuite>,
    /// A call is transferred at most so often; another REFER gets 403.
    pub transfers_per_call_max: u16,
    /// A party whose place somebody else has must say BYE within this time, or we do.
    pub transferor_bye_timeout: Duration,
    /// An answered call ends after this time.
    pub duration_max: Duration,
    /// Session timers (RFC 4028).
    pub session: sip::dialog::SessionPolicy,
    /// A media node that has not answered for so long counts as silent.
    pub media_answer_timeout: Duration,
    /// What a media timeout does.
    pub media_timeout_action: MediaTimeout,
    /// A line that is silent for so long is a media timeout; zero takes the node's default.
    pub media_timeout: Duration,
    /// The lease of a call on its node; zero takes the node's default. The media client renews it.
    pub media_lease: Duration,
    /// The node's interface that faces callers; `None` takes its first.
    pub caller_interface: Option<InterfaceName>,
    /// The node's interface that faces callees; `None` takes its first.
    pub callee_interface: Option<InterfaceName>,
    /// Which media sources of callers are learned.
    pub caller_latching: Latching,
    /// Which media sources of callees are learned.
    pub callee_latching: Latching,
    /// What a session description may cost.
    pub sdp_limits: sdp::Limits,
    /// The RTP header extensions that parties may agree on, by URI (RFC 8285); `None` leaves it to them.
    pub header_extensions: Option<Box<[String]>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            transactions: sip::transaction::Config::new(Vec::new()),
            routes: Routes::default(),
            trusted: Vec::new(),
            has_registrar: false,
            calls_max: 5_000,
            calls_per_account_max: 0,
            emergency_calls_reserved: 0,
            emergency_numbers: sip::EmergencyNumbers::default(),
            refusal_records_per_s_max: 100,
            max_forwards: 70,
            retry_after_s: 5,
            request_retries_max: 5,
            next_hop_timeout: Duration::from_secs(4),
            rest_max: Duration::from_secs(60),
            redirects_max: 5,
            branches_max: 16,
            max_breadth: 60,
            branch_ring_timeout: Duration::from_secs(20),
            ring_timeout: Duration::from_secs(180),
            reinvite_timeout: Duration::from_secs(60),
            caller_transfer: TransferPolicy::default(),
            caller_srtp: Srtp::default(),
            srtp_suites: SrtpSuite::ALL.to_vec(),
            transfers_per_call_max: 10,
            transferor_bye_timeout: Duration::from_secs(5),
            duration_max: Duration::from_secs(24 * 3_600),
            session: sip::dialog::SessionPolicy {
                interval_s: 1_800,
                min_s: sip::dialog::MIN_SE_S,
            },
            media_answer_timeout: Duration::from_secs(3),
            media_timeout_action: MediaTimeout::default(),
            media_timeout: Duration::ZERO,
            media_lease: Duration::ZERO,
            caller_interface: None,
            callee_interface: None,
            caller_latching: Latching::default(),
            callee_latching: Latching::default(),
            sdp_limits: sdp::Limits::default(),
            header_extensions: None,
        }
    }
}
