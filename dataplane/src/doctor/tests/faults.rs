use host::{Feature, hash};

use super::super::*;
use super::machine::{Machine, Tree};

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
