use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use host::{Channels, Feature, TimeSync, UdpFlow, hash};
use tempfile::TempDir;

use super::view::Calls;
use super::*;

/// What system calls would tell of a made-up machine with the one card `eth0`.
struct Machine {
    driver: &'static str,
    channels: RefCell<Channels>,
    hash: RefCell<u64>,
    features: RefCell<BTreeMap<String, Feature>>,
    synchronised: bool,
    ruleset: Result<String, String>,
    xdp: Result<(bool, bool), String>,
    steering: Result<(), String>,
}

impl Default for Machine {
    fn default() -> Self {
        let off = Feature {
            active: false,
            changeable: true,
        };
        let names = [
            "rx-lro",
            "rx-gro-hw",
            "rx-gro-list",
            "rx-udp-gro-forwarding",
            "rx-gro",
        ];
        Self {
            driver: "ice",
            channels: RefCell::new(Channels {
                combined: 2,
                combined_max: 64,
                other: 1,
                ..Channels::default()
            }),
            hash: RefCell::new(hash::FOUR_TUPLE),
            features: RefCell::new(names.map(|name| (name.to_owned(), off)).into()),
            synchronised: true,
            ruleset: Err("nft list ruleset: no such program".into()),
            xdp: Ok((true, true)),
            steering: Ok(()),
        }
    }
}

