use crate::doctor::finding::{Finding, Status};
use crate::doctor::view::View;

/// The largest packet that a native XDP program sees in one buffer: a page less headroom and the end that the kernel keeps.
const XDP_MTU_MAX: u64 = 3_498;

/// Which interfaces hold the media addresses, and what they are.
pub fn interfaces(view: &View<'_>) -> Vec<Finding> {
    let why = "the interface decides which paths its media can take";
    let mut findings = Vec::new();
    let mut missing: Vec<_> = view.media.iter().map(|range| range.address).collect();
    missing.retain(|address| !view.addresses.iter().any(|(_, held)| held == address));
    missing.dedup();
    for address in missing {
        findings.push(Finding::new("interfaces", address.to_string(), why).bad(
            Status::Problem,
            "no interface of this network namespace has this media address",
            "the address on an interface",
            format!("ip address add {address} dev INTERFACE"),
        ));
    }
    for name in view.interfaces() {
        let finding = Finding::new("interfaces", &name, why);
        if view.is_loopback(&name) {
            findings.push(finding.ok("loopback: media on it stays in user space, nothing below applies"));
            continue;
        }
        let state = view
            .read(&format!("/sys/class/net/{name}/operstate"))
            .unwrap_or_default();
        let driver = match view.calls.driver(&name) {
            Ok(driver) => driver,
            Err(error) => {
                findings.push(finding.unknown(format!("the driver does not tell its name: {error}")));
                continue;
            }
        };
        let described = format!("driver {driver}, {state}");
        findings.push(match state == "down" && !view.media.is_empty() {
            false => finding.ok(described),
            true => finding.bad(Status::Problem, described, "up", format!("ip link set {name} up")),
        });
        findings.extend(numa(view, &name));
    }
    findings
}

/// The memory node of the device, and of the workers.
fn numa(view: &View<'_>, name: &str) -> Option<Finding> {
    // -1: the machine has one node only, or the device belongs to none.
    let node: u64 = view
        .read(&format!("/sys/class/net/{name}/device/numa_node"))
        .ok()?
        .parse()
        .ok()?;
    let list = view
        .read(&format!("/sys/devices/system/node/node{node}/cpulist"))
        .ok()?;
    let near = crate::doctor::view::cores(&list)?;
    let far: Vec<usize> = view
        .workers
        .iter()
        .copied()
        .filter(|core| !near.contains(core))
        .collect();
    let finding = Finding::new(
        "interfaces",
        format!("{name} memory node"),
        "packets cross the machine's interconnect when worker and card are on different memory nodes",
    );
    let found = format!("node {node}, cores {list}");
    Some(match far.is_empty() {
        true => finding.ok(found),
        false => finding.bad(
            Status::Advice,
            format!("{found}; workers on {}", crate::doctor::view::list(&far)),
            format!("workers on cores {list}"),
            format!("set workers.cores to cores of {list} in the configuration"),
        ),
    })
}

/// Packets must fit a buffer of native XDP.
pub fn mtu(view: &View<'_>) -> Vec<Finding> {
    let why = "native XDP takes packets of one buffer; with a larger MTU it does not attach";
    view.interfaces()
        .into_iter()
        .filter(|name| !view.is_loopback(name))
        .map(|name| {
            let finding = Finding::new("mtu", &name, why);
            match view.number(&format!("/sys/class/net/{name}/mtu")) {
                Err(error) => finding.unknown(error),
                Ok(mtu) if mtu <= XDP_MTU_MAX => finding.ok(mtu.to_string()),
                Ok(mtu) => finding.bad(
                    Status::Problem,
                    mtu.to_string(),
                    format!("at most {XDP_MTU_MAX}"),
                    format!("ip link set {name} mtu 1500"),
                ),
            }
        })
        .collect()
}
