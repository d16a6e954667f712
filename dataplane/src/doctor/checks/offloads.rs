use crate::doctor::finding::{Finding, Status};
use crate::doctor::setting::Setting;
use crate::doctor::view::View;

/// Offloads that join packets before XDP, or the UDP stack, has seen them.
const JOINING: &[(&str, Status, &str)] = &[
    (
        "rx-lro",
        Status::Problem,
        "native XDP does not attach to an interface that joins packets in its card",
    ),
    (
        "rx-gro-hw",
        Status::Advice,
        "cards that join packets have to stop it before native XDP attaches; some drivers refuse instead",
    ),
    (
        "rx-gro-list",
        Status::Advice,
        "joining datagrams costs time and delay, and a relay takes them apart again",
    ),
    (
        "rx-udp-gro-forwarding",
        Status::Advice,
        "joining datagrams costs time and delay, and a relay takes them apart again",
    ),
];

/// The offloads of the media interfaces.
pub fn offloads(view: &View<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in view.interfaces() {
        if view.is_loopback(&name) {
            continue;
        }
        let features = match view.calls.features(&name) {
            Ok(features) => features,
            Err(error) => {
                findings.push(
                    Finding::new("offloads", &name, "offloads decide whether XDP attaches").unknown(error),
                );
                continue;
            }
        };
        for (feature, status, why) in JOINING {
            let finding = Finding::new("offloads", format!("{name} {feature}"), why);
            findings.push(match features.get(*feature) {
                None => finding.unknown("this kernel has no such offload"),
                Some(found) if !found.active => finding.ok("off"),
                Some(found) if found.changeable => {
                    let setting = Setting::Feature {
                        interface: name.clone(),
                        name: (*feature).to_owned(),
                    };
                    finding
                        .bad(*status, "on", "off", "")
                        .fixed_by([(setting, "off".to_owned())])
                }
                Some(_) => finding.bad(
                    Status::Advice,
                    "on, and the driver lets nobody change it",
                    "off, if native XDP does not attach",
                    "on a virtual machine: turn the card's guest offloads off on the host",
                ),
            });
        }
    }
    findings
}

/// What the drivers say of native XDP.
pub fn xdp(view: &View<'_>) -> Vec<Finding> {
    let mut names = view.interfaces();
    names.retain(|name| !view.is_loopback(name));
    let judge = |name: String| {
        let finding = Finding::new(
            "xdp",
            &name,
            "where the driver does not run it, XDP runs in the kernel's stack at several times the cost",
        );
        match view.calls.xdp(&name) {
            Err(reason) => finding.unknown(reason),
            Ok((true, true)) => finding.ok("the driver runs programs, and sends what they forward"),
            // Some drivers say so only while they have a program.
            Ok((true, false)) if !is_veth(view, &name) => finding.ok("the driver runs programs"),
            Ok((true, false)) => finding.bad(
                Status::Advice,
                "it runs programs, and what they send is lost: its other end is not ready",
                "an other end that takes it",
                "an XDP program, or GRO on, at the other end",
            ),
            Ok((false, _)) => finding.bad(
                Status::Advice,
                "nothing says that the driver runs XDP programs",
                "a driver that runs them",
                "a newer driver or another card, or Linux 6.3, from which on drivers tell",
            ),
        }
    };
    names.into_iter().map(judge).collect()
}

/// What is special about virtual Ethernet pairs.
pub fn veth(view: &View<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in view.interfaces() {
        if is_veth(view, &name) {
            findings.extend(pair(view, &name));
        }
    }
    findings
}

fn is_veth(view: &View<'_>, name: &str) -> bool {
    view.calls.driver(name).is_ok_and(|driver| driver == "veth")
}

fn pair(view: &View<'_>, name: &str) -> Vec<Finding> {
    let receive = Finding::new(
        "veth",
        format!("{name} peer receive"),
        "native XDP sends into a veth only if the peer has an XDP program or GRO on; else all is lost in silence",
    );
    let checksum = Finding::new(
        "veth",
        format!("{name} peer checksum"),
        "a checksum that the sender leaves to the device is never made on a veth: XDP would forward it unmade",
    );
    let Some(peer) = peer(view, name) else {
        let reason = "the other end is in another network namespace: run doctor there, too";
        // The kernel looks at the other end when it says whether this one sends.
        let receive = match view.calls.xdp(name) {
            Ok((_, true)) => receive.ok("the other end takes what is sent natively"),
            _ => receive.unknown(reason),
        };
        return vec![receive, checksum.unknown(reason)];
    };
    let features = match view.calls.features(&peer) {
        Ok(features) => features,
        Err(error) => return vec![receive.unknown(&error), checksum.unknown(&error)],
    };
    let is_on = |feature: &str| features.get(feature).is_some_and(|found| found.active);
    let set = |feature: &str, value: &str| {
        let setting = Setting::Feature {
            interface: peer.clone(),
            name: feature.to_owned(),
        };
        [(setting, value.to_owned())]
    };
    let receive = match is_on("rx-gro") {
        true => receive.ok(format!("{peer} has GRO on")),
        false => receive
            .bad(
                Status::Advice,
                format!("{peer} has GRO off"),
                "on, or an XDP program on it",
                "",
            )
            .fixed_by(set("rx-gro", "on")),
    };
    let checksum = match is_on("tx-checksum-ip-generic") {
        false => checksum.ok(format!("{peer} makes checksums itself")),
        true => checksum
            .bad(
                Status::Advice,
                format!("{peer} leaves checksums to the device"),
                "off",
                "",
            )
            .fixed_by(set("tx-checksum-ip-generic", "off")),
    };
    vec![receive, checksum]
}

/// The other end of a pair, when it is in this network namespace.
fn peer(view: &View<'_>, name: &str) -> Option<String> {
    let own = view.number(&format!("/sys/class/net/{name}/ifindex")).ok()?;
    let link = view.number(&format!("/sys/class/net/{name}/iflink")).ok()?;
    view.names("/sys/class/net").into_iter().find(|other| {
        let number = |file: &str| view.number(&format!("/sys/class/net/{other}/{file}")).ok();
        // Indices of two namespaces may be alike: only the peer points back.
        other != name && number("ifindex") == Some(link) && number("iflink") == Some(own)
    })
}
