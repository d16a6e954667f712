use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};

use ebpf::{FlowTable, InstalledFlow, Relay, RelayConfig};
use rtp::{BurstSums, PayloadType, StatisticsState};

use super::*;
use crate::config;
use crate::kernel::backing::Backing;
use crate::kernel::hops::Ends;
use crate::kernel::keeper::HopUsers as _;
use crate::kernel::netlink::Link;
use crate::kernel::terms::{Attached, Terms};
use crate::kernel::ways::{Neighbour, Route};

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3));

/// The kernel's table, from which nothing can be taken while `refuses` is set.
#[derive(Debug)]
struct Stubborn {
    table: FlowTable,
    refuses: Arc<AtomicBool>,
}

impl Stubborn {
    fn ask(&self, key: FlowKey) -> Result<(), TableError> {
        match self.refuses.load(Ordering::Relaxed) {
            true => Err(TableError::Occupied(key)),
            false => Ok(()),
        }
    }
}

impl Backing for Stubborn {
    fn install(&self, spec: &FlowSpec, streams: &[ebpf::StreamState]) -> Result<(), TableError> {
        self.table.install(spec, streams)
    }

    fn replace(&self, spec: &FlowSpec, streams: &[ebpf::StreamState]) -> Result<(), TableError> {
        self.table.replace(spec, streams)
    }

    fn leave_to_user_space(&self, key: FlowKey) -> Result<Option<ebpf::FlowReading>, TableError> {
        self.ask(key)?;
        self.table.leave_to_user_space(key)
    }

    fn remove(&self, key: FlowKey) -> Result<Option<ebpf::FlowReading>, TableError> {
        self.ask(key)?;
        self.table.remove(key)
    }

    fn read(&self, key: FlowKey) -> Option<ebpf::FlowReading> {
        self.table.read(key)
    }

    fn add_aside(&self, key: FlowKey, ssrc: u32, packets: u32, bytes: u32) -> bool {
        self.table.add_aside(key, ssrc, packets, bytes)
    }

    fn reload(&self) {
        self.table.reload();
    }

    fn end_taps(&self) {
        self.table.end_taps();
    }

    fn flows(&self) -> Vec<InstalledFlow> {
        self.table.flows()
    }

    fn keys(&self) -> Vec<(FlowKey, bool)> {
        self.table.keys()
    }

    fn len(&self) -> usize {
        self.table.len()
    }

    fn flows_max(&self) -> u32 {
        self.table.flows_max()
    }
}

/// A table with one flow in it, of worker 0, that counts on from 10 packets.
struct Bench {
    shared: Arc<SharedTable>,
    worker: WorkerFlows,
    refuses: Arc<AtomicBool>,
    flow: Flow,
    ends: Ends,
}

