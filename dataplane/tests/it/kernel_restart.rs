//! Calls on the kernel path over the end of the process: packets are counted where they arrive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use proto::media_v1 as wire;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::node::{Backend, Node, Settings};
use crate::party::{packet_in, rtp};
use crate::process::{PATIENCE, Process};
use crate::wire::{Bed, BpfFs, Call, pinned, run, settings};

/// Between two packets of a party.
const PAUSE: Duration = Duration::from_millis(2);

fn kept(kernel: &str, state: &TempDir) -> Settings {
    Settings {
        state: state.path().display().to_string(),
        ..settings(kernel)
    }
}

/// A party that sends all the time, and the other, which notes what comes.
struct Speech {
    stop: Arc<AtomicBool>,
    /// The number of the next packet.
    next: Arc<AtomicU16>,
    sending: JoinHandle<()>,
    hearing: JoinHandle<Vec<u16>>,
    first: u16,
}

impl Speech {
    fn start(from: Arc<UdpSocket>, ssrc: u32, first: u16, to: SocketAddr, at: Arc<UdpSocket>) -> Self {
        let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU16::new(first)));
        let sending = tokio::spawn({
            let (stop, next) = (stop.clone(), next.clone());
            async move {
                let mut ticks = tokio::time::interval(PAUSE);
                while !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    from.send_to(&rtp(ssrc, number, 0), to).await.expect("sent");
                }
            }
        });
        let hearing = tokio::spawn(async move {
            let mut heard = Vec::new();
            while let Some((bytes, _)) = packet_in(&at, Duration::from_secs(1)).await {
                heard.push(u16::from_be_bytes([bytes[2], bytes[3]]));
            }
            heard
        });
        Self {
            stop,
            next,
            sending,
            hearing,
            first,
        }
    }

    /// Waits until so many more are sent.
    async fn goes_on(&self, packets: u16) {
        let until = self.next.load(Ordering::Relaxed) + packets;
        let sent = async {
            while self.next.load(Ordering::Relaxed) < until {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(PATIENCE, sent).await.expect("it sends");
    }

    /// Stops, and checks that everything was heard, in order. How many.
    async fn all_heard(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.sending.await.expect("no panic");
        let heard = self.hearing.await.expect("no panic");
        let sent = self.first..self.next.load(Ordering::Relaxed);
        assert_eq!(heard.len(), sent.len(), "of {sent:?}");
        assert!(heard.iter().copied().eq(sent), "order");
        heard.len() as u64
    }
}

/// A call of which both parties speak from now on.
async fn speaking(call: Call) -> (Spoken, Speech, Speech) {
    let Call {
        id,
        a,
        b,
        for_a,
        for_b,
        ..
    } = call;
    let (ssrc_a, ssrc_b) = (a.ssrc, b.ssrc);
    let (next_a, next_b) = (a.next_sequence(), b.next_sequence());
    let (a, b) = (Arc::new(a.rtp), Arc::new(b.rtp));
    let from_a = Speech::start(a.clone(), ssrc_a, next_a, for_a, b.clone());
    let from_b = Speech::start(b, ssrc_b, next_b, for_b, a);
    (Spoken { id }, from_a, from_b)
}

/// What is left of a call whose sockets speak.
struct Spoken {
    id: &'static str,
}

impl Spoken {
    async fn line(&self, node: &mut Node, leg: usize) -> wire::LineStatus {
        let found = node
            .client
            .query_call(crate::node::query(self.id))
            .await
            .expect("there");
        found.into_inner().call.expect("a call").legs[leg].lines[0].clone()
    }

    async fn packets(&self, node: &mut Node, leg: usize) -> u64 {
        let line = self.line(node, leg).await;
        assert_eq!(line.streams.len(), 1, "{line:?}");
        let stream = &line.streams[0];
        assert_eq!(
            (stream.lost, stream.reordered, stream.duplicates),
            (0, 0, 0),
            "{stream:?}"
        );
        stream.packets
    }
}

#[test]
fn a_killed_process_loses_no_packet_of_a_call_in_the_kernel() {
    let name = "a_killed_process_loses_no_packet_of_a_call_in_the_kernel";
    let Some(pins) = BpfFs::mount(name) else { return };
    run(name, async |bed: Bed| {
        let state = tempfile::tempdir().expect("a directory");
        let settings = kept(&pinned(&pins), &state);
        let mut node = Node::with(Backend::Uring, settings.clone()).await;
        let call = Call::in_kernel(&bed, &mut node, "kept").await;
        let (call, from_a, from_b) = speaking(call).await;
        from_a.goes_on(100).await;
        let before = [call.packets(&mut node, 0).await, call.packets(&mut node, 1).await];
        for round in 0..3 {
            node.process.signal(Signal::KILL);
            node.process.ended().await;
            // Nobody is there: the kernel forwards.
            from_a.goes_on(200).await;
            node = Node::with(Backend::Uring, settings.clone()).await;
            assert_eq!(node.kernel, ["r0: native XDP: adopted"], "round {round}");
            let line = call.line(&mut node, 0).await;
            assert_eq!(line.path(), wire::Path::Kernel, "{line:?}");
            from_a.goes_on(100).await;
        }
        let (a, b) = tokio::join!(from_a.all_heard(), from_b.all_heard());
        println!("{name}: {a} and {b} packets, none lost over 3 kills");
        // The kernel has counted all the time.
        let after = [call.packets(&mut node, 0).await, call.packets(&mut node, 1).await];
        assert!(
            after[0] > before[0] + 900 && after[0] >= a,
            "{after:?} {before:?}"
        );
        assert!(after[1] >= b);
        let delete = crate::node::delete(call.id);
        node.client.delete_call(delete).await.expect("deleted");
        node.metric_becomes("ringpath_dataplane_kernel_table_entries", "", 0)
            .await;
        node.stop().await;
    });
}

#[test]
fn a_call_whose_lease_runs_out_after_the_kill_leaves_nothing_in_the_kernel() {
    let name = "a_call_whose_lease_runs_out_after_the_kill_leaves_nothing_in_the_kernel";
    let Some(pins) = BpfFs::mount(name) else { return };
    run(name, async |bed: Bed| {
        let state = tempfile::tempdir().expect("a directory");
        let settings = Settings {
            limits: "lease_default_ms = 1500".into(),
            ..kept(&pinned(&pins), &state)
        };
        let mut node = Node::with(Backend::Uring, settings.clone()).await;
        let mut call = Call::new(&bed, &mut node, "left").await;
        let renewed = wire::RenewLeasesRequest {
            call_ids: vec![call.id.into()],
        };
        let in_kernel = async {
            while call.line(&mut node, 0).await.path() != wire::Path::Kernel {
                node.client.renew_leases(renewed.clone()).await.expect("renewed");
                call.exchange(5).await;
            }
        };
        tokio::time::timeout(PATIENCE, in_kernel)
            .await
            .expect("in the kernel");
        node.process.signal(Signal::KILL);
        node.process.ended().await;
        call.exchange(20).await;
        let node = Node::with(Backend::Uring, settings).await;
        node.metric_becomes("ringpath_dataplane_leases_expired_total", "", 1)
            .await;
        node.metric_becomes("ringpath_dataplane_kernel_table_entries", "", 0)
            .await;
        call.a.send(call.for_a, 5).await;
        call.b.hears_nothing().await;
        node.stop().await;
    });
}

#[test]
fn a_takeover_loses_no_packet_of_calls_in_the_kernel_and_in_user_space() {
    let name = "a_takeover_loses_no_packet_of_calls_in_the_kernel_and_in_user_space";
    let Some(pins) = BpfFs::mount(name) else { return };
    run(name, async |bed: Bed| {
        for (steering, io, backend) in [
            ("off", "", "uring"),
            ("require", "", "uring"),
            ("require", "xdp_sockets = \"require\"", "xsk"),
        ] {
            let state = tempfile::tempdir().expect("a directory");
            // Room for one call, and for changing a flow.
            let kernel = format!("{}flows_max = 3\n", pinned(&pins));
            let settings = Settings {
                steering,
                io,
                ..kept(&kernel, &state)
            };
            let process = Process::start(&settings.toml(), &["--backend", "uring"]);
            let started = Node::take_on(process, backend);
            let channel = started.channel().await;
            let mut node = started.into_node(channel);
            let fast = Call::in_kernel(&bed, &mut node, "kernel").await;
            let (fast, fast_a, fast_b) = speaking(fast).await;
            // There is no room for it: one way at least stays in user space.
            let slow = Call::new(&bed, &mut node, "user").await;
            let (slow, slow_a, slow_b) = speaking(slow).await;
            slow_a.goes_on(100).await;
            for _ in 0..3 {
                let process = Process::start(&settings.toml(), &["--backend", "uring", "--takeover"]);
                let told = loop {
                    let line = process.line();
                    if line.starts_with("takeover from") {
                        break line;
                    }
                };
                assert!(told.contains("2 of 2 calls go on"), "{told}");
                println!("{name}: steering {steering}, {backend}: {told}");
                let status = node.process.ended().await;
                assert_eq!(status.code(), Some(0), "{}", node.process.log());
                while process.line() != "ready" {}
                node.process = process;
                assert_eq!(fast.line(&mut node, 0).await.path(), wire::Path::Kernel);
                let paths = [
                    slow.line(&mut node, 0).await.path(),
                    slow.line(&mut node, 1).await.path(),
                ];
                assert!(paths.contains(&wire::Path::Uring), "{paths:?}");
                slow_a.goes_on(100).await;
            }
            // The lock of the pins went along.
            let other = Settings {
                state: String::new(),
                ..settings.clone()
            };
            let mut process = Process::start(&other.toml(), &["--backend", "uring"]);
            assert_eq!(process.ended().await.code(), Some(1));
            assert!(
                process.log().contains("another process uses"),
                "{}",
                process.log()
            );
            // A process that would leave the flows to nobody takes nothing over.
            let other = Settings {
                more: settings.more.replace("mode = \"require\"", "mode = \"off\""),
                ..settings.clone()
            };
            let mut process = Process::start(&other.toml(), &["--backend", "uring", "--takeover"]);
            assert_eq!(process.ended().await.code(), Some(1));
            let told = "would be left without a process (kernel path off: r0: kernel.mode is \"off\")";
            assert!(process.log().contains(told), "{}", process.log());
            let heard = tokio::join!(
                fast_a.all_heard(),
                fast_b.all_heard(),
                slow_a.all_heard(),
                slow_b.all_heard()
            );
            println!("{name}: steering {steering}: {heard:?} packets, none lost");
            // A packet that is on its way while its flow changes may be forwarded and not counted.
            let counted = &fast.line(&mut node, 0).await.streams[0];
            assert!(counted.packets + 1 >= heard.0 && counted.lost <= 1, "{counted:?}");
            assert_eq!(slow.packets(&mut node, 0).await, heard.2);
            assert_eq!(slow.packets(&mut node, 1).await, heard.3);
            for id in [fast.id, slow.id] {
                let delete = crate::node::delete(id);
                node.client.delete_call(delete).await.expect("deleted");
            }
            node.metric_becomes("ringpath_dataplane_kernel_table_entries", "", 0)
                .await;
            node.stop().await;
        }
    });
}

/// A build with another layout of the maps was killed: its relay must not keep the interfaces.
#[test]
fn pins_of_another_layout_end_at_the_start() {
    let name = "pins_of_another_layout_end_at_the_start";
    let Some(pins) = BpfFs::mount(name) else { return };
    run(name, async |bed: Bed| {
        let state = tempfile::tempdir().expect("a directory");
        let settings = kept(&pinned(&pins), &state);
        let mut node = Node::with(Backend::Uring, settings.clone()).await;
        let mut call = Call::in_kernel(&bed, &mut node, "kept").await;
        node.process.signal(Signal::KILL);
        node.process.ended().await;
        let root = pins.path().join("media-it");
        let own = std::fs::read_dir(&root).expect("there").next().expect("one");
        let own = own.expect("readable").path();
        let other = root.join("relay-v0");
        std::fs::rename(&own, &other).expect("renamed");
        let mut node = Node::with(Backend::Uring, settings).await;
        let told = node.kernel.join("\n");
        assert!(
            told.starts_with("r0: native XDP: ") && !told.contains("adopted"),
            "{told}"
        );
        assert!(!other.exists() && own.exists());
        let log = node.process.log();
        assert!(
            log.contains("another layout") && log.contains("relay-v0"),
            "{log}"
        );
        // The call goes on, and back into the kernel.
        let in_kernel = async {
            while call.line(&mut node, 0).await.path() != wire::Path::Kernel {
                call.exchange(5).await;
            }
        };
        tokio::time::timeout(PATIENCE, in_kernel)
            .await
            .expect("in the kernel");
        node.stop().await;
    });
}

/// A process was killed, and the next one cannot or may not have the kernel path: nothing forwards without a process.
#[test]
fn a_start_without_the_kernel_path_ends_the_relay_that_was_left() {
    let name = "a_start_without_the_kernel_path_ends_the_relay_that_was_left";
    let Some(pins) = BpfFs::mount(name) else { return };
    run(name, async |bed: Bed| {
        let state = tempfile::tempdir().expect("a directory");
        let settings = kept(&pinned(&pins), &state);
        let off = Settings {
            more: settings.more.replace("mode = \"require\"", "mode = \"off\""),
            ..settings.clone()
        };
        let unable = Settings {
            more: settings.more.replace("mode = \"require\"", "mode = \"auto\""),
            ..settings.clone()
        };
        for (is_able, other) in [(true, off), (false, unable)] {
            let mut node = Node::with(Backend::Uring, settings.clone()).await;
            let call = Call::in_kernel(&bed, &mut node, "kept").await;
            let (call, from_a, from_b) = speaking(call).await;
            from_a.goes_on(50).await;
            node.process.signal(Signal::KILL);
            node.process.ended().await;
            from_a.goes_on(50).await;
            let config = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(config.path(), other.toml()).expect("written");
            let mut node = if is_able {
                Node::with(Backend::Uring, other).await
            } else {
                // Of the same user, who may remove the pins and do nothing else with them.
                crate::unprivileged::node_without_capabilities(config.path()).await
            };
            let told = node.kernel.join("\n");
            assert!(told.starts_with("r0: off: "), "{told}");
            let left = std::fs::read_dir(pins.path().join("media-it")).expect("the node's");
            assert_eq!(left.count(), 0, "{}", node.process.log());
            assert!(
                node.process.log().contains("is removed"),
                "{}",
                node.process.log()
            );
            from_a.goes_on(50).await;
            let counted = call.line(&mut node, 0).await;
            assert_eq!(counted.path(), wire::Path::Uring);
            assert!(counted.streams[0].packets >= 50, "{counted:?}");
            // The relay has forwarded until the ports were open again.
            let heard = tokio::join!(from_a.all_heard(), from_b.all_heard());
            println!("{name}: {heard:?} packets, none lost");
            let delete = crate::node::delete(call.id);
            node.client.delete_call(delete).await.expect("deleted");
            node.stop().await;
        }
    });
}

/// Attached in one way by the process that was killed, and wanted in another.
#[test]
fn a_start_with_another_way_of_attaching_takes_the_old_one_off() {
    let name = "a_start_with_another_way_of_attaching_takes_the_old_one_off";
    let Some(pins) = BpfFs::mount(name) else { return };
    run(name, async |bed: Bed| {
        let state = tempfile::tempdir().expect("a directory");
        let settings = kept(&pinned(&pins), &state);
        let mut node = Node::with(Backend::Uring, settings.clone()).await;
        let mut call = Call::in_kernel(&bed, &mut node, "kept").await;
        for attach in ["generic", "tc", "native"] {
            node.process.signal(Signal::KILL);
            node.process.ended().await;
            let other = Settings {
                more: settings
                    .more
                    .replace("[kernel]\n", &format!("[kernel]\nattach = [\"{attach}\"]\n")),
                ..settings.clone()
            };
            node = Node::with(Backend::Uring, other).await;
            let told = node.kernel.join("\n");
            assert!(!told.contains("adopted") && !told.contains("off"), "{told}");
            let directory = std::fs::read_dir(pins.path().join("media-it"));
            let directory = directory.expect("there").next().expect("one").expect("readable");
            let links: Vec<String> = std::fs::read_dir(directory.path())
                .expect("there")
                .map(|entry| {
                    entry
                        .expect("readable")
                        .file_name()
                        .to_string_lossy()
                        .into_owned()
                })
                .filter(|name| name.starts_with("link-"))
                .collect();
            assert_eq!(links.len(), 1, "{links:?}");
            assert!(links[0].starts_with(&format!("link-{attach}-")), "{links:?}");
            call.exchange(20).await;
            assert_eq!(call.line(&mut node, 0).await.path(), wire::Path::Kernel);
        }
        call.end(&mut node).await;
        node.stop().await;
    });
}
