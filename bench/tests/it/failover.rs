//! Either plane killed in mid-call, and several media nodes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ringpath_bench::cdr::Cdr;
use ringpath_bench::sipp::{Script, Sipp};
use ringpath_bench::speech::Speech;
use ringpath_bench::speech_calls::{Prepared, SpeechCalls};
use ringpath_bench::stand::{Stand, StandOptions};
use ringpath_bench::wait;
use sans_io::Random;

use crate::bench::{WITHIN, run_both, run_caller, sipp_is_here, stand};

const CALLS: u32 = 3;
const SOON: Duration = Duration::from_secs(10);

/// Short calls that are over when this returns.
fn short_calls(stand: &mut Stand, calls: u32) {
    let callee = stand.callee("max-forwards/one", calls);
    let caller = stand.caller("max-forwards/one", calls);
    run_both(stand, &callee, &caller);
}

fn ended(cdrs: &[Cdr], by: &str) -> usize {
    let is = |cdr: &&Cdr| cdr.ended && cdr.answered && cdr.released_by.as_deref() == Some(by);
    cdrs.iter().filter(is).count()
}

#[test]
fn media_goes_on_when_the_control_plane_is_killed_and_no_record_is_lost() {
    const LEASE: Duration = Duration::from_secs(6);
    let test = "failover-control";
    if !sipp_is_here(test) {
        return;
    }
    let options = StandOptions {
        control_extra: format!("[media]\nlease_ms = {}\n", LEASE.as_millis()),
        ..StandOptions::default()
    };
    let mut stand = stand(test, &options);
    let prepared = Prepared::new(&mut stand, CALLS, "speech").unwrap();
    let speech = Arc::new(Speech::load().unwrap());
    let mut random = Random::from_number(5);
    let length = Duration::from_secs(60);
    let mut calls = SpeechCalls::start(&mut stand, prepared, &speech, 10, length, &mut random).unwrap();
    calls.follow_until_received(&[0; 6], 50, SOON).unwrap();

    stand.control.kill().unwrap();

    // Two seconds of speech, every packet of it, with nobody to control it.
    let before = calls.received();
    calls.follow_until_received(&before, 100, SOON).unwrap();
    assert_eq!(stand.held().unwrap().calls, u64::from(CALLS));

    // Nobody renews the leases.
    stand.wait_until_quiet(LEASE + SOON).unwrap();

    stand.control.restart().unwrap();
    let cdrs = stand.wait_for_cdrs(CALLS as usize, SOON).unwrap();
    assert_eq!(cdrs.len(), CALLS as usize, "{cdrs:#?}");
    assert_eq!(ended(&cdrs, "system"), CALLS as usize, "{cdrs:#?}");
    calls.caller.process().kill().unwrap();
    calls.callee.process().kill().unwrap();
    let (_, outcome) = calls.finish().unwrap();
    assert_eq!(
        (outcome.faults.corrupt, outcome.faults.foreign),
        (0, 0),
        "{outcome:?}"
    );

    // And it works again.
    short_calls(&mut stand, CALLS);
    stand.finish().unwrap();
}

#[test]
fn a_killed_control_plane_loses_no_record_of_a_call_that_had_ended() {
    let test = "failover-records";
    if !sipp_is_here(test) {
        return;
    }
    // What the plane had not yet deleted on the node when it died goes with its lease.
    let options = StandOptions {
        control_extra: "[media]\nlease_ms = 4000\n".to_owned(),
        ..StandOptions::default()
    };
    let mut stand = stand(test, &options);
    // SIPp ends with the answer to the last BYE; the plane is killed at once, before it can have drained its journal
    // for certain.
    short_calls(&mut stand, CALLS);
    stand.control.kill().unwrap();
    stand.control.restart().unwrap();
    let cdrs = stand.wait_for_cdrs(CALLS as usize, SOON).unwrap();
    assert_eq!(
        (cdrs.len(), ended(&cdrs, "caller")),
        (CALLS as usize, CALLS as usize),
        "{cdrs:#?}"
    );
    stand.finish().unwrap();
}

/// Calls that last until the control plane ends them, all answered when this returns.
fn lasting_calls(stand: &mut Stand) -> [Sipp; 2] {
    let callee = stand.callee("failure/both-are-released", CALLS);
    let caller = stand.caller("failure/both-are-released", CALLS);
    let callee = stand.run(&callee).unwrap();
    let caller = stand.run(&caller).unwrap();
    wait::until_true("the calls to be answered", SOON, || {
        Ok(stand.cdrs()?.iter().filter(|cdr| cdr.answered).count() == CALLS as usize)
    })
    .unwrap();
    [caller, callee]
}

/// SIPp is content when each call gets its BYE.
fn both_are_released(stand: &Stand, sipps: &mut [Sipp; 2]) {
    for sipp in sipps {
        if let Err(error) = sipp.finish(WITHIN) {
            panic!("{error:#}\n{}", stand.control.log_tail());
        }
    }
    let cdrs = stand.wait_for_cdrs(CALLS as usize, SOON).unwrap();
    assert_eq!(
        (cdrs.len(), ended(&cdrs, "system")),
        (CALLS as usize, CALLS as usize),
        "{cdrs:#?}"
    );
}

