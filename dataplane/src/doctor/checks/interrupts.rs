use crate::doctor::finding::{Finding, Status};
use crate::doctor::setting::Setting;
use crate::doctor::view::{View, cores, list};

/// An interrupt of an interface.
struct Interrupt {
    number: u32,
    name: String,
    /// Cores that may serve it, and the one that does, when the kernel tells.
    allowed: Vec<usize>,
    serves: Option<usize>,
}

/// Which core serves each receive queue, and whether a worker needs that core for itself.
pub fn interrupts(view: &View<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in view.interfaces() {
        if view.is_loopback(&name) {
            continue;
        }
        findings.extend(of_interface(view, &name));
    }
    findings.extend(irqbalance(view));
    findings
}

fn of_interface(view: &View<'_>, name: &str) -> Vec<Finding> {
    let finding = Finding::new(
        "interrupts",
        name,
        "a core that serves interrupts has less left for a worker, and two queues on one core are one core's work",
    );
    let numbers = numbers(view, name);
    if numbers.is_empty() {
        if !view.is_there(&format!("/sys/class/net/{name}/device")) {
            let threaded = view
                .number(&format!("/sys/class/net/{name}/threaded"))
                .unwrap_or(0)
                == 1;
            return vec![finding.ok(match threaded {
                true => "no device of its own: its packets are received in kernel threads",
                false => "no device of its own: its packets are received on the sender's core",
            })];
        }
        return vec![finding.unknown("the device names no interrupts in msi_irqs")];
    }
    let mut all = Vec::new();
    for number in numbers {
        match interrupt(view, number) {
            Ok(interrupt) => all.push(interrupt),
            Err(error) => return vec![finding.unknown(error)],
        }
    }
    let receiving: Vec<&Interrupt> = all
        .iter()
        .filter(|interrupt| is_receiving(&interrupt.name))
        .collect();
    if receiving.is_empty() {
        let names: Vec<&str> = all.iter().map(|interrupt| interrupt.name.as_str()).collect();
        return vec![finding.unknown(format!(
            "none of the interrupts {} can be told to be a receive queue's",
            names.join(", ")
        ))];
    }
    vec![judge(view, finding, &receiving)]
}

/// Receive queues belong on cores without workers, spread evenly; where every core has a worker, spread over all.
fn judge(view: &View<'_>, finding: Finding, receiving: &[&Interrupt]) -> Finding {
    let found: Vec<String> = receiving
        .iter()
        .map(|interrupt| {
            let core = match interrupt.serves {
                Some(core) => format!("core {core}"),
                None => format!("one of cores {}", list(&interrupt.allowed)),
            };
            format!("{} ({}) on {core}", interrupt.name, interrupt.number)
        })
        .collect();
    let found = found.join(", ");
    let online = match view.online() {
        Ok(online) => online,
        Err(error) => return finding.unknown(error),
    };
    let free: Vec<usize> = online
        .iter()
        .copied()
        .filter(|core| !view.workers.contains(core))
        .collect();
    let targets = if free.is_empty() { online } else { free };
    let serving: Vec<Option<usize>> = receiving.iter().map(|interrupt| interrupt.serves).collect();
    let on_targets = serving
        .iter()
        .all(|core| core.is_none_or(|core| targets.contains(&core)));
    let used = targets
        .iter()
        .filter(|core| serving.contains(&Some(**core)))
        .count();
    let known = serving.iter().all(Option::is_some);
    let spread = !known || used >= targets.len().min(receiving.len());
    if on_targets && spread {
        return finding.ok(found);
    }
    let fixes = receiving.iter().enumerate().map(|(n, interrupt)| {
        let setting = Setting::Interrupt {
            number: interrupt.number,
        };
        (setting, targets[n % targets.len()].to_string())
    });
    let wanted = match view.workers.is_empty() {
        true => format!("spread over cores {}", list(&targets)),
        false => format!(
            "spread over cores {}; workers are on {}",
            list(&targets),
            list(&view.workers)
        ),
    };
    finding.bad(Status::Advice, found, wanted, "").fixed_by(fixes)
}

/// The interrupts of an interface's device: those of the device itself, or, for virtio, of the bus device above it.
fn numbers(view: &View<'_>, name: &str) -> Vec<u32> {
    ["device/msi_irqs", "device/../msi_irqs"]
        .iter()
        .map(|directory| view.names(&format!("/sys/class/net/{name}/{directory}")))
        .find(|names| !names.is_empty())
        .unwrap_or_default()
        .iter()
        .filter_map(|number| number.parse().ok())
        .collect()
}

fn interrupt(view: &View<'_>, number: u32) -> std::io::Result<Interrupt> {
    let directory = format!("/proc/irq/{number}");
    let allowed = cores(&view.read(&format!("{directory}/smp_affinity_list"))?).unwrap_or_default();
    let effective = view.read(&format!("{directory}/effective_affinity_list")).ok();
    let serves = effective
        .and_then(|text| cores(&text))
        .filter(|cores| cores.len() == 1);
    let serves = serves.map(|cores| cores[0]).or(match allowed[..] {
        [only] => Some(only),
        _ => None,
    });
    // Its one subdirectory has the name that the driver gave it; an interrupt that nobody asked for has none.
    let name = view
        .names(&directory)
        .into_iter()
        .find(|entry| view.at(&format!("{directory}/{entry}")).is_dir())
        .unwrap_or_default();
    Ok(Interrupt {
        number,
        name,
        allowed,
        serves,
    })
}

/// Drivers name them as they like: `eth0-TxRx-0`, `virtio2-input.0`, `mlx5_comp3@pci:…`, `eth0-rx-1`, `gve-ntfy-blk0`.
fn is_receiving(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["txrx", "tx-rx", "-rx", "input", "comp", "ntfy"]
        .iter()
        .any(|part| name.contains(part))
}

/// It moves interrupts while it runs.
fn irqbalance(view: &View<'_>) -> Option<Finding> {
    let running = view.names("/proc").into_iter().any(|process| {
        process.bytes().all(|byte| byte.is_ascii_digit())
            && view
                .read(&format!("/proc/{process}/comm"))
                .is_ok_and(|name| name == "irqbalance")
    });
    running.then(|| {
        Finding::new(
            "interrupts",
            "irqbalance",
            "it moves interrupts back to where it wants them",
        )
        .bad(
            Status::Advice,
            "running",
            "stopped, or told to leave the media interfaces alone",
            "systemctl disable --now irqbalance",
        )
    })
}
