//! The test bed of `make bench-relay`: it relays, it counts, and nothing is left of it. Needs root.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ringpath_bench::endpoint::Faults;
use ringpath_bench::process::Process;
use ringpath_bench::relay::bed::Bed;
use ringpath_bench::relay::contender::{Contender, System};
use ringpath_bench::relay::load::{Kind, Load};
use ringpath_bench::relay::privilege;
use ringpath_bench::wait;
use rustix::process::Signal;

use crate::bench::{folder, skip};

const CALLS: u32 = 5;

/// `None`, with a line that says why, when no bed can be made here; a failure under `STRICT=1`.
fn cores(test: &str) -> Option<privilege::Cores> {
    match privilege::check() {
        Ok(cores) => Some(cores),
        Err(reason) => {
            skip(test, &reason.to_string());
            None
        }
    }
}

/// Interfaces and kernel threads of beds belong to this process' children, so their ends can be told from others'.
fn receive_threads(bed: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path().join("comm")).ok())
        .filter(|name| name.starts_with(&format!("napi/{bed}-")))
        .count()
}

/// Whether live frames can be had; a line that says why not, and a failure under `STRICT=1`, when they can't.
fn live_frames(test: &str) -> bool {
    match ebpf::Load::new(2) {
        Ok(_) => true,
        Err(error) => {
            skip(test, &error.to_string());
            false
        }
    }
}

fn relays(test: &str, kind: Kind, system: System) {
    let Some(cores) = cores(test) else { return };
    if kind == Kind::Live && !live_frames(test) {
        return;
    }
    let folder = folder(test);
    // A thread enters the namespace for good, so it is one of its own; children start from it too, and end with it.
    let measuring = std::thread::spawn(move || {
        let bed = Bed::make(cores, true, &folder).unwrap();
        let interface = bed.relay_interface().to_owned();
        assert_eq!(receive_threads(&interface), 1);
        bed.enter().unwrap();
        let (mut load, _) = Load::new(kind, &bed, CALLS, &folder).unwrap();
        let parties = load.parties();
        let contender = Contender::start(system, &bed, CALLS, parties, &folder).unwrap();
        contender.attract(&mut load).unwrap();
        contender.settle(&mut load).unwrap();
        let before = contender.work(&bed).unwrap();
        let outcome = load.run(CALLS, Duration::from_millis(600)).unwrap();
        let after = contender.work(&bed).unwrap();
        assert!(
            system.is_in_kernel() || after.process > before.process,
            "the process' time is read"
        );
        assert!(
            after.receive > before.receive,
            "the receive thread's time is read"
        );
        assert!(contender.resident_bytes().unwrap() > 0);
        contender.stop().unwrap();
        (interface, outcome)
    });
    let (interface, outcome) = measuring.join().unwrap();
    // Thirty packets a stream.
    let all = u64::from(CALLS) * 2 * 30;
    assert_eq!(
        (outcome.sent, outcome.received, outcome.lost, outcome.duplicates),
        (all, all, 0, 0),
        "{:?}",
        outcome.faults
    );
    assert_eq!(outcome.faults, Faults::default());
    assert_eq!(outcome.latency_us.len(), all);
    wait::until_true("the bed to vanish", Duration::from_secs(10), || {
        Ok(receive_threads(&interface) == 0)
    })
    .unwrap();
}

#[test]
fn the_yardstick_relays_every_packet_and_the_bed_vanishes() {
    relays("relay-bare-epoll", Kind::Sockets, System::BareEpoll);
}

#[test]
fn the_load_of_live_frames_is_relayed_and_counted_as_that_of_sockets_is() {
    relays("relay-bare-epoll-live", Kind::Live, System::BareEpoll);
}

#[test]
fn the_bare_echo_sends_every_packet_to_the_other_party() {
    relays("relay-bare-xdp", Kind::Live, System::BareXdpEcho);
}

#[test]
fn the_program_of_the_kernel_path_relays_every_packet_in_the_bed() {
    relays("relay-program", Kind::Live, System::RelayProgram);
}