#[test]
fn calls_of_a_killed_media_node_end_with_their_lease_and_new_ones_wait_for_it() {
    let test = "failover-node";
    if !sipp_is_here(test) {
        return;
    }
    // A node that is away for a shorter time may come back with its calls: media does not need the control plane.
    let options = StandOptions {
        control_extra: "[media]\nlease_ms = 4000\n".to_owned(),
        ..StandOptions::default()
    };
    let mut stand = stand(test, &options);
    let mut sipps = lasting_calls(&mut stand);
    stand.nodes[0].kill().unwrap();
    both_are_released(&stand, &mut sipps);

    let refused = stand.caller("overload/no-media-node", CALLS);
    run_caller(&mut stand, &refused);

    stand.nodes[0].restart().unwrap();
    wait_until_up(&stand, "media-1");
    short_calls(&mut stand, CALLS);
    stand.finish().unwrap();
}

#[test]
fn calls_that_a_restarted_media_node_does_not_know_end_at_once() {
    let test = "failover-node-restart";
    if !sipp_is_here(test) {
        return;
    }
    let mut stand = stand(test, &StandOptions::default());
    let mut sipps = lasting_calls(&mut stand);
    stand.nodes[0].kill().unwrap();
    stand.nodes[0].forget().unwrap();
    stand.nodes[0].restart().unwrap();
    // Well before the lease of 60 s.
    both_are_released(&stand, &mut sipps);
    short_calls(&mut stand, CALLS);
    stand.finish().unwrap();
}

#[test]
fn calls_of_a_media_node_that_is_killed_and_comes_back_go_on() {
    let test = "failover-node-back";
    if !sipp_is_here(test) {
        return;
    }
    let mut stand = stand(test, &StandOptions::default());
    let callee = Script {
        talk: Duration::from_secs(6),
        ..stand.callee("basic-call/callee-hangs-up", CALLS)
    };
    let caller = stand.caller("basic-call/callee-hangs-up", CALLS);
    let callee = stand.run(&callee).unwrap();
    let caller = stand.run(&caller).unwrap();
    wait::until_true("the calls to be answered", SOON, || {
        Ok(stand.cdrs()?.iter().filter(|cdr| cdr.answered).count() == CALLS as usize)
    })
    .unwrap();
    stand.nodes[0].kill().unwrap();
    stand.nodes[0].restart().unwrap();
    assert_eq!(stand.held().unwrap().calls, u64::from(CALLS));
    // Until their parties hang up.
    for mut sipp in [caller, callee] {
        if let Err(error) = sipp.finish(WITHIN) {
            panic!("{error:#}\n{}", stand.control.log_tail());
        }
    }
    let cdrs = stand.wait_for_cdrs(CALLS as usize, SOON).unwrap();
    assert_eq!(
        (cdrs.len(), ended(&cdrs, "callee")),
        (CALLS as usize, CALLS as usize),
        "{cdrs:#?}"
    );
    short_calls(&mut stand, CALLS);
    stand.finish().unwrap();
}

#[test]
fn calls_go_to_the_node_with_most_room_and_pass_over_one_that_drains_or_dies() {
    let test = "failover-two-nodes";
    if !sipp_is_here(test) {
        return;
    }
    let options = StandOptions {
        nodes: vec![200, 200],
        ..StandOptions::default()
    };
    let mut stand = stand(test, &options);
    let nodes_of =
        |cdrs: &[Cdr]| -> BTreeSet<String> { cdrs.iter().filter_map(|cdr| cdr.node.clone()).collect() };

    // At once, so that each call changes what room is left.
    let callee = stand.callee("basic-call/callee-hangs-up", 10);
    let callee = Script {
        talk: Duration::from_secs(2),
        ..callee
    };
    let caller = stand.caller("basic-call/callee-hangs-up", 10);
    run_both(&mut stand, &callee, &caller);
    let cdrs = stand.wait_for_cdrs(10, SOON).unwrap();
    let both = BTreeSet::from(["media-1".to_owned(), "media-2".to_owned()]);
    assert_eq!(nodes_of(&cdrs), both, "{cdrs:#?}");

    // One that drains is passed over from the first call on, whether the control plane has noticed or not.
    stand.node_client(0).unwrap().drain(true).unwrap();
    short_calls(&mut stand, 5);
    let all = stand.wait_for_cdrs(15, SOON).unwrap();
    let drained = &all[10..];
    assert_eq!(
        nodes_of(drained),
        BTreeSet::from(["media-2".to_owned()]),
        "{drained:#?}"
    );

    stand.node_client(0).unwrap().drain(false).unwrap();
    wait_until_up(&stand, "media-1");
    // So is one that has just died.
    stand.nodes[1].kill().unwrap();
    short_calls(&mut stand, 5);
    let all = stand.wait_for_cdrs(20, SOON).unwrap();
    let killed = &all[15..];
    assert_eq!(
        nodes_of(killed),
        BTreeSet::from(["media-1".to_owned()]),
        "{killed:#?}"
    );
    stand.nodes[1].restart().unwrap();
    wait_until_up(&stand, "media-2");
    stand.finish().unwrap();
}

fn wait_until_up(stand: &Stand, node: &str) {
    let label = format!("node=\"{node}\"");
    wait::until_true("the control plane to take the node", SOON, || {
        Ok(stand.control_metrics()?.value("media_node_up", &label) == Some(1.0))
    })
    .unwrap();
}
