use host::{UdpFlow, hash};

use crate::doctor::finding::{Finding, Status};
use crate::doctor::setting::{Setting, fields_to_text};
use crate::doctor::view::{View, list, mask, mask_cores};

/// Receive queues that an interface has, by the driver or, if that does not tell, by /sys.
pub fn receiving(view: &View<'_>, name: &str) -> usize {
    match view.calls.channels(name) {
        Ok(channels) if channels.receiving() > 0 => channels.receiving() as usize,
        _ => queue_names(view, name, "rx-").len(),
    }
}

fn queue_names(view: &View<'_>, name: &str, direction: &str) -> Vec<String> {
    let mut names = view.names(&format!("/sys/class/net/{name}/queues"));
    names.retain(|queue| queue.starts_with(direction));
    names
}

fn real_interfaces(view: &View<'_>) -> Vec<String> {
    let mut names = view.interfaces();
    names.retain(|name| !view.is_loopback(name));
    names
}

/// As many queues as there are cores to serve them.
pub fn queues(view: &View<'_>) -> Vec<Finding> {
    let why = "each receive queue is served by one core at a time, so one queue is one core's work";
    let cores = view.online().map_or(0, |cores| cores.len());
    let mut findings = Vec::new();
    for name in real_interfaces(view) {
        let finding = Finding::new("queues", &name, why);
        let channels = match view.calls.channels(&name) {
            Ok(channels) => channels,
            Err(error) => {
                let count = queue_names(view, &name, "rx-").len();
                findings.push(match count {
                    0 => finding.unknown(format!("the driver does not tell: {error}")),
                    count => finding.ok(format!(
                        "{count} receiving; the driver does not tell how many it could have ({error})"
                    )),
                });
                continue;
            }
        };
        let now = channels.receiving();
        let most = channels.combined_max.max(channels.receive_max);
        let wanted = most.min(cores as u32).max(1);
        let found = format!("{now} receiving, of at most {most}; {cores} cores");
        findings.push(if now >= wanted || channels.combined_max == 0 {
            finding.ok(found)
        } else {
            let setting = Setting::Queues {
                interface: name.clone(),
            };
            finding
                .bad(Status::Advice, found, format!("{wanted}"), "")
                .fixed_by([(setting, wanted.to_string())])
        });
    }
    findings
}

/// UDP must be spread over queues by addresses and ports: one trunk's calls have the same two addresses.
pub fn rss(view: &View<'_>) -> Vec<Finding> {
    let why =
        "calls of one trunk have the same two addresses; without ports in the hash one queue gets them all";
    let mut findings = Vec::new();
    for name in real_interfaces(view) {
        let queues = receiving(view, &name);
        for flow in [UdpFlow::V4, UdpFlow::V6] {
            let finding = Finding::new("rss", format!("{name} {}", flow.name()), why);
            findings.push(match view.calls.udp_hash(&name, flow) {
                _ if queues == 1 => finding.ok("one receive queue: nothing to spread"),
                Err(error) => finding.unknown(format!("the driver does not tell its hash fields: {error}")),
                Ok(fields) if fields & hash::FOUR_TUPLE == hash::FOUR_TUPLE => {
                    finding.ok(fields_to_text(fields))
                }
                Ok(fields) => {
                    let setting = Setting::UdpHash {
                        interface: name.clone(),
                        ipv6: flow == UdpFlow::V6,
                    };
                    finding
                        .bad(
                            Status::Problem,
                            fields_to_text(fields),
                            "sdfn (addresses and ports)",
                            "",
                        )
                        .fixed_by([(setting, "sdfn".to_owned())])
                }
            });
        }
    }
    findings
}

/// Software's own spreading: RPS of what comes in, XPS of what goes out.
pub fn steering(view: &View<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Ok(online) = view.online() else {
        return vec![
            Finding::new("steering", "cores", "").unknown("the kernel does not say which cores it has"),
        ];
    };
    for name in real_interfaces(view) {
        findings.extend(rps(view, &name));
        findings.extend(xps(view, &name, &online));
    }
    findings
}

