//! Every scenario of `sipp-scenarios` against the real binaries: both SIPp ends content, nothing held afterwards, and
//! the call records say what happened.

use std::net::UdpSocket;
use std::time::Duration;

use ringpath_bench::cdr::Cdr;
use ringpath_bench::sipp::Transport;
use ringpath_bench::stand::{Stand, StandOptions};

use crate::bench::{WITHIN, run_both, run_caller, sipp_is_here, stand};

const CALLS: u32 = 5;

/// What the record of each call must say.
struct Expected {
    status: i64,
    released_by: &'static str,
}

const CALLER_HANGS_UP: Expected = Expected {
    status: 200,
    released_by: "caller",
};

fn check(cdrs: &[Cdr], expected: &Expected) {
    assert_eq!(cdrs.len(), CALLS as usize, "one record a call: {cdrs:#?}");
    for cdr in cdrs {
        assert!(cdr.ended, "{cdr:#?}");
        assert_eq!(cdr.status, Some(expected.status), "{cdr:#?}");
        assert_eq!(cdr.answered, expected.status == 200, "{cdr:#?}");
        assert_eq!(cdr.released_by.as_deref(), Some(expected.released_by), "{cdr:#?}");
        assert!(cdr.cause.is_some(), "{cdr:#?}");
    }
}

/// Caller and callee through the planes.
fn run(scenario: &str, transport: Transport, expected: &Expected) {
    let test = format!("{}-{transport:?}", scenario.replace('/', "-"));
    if !sipp_is_here(&test) {
        return;
    }
    let options = StandOptions {
        callee_transport: transport,
        ..StandOptions::default()
    };
    let mut stand = stand(&test, &options);
    let callee = stand.callee(scenario, CALLS);
    let mut caller = stand.caller(scenario, CALLS);
    caller.transport = transport;
    run_both(&mut stand, &callee, &caller);
    stand.wait_until_quiet(Duration::from_secs(10)).unwrap();
    check(
        &stand
            .wait_for_cdrs(CALLS as usize, Duration::from_secs(10))
            .unwrap(),
        expected,
    );
    stand.finish().unwrap();
}

/// A caller whom the control plane answers by itself. Nothing but a refused INVITE leaves records.
fn run_alone(scenario: &str, options: &StandOptions, expected: Option<&Expected>) {
    let test = scenario.replace('/', "-");
    if !sipp_is_here(&test) {
        return;
    }
    let mut stand = stand(&test, options);
    let caller = stand.caller(scenario, CALLS);
    run_caller(&mut stand, &caller);
    let cdrs = stand.finish().unwrap();
    match expected {
        Some(expected) => check(&cdrs, expected),
        None => assert_eq!(cdrs, []),
    }
}

#[test]
fn a_call_that_the_callee_ends() {
    let expected = Expected {
        status: 200,
        released_by: "callee",
    };
    run("basic-call/callee-hangs-up", Transport::Udp, &expected);
}

#[test]
fn a_call_over_tcp_on_both_sides() {
    let expected = Expected {
        status: 200,
        released_by: "callee",
    };
    run("basic-call/callee-hangs-up", Transport::Tcp, &expected);
}

#[test]
fn long_messages_of_many_calls_share_a_connection() {
    let expected = Expected {
        status: 200,
        released_by: "callee",
    };
    run("tcp/one-connection", Transport::Tcp, &expected);
}

#[test]
fn each_call_may_have_its_connection() {
    run("tcp/connection-a-call", Transport::TcpEach, &CALLER_HANGS_UP);
}

#[test]
fn early_media_reaches_the_caller() {
    run("early-media/ringback", Transport::Udp, &CALLER_HANGS_UP);
}

#[test]
fn a_reliable_answer_is_acknowledged_on_both_sides() {
    run("prack/both-sides", Transport::Udp, &CALLER_HANGS_UP);
}

#[test]
fn a_reliable_answer_reaches_a_caller_that_knows_none() {
    run("prack/caller-without", Transport::Udp, &CALLER_HANGS_UP);
}

