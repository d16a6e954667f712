//! What a thousand calls leave behind: nothing.

use std::time::Duration;

use crate::node::{Backend, Node, Settings, call, delete, line, on_both_backends, own_address};
use crate::party::{Party, local_rtp};
use crate::process::PATIENCE;

on_both_backends!(a_thousand_calls_leave_ports_files_and_memory_as_they_were);

struct Footprint {
    files: usize,
    resident_kb: u64,
}

fn footprint(node: &Node) -> Footprint {
    let files = std::fs::read_dir(node.process.proc().join("fd"))
        .expect("it runs")
        .count();
    let text = std::fs::read_to_string(node.process.proc().join("statm")).expect("it runs");
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .expect("resident")
        .parse()
        .expect("a number");
    Footprint {
        files,
        resident_kb: pages * 4,
    }
}

async fn cycle(node: &mut Node, calls: std::ops::Range<usize>, a: &mut Party, b: &Party) {
    for n in calls {
        let id = format!("cycle-{n}");
        let request = call(&id, line(Some(a.address())), line(Some(b.address())));
        let made = node
            .client
            .create_call(request)
            .await
            .expect("created")
            .into_inner()
            .call
            .expect("a call");
        if n % 10 == 0 {
            a.send(local_rtp(&made, 0), 1).await;
            b.receive(1).await;
        }
        node.client.delete_call(delete(&id)).await.expect("deleted");
    }
}

async fn a_thousand_calls_leave_ports_files_and_memory_as_they_were(backend: Backend) {
    let limits = "port_quarantine_ms = 0".into();
    let mut node = Node::with(
        backend,
        Settings {
            limits,
            ..Settings::default()
        },
    )
    .await;
    let (mut a, b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    // What is kept for repeated deletes is bounded at 1,024 calls: full before the measurement begins.
    cycle(&mut node, 0..1_100, &mut a, &b).await;
    node.metric_becomes("ringpath_dataplane_port_pairs", "state=\"free\"", 500)
        .await;
    let before = footprint(&node);
    cycle(&mut node, 1_100..2_100, &mut a, &b).await;
    node.metric_becomes("ringpath_dataplane_port_pairs", "state=\"free\"", 500)
        .await;
    node.metric_becomes("ringpath_dataplane_calls", "", 0).await;
    // The connection of the last scrape may still be closing.
    let same = async {
        while footprint(&node).files > before.files {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let same = tokio::time::timeout(PATIENCE, same).await;
    let after = footprint(&node);
    assert!(same.is_ok(), "{} files, then {}", before.files, after.files);
    // One kilobyte a call would be a thousand.
    assert!(
        after.resident_kb < before.resident_kb + 500,
        "{} kB, then {} kB",
        before.resident_kb,
        after.resident_kb
    );
    node.stop().await;
}
