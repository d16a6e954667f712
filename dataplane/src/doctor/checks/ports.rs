use crate::doctor::finding::{Finding, Status};
use crate::doctor::setting::{Setting, sysctl_path};
use crate::doctor::view::View;

const RANGE: &str = "net.ipv4.ip_local_port_range";
const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";

/// Media ports must not be what the kernel hands out to clients of this machine. The two sysctls hold for IPv6 as well.
pub fn ports(view: &View<'_>) -> Vec<Finding> {
    let why = "the kernel gives these ports to any program that asks for none in particular; calls then lose their port";
    let mut findings = Vec::new();
    let mut seen = Vec::new();
    // Each change goes on from the one before: they set one sysctl.
    let mut changed: Option<String> = None;
    let read = |name: &str| view.read(&sysctl_path(name));
    for range in &view.media {
        let (first, last) = (range.first, range.last);
        if seen.contains(&(first, last)) {
            continue;
        }
        seen.push((first, last));
        let finding = Finding::new("ports", format!("{first}-{last}"), why);
        let (local, reserved) = match (read(RANGE), read(RESERVED)) {
            (Ok(local), Ok(reserved)) => (local, reserved),
            (Err(error), _) | (_, Err(error)) => {
                findings.push(finding.unknown(error));
                continue;
            }
        };
        let Some(local) = pair(&local) else {
            findings.push(finding.unknown(format!("{RANGE} is {local:?}")));
            continue;
        };
        let overlap = (first.max(local.0), last.min(local.1));
        let taken: Vec<(u16, u16)> = reserved.split(',').filter_map(bounds).collect();
        let is_reserved = |port: u16| taken.iter().any(|(first, last)| (*first..=*last).contains(&port));
        findings.push(if overlap.0 > overlap.1 {
            finding.ok(format!("outside of {RANGE}, {}-{}", local.0, local.1))
        } else if (overlap.0..=overlap.1).all(is_reserved) {
            finding.ok(format!("reserved in {RESERVED}"))
        } else {
            let before = changed.as_ref().unwrap_or(&reserved);
            let value = match before.is_empty() {
                true => format!("{first}-{last}"),
                false => format!("{before},{first}-{last}"),
            };
            changed = Some(value.clone());
            let setting = Setting::Sysctl {
                name: RESERVED.to_owned(),
            };
            finding
                .bad(
                    Status::Problem,
                    format!("{}-{} are in {RANGE} and not reserved", overlap.0, overlap.1),
                    format!("all in {RESERVED}"),
                    "",
                )
                .fixed_by([(setting, value)])
        });
    }
    if view.media.is_empty() {
        findings.push(
            Finding::new("ports", "media ports", why).unknown("no configuration names them (--config)"),
        );
    }
    findings
}

fn pair(text: &str) -> Option<(u16, u16)> {
    let mut words = text.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn bounds(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.trim().split_once('-').unwrap_or((text.trim(), text.trim()));
    Some((first.parse().ok()?, last.parse().ok()?))
}
