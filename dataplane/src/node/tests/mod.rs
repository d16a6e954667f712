//! The control thread over workers whose network is simulated.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use media_engine::{EngineConfig, NoFlows, OpenError, PortId, Ports};
use media_types::{CallId, EventKind, InterfaceName, LegId, LineSpec, MediaKind, Path};
use net_io::IoConfig;
use net_io::sim::{Simulated, Wire};
use sans_io::Random;

use super::*;
use crate::bell::{Bell, Listener};
use crate::worker::{self, Handle, Plan};

mod broken;

/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node of simulated workers.
struct Stand {
    node: Arc<Node>,
    bell: Option<Listener>,
    wires: Vec<Wire>,
}

fn plan(index: usize, bell: &Bell, clock: MonotonicClock, queues: [usize; 2]) -> Plan {
    let local = "127.0.0.1".parse().expect("an address");
    let interface = media_engine::Interface {
        name: InterfaceName::new("public").expect("a name"),
        addresses: vec![media_engine::Address {
            local,
            advertised: local,
        }],
        ports: (20_000..20_040).step_by(2).skip(index).step_by(2).collect(),
    };
    Plan {
        index,
        core: None,
        engine: EngineConfig::new(vec![interface], Path::Simulated, "a test"),
        flows: Box::new(NoFlows),
        setup: crate::setting_up::WorkerEnd::alone(1).pop().expect("one"),
        random: Random::from_number(1),
        clock,
        command_queue: queues[0],
        event_queue: queues[1],
        bell: bell.clone(),
        held: false,
        keep: rustix::thread::CapabilitySet::empty(),
    }
}

fn lane(handle: Handle, command_queue: usize) -> Lane {
    let rings = handle.rings;
    Lane::new(
        rings.waker,
        rings.published,
        rings.commands,
        rings.words,
        command_queue,
    )
}

impl Stand {
    /// `queues`: commands under way to each worker, and events that may wait.
    fn new(workers: usize, queues: [usize; 2]) -> Self {
        let (bell, listener) = Bell::new().expect("a pipe");
        let clock = MonotonicClock::start();
        let wires: Vec<Wire> = (0..workers).map(|_| Wire::new().expect("an eventfd")).collect();
        let lanes = wires.iter().enumerate().map(|(index, wire)| {
            let wire = wire.clone();
            let build = move || {
                Simulated::new(
                    &IoConfig {
                        frames: 64,
                        ..IoConfig::default()
                    },
                    wire,
                )
            };
            lane(
                worker::start(plan(index, &bell, clock, queues), build).expect("starts"),
                queues[0],
            )
        });
        let lanes = lanes.collect();
        let node = Node::new(
            identity(),
            clock,
            lanes,
            vec![10; workers],
            64,
            MEMORY,
            Journal::off(),
        );
        Self {
            node: Arc::new(node),
            bell: Some(listener),
            wires,
        }
    }

    /// Starts what runs beside all requests.
    fn listen(&mut self) {
        let (node, bell) = (self.node.clone(), self.bell.take().expect("not yet"));
        tokio::spawn(async move { node.listen(bell).await });
    }
}

const MEMORY: Memory = Memory {
    time: Duration::from_secs(60),
    calls_max: 64,
};

fn identity() -> Identity {
    Identity {
        node_id: "test".into(),
        backend: "simulated",
        backend_reason: "a test",
        interfaces: vec![],
        kernel: vec![],
        calls_max: 10,
        fingerprint: crate::setting_up::no_fingerprint(),
    }
}

fn id(name: &str) -> CallId {
    CallId::new(name).expect("a name")
}

fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).expect("a key")
}