#[test]
fn a_caller_that_requires_reliable_answers_reaches_a_callee_that_knows_none() {
    run("prack/callee-without", Transport::Tcp, &CALLER_HANGS_UP);
}

#[test]
fn an_early_session_is_held_by_update() {
    run("update/early", Transport::Udp, &CALLER_HANGS_UP);
}

#[test]
fn a_session_is_refreshed_on_the_side_that_has_a_timer() {
    run("session-timer/refresh", Transport::Udp, &CALLER_HANGS_UP);
}

#[test]
fn a_session_interval_that_is_too_short() {
    let expected = Expected {
        status: 422,
        released_by: "system",
    };
    run_alone(
        "session-timer/too-short",
        &StandOptions::default(),
        Some(&expected),
    );
}

#[test]
fn a_caller_cancels_before_it_rings() {
    let expected = Expected {
        status: 487,
        released_by: "caller",
    };
    run("cancel/before-ringing", Transport::Udp, &expected);
}

#[test]
fn a_caller_cancels_while_it_rings() {
    let expected = Expected {
        status: 487,
        released_by: "caller",
    };
    run("cancel/after-ringing", Transport::Udp, &expected);
}

#[test]
fn a_caller_cancels_over_tcp() {
    let expected = Expected {
        status: 487,
        released_by: "caller",
    };
    run("cancel/after-ringing", Transport::Tcp, &expected);
}

#[test]
fn a_busy_callee() {
    let expected = Expected {
        status: 486,
        released_by: "callee",
    };
    run("reject/busy", Transport::Udp, &expected);
}

#[test]
fn a_callee_that_declines() {
    let expected = Expected {
        status: 603,
        released_by: "callee",
    };
    run("reject/decline", Transport::Udp, &expected);
}

#[test]
fn a_call_is_held_and_taken_back() {
    run("hold/resume", Transport::Udp, &CALLER_HANGS_UP);
}

#[test]
fn a_call_is_held_and_taken_back_over_tcp() {
    run("hold/resume", Transport::Tcp, &CALLER_HANGS_UP);
}

/// The callee is called twice each time: as such, and as the target.
const CALLEE_AND_TARGET: u32 = CALLS * 2;

/// Calls that are transferred, and `callees` that are called; all their records.
fn run_transfer(scenario: &str, callees: u32, options: &StandOptions) -> Option<Vec<Cdr>> {
    let test = scenario.replace('/', "-");
    if !sipp_is_here(&test) {
        return None;
    }
    let mut stand = stand(&test, options);
    let callee = stand.callee(scenario, callees);
    let caller = stand.caller(scenario, CALLS);
    run_both(&mut stand, &callee, &caller);
    stand.wait_until_quiet(Duration::from_secs(10)).unwrap();
    let metrics = stand.control_metrics().unwrap();
    let transfers = |stage| metrics.value("ringpath_control_transfers_total", stage);
    assert_eq!(transfers("completed"), Some(f64::from(CALLS)));
    Some(stand.finish().unwrap())
}

#[test]
fn a_callee_transfers_its_caller() {
    let options = StandOptions {
        // Of the only route, whose section comes last.
        control_extra: "transfer = \"local\"\n".to_owned(),
        ..StandOptions::default()
    };
    if let Some(cdrs) = run_transfer("transfer/blind", CALLEE_AND_TARGET, &options) {
        check(&cdrs, &CALLER_HANGS_UP);
    }
}

#[test]
fn a_caller_joins_both_whom_it_called() {
    let options = StandOptions {
        sip_extra: "caller_transfer = \"local\"\n".to_owned(),
        ..StandOptions::default()
    };
    let Some(cdrs) = run_transfer("transfer/attended", CALLEE_AND_TARGET, &options) else {
        return;
    };
    let ended = |by: &str| {
        cdrs.iter()
            .filter(|cdr| cdr.released_by.as_deref() == Some(by))
            .count()
    };
    // The first calls go on without the caller, the others end with the transfer.
    assert_eq!(
        [ended("callee"), ended("system")],
        [CALLS as usize; 2],
        "{cdrs:#?}"
    );
}