fn only_eth0(interface: &str) -> io::Result<()> {
    match interface {
        "eth0" => Ok(()),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

impl Calls for Machine {
    fn driver(&self, interface: &str) -> io::Result<String> {
        only_eth0(interface).map(|()| self.driver.to_owned())
    }
    fn channels(&self, interface: &str) -> io::Result<Channels> {
        only_eth0(interface).map(|()| *self.channels.borrow())
    }
    fn set_channels(&self, interface: &str, channels: Channels) -> io::Result<()> {
        only_eth0(interface).map(|()| *self.channels.borrow_mut() = channels)
    }
    fn udp_hash(&self, interface: &str, _: UdpFlow) -> io::Result<u64> {
        only_eth0(interface).map(|()| *self.hash.borrow())
    }
    fn set_udp_hash(&self, interface: &str, _: UdpFlow, fields: u64) -> io::Result<()> {
        only_eth0(interface).map(|()| *self.hash.borrow_mut() = fields)
    }
    fn features(&self, interface: &str) -> io::Result<BTreeMap<String, Feature>> {
        only_eth0(interface).map(|()| self.features.borrow().clone())
    }
    fn set_feature(&self, interface: &str, name: &str, on: bool) -> io::Result<()> {
        only_eth0(interface)?;
        self.features.borrow_mut().get_mut(name).expect("known").active = on;
        Ok(())
    }
    fn time_sync(&self) -> io::Result<TimeSync> {
        Ok(TimeSync {
            synchronised: self.synchronised,
            error_us_max: 16,
        })
    }
    fn uring(&self) -> Result<String, String> {
        Ok("it works".into())
    }
    fn bpf(&self) -> Result<(), String> {
        Ok(())
    }
    fn steering(&self) -> Result<(), String> {
        self.steering.clone()
    }
    fn xdp(&self, _: &str) -> Result<(bool, bool), String> {
        self.xdp.clone()
    }
    fn ruleset(&self) -> Result<String, String> {
        self.ruleset.clone()
    }
}

/// A directory with the files of a well-set machine of four cores; `eth0` has two queues on cores 0 and 1, the workers are on
/// 2 and 3.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().expect("a directory"));
        for sysctl in wanted::SYSCTLS {
            tree.put(&setting::sysctl_path(sysctl.name), &sysctl.value.to_string());
        }
        for (path, text) in [
            ("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999"),
            ("/proc/sys/net/ipv4/ip_local_reserved_ports", ""),
            ("/proc/sys/kernel/osrelease", "6.12.9-amd64"),
            ("/proc/sys/kernel/io_uring_disabled", "0"),
            ("/proc/sys/kernel/random/boot_id", "first"),
            ("/proc/sys/vm/nr_hugepages", "0"),
            (
                "/proc/self/limits",
                "Max open files   1024   1048576  files\nMax locked memory   8192   unlimited  bytes\n",
            ),
            ("/proc/self/status", "Name:\tdoctor\nCapEff:\t000001ffffffffff\n"),
            (
                "/proc/mounts",
                "sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw,mode=700 0 0\n",
            ),
            (
                "/sys/kernel/mm/transparent_hugepage/enabled",
                "always [madvise] never",
            ),
            ("/sys/devices/system/cpu/online", "0-3"),
            ("/sys/devices/system/cpu/isolated", "2-3"),
            ("/sys/devices/system/cpu/nohz_full", "2-3"),
            (
                "/sys/devices/system/clocksource/clocksource0/current_clocksource",
                "tsc",
            ),
            (
                "/sys/devices/system/clocksource/clocksource0/available_clocksource",
                "tsc hpet",
            ),
            ("/sys/class/net/eth0/type", "1"),
            ("/sys/class/net/eth0/mtu", "1500"),
            ("/sys/class/net/eth0/operstate", "up"),
            ("/sys/class/net/eth0/device/numa_node", "-1"),
            ("/sys/class/net/eth0/queues/tx-0/xps_cpus", "5"),
            ("/sys/class/net/eth0/queues/tx-1/xps_cpus", "a"),
            ("/sys/class/net/lo/type", "772"),
            ("/sys/class/net/lo/mtu", "65536"),
        ] {
            tree.put(path, text);
        }
        for core in 0..4 {
            tree.put(
                &format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"),
                "performance",
            );
        }
        for queue in 0..2 {
            let number = 40 + queue;
            tree.put(&format!("/sys/class/net/eth0/queues/rx-{queue}/rps_cpus"), "0");
            tree.put(&format!("/sys/class/net/eth0/device/msi_irqs/{number}"), "msix");
            tree.put(&format!("/proc/irq/{number}/smp_affinity_list"), "0-3");
            tree.put(
                &format!("/proc/irq/{number}/effective_affinity_list"),
                &queue.to_string(),
            );
            tree.put(&format!("/proc/irq/{number}/ice-eth0-TxRx-{queue}/x"), "");
        }
        fs::create_dir_all(tree.0.path().join("proc/self/ns")).expect("made");
        symlink("net:[1]", tree.0.path().join("proc/self/ns/net")).expect("made");
        tree
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, format!("{text}\n")).expect("written");
    }

    fn take(&self, path: &str) {
        fs::remove_file(self.0.path().join(path.trim_start_matches('/'))).expect("removed");
    }

    fn view<'a>(&self, machine: &'a Machine) -> View<'a> {
        let address: IpAddr = "192.0.2.1".parse().expect("an address");
        let mut view = View::new(self.0.path(), machine);
        view.addresses = vec![
            ("lo".into(), "127.0.0.1".parse().expect("an address")),
            ("eth0".into(), address),
        ];
        view.media = vec![MediaRange {
            address,
            first: 20_000,
            last: 29_999,
        }];
        view.workers = vec![2, 3];
        view
    }

    fn undo_file(&self) -> PathBuf {
        self.0.path().join("run/ringpath/undo.json")
    }
}

/// Status, and words that must be in the line, of a check's finding on a subject.
fn expect(
    findings: &[Finding],
    check: &str,
    subject: &str,
    status: Status,
    words: &str,
) -> Result<(), String> {
    let found = findings
        .iter()
        .find(|finding| finding.check == check && finding.subject == subject);
    match found {
        None => Err(format!("no finding {check} {subject}")),
        Some(finding) if finding.status == status && finding.to_string().contains(words) => Ok(()),
        Some(finding) => Err(format!("not {status} with {words:?}: {finding}")),
    }
}

#[test]
fn a_well_set_machine_is_all_right() {
    let (tree, machine) = (Tree::new(), Machine::default());
    let findings = checks::run(&tree.view(&machine), &[]);
    let other: Vec<String> = findings
        .iter()
        .filter(|finding| finding.status != Status::Ok)
        .map(Finding::to_string)
        .collect();
    // Queues: two of four possible.
    assert_eq!(other.len(), 1, "{other:#?}");
    assert!(
        other[0].starts_with("advice   queues         eth0: 2 receiving, of at most 64; 4 cores; wanted 4"),
        "{other:?}"
    );
    let checks: Vec<&str> = checks::ALL.iter().map(|(name, _)| *name).collect();
    let silent: Vec<_> = checks
        .iter()
        .filter(|check| **check != "veth" && !findings.iter().any(|finding| finding.check == **check))
        .collect();
    assert!(silent.is_empty(), "checks without a word: {silent:?}");
}