impl Bench {
    fn new(name: &str) -> Option<Self> {
        let relay = match Relay::load(&RelayConfig {
            flows_max: 8,
            ..RelayConfig::default()
        }) {
            Ok(relay) => relay,
            Err(error) => {
                netns::skip(name, &error);
                return None;
            }
        };
        let index = NonZeroU32::new(3).expect("not zero");
        let attached = Attached {
            mode: ebpf::Mode::Native,
            forwards: [false; 2],
        };
        let terms = Terms::new(
            &config::Kernel::default(),
            HashMap::from([(index, attached)]),
            HashMap::from([(LOCAL, index)]),
        );
        let refuses = Arc::new(AtomicBool::new(false));
        let table = Stubborn {
            table: relay.table().clone(),
            refuses: refuses.clone(),
        };
        let shared = SharedTable::new(Box::new(table), terms, false).expect("an empty table");
        let ends = Ends {
            from: LOCAL,
            to: PEER,
        };
        {
            let hops = &mut shared.book().hops;
            hops.set_links(vec![Link {
                index,
                name: "r0".into(),
                is_loopback: false,
                is_up: true,
                mac: Some([2, 0, 0, 0, 0, 1]),
                kind: String::new(),
            }]);
            assert!(hops.find(ends).is_err(), "asked for");
            let route = Route {
                ifindex: index,
                next_hop: PEER,
            };
            let hop = hops.set_way(ends, Some(route)).expect("new");
            let neighbour = Neighbour {
                ifindex: index,
                ip: PEER,
                mac: Some([2, 0, 0, 0, 0, 9]),
                is_stale: false,
            };
            hops.set_neighbour(hop, Some(neighbour));
        }
        let media = FlowMedia::Rtp(vec![(PayloadType::new(8).expect("a type"), 8_000)]);
        let mut bench = Self {
            worker: shared.of_worker(0),
            shared,
            refuses,
            flow: Flow {
                local: SocketAddr::new(LOCAL, 20_000),
                source: SocketAddr::from(([192, 0, 2, 2], 4_000)),
                egress_local: SocketAddr::new(LOCAL, 20_002),
                destination: SocketAddr::new(PEER, 4_000),
                media,
            },
            ends,
        };
        bench
            .worker
            .opened(PortId(0), bench.flow.local)
            .expect("there is room");
        bench
            .worker
            .install(&bench.flow, &[heard()])
            .expect("it has a way");
        Some(bench)
    }

    /// Whether there is anything at the port; whether that is a flow.
    fn entry(&self) -> Option<bool> {
        let keys = self.shared.table.keys();
        let found = keys.iter().find(|(key, _)| *key == FlowKey::new(self.flow.local));
        found.map(|(_, is_flow)| *is_flow)
    }

    fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    fn errors(&self) -> u64 {
        self.shared.counts.failed.load(Ordering::Relaxed)
    }
}

fn heard() -> StreamState {
    StreamState {
        ssrc: Ssrc(7),
        first: Timestamp::from_millis(1),
        latest: Timestamp::from_millis(200),
        statistics: StatisticsState {
            window: 0x3ff,
            packets: 10,
            bytes: 1_720,
            duplicates: 0,
            reordered: 0,
            strays: 0,
            lost_before: 0,
            base: 65_536,
            highest: 65_545,
            distinct: 10,
            last_arrival_ns: 200_000_000,
            jitter_x16: 0,
            jitter_max_ns: 0,
            bursts: BurstSums {
                c11: 0,
                c13: 0,
                c14: 0,
                c22: 0,
                c23: 0,
                c33: 0,
                burst_lost: 0,
                since_loss: 17,
            },
            last_timestamp: 0,
            clock_rate_hz: 8_000,
            after_stray: None,
            payload_type: PayloadType::new(8).expect("a type"),
            probation: 0,
        },
        aside: Aside::NONE,
    }
}

fn packets(reading: Option<FlowReading>) -> Option<u64> {
    Some(reading?.streams[0]?.statistics.packets)
}

#[test]
fn the_last_reading_of_a_flow_whose_way_goes_is_kept_for_its_engine() {
    let Some(mut bench) = Bench::new("the_last_reading_of_a_flow_whose_way_goes_is_kept_for_its_engine")
    else {
        return;
    };
    let local = bench.flow.local;
    assert!(bench.worker.keep_aside(
        local,
        Ssrc(7),
        Aside {
            packets: 1,
            bytes: 172
        }
    ));
    bench.shared.book().hops.set_way(bench.ends, None);
    bench.shared.refresh();
    assert_eq!(bench.entry(), Some(false), "user space has the port");
    assert_eq!(bench.worker.read(local), None);
    let last = bench.worker.remove(local);
    let aside = last
        .as_ref()
        .and_then(|last| last.streams[0])
        .map(|stream| stream.aside.packets);
    assert_eq!((packets(last), aside), (Some(10), Some(1)));
    assert_eq!(bench.worker.remove(local), None, "once");
    // One that nobody asks for goes with its port.
    let route = Route {
        ifindex: NonZeroU32::new(3).expect("not zero"),
        next_hop: PEER,
    };
    bench.shared.book().hops.set_way(bench.ends, Some(route));
    bench
        .worker
        .install(&bench.flow, &[heard()])
        .expect("the way is back");
    bench.shared.book().hops.set_way(bench.ends, None);
    bench.shared.refresh();
    assert_eq!(bench.shared.book().ended.len(), 1);
    bench.worker.closing(PortId(0));
    assert!(bench.shared.book().ended.is_empty());
    assert_eq!((bench.shared.table.len(), bench.errors()), (0, 0));
}

