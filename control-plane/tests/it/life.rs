//! Start, health, stop.

use std::time::Duration;

use sip::HeaderName;

use crate::phone::Phone;
use crate::plane::{Control, Node, Plane, control_binary, wait};

#[test]
fn it_is_ready_within_a_second_even_without_a_media_node() {
    // The best of three: the machine may be busy with other tests, the program may not.
    let fastest = (0..3).map(|_| Control::alone().run().started_in).min().unwrap();
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
}

#[test]
fn health_readiness_and_metrics_tell_how_it_stands() {
    let Some(mut node) = Node::start("health_readiness_and_metrics_tell_how_it_stands") else {
        return;
    };
    let mut control = Control::new(&node.address(), "127.0.0.1:9".parse().unwrap());
    control.extra = "[media]\npoll_interval_ms = 50\n".into();
    let plane = control.start();
    assert_eq!(plane.get("/healthz"), (200, "ok\n".into()));
    plane.wait_for_readiness(200);
    assert_eq!(plane.metric("ringpath_control_media_node_up", "media-1"), 1.0);
    node.plane.kill();
    plane.wait_for_readiness(503);
    assert_eq!(plane.get("/readyz").1, "no media node takes calls\n");
    assert_eq!(plane.metric("ringpath_control_media_node_up", "media-1"), 0.0);
    assert_eq!(plane.get("/healthz").0, 200);
    plane.stop();
}

#[test]
fn every_metric_is_documented() {
    const DOCUMENT: &str = include_str!("../../../docs/operations/control-plane.md");
    let plane = Control::alone().run();
    let (_, page) = plane.get("/metrics");
    let names: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ringpath_control_")?.split(' ').next())
        .collect();
    assert!(names.len() > 30, "{names:?}");
    let missing: Vec<&&str> = names
        .iter()
        .filter(|name| !DOCUMENT.contains(&format!("`{name}`")) && !DOCUMENT.contains(&format!("`{name}{{")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(page.matches("# HELP").count(), page.matches("# TYPE").count());
    plane.stop();
}

#[test]
fn idle_memory_is_below_50_megabytes() {
    let plane = Control::alone().run();
    plane.get("/metrics");
    let status = plane.memory_kib();
    assert!(status < 50 * 1_024, "{status} KiB");
}

/// Once the wait for the signal was an argument of a log line, and not waited for when the line was filtered out.
#[test]
fn it_serves_whatever_the_log_leaves_out() {
    for level in ["warn", "off"] {
        let mut control = Control::alone();
        control.extra = format!("[log]\nfilter = \"{level}\"\n");
        let plane = control.run();
        let phone = Phone::new("quiet");
        let via = phone.address().to_string();
        for number in 0..20 {
            let call_id = format!("quiet-{number}");
            let options = phone
                .request("OPTIONS", "ping", &via, "", &call_id)
                .build()
                .unwrap();
            phone.send(options.bytes(), plane.address("sip udp"));
            assert_eq!(phone.final_of("OPTIONS").status(), Some(200), "{level}");
        }
        assert_eq!(plane.get("/healthz").0, 200, "{level}");
        plane.stop();
    }
}

#[test]
fn a_stop_without_calls_is_quick_and_clean() {
    let control = Control::alone();
    let mut plane = control.start();
    plane.ask_to_stop();
    assert!(plane.ended().success());
    assert!(plane.log().contains("stopped"), "{}", plane.log());
}

#[test]
fn what_is_in_use_is_named() {
    let control = Control::alone();
    let first = control.start();
    let output = |control: &Control| {
        let file = control.folder.path().join("second.toml");
        std::fs::write(&file, control.text()).unwrap();
        std::process::Command::new(control_binary())
            .arg("--config")
            .arg(file)
            .output()
            .unwrap()
    };
    let same_store = output(&control);
    assert_eq!(same_store.status.code(), Some(1));
    let text = String::from_utf8(same_store.stderr).unwrap();
    assert!(
        text.contains("cdr.sqlite.lock is in use by another process"),
        "{text}"
    );
    let mut other = Control::alone();
    other.sip = format!("advertised = \"127.0.0.1\"\nt1_ms = {}", 500);
    let port = first.address("sip udp").port();
    let file = other.folder.path().join("taken.toml");
    std::fs::write(
        &file,
        other
            .text()
            .replace("udp:127.0.0.1:0", &format!("udp:127.0.0.1:{port}")),
    )
    .unwrap();
    let same_port = std::process::Command::new(control_binary())
        .arg("--config")
        .arg(file)
        .output()
        .unwrap();
    assert_eq!(same_port.status.code(), Some(1));
    let text = String::from_utf8(same_port.stderr).unwrap();
    assert!(
        text.contains(&format!(
            "sip.listen udp:127.0.0.1:{port}: Address already in use"
        )),
        "{text}"
    );
}

#[test]
fn a_stop_with_a_call_refuses_new_ones_then_hangs_up_both_parties() {
    let Some(node) = Node::start("a_stop_with_a_call_refuses_new_ones_then_hangs_up_both_parties") else {
        return;
    };
    let (caller, callee, late) = (Phone::new("caller"), Phone::new("callee"), Phone::new("late"));
    let mut control = Control::new(&node.address(), callee.address());
    control.extra = "[shutdown]\ngrace_ms = 60000\n".into();
    let mut plane = control.start();
    plane.wait_for_readiness(200);
    let _call = caller.call(plane.address("sip udp"), "1000", &callee, "stopped");
    plane.ask_to_stop();
    plane.wait_for_readiness(503);
    late.send(late.invite("1000", "late").bytes(), plane.address("sip udp"));
    let refused = late.final_of("INVITE");
    assert_eq!(refused.status(), Some(503));
    assert!(refused.header(HeaderName::RetryAfter).is_some());
    // A second signal ends the grace.
    wait("the grace has begun", || {
        plane.log().contains("new calls are refused")
    });
    plane.ask_to_stop();
    for phone in [&caller, &callee] {
        let (bye, from) = phone.take("BYE");
        phone.answer(&bye, 200, from);
    }
    assert!(plane.ended().success(), "{}", plane.log());
    let rows = crate::records::rows(&control.database());
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (rows[0].status, rows[0].released_by.as_deref()),
        (Some(200), Some("system"))
    );
    assert!(rows[0].ended && rows[0].caller_packets.is_some(), "{rows:?}");
    node.plane.stop();
}

impl Plane {
    /// Resident memory.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}
