//! The limit of open files, in a process of its own since the limit is the process's.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use net_io::{IoConfig, OpenError, PacketIo, Ports};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::back_end::{LOOPBACK_V4, expect, expect_all_frames_back, open, peer, sockets, uring};

/// Set in the child process.
const CHILD: &str = "NET_IO_TEST_CHILD";

/// Runs the test of this name again, in a child process; true in the child.
fn in_a_child(name: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let executable = std::env::current_exe().expect("the test binary");
    let output = Command::new(executable)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .expect("the test binary runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    print!("{text}");
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

fn limit_files(to: u64) {
    let limit = Rlimit {
        current: Some(to),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    setrlimit(Resource::Nofile, limit).expect("lowering a limit");
}

#[test]
fn sockets_run_out_with_the_files() {
    if !in_a_child("limits::sockets_run_out_with_the_files") {
        return;
    }
    let mut io = sockets(&IoConfig::default());
    limit_files(descriptors() as u64 + 20);
    let mut ports = Vec::new();
    let error = loop {
        match io.open(SocketAddr::new(LOOPBACK_V4, 0)) {
            Ok(port) => ports.push(port),
            Err(error) => break error,
        }
    };
    assert_eq!(error, OpenError::Exhausted);
    assert!((15..=25).contains(&ports.len()), "{} ports", ports.len());
    // One closed is one to open.
    io.close(ports.pop().unwrap());
    io.poll(Some(Duration::ZERO)).unwrap();
    assert!(io.open(SocketAddr::new(LOOPBACK_V4, 0)).is_ok());
    assert_eq!(
        io.open(SocketAddr::new(LOOPBACK_V4, 0)),
        Err(OpenError::Exhausted)
    );
}

#[test]
fn ports_of_a_ring_take_no_descriptors_and_run_out_with_its_file_table() {
    let name = "limits::ports_of_a_ring_take_no_descriptors_and_run_out_with_its_file_table";
    if !in_a_child(name) {
        return;
    }
    let outside = peer(LOOPBACK_V4);
    limit_files(50);
    let Some(mut io) = uring(name, &IoConfig::default()) else {
        return;
    };
    let (first, local) = open(&mut io, LOOPBACK_V4);
    let before = descriptors();
    let mut ports = 1;
    let error = loop {
        match io.open(SocketAddr::new(LOOPBACK_V4, 0)) {
            Ok(_) => ports += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error, ports), (OpenError::Exhausted, 50));
    assert_eq!(descriptors(), before);
    outside.send_to(b"still here", local).unwrap();
    let frame = expect(&mut io, first, outside.local_addr().unwrap(), b"still here");
    io.release(frame);
    expect_all_frames_back(&mut io);
}
