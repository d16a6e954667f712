//! What operators see and set: health, metrics, cores, the limit of files, memory.

use std::time::Duration;

use proto::media_v1 as wire;

use crate::node::{Backend, Node, Settings, call, delete, line, on_both_backends, own_address};
use crate::party::{Party, local_rtp};
use crate::process::{Process, command};

/// Where operators read what each metric means.
const DOCUMENT: &str = include_str!("../../../docs/operations/media-node.md");

on_both_backends!(
    an_idle_node_is_small_and_starts_at_once,
    every_metric_has_a_help_text_and_moves_with_traffic,
    workers_are_pinned_within_the_cores_of_the_process,
    the_limit_of_files_limits_the_calls_in_words,
);

/// A field of `/proc/PID/status`, in kB where it has a unit.
fn status(process: &Process, field: &str) -> String {
    let text = std::fs::read_to_string(process.proc().join("status")).expect("it runs");
    let line = text
        .lines()
        .find(|line| line.starts_with(field))
        .expect("the field");
    line.split_once(':')
        .expect("a value")
        .1
        .trim()
        .trim_end_matches(" kB")
        .to_owned()
}

async fn an_idle_node_is_small_and_starts_at_once(backend: Backend) {
    let clock = ops::clock::MonotonicClock::start();
    let asked = clock.now();
    let started = Node::start_process(
        backend,
        &Settings {
            workers: 2,
            ..Settings::default()
        },
    );
    let took = clock.now().saturating_since(asked);
    assert!(took < Duration::from_secs(1), "start to ready took {took:?}");
    let resident_kb: u64 = status(&started.process, "VmRSS").parse().expect("a number");
    assert!(resident_kb < 50_000, "{resident_kb} kB");
}