fn spec(name: &str, lease: Duration) -> CallSpec {
    let line = LineSpec {
        kind: MediaKind::Audio,
        enabled: true,
        direction: Default::default(),
        remote: None,
        remote_rtcp: None,
        rtcp_mux: false,
        latching: Default::default(),
        relearn: false,
        srtp: None,
        dtls: None,
        ice: None,
        codecs: vec![],
    };
    let leg = |name: &str| LegSpec {
        id: LegId::new(name).expect("a name"),
        interface: None,
        ipv6: false,
        lines: vec![line.clone()],
    };
    CallSpec {
        id: id(name),
        legs: vec![leg("a"), leg("b")],
        lease,
        media_timeout: Duration::ZERO,
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

async fn until(mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_worker_with_as_many_commands_as_it_may_have_is_busy() {
    let mut stand = Stand::new(1, [1, 8]);
    let first = tokio::spawn({
        let node = stand.node.clone();
        async move { node.create(key("k"), spec("first", Duration::ZERO)).await }
    });
    until(|| stand.node.lanes()[0].queue_length() == 1).await;
    // Nobody listens yet, so the first is under way until somebody does.
    let refusal = stand.node.create(key("k"), spec("second", Duration::ZERO)).await;
    assert_eq!(refusal.map(|report| report.id.clone()), Err(Refusal::Busy));
    let renewal = stand.node.renew(vec![id("first"), id("third")]).await;
    assert_eq!(
        renewal,
        Renewal {
            unknown: vec![id("first"), id("third")],
            busy: vec![]
        }
    );
    stand.listen();
    within(first).await.expect("no panic").expect("created");
    assert_eq!(stand.node.calls(), 1, "the refused one left no trace");
    within(stand.node.create(key("k"), spec("second", Duration::ZERO)))
        .await
        .expect("created");
}

#[tokio::test]
async fn a_command_whose_caller_went_is_carried_out_and_known() {
    let mut stand = Stand::new(1, [8, 8]);
    let caller = tokio::spawn({
        let node = stand.node.clone();
        async move { node.create(key("k"), spec("c", Duration::ZERO)).await }
    });
    until(|| stand.node.lanes()[0].queue_length() == 1).await;
    caller.abort();
    stand.listen();
    until(|| stand.node.page(None, 10) == [id("c")]).await;
    let again = within(stand.node.create(key("k"), spec("c", Duration::ZERO)))
        .await
        .expect("the same call");
    assert_eq!(again.id, id("c"));
    assert_eq!(stand.node.calls(), 1);
}

#[tokio::test]
async fn a_request_ends_after_the_configured_time_and_its_command_goes_on() {
    use proto::media_v1::media_node_server::MediaNode as _;

    let mut stand = Stand::new(1, [8, 8]);
    let text = r#"{"listen": "127.0.0.1:0", "request_timeout_ms": 20}"#;
    let config: crate::config::Grpc = serde_json::from_str(text).expect("a configuration");
    let service = || {
        let limits = crate::config::Limits::default();
        let taps = crate::tap::Admission::new(stand.node.clone(), MonotonicClock::start(), None, &limits);
        crate::grpc::Service::new(stand.node.clone(), taps, &config)
    };
    let (first, second) = (service(), service());
    let request = proto::convert::create_to_wire(&key("k"), &spec("c", Duration::ZERO));
    let status = within(first.create_call(tonic::Request::new(request.clone())))
        .await
        .expect_err("nobody listens");
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    stand.listen();
    until(|| stand.node.page(None, 10) == [id("c")]).await;
    within(second.create_call(tonic::Request::new(request)))
        .await
        .expect("the same call");
}

#[tokio::test]
async fn a_worker_without_ports_sends_the_call_to_another() {
    let mut stand = Stand::new(2, [8, 8]);
    stand.listen();
    for port in 20_000..20_040 {
        stand.wires[0].refuse_open(SocketAddr::from(([127, 0, 0, 1], port)), Some(OpenError::InUse));
    }
    let report = within(stand.node.create(key("k"), spec("c", Duration::ZERO)))
        .await
        .expect("created");
    let rtp = report.legs[0].lines[0].local.expect("enabled").rtp;
    assert_eq!(rtp.port() % 4, 2, "a port of the second worker");
    assert_eq!(stand.node.lanes()[0].published().calls(), 0);
    assert_eq!(
        within(stand.node.query(id("c"))).await.expect("there").id,
        id("c")
    );

    for port in 20_000..20_040 {
        stand.wires[1].refuse_open(SocketAddr::from(([127, 0, 0, 1], port)), Some(OpenError::InUse));
    }
    let refusal = within(stand.node.create(key("k"), spec("d", Duration::ZERO))).await;
    assert_eq!(refusal.map(|report| report.id.clone()), Err(Refusal::NoPorts));
    assert_eq!(stand.node.calls(), 1);
}

#[tokio::test]
async fn lost_events_are_told_as_missed_and_the_calls_counted_afresh() {
    let mut stand = Stand::new(1, [4, 1]);
    let mut notices = stand.node.watch();
    let bell = stand.bell.take().expect("not yet");
    let listening = tokio::spawn({
        let node = stand.node.clone();
        async move { node.listen(bell).await }
    });
    for name in ["a", "b", "c", "d"] {
        within(
            stand
                .node
                .create(key("k"), spec(name, Duration::from_millis(200))),
        )
        .await
        .expect("created");
    }
    // The control thread is held up while the leases end.
    listening.abort();
    let published = stand.node.lanes()[0].published().clone();
    until(|| published.events_lost() == 3).await;
    assert_eq!(stand.node.calls(), 4, "it does not know better");
    stand.node.hear_all();
    assert!(matches!(notices.recv().await, Ok(Notice::Event(_))));
    assert!(matches!(notices.recv().await, Ok(Notice::Missed(3))));
    until(|| {
        stand.node.hear_all();
        stand.node.calls() == 0
    })
    .await;
    assert_eq!(
        published.events_of("ended_lease_expired"),
        4,
        "counted although lost"
    );
}

#[tokio::test]
async fn stopping_ends_calls_with_events_and_then_the_stream() {
    let mut stand = Stand::new(2, [8, 1]);
    stand.listen();
    let mut notices = stand.node.watch();
    for n in 0..8 {
        within(stand.node.create(key("k"), spec(&n.to_string(), Duration::ZERO)))
            .await
            .expect("created");
    }
    within(stand.node.stop_workers()).await;
    stand.node.close();
    let mut ended = 0;
    loop {
        match within(notices.recv()).await.expect("not behind") {
            Notice::Event(event) => {
                assert!(matches!(event.kind, EventKind::Ended { .. }));
                ended += 1;
            }
            Notice::Missed(count) => panic!("missed {count}"),
            Notice::Closing => break,
        }
    }
    assert_eq!((ended, stand.node.calls()), (8, 0));
    until(|| stand.node.lanes().iter().all(Lane::has_stopped)).await;
    let refusal = stand.node.create(key("k"), spec("late", Duration::ZERO)).await;
    assert_eq!(refusal.map(|report| report.id.clone()), Err(Refusal::Busy));
}

/// What the control thread believes, after a storm of requests of which many callers went away, is what the workers have.
#[tokio::test]
async fn after_any_storm_of_requests_both_sides_agree() {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("SEED is a number"));
    println!("SEED={seed}");
    let mut random = Random::from_number(seed);
    for round in 0..20 {
        let mut stand = Stand::new(2, [4, 4]);
        stand.listen();
        let mut callers = vec![];
        for step in 0..150 {
            let node = stand.node.clone();
            let name = random.below(12).to_string();
            // Few keys: repetitions and conflicts are frequent. Some leases end in the middle.
            let key = key(&random.below(2).to_string());
            let lease = Duration::from_millis([0, 0, 1, 20][random.below(4) as usize]);
            let what = random.below(5);
            callers.push(tokio::spawn(async move {
                match what {
                    0 | 1 => drop(node.create(key, spec(&name, lease)).await),
                    2 => drop(node.delete(key, id(&name)).await),
                    3 => drop(node.renew(vec![id(&name), id("0")]).await),
                    _ => drop(node.query(id(&name)).await),
                }
            }));
            if random.chance_permille(200) {
                let place = random.below(callers.len() as u64) as usize;
                callers[place].abort();
            }
            if step % 10 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for caller in callers {
            // Cancelled or done.
            let _ = within(caller).await;
        }
        // Some leases have yet to end.
        let node = &stand.node;
        let mut said = (vec![], vec![], 0);
        let agree = async {
            loop {
                let there = inventory(node).await;
                said = (there, node.page(None, 100), node.calls());
                if said.0 == said.1 && said.2 == said.0.len() {
                    return;
                }
            }
        };
        let agreed = tokio::time::timeout(Duration::from_secs(2), agree).await;
        let (there, known, calls) = said;
        assert!(
            agreed.is_ok(),
            "round {round}: the workers have {there:?}, the node knows {known:?}, {calls} in all"
        );
    }
}

/// The calls that the workers have.
async fn inventory(node: &Node) -> Vec<CallId> {
    let mut there = vec![];
    for lane in node.lanes() {
        let answer = loop {
            match lane.submit(Command::Inventory, Effect::None) {
                Ok(answer) => break within(answer).await,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let Ok(Answer::Inventory(calls)) = answer else {
            panic!("{answer:?}")
        };
        there.extend(calls);
    }
    there.sort();
    there
}

#[tokio::test]
async fn commands_behind_a_stop_are_answered() {
    for _ in 0..50 {
        let mut stand = Stand::new(1, [8, 8]);
        let lane = &stand.node.lanes()[0];
        let stop = lane.submit(Command::Stop, Effect::None).expect("a place");
        // How many of these are in the ring before the worker has gone is luck; none may be left without an end.
        let create = Command::Create(Arc::new(Creation {
            key: key("k"),
            spec: spec("late", Duration::ZERO),
        }));
        let late: Vec<_> = [Command::Query(vec![id("x")]), create, Command::Inventory]
            .into_iter()
            .filter_map(|command| lane.submit(command, Effect::None).ok())
            .collect();
        stand.listen();
        assert!(matches!(within(stop).await, Ok(Answer::Stopped)));
        for answer in late {
            if let Ok(Answer::Call(result)) = within(answer).await {
                assert_eq!(result.map(|report| report.id.clone()), Err(Refusal::Draining));
            }
        }
        until(|| stand.node.lanes()[0].queue_length() == 0).await;
    }
}

#[tokio::test]
async fn events_lost_at_the_end_of_a_worker_are_told() {
    let mut stand = Stand::new(1, [4, 1]);
    let node = stand.node.clone();
    let listening = stand.bell.take().expect("not yet");
    let listening = tokio::spawn(async move { node.listen(listening).await });
    for name in ["a", "b", "c"] {
        within(stand.node.create(key("k"), spec(name, Duration::ZERO)))
            .await
            .expect("created");
    }
    // The control thread hears nothing for longer than the worker waits with its last events.
    listening.abort();
    let mut notices = stand.node.watch();
    let lane = &stand.node.lanes()[0];
    lane.submit(Command::Stop, Effect::None).expect("a place");
    until(|| lane.has_stopped()).await;
    stand.node.hear_all();
    assert!(matches!(notices.recv().await, Ok(Notice::Event(_))));
    assert!(matches!(notices.recv().await, Ok(Notice::Missed(2))));
    assert_eq!((stand.node.calls(), lane.queue_length()), (0, 0));
}