#[test]
fn a_ringing_call_is_picked_up() {
    let options = StandOptions {
        sip_extra: "caller_transfer = \"local\"\n".to_owned(),
        ..StandOptions::default()
    };
    let Some(cdrs) = run_transfer("pickup/ringing", CALLS, &options) else {
        return;
    };
    // Who has picked up is the callee now.
    let expected = Expected {
        status: 200,
        released_by: "callee",
    };
    check(&cdrs, &expected);
}

#[test]
fn a_callee_may_not_transfer_unless_that_was_agreed() {
    let expected = Expected {
        status: 200,
        released_by: "callee",
    };
    run("transfer/refused", Transport::Udp, &expected);
}

#[test]
fn the_offer_comes_with_the_answer() {
    run("late-offer/answer", Transport::Udp, &CALLER_HANGS_UP);
}

#[test]
fn a_call_that_may_be_forwarded_once() {
    run("max-forwards/one", Transport::Udp, &CALLER_HANGS_UP);
}

#[test]
fn a_late_ack_makes_the_answer_come_again() {
    run("loss/late-ack", Transport::Udp, &CALLER_HANGS_UP);
}

#[test]
fn calls_survive_the_loss_of_a_tenth_of_all_messages() {
    run("loss/ten-percent", Transport::Udp, &CALLER_HANGS_UP);
}

/// Calls whose first trunk does not serve: what it is, a socket or a SIPp, lives until the calls are over.
fn run_failover<T>(test: &str, first: impl FnOnce(&mut Stand) -> T) {
    if !sipp_is_here(test) {
        return;
    }
    let options = StandOptions {
        first_trunk: true,
        control_extra: "[limits]\nnext_hop_timeout_ms = 500\n".to_owned(),
        ..StandOptions::default()
    };
    let mut stand = stand(test, &options);
    let _first = first(&mut stand);
    let callee = stand.callee("failover/answer", CALLS);
    let caller = stand.caller("failover/answer", CALLS);
    run_both(&mut stand, &callee, &caller);
    stand.wait_until_quiet(Duration::from_secs(10)).unwrap();
    let metrics = stand.control_metrics().unwrap();
    let skipped = metrics.value("ringpath_control_call_events_total", "next_hop_skipped");
    assert_eq!(skipped, Some(f64::from(CALLS)));
    let cdrs = stand
        .wait_for_cdrs(CALLS as usize, Duration::from_secs(10))
        .unwrap();
    check(&cdrs, &CALLER_HANGS_UP);
    stand.finish().unwrap();
}

#[test]
fn a_dead_trunk_is_left_for_the_second() {
    run_failover("failover-dead", |_| ());
}

#[test]
fn a_silent_trunk_is_left_for_the_second() {
    run_failover("failover-silent", |stand| {
        UdpSocket::bind(stand.first_trunk()).unwrap()
    });
}

#[test]
fn a_trunk_out_of_service_is_left_for_the_second() {
    run_failover("failover-out-of-service", |stand| {
        let mut first = stand.callee("failover/out-of-service", CALLS);
        first.local = stand.first_trunk();
        stand.run(&first).unwrap()
    });
}

