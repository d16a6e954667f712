use ebpf::{Program, Steering};

use crate::bench;

/// The kernel gives up at a million.
const INSTRUCTIONS_MAX: u32 = 500_000;

/// Prints both counts, and holds the second against the limit.
fn assert_room(name: &str, program: &Program) {
    let (instructions, verified) = (
        program.instructions().unwrap(),
        program.instructions_verified().unwrap(),
    );
    println!("{name}: {instructions} instructions, {verified} verified");
    assert!(verified < INSTRUCTIONS_MAX, "{verified}");
}

#[test]
fn the_verifier_takes_the_relay_with_room_to_spare() {
    if let Some(relay) = bench::relay("verifier") {
        assert_room("relay (XDP)", relay.program());
        assert_room("relay (TC)", relay.tc_program().unwrap());
    }
}

#[test]
fn the_verifier_takes_the_steering_program() {
    match Steering::load(&[]) {
        Err(error) if error.is_unavailable() => bench::skip("steering", &error),
        steering => assert_room("steer (sk_lookup)", steering.unwrap().program()),
    }
}

#[test]
fn the_verifier_takes_the_program_of_af_xdp_sockets() {
    match Steering::load(&[]) {
        Err(error) if error.is_unavailable() => bench::skip("xsk", &error),
        steering => assert_room("xsk (XDP)", steering.unwrap().load_xsks().unwrap().program()),
    }
}

#[test]
fn the_program_for_the_peer_end_passes_everything() {
    let program = match Program::load_pass() {
        Err(error) if error.is_unavailable() => return bench::skip("pass", &error),
        program => program.unwrap(),
    };
    assert_room("pass (XDP)", &program);
    let ran = program.run(&[0; 60], 1).unwrap();
    assert_eq!((ran.action, ran.packet), (ebpf::Action::Pass, vec![0; 60]));
}
