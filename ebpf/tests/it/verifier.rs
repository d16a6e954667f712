use ebpf::Program;

use crate::bench;

/// The kernel gives up at a million.
const INSTRUCTIONS_MAX: u32 = 500_000;

#[test]
fn the_verifier_takes_the_relay_with_room_to_spare() {
    let Some(relay) = bench::relay("verifier") else {
        return;
    };
    let program = relay.program();
    let verified = program.instructions_verified().unwrap();
    println!(
        "relay (XDP): {} instructions, {verified} verified",
        program.instructions().unwrap()
    );
    assert!(verified < INSTRUCTIONS_MAX, "{verified}");
}

#[test]
fn the_program_for_the_peer_end_passes_everything() {
    let program = match Program::load_pass() {
        Err(error) if error.is_unavailable() => return bench::skip("pass", &error),
        program => program.unwrap(),
    };
    println!(
        "pass (XDP): {} instructions, {} verified",
        program.instructions().unwrap(),
        program.instructions_verified().unwrap()
    );
    let ran = program.run(&[0; 60], 1).unwrap();
    assert_eq!((ran.action, ran.packet), (ebpf::Action::Pass, vec![0; 60]));
}
