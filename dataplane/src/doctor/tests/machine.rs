use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use host::{Channels, Feature, TimeSync, UdpFlow, hash};
use tempfile::TempDir;

use super::super::view::Calls;
use super::super::*;

/// What system calls would tell of a made-up machine with the one card `eth0`.
pub(super) struct Machine {
    pub(super) driver: &'static str,
    pub(super) channels: RefCell<Channels>,
    pub(super) hash: RefCell<u64>,
    pub(super) features: RefCell<BTreeMap<String, Feature>>,
    pub(super) synchronised: bool,
    pub(super) ruleset: Result<String, String>,
    pub(super) xdp: Result<(bool, bool), String>,
    pub(super) steering: Result<(), String>,
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
pub(super) struct Tree(pub(super) TempDir);

impl Tree {
    pub(super) fn new() -> Self {
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

    pub(super) fn put(&self, path: &str, text: &str) {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, format!("{text}\n")).expect("written");
    }

    pub(super) fn take(&self, path: &str) {
        fs::remove_file(self.0.path().join(path.trim_start_matches('/'))).expect("removed");
    }

    pub(super) fn view<'a>(&self, machine: &'a Machine) -> View<'a> {
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

    pub(super) fn undo_file(&self) -> PathBuf {
        self.0.path().join("run/ringpath/undo.json")
    }
}