/// Calls to a user with two contacts of these preferences: the first plays `first`, the second one answers.
fn run_forking(test: &str, preferences: [&str; 2], first: &str) {
    if !sipp_is_here(test) {
        return;
    }
    let options = StandOptions {
        control_extra: "[registrar]\ndomains = [\"example.com\"]\nalgorithms = [\"MD5\"]\nauth_int = false\n\
                        users_refresh_s = 1\nchallenge_calls = false\n"
            .to_owned(),
        ..StandOptions::default()
    };
    let mut stand = stand(test, &options);
    stand.import_users("phone;secret\n", 1).unwrap();
    let mut rings = stand.callee(first, CALLS);
    rings.local = stand.host().address().unwrap();
    let answers = stand.callee("forking/answer", CALLS);
    let fields = format!(
        "SEQUENTIAL\nphone;[authentication username=phone password=secret];{};{};{};{}\n",
        rings.local, preferences[0], answers.local, preferences[1]
    );
    std::fs::write(stand.folder().join("phone.csv"), fields).unwrap();
    let mut registers = stand.caller("forking/register", 1);
    registers.fields = Some("phone.csv");
    run_caller(&mut stand, &registers);
    let mut caller = stand.caller("forking/answer", CALLS);
    caller.number = "phone";
    let mut ringing = stand.run(&rings).unwrap();
    run_both(&mut stand, &answers, &caller);
    // It is content when each call has come to it and ended as its scenario says.
    ringing.finish(WITHIN).unwrap();
    stand.wait_until_quiet(Duration::from_secs(10)).unwrap();
    let cdrs = stand
        .wait_for_cdrs(CALLS as usize, Duration::from_secs(10))
        .unwrap();
    check(&cdrs, &CALLER_HANGS_UP);
    stand.finish().unwrap();
}

#[test]
fn contacts_of_one_preference_ring_at_once_and_the_others_are_cancelled() {
    run_forking("forking-at-once", ["1.0", "1.0"], "cancel/after-ringing");
}

#[test]
fn the_next_contact_is_called_when_the_preferred_one_is_busy() {
    run_forking("forking-serial", ["1.0", "0.5"], "reject/busy");
}

#[test]
fn options_is_answered() {
    run_alone("options/ping", &StandOptions::default(), None);
}

#[test]
fn an_unknown_method_is_answered() {
    run_alone("method/unknown", &StandOptions::default(), None);
}

#[test]
fn a_call_that_may_not_be_forwarded() {
    let expected = Expected {
        status: 483,
        released_by: "system",
    };
    run_alone("max-forwards/zero", &StandOptions::default(), Some(&expected));
}

#[test]
fn a_number_without_a_route() {
    let options = StandOptions {
        prefix: "9".to_owned(),
        ..StandOptions::default()
    };
    let expected = Expected {
        status: 404,
        released_by: "system",
    };
    run_alone("route/none", &options, Some(&expected));
}

/// Users from a CSV file register with digest, and a killed control plane still has them when it is back.
#[test]
fn users_register_and_outlive_a_kill() {
    let test = "registrar-register";
    if !sipp_is_here(test) {
        return;
    }
    const USERS: u32 = 200;
    let options = StandOptions {
        // What SIPp asks at is our own address, which counts as the domain.
        control_extra: "[registrar]\ndomains = [\"example.com\"]\nalgorithms = [\"MD5\"]\nauth_int = false\n\
                        users_refresh_s = 1\n"
            .to_owned(),
        ..StandOptions::default()
    };
    let mut stand = stand(test, &options);
    let users: String = (0..USERS)
        .map(|user| format!("u{user:06};p{user:06}\n"))
        .collect();
    stand.import_users(&users, u64::from(USERS)).unwrap();
    let fields: String = (0..USERS)
        .map(|user| format!("u{user:06};[authentication username=u{user:06} password=p{user:06}]\n"))
        .collect();
    std::fs::write(stand.folder().join("users.csv"), format!("SEQUENTIAL\n{fields}")).unwrap();
    let mut caller = stand.caller("registrar/register", USERS);
    caller.fields = Some("users.csv");
    caller.rate = 100;
    run_caller(&mut stand, &caller);
    let registered = |stand: &ringpath_bench::stand::Stand| {
        let metrics = stand.control_metrics().unwrap();
        metrics.value("ringpath_control_registrations", "").unwrap()
    };
    assert_eq!(registered(&stand), f64::from(USERS));
    stand.control.kill().unwrap();
    stand.control.restart().unwrap();
    assert_eq!(registered(&stand), f64::from(USERS));
    stand.finish().unwrap();
}