#[test]
fn a_media_node_relays_every_packet_in_the_bed() {
    relays("relay-socket", Kind::Live, System::Ringpath("socket"));
}

#[test]
fn a_media_node_relays_every_packet_in_the_bed_by_one_socket_for_all_ports() {
    relays("relay-uring", Kind::Live, System::Ringpath("uring"));
}

#[test]
fn a_media_node_relays_every_packet_in_the_bed_by_af_xdp() {
    relays("relay-xsk", Kind::Live, System::Ringpath("xsk"));
}

#[test]
fn a_media_node_relays_every_packet_in_the_bed_on_the_kernel_path() {
    relays("relay-kernel", Kind::Live, System::Ringpath("kernel"));
}

#[test]
fn the_load_of_frames_is_relayed_and_counted_as_that_of_sockets_is() {
    relays("relay-bare-epoll-frames", Kind::Frames, System::BareEpoll);
}

#[test]
fn a_media_node_relays_every_packet_of_callers_with_srtp_by_af_xdp() {
    relays("relay-xsk-srtp", Kind::Frames, System::Ringpath("xsk-srtp"));
}

#[test]
fn a_media_node_relays_every_packet_of_callers_with_srtp() {
    relays("relay-uring-srtp", Kind::Sockets, System::Ringpath("uring-srtp"));
}

#[test]
fn rtpengine_relays_every_packet_of_callers_with_srtp() {
    if ringpath_bench::relay::rtpengine::is_installed() {
        relays("relay-rtpengine-srtp", Kind::Sockets, System::RtpengineSrtp);
    } else {
        skip(
            "relay-rtpengine-srtp",
            "rtpengine is not installed; run `make bench-bootstrap`",
        );
    }
}

#[test]
fn rtpengine_relays_every_packet_in_the_bed() {
    if ringpath_bench::relay::rtpengine::is_installed() {
        relays("relay-rtpengine", Kind::Live, System::Rtpengine);
    } else {
        skip(
            "relay-rtpengine",
            "rtpengine is not installed; run `make bench-bootstrap`",
        );
    }
}

#[test]
fn a_killed_comparison_leaves_nothing_behind() {
    let test = "relay-killed";
    if cores(test).is_none() {
        return;
    }
    let folder = folder(test);
    let program = Path::new(env!("CARGO_BIN_EXE_ringpath-kit"));
    let words = ["relay", "--folder=results", "--calls=5", "--rounds=1"];
    let mut comparison = Process::start("comparison", program, words, &[], &folder).unwrap();
    let children = || {
        let pid = comparison_children(comparison.id());
        (pid.len() >= 3).then_some(pid)
    };
    // Two that hold the namespaces, and a relay.
    let children = wait::until("a relay", Duration::from_secs(20), || Ok(children())).unwrap();
    comparison.signal(Signal::KILL).unwrap();
    comparison.wait(Duration::from_secs(10)).unwrap();
    wait::until_true("the children to end", Duration::from_secs(10), || {
        Ok(children
            .iter()
            .all(|child| !Path::new(&format!("/proc/{child}")).exists() || is_zombie(*child)))
    })
    .unwrap();
}

fn comparison_children(pid: u32) -> Vec<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .map(|child| child.parse().unwrap())
        .collect()
}

/// Ended, and not yet waited for by whoever inherited it.
fn is_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

#[test]
fn without_privilege_the_comparison_says_so_and_does_nothing() {
    let test = "relay-unprivileged";
    // Dropping what one has needs privilege as well.
    if cores(test).is_none() {
        return;
    }
    let folder = folder(test);
    std::fs::create_dir_all(&folder).unwrap();
    let output = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--"])
        .arg(env!("CARGO_BIN_EXE_ringpath-kit"))
        .args(["relay", "--folder=results"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("CAP_NET_ADMIN") && said.contains("root"), "{said}");
    assert!(!folder.join("results").exists());
}