#[test]
fn a_closed_port_that_the_table_keeps_is_taken_out_later() {
    let Some(mut bench) = Bench::new("a_closed_port_that_the_table_keeps_is_taken_out_later") else {
        return;
    };
    bench.refuse(true);
    bench.worker.closing(PortId(0));
    assert_eq!((bench.entry(), bench.errors()), (Some(true), 1));
    let opened = bench.worker.opened(PortId(0), bench.flow.local);
    assert_eq!(
        opened,
        Err(OpenError::Exhausted),
        "an earlier call's flow is there"
    );
    bench.shared.retry_removals();
    assert_eq!((bench.entry(), bench.errors()), (Some(true), 3));
    bench.refuse(false);
    bench.shared.retry_removals();
    assert_eq!(bench.entry(), None);
    assert!(bench.shared.book().kept.is_empty());
    bench
        .worker
        .opened(PortId(0), bench.flow.local)
        .expect("it is free");
    assert_eq!((bench.entry(), bench.errors()), (Some(false), 3));
}

#[test]
fn a_flow_that_the_table_keeps_goes_to_user_space_later() {
    let Some(mut bench) = Bench::new("a_flow_that_the_table_keeps_goes_to_user_space_later") else {
        return;
    };
    let local = bench.flow.local;
    bench.refuse(true);
    assert_eq!(bench.worker.remove(local), None);
    let installed = bench.worker.install(&bench.flow, &[heard()]);
    assert_eq!(
        installed,
        Err(FlowError::Refused),
        "the one there counts for another"
    );
    bench.shared.retry_removals();
    assert_eq!((bench.entry(), bench.errors()), (Some(true), 3));
    bench.refuse(false);
    bench.shared.retry_removals();
    assert_eq!(bench.entry(), Some(false), "the port is open");
    bench
        .worker
        .install(&bench.flow, &[heard()])
        .expect("nothing is in its way");
    assert_eq!(packets(bench.worker.remove(local)), Some(10));
    assert_eq!(bench.errors(), 3);
}

#[test]
fn entries_of_an_earlier_process_that_the_table_keeps_are_taken_out_later() {
    let name = "entries_of_an_earlier_process_that_the_table_keeps_are_taken_out_later";
    let Some(bench) = Bench::new(name) else { return };
    // As a process finds them: nobody has the port.
    bench.shared.reload();
    bench.refuse(true);
    bench.shared.sweep();
    assert_eq!((bench.entry(), bench.errors()), (Some(true), 1));
    bench.refuse(false);
    bench.shared.retry_removals();
    assert_eq!((bench.entry(), bench.errors()), (None, 1));
}

#[test]
fn a_table_that_another_process_may_have_keeps_its_flows() {
    let Some(mut bench) = Bench::new("a_table_that_another_process_may_have_keeps_its_flows") else {
        return;
    };
    let local = bench.flow.local;
    bench.shared.hold(true);
    // The engine of the next process does not want it, or cannot make the call again.
    assert_eq!(packets(bench.worker.remove(local)), Some(10));
    bench.shared.retry_removals();
    assert_eq!(bench.entry(), Some(true));
    bench.worker.closing(PortId(0));
    assert_eq!(bench.entry(), Some(true), "the process before may have to go on");
    // It is this one's now.
    bench.worker.hold(false);
    bench.shared.sweep();
    assert_eq!((bench.entry(), bench.errors()), (None, 0));
    assert!(bench.shared.book().owners.is_empty());
}