async fn every_metric_has_a_help_text_and_moves_with_traffic(backend: Backend) {
    let mut node = Node::start(backend).await;
    assert_eq!(
        node.http("/healthz").await,
        ("HTTP/1.1 200 OK".into(), "ok\n".into())
    );
    assert_eq!(
        node.http("/readyz").await,
        ("HTTP/1.1 200 OK".into(), "ready\n".into())
    );
    let (mut a, mut b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let request = call("m", line(Some(a.address())), line(Some(b.address())));
    let made = node
        .client
        .create_call(request)
        .await
        .expect("created")
        .into_inner()
        .call
        .expect("a call");
    a.send(local_rtp(&made, 0), 30).await;
    b.receive(30).await;
    b.send(local_rtp(&made, 1), 20).await;
    a.receive(20).await;

    node.metric_becomes("ringpath_dataplane_packets_received_total", "worker=\"0\"", 50)
        .await;
    node.metric_becomes("ringpath_dataplane_packets_sent_total", "", 50)
        .await;
    assert_eq!(node.metric("ringpath_dataplane_calls", "").await, 1);
    assert_eq!(
        node.metric("ringpath_dataplane_events_total", "kind=\"first_packet\"")
            .await,
        2
    );
    assert_eq!(
        node.metric("ringpath_dataplane_sources_learned_total", "").await,
        2
    );
    assert_eq!(
        node.metric(
            "ringpath_dataplane_commands_total",
            "command=\"create\",result=\"ok\""
        )
        .await,
        1
    );
    assert_eq!(
        node.metric(
            "ringpath_dataplane_node_info",
            &format!("backend=\"{}\"", backend.name())
        )
        .await,
        1
    );
    assert!(
        node.metric("ringpath_dataplane_worker_system_calls_total", "")
            .await
            > 0
    );
    assert!(node.metric("ringpath_dataplane_worker_wake_ups_total", "").await > 0);
    assert!(node.metric("ringpath_dataplane_worker_turns_total", "").await > 0);
    assert_eq!(node.metric("ringpath_dataplane_commands_under_way", "").await, 0);
    // Measured over a whole second: some of the 50 packets fall into one.
    let measured = async {
        while node.metric("ringpath_dataplane_packets_per_second", "").await == 0 {
            a.send(local_rtp(&made, 0), 10).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(crate::process::PATIENCE, measured)
        .await
        .expect("a rate");

    // From a loopback address the kernel sends to none outside: each packet is an error of its reason.
    let away = line(Some("192.0.2.1:4000".parse().expect("an address")));
    let made = node
        .client
        .create_call(call("away", line(Some(a.address())), away))
        .await
        .expect("created");
    let made = made.into_inner().call.expect("a call");
    a.send(local_rtp(&made, 0), 7).await;
    node.metric_becomes(
        "ringpath_dataplane_send_errors_total",
        "reason=\"unreachable\"",
        7,
    )
    .await;
    node.client.delete_call(delete("away")).await.expect("deleted");

    node.client.delete_call(delete("m")).await.expect("deleted");
    node.metric_becomes("ringpath_dataplane_calls", "", 0).await;
    node.metric_becomes("ringpath_dataplane_port_pairs", "state=\"quarantined\"", 4)
        .await;
    let (_, text) = node.http("/metrics").await;
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).expect("a name");
        let short = name.trim_start_matches("ringpath_dataplane_");
        let documented = [format!("`{short}`"), format!("`{short}{{")];
        assert!(
            documented.iter().any(|form| DOCUMENT.contains(form)),
            "{name} is not in the document"
        );
        assert!(
            text.contains(&format!("# HELP {name} ")),
            "{name} has no help text"
        );
    }
    assert!(text.ends_with("# EOF\n"));
    node.stop().await;
}

async fn workers_are_pinned_within_the_cores_of_the_process(backend: Backend) {
    let set = rustix::thread::sched_getaffinity(None).expect("the kernel says");
    let core = (0..rustix::thread::CpuSet::MAX_CPU)
        .rev()
        .find(|&core| set.is_set(core))
        .expect("one at least");
    let config = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(
        config.path(),
        Settings {
            workers: 0,
            ..Settings::default()
        }
        .toml(),
    )
    .expect("written");

    // taskset leaves it one core: one worker for each core that it may use is then one, pinned there.
    let binary = command(config.path());
    let mut taskset = std::process::Command::new("taskset");
    taskset
        .arg("-c")
        .arg(core.to_string())
        .arg(binary.get_program())
        .args(binary.get_args());
    let Ok(process) = Process::spawn(taskset.args(["--backend", backend.name()])) else {
        let reason = "SKIP workers_are_pinned_within_the_cores_of_the_process: no taskset";
        assert!(
            std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
            "{reason}"
        );
        eprintln!("{reason}");
        return;
    };
    let node = Node::take(process, backend);
    let (_, text) = crate::node::http(node.ops, "/metrics").await;
    assert!(
        text.contains(&format!(
            "ringpath_dataplane_worker_core{{worker=\"0\"}} {core}\n"
        )),
        "{text}"
    );
    assert!(
        !text.contains("ringpath_dataplane_worker_core{worker=\"1\"}"),
        "{text}"
    );
    let allowed = thread_cores(&node.process, "worker-0");
    assert_eq!(allowed, core.to_string());

    // A core that is not there: said, and no reason not to run.
    let toml = Settings::default()
        .toml()
        .replace("count = 1", "count = 1\ncores = [1023]");
    let process = Process::start(&toml, &["--backend", backend.name()]);
    let node = Node::take(process, backend);
    assert!(
        node.process.log().contains("worker not pinned"),
        "{}",
        node.process.log()
    );
    let (_, text) = crate::node::http(node.ops, "/metrics").await;
    assert!(
        text.contains("ringpath_dataplane_worker_core{worker=\"0\"} -1\n"),
        "{text}"
    );
}

/// The cores that a thread of the node may use.
fn thread_cores(process: &Process, name: &str) -> String {
    let tasks = std::fs::read_dir(process.proc().join("task")).expect("it runs");
    for task in tasks {
        let path = task.expect("a task").path();
        let comm = std::fs::read_to_string(path.join("comm")).expect("it runs");
        if comm.trim() == name {
            let text = std::fs::read_to_string(path.join("status")).expect("it runs");
            let line = text
                .lines()
                .find(|line| line.starts_with("Cpus_allowed_list:"))
                .expect("the field");
            return line.split_once(':').expect("a value").1.trim().to_owned();
        }
    }
    panic!("no thread {name}")
}

async fn the_limit_of_files_limits_the_calls_in_words(backend: Backend) {
    let config = tempfile::NamedTempFile::new().expect("a file");
    let settings = Settings {
        grpc: "connections_max = 36".into(),
        ..Settings::default()
    };
    std::fs::write(config.path(), settings.toml()).expect("written");
    let binary = command(config.path());
    let mut shell = std::process::Command::new("sh");
    // The soft limit is raised to the hard one by the node itself.
    shell
        .arg("-c")
        .arg("ulimit -Sn 200 && ulimit -Hn 500 && exec \"$0\" \"$@\"");
    shell
        .arg(binary.get_program())
        .args(binary.get_args())
        .args(["--backend", backend.name()]);
    let node = Node::take(Process::spawn(&mut shell).expect("sh"), backend);
    let channel = node.channel().await;
    let mut node = node.into_node(channel);
    let capacity = node
        .client
        .describe(wire::DescribeRequest {})
        .await
        .expect("answers")
        .into_inner()
        .capacity;
    // 500 less 64 and 36, four a call; a ring's table has 500 places of its own.
    let calls_max = if backend == Backend::Socket { 100 } else { 125 };
    assert_eq!(capacity.expect("capacity").calls_max, calls_max);
    assert!(
        node.process
            .log()
            .contains(&format!("leaves room for {calls_max} calls")),
        "{}",
        node.process.log()
    );
    for n in 0..calls_max {
        node.client
            .create_call(call(&n.to_string(), line(None), line(None)))
            .await
            .expect("as promised");
    }
    let status = node
        .client
        .create_call(call("more", line(None), line(None)))
        .await
        .expect_err("full");
    assert_eq!(crate::node::refusal(&status), "no_capacity");
    node.stop().await;
}