#[test]
fn each_fault_is_found_with_the_command_against_it() {
    type Case = (
        fn(&Tree, &mut Machine),
        (&'static str, &'static str, Status, &'static str),
    );
    let cases: &[Case] = &[
        (
            |tree, _| tree.put("/proc/sys/net/core/rmem_max", "212992"),
            (
                "sysctl",
                "net.core.rmem_max",
                Status::Problem,
                "sysctl -w net.core.rmem_max=33554432",
            ),
        ),
        (
            |tree, _| tree.take("/proc/sys/net/core/netdev_budget"),
            (
                "sysctl",
                "net.core.netdev_budget",
                Status::Unknown,
                "unknown: /proc/sys/net/core/netdev_budget: No such file",
            ),
        ),
        (
            |tree, _| tree.put("/proc/sys/net/core/rmem_max", "much"),
            ("sysctl", "net.core.rmem_max", Status::Unknown, "is no number"),
        ),
        (
            |tree, _| tree.put("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535"),
            (
                "ports",
                "20000-29999",
                Status::Problem,
                "sysctl -w net.ipv4.ip_local_reserved_ports='20000-29999'",
            ),
        ),
        (
            |_, machine| *machine.hash.get_mut() = hash::IP_SOURCE | hash::IP_DESTINATION,
            ("rss", "eth0 udp6", Status::Problem, "eth0 udp6: sd; wanted sdfn"),
        ),
        (
            |_, machine| *machine.hash.get_mut() = hash::IP_SOURCE,
            (
                "rss",
                "eth0 udp4",
                Status::Problem,
                "change: ethtool -N eth0 rx-flow-hash udp4 sdfn",
            ),
        ),
        (
            |tree, _| tree.put("/proc/irq/41/effective_affinity_list", "3"),
            (
                "interrupts",
                "eth0",
                Status::Advice,
                "echo 0 > /proc/irq/40/smp_affinity_list; echo 1 > /proc/irq/41/smp_affinity_list",
            ),
        ),
        (
            |tree, _| tree.put("/proc/irq/41/effective_affinity_list", "0"),
            (
                "interrupts",
                "eth0",
                Status::Advice,
                "ice-eth0-TxRx-1 (41) on core 0; wanted spread over cores 0-1",
            ),
        ),
        (
            |tree, _| tree.put("/sys/class/net/eth0/queues/rx-1/rps_cpus", "f"),
            (
                "steering",
                "eth0 RPS",
                Status::Advice,
                "[] [0-3], with 2 workers on 2 queues; wanted off",
            ),
        ),
        (
            |tree, _| tree.put("/sys/class/net/eth0/queues/tx-0/xps_cpus", "0"),
            (
                "steering",
                "eth0 XPS",
                Status::Advice,
                "echo 00000005 > /sys/class/net/eth0/queues/tx-0/xps_cpus",
            ),
        ),
        (
            |_, machine| {
                machine
                    .features
                    .get_mut()
                    .get_mut("rx-lro")
                    .expect("known")
                    .active = true;
            },
            (
                "offloads",
                "eth0 rx-lro",
                Status::Problem,
                "change: ethtool -K eth0 rx-lro off",
            ),
        ),
        (
            |_, machine| {
                let fixed = Feature {
                    active: true,
                    changeable: false,
                };
                machine.features.get_mut().insert("rx-gro-hw".into(), fixed);
            },
            (
                "offloads",
                "eth0 rx-gro-hw",
                Status::Advice,
                "on, and the driver lets nobody change it",
            ),
        ),
        (
            |_, machine| machine.features.get_mut().clear(),
            (
                "offloads",
                "eth0 rx-lro",
                Status::Unknown,
                "this kernel has no such offload",
            ),
        ),
        (
            |tree, _| tree.put("/sys/class/net/eth0/mtu", "9000"),
            ("mtu", "eth0", Status::Problem, "wanted at most 3498"),
        ),
        (
            |tree, _| {
                tree.put("/proc/sys/net/netfilter/nf_conntrack_max", "1000");
                tree.put("/proc/sys/net/netfilter/nf_conntrack_count", "900");
            },
            ("conntrack", "table", Status::Problem, "900 of 1000 entries"),
        ),
        (
            |tree, _| {
                tree.put("/proc/sys/net/netfilter/nf_conntrack_max", "1000");
                tree.put("/proc/sys/net/netfilter/nf_conntrack_count", "1");
                tree.put(
                    "/proc/net/nf_conntrack",
                    "ipv4     2 udp      17 29 src=192.0.2.9 dst=192.0.2.1 sport=4000 dport=20002 src=192.0.2.1 \
                     dst=192.0.2.9 sport=20002 dport=4000 mark=0 use=1",
                );
            },
            (
                "conntrack",
                "media ports",
                Status::Problem,
                "udp dport { 20000-29999 } notrack",
            ),
        ),
        (
            |tree, _| {
                tree.put("/proc/sys/net/netfilter/nf_conntrack_max", "1000");
                tree.put("/proc/sys/net/netfilter/nf_conntrack_count", "1");
            },
            ("conntrack", "media ports", Status::Unknown, "no such program"),
        ),
        (
            |tree, machine| {
                tree.put("/proc/sys/net/netfilter/nf_conntrack_max", "1000");
                tree.put("/proc/sys/net/netfilter/nf_conntrack_count", "1");
                machine.ruleset = Ok(
                    "table inet f {\n\tchain in {\n\t\tudp dport 16384-32767 notrack\n\t}\n\
                                      \tchain out {\n\t\tudp sport { 53, 16384-32767 } notrack\n\t}\n}\n"
                        .into(),
                );
            },
            (
                "conntrack",
                "media ports",
                Status::Ok,
                "a notrack rule covers them",
            ),
        ),
        (
            |tree, machine| {
                tree.put("/proc/sys/net/netfilter/nf_conntrack_max", "1000");
                tree.put("/proc/sys/net/netfilter/nf_conntrack_count", "1");
                // One direction only, and not all ports of the other.
                machine.ruleset = Ok("udp dport 16384-32767 notrack\nudp sport 20000-20999 notrack\n".into());
            },
            (
                "conntrack",
                "media ports",
                Status::Advice,
                "no notrack rule for them",
            ),
        ),
        (
            |tree, _| tree.put("/proc/self/limits", "Max open files   1024   4096  files\n"),
            (
                "limits",
                "open files of this process",
                Status::Advice,
                "4096; wanted at least 65536",
            ),
        ),
        (
            |tree, _| tree.put("/proc/self/status", "CapEff:\t0000000000000000"),
            (
                "capabilities",
                "CAP_BPF of this process",
                Status::Advice,
                "AmbientCapabilities=CAP_BPF",
            ),
        ),
        (
            |tree, _| tree.put("/proc/sys/kernel/osrelease", "5.10.0-30-amd64"),
            (
                "kernel",
                "release",
                Status::Advice,
                "5.10.0-30-amd64; wanted at least 6.1",
            ),
        ),
        (
            |tree, _| tree.put("/proc/sys/kernel/io_uring_disabled", "2"),
            (
                "io-uring",
                "kernel.io_uring_disabled",
                Status::Advice,
                "for nobody",
            ),
        ),
        (
            |tree, _| tree.put("/proc/mounts", "sysfs /sys sysfs rw 0 0"),
            (
                "bpf",
                "/sys/fs/bpf",
                Status::Advice,
                "mount -t bpf bpf /sys/fs/bpf",
            ),
        ),
        (
            |tree, _| tree.put("/sys/devices/system/cpu/isolated", ""),
            ("cores", "isolcpus", Status::Advice, "isolcpus=2-3"),
        ),
        (
            |tree, _| {
                tree.put(
                    "/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor",
                    "powersave",
                )
            },
            (
                "governor",
                "4 cores",
                Status::Advice,
                "powersave on cpu2 and 0 others",
            ),
        ),
        (
            |tree, _| {
                tree.put(
                    "/sys/devices/system/clocksource/clocksource0/current_clocksource",
                    "hpet",
                )
            },
            ("clock", "source", Status::Advice, "hpet; wanted tsc"),
        ),
        (
            |_, machine| machine.xdp = Ok((false, false)),
            (
                "xdp",
                "eth0",
                Status::Advice,
                "nothing says that the driver runs XDP programs",
            ),
        ),
        (
            |_, machine| machine.xdp = Ok((true, false)),
            ("xdp", "eth0", Status::Ok, "the driver runs programs"),
        ),
        (
            |_, machine| {
                machine.driver = "veth";
                machine.xdp = Ok((true, false));
            },
            ("xdp", "eth0", Status::Advice, "its other end is not ready"),
        ),
        (
            |_, machine| machine.xdp = Err("not permitted".into()),
            ("xdp", "eth0", Status::Unknown, "unknown: not permitted"),
        ),
        (
            |_, machine| machine.steering = Err("needs CAP_BPF".into()),
            (
                "bpf",
                "sk_lookup of this process",
                Status::Advice,
                "needs CAP_BPF; wanted a program that loads",
            ),
        ),
        (
            |_, machine| {
                machine.driver = "veth";
                machine.xdp = Ok((true, true));
            },
            (
                "veth",
                "eth0 peer receive",
                Status::Ok,
                "the other end takes what is sent natively",
            ),
        ),
        (
            |_, machine| {
                machine.driver = "veth";
                machine.xdp = Ok((true, false));
            },
            (
                "veth",
                "eth0 peer receive",
                Status::Unknown,
                "in another network namespace",
            ),
        ),
        (
            |_, machine| machine.synchronised = false,
            (
                "clock",
                "time synchronisation",
                Status::Advice,
                "nobody keeps the wall clock",
            ),
        ),
        (
            |tree, _| {
                tree.put(
                    "/sys/kernel/mm/transparent_hugepage/enabled",
                    "[always] madvise never",
                )
            },
            (
                "memory",
                "transparent huge pages",
                Status::Advice,
                "always; wanted madvise or never",
            ),
        ),
        (
            |tree, _| tree.put("/sys/class/net/eth0/operstate", "down"),
            ("interfaces", "eth0", Status::Problem, "ip link set eth0 up"),
        ),
        (
            |tree, _| {
                tree.put("/sys/class/net/eth0/device/numa_node", "1");
                tree.put("/sys/devices/system/node/node1/cpulist", "0-1");
            },
            (
                "interfaces",
                "eth0 memory node",
                Status::Advice,
                "node 1, cores 0-1; workers on 2-3",
            ),
        ),
    ];
    let mut failures = Vec::new();
    for (spoil, (check, subject, status, words)) in cases {
        let (tree, mut machine) = (Tree::new(), Machine::default());
        spoil(&tree, &mut machine);
        let findings = checks::run(&tree.view(&machine), &[(*check).to_owned()]);
        failures.extend(expect(&findings, check, subject, *status, words).err());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn an_address_that_nobody_has_is_a_problem_and_lower_interfaces_are_looked_at() {
    let (tree, machine) = (Tree::new(), Machine::default());
    tree.put("/sys/class/net/bond0/type", "1");
    tree.put("/sys/class/net/bond0/mtu", "1500");
    tree.put("/sys/class/net/bond0/lower_eth0/x", "");
    let mut view = tree.view(&machine);
    view.addresses[1].0 = "bond0".into();
    assert_eq!(view.interfaces(), ["bond0", "eth0"]);
    view.addresses.pop();
    let findings = checks::run(&view, &["interfaces".to_owned()]);
    expect(
        &findings,
        "interfaces",
        "192.0.2.1",
        Status::Problem,
        "no interface of this network namespace",
    )
    .unwrap();
}

#[test]
fn changes_are_applied_once_and_taken_back_once() {
    let (tree, machine) = (Tree::new(), Machine::default());
    *machine.hash.borrow_mut() = hash::IP_SOURCE;
    machine
        .features
        .borrow_mut()
        .get_mut("rx-lro")
        .expect("known")
        .active = true;
    tree.put("/proc/sys/net/core/rmem_max", "212992");
    tree.put("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535");
    tree.put("/sys/class/net/eth0/queues/tx-0/xps_cpus", "00000000");
    let (view, file) = (tree.view(&machine), tree.undo_file());
    let steps = apply::apply(&view, &[], &file).expect("applied");
    assert!(steps.iter().all(|step| step.refused.is_empty()), "{steps:#?}");
    let problems: Vec<String> = checks::run(&view, &[])
        .iter()
        .filter(|finding| finding.status != Status::Ok)
        .map(Finding::to_string)
        .collect();
    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(machine.channels.borrow().combined, 4);
    assert_eq!(machine.channels.borrow().other, 1, "not ours");
    let again = apply::apply(&view, &[], &file).expect("applied");
    assert!(again.is_empty(), "{again:#?}");

    let undone = apply::undo(&view, &file, false).expect("undone");
    assert_eq!(undone.len(), steps.len());
    assert_eq!(*machine.hash.borrow(), hash::IP_SOURCE);
    assert!(machine.features.borrow()["rx-lro"].active);
    assert_eq!(machine.channels.borrow().combined, 2);
    assert_eq!(view.read("/proc/sys/net/core/rmem_max").unwrap(), "212992");
    assert_eq!(
        view.read("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap(),
        ""
    );
    assert_eq!(
        view.read("/sys/class/net/eth0/queues/tx-0/xps_cpus").unwrap(),
        "00000000"
    );
    assert!(!file.exists());
    assert!(
        apply::undo(&view, &file, false)
            .expect("nothing to do")
            .is_empty()
    );
}

#[test]
fn what_somebody_changed_since_stays_unless_told() {
    let (tree, machine) = (Tree::new(), Machine::default());
    tree.put("/proc/sys/net/core/rmem_max", "212992");
    tree.put("/proc/sys/net/core/wmem_max", "212992");
    let (view, file) = (tree.view(&machine), tree.undo_file());
    let only = ["sysctl".to_owned()];
    assert_eq!(apply::apply(&view, &only, &file).expect("applied").len(), 2);
    tree.put("/proc/sys/net/core/rmem_max", "67108864");
    let steps = apply::undo(&view, &file, false).expect("undone");
    assert_eq!(view.read("/proc/sys/net/core/wmem_max").unwrap(), "212992");
    assert_eq!(view.read("/proc/sys/net/core/rmem_max").unwrap(), "67108864");
    assert!(
        steps
            .iter()
            .any(|step| step.refused.contains("somebody changed it since")),
        "{steps:#?}"
    );
    assert!(file.exists());
    apply::undo(&view, &file, true).expect("undone");
    assert_eq!(view.read("/proc/sys/net/core/rmem_max").unwrap(), "212992");
    assert!(!file.exists());
}

#[test]
fn a_record_of_another_start_or_namespace_is_not_used() {
    let (tree, machine) = (Tree::new(), Machine::default());
    tree.put("/proc/sys/net/core/rmem_max", "212992");
    let (view, file) = (tree.view(&machine), tree.undo_file());
    apply::apply(&view, &["sysctl".to_owned()], &file).expect("applied");
    let namespace = tree.0.path().join("proc/self/ns/net");
    fs::remove_file(&namespace).expect("removed");
    symlink("net:[2]", &namespace).expect("made");
    let refused = apply::undo(&view, &file, false).expect_err("another namespace");
    assert!(
        refused.to_string().contains("net:[1], this is net:[2]"),
        "{refused}"
    );
    assert_eq!(view.read("/proc/sys/net/core/rmem_max").unwrap(), "33554432");
    tree.put("/proc/sys/kernel/random/boot_id", "second");
    assert!(
        apply::undo(&view, &file, false)
            .expect("no longer of use")
            .is_empty()
    );
    assert!(!file.exists());
    fs::write(&file, "{}").expect("written");
    let refused = apply::undo(&view, &file, false).expect_err("no record");
    assert!(refused.to_string().contains("no undo record"), "{refused}");
}