/// Useful where there are more workers than queues, waste where there are not.
fn rps(view: &View<'_>, name: &str) -> Option<Finding> {
    let finding = Finding::new(
        "steering",
        format!("{name} RPS"),
        "RPS lends a queue more cores for the UDP stack, for an interrupt between cores a batch",
    );
    let queues = queue_names(view, name, "rx-");
    let path = |queue: &String| format!("/sys/class/net/{name}/queues/{queue}/rps_cpus");
    let mut masks = Vec::new();
    for queue in &queues {
        match view.read(&path(queue)).map(|text| mask_cores(&text)) {
            Ok(Some(cores)) => masks.push(cores),
            Ok(None) => return Some(finding.unknown(format!("{} is no mask of cores", path(queue)))),
            Err(error) => return Some(finding.unknown(error)),
        }
    }
    let at_work = masks.iter().any(|cores| !cores.is_empty());
    let found = match at_work {
        true => masks
            .iter()
            .map(|cores| format!("[{}]", list(cores)))
            .collect::<Vec<_>>()
            .join(" "),
        false => "off".to_owned(),
    };
    let every_queue = |value: String| {
        queues
            .iter()
            .map(|queue| (Setting::File { path: path(queue) }, value.clone()))
            .collect::<Vec<_>>()
    };
    if view.workers.is_empty() || queues.is_empty() {
        return Some(finding.ok(found));
    }
    Some(if !at_work && view.workers.len() > queues.len() {
        finding
            .bad(
                Status::Advice,
                format!(
                    "off, with {} workers on {} queues",
                    view.workers.len(),
                    queues.len()
                ),
                "the workers' cores, unless the kernel path carries the media",
                "",
            )
            .fixed_by(every_queue(mask(&view.workers)))
    } else if at_work && view.workers.len() <= queues.len() {
        finding
            .bad(
                Status::Advice,
                format!(
                    "{found}, with {} workers on {} queues",
                    view.workers.len(),
                    queues.len()
                ),
                "off",
                "",
            )
            .fixed_by(every_queue("0".to_owned()))
    } else {
        finding.ok(found)
    })
}

/// Each core its own transmit queue.
fn xps(view: &View<'_>, name: &str, online: &[usize]) -> Option<Finding> {
    let queues = queue_names(view, name, "tx-");
    if queues.len() < 2 {
        return None;
    }
    let finding = Finding::new(
        "steering",
        format!("{name} XPS"),
        "without it cores share transmit queues, and their locks",
    );
    let path = |queue: &String| format!("/sys/class/net/{name}/queues/{queue}/xps_cpus");
    let mut masks = Vec::new();
    for queue in &queues {
        match view.read(&path(queue)).map(|text| mask_cores(&text)) {
            Ok(Some(cores)) => masks.push(cores),
            Ok(None) => return Some(finding.unknown(format!("{} is no mask of cores", path(queue)))),
            Err(error) => return Some(finding.unknown(error)),
        }
    }
    let found = masks
        .iter()
        .map(|cores| format!("[{}]", list(cores)))
        .collect::<Vec<_>>()
        .join(" ");
    if online
        .iter()
        .all(|core| masks.iter().any(|cores| cores.contains(core)))
    {
        return Some(finding.ok(found));
    }
    let fixes = queues.iter().enumerate().map(|(index, queue)| {
        let cores: Vec<usize> = online
            .iter()
            .copied()
            .enumerate()
            .filter(|(n, _)| n % queues.len() == index)
            .map(|(_, core)| core)
            .collect();
        (Setting::File { path: path(queue) }, mask(&cores))
    });
    Some(
        finding
            .bad(Status::Advice, found, "every core in the mask of one queue", "")
            .fixed_by(fixes),
    )
}
