use crate::doctor::finding::{Finding, Status};
use crate::doctor::setting::Setting;
use crate::doctor::view::{View, cores, list};

/// Clock sources that are read without a system call and without leaving the guest.
const FAST_CLOCKS: [&str; 4] = [
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
];

/// Cores of the machine below which keeping some for the workers alone takes more than it gives.
const ISOLATE_FROM: usize = 4;

/// Whether the workers have their cores to themselves.
pub fn isolation(view: &View<'_>) -> Vec<Finding> {
    let online = match view.online() {
        Ok(online) => online,
        Err(error) => {
            return vec![Finding::new("cores", "online", "workers are pinned to cores").unknown(error)];
        }
    };
    let mut findings = Vec::new();
    let checks = [
        (
            "isolated",
            "isolcpus",
            "a task that shares a worker's core makes its packets late by a time slice",
        ),
        (
            "nohz_full",
            "nohz_full",
            "a core with one task needs no timer interrupt; without them the longest delays are shorter",
        ),
    ];
    for (file, parameter, why) in checks {
        let finding = Finding::new("cores", parameter, why);
        let path = format!("/sys/devices/system/cpu/{file}");
        let set = match view.read(&path) {
            Ok(text) => cores(&text).unwrap_or_default(),
            // A kernel without the feature has no such file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                findings.push(finding.unknown(error));
                continue;
            }
        };
        let found = match set.is_empty() {
            true => "no core".to_owned(),
            false => format!("cores {}", list(&set)),
        };
        let missing: Vec<usize> = view
            .workers
            .iter()
            .copied()
            .filter(|core| !set.contains(core))
            .collect();
        findings.push(if view.workers.is_empty() {
            finding.ok(format!("{found}; no configuration names workers (--config)"))
        } else if missing.is_empty() {
            finding.ok(found)
        } else if online.len() < ISOLATE_FROM || missing.len() == online.len() {
            finding.ok(format!(
                "{found}; {} cores are too few to keep some for workers",
                online.len()
            ))
        } else {
            let workers = list(&view.workers);
            finding.bad(
                Status::Advice,
                format!("{found}; workers are on {workers}"),
                format!("cores {workers}"),
                format!("{parameter}={workers} among the kernel's boot parameters"),
            )
        });
    }
    findings
}

/// Whether cores run at full speed at once.
pub fn governor(view: &View<'_>) -> Vec<Finding> {
    let why = "a core that first has to speed up makes the first packets after a pause late";
    let cores: Vec<String> = view
        .names("/sys/devices/system/cpu")
        .into_iter()
        .filter(|name| {
            name.strip_prefix("cpu")
                .is_some_and(|number| number.parse::<usize>().is_ok())
        })
        .filter(|name| {
            view.is_there(&format!(
                "/sys/devices/system/cpu/{name}/cpufreq/scaling_governor"
            ))
        })
        .collect();
    if cores.is_empty() {
        return vec![
            Finding::new("governor", "cores", why)
                .ok("the kernel does not scale frequencies here: the host or the firmware does"),
        ];
    }
    let path = |core: &str| format!("/sys/devices/system/cpu/{core}/cpufreq/scaling_governor");
    let mut other = Vec::new();
    for core in &cores {
        match view.read(&path(core)) {
            Ok(governor) if governor == "performance" => {}
            Ok(governor) => other.push((core, governor)),
            Err(error) => return vec![Finding::new("governor", core, why).unknown(error)],
        }
    }
    let finding = Finding::new("governor", format!("{} cores", cores.len()), why);
    let Some((first, governor)) = other.first() else {
        return vec![finding.ok("performance")];
    };
    let found = format!("{governor} on {first} and {} others", other.len() - 1);
    let fixes: Vec<_> = other
        .iter()
        .map(|(core, _)| (Setting::File { path: path(core) }, "performance".to_owned()))
        .collect();
    vec![
        finding
            .bad(Status::Advice, found, "performance", "")
            .fixed_by(fixes),
    ]
}

/// The clock that every packet's time comes from, and whether it is kept right.
pub fn clock(view: &View<'_>) -> Vec<Finding> {
    let directory = "/sys/devices/system/clocksource/clocksource0";
    let source = Finding::new(
        "clock",
        "source",
        "the clock is read for each batch of packets; some sources take a microsecond",
    );
    let source = match view.read(&format!("{directory}/current_clocksource")) {
        Err(error) => source.unknown(error),
        Ok(current) if FAST_CLOCKS.contains(&current.as_str()) => source.ok(current),
        Ok(current) => {
            let available = view
                .read(&format!("{directory}/available_clocksource"))
                .unwrap_or_default();
            let path = format!("{directory}/current_clocksource");
            let better = available
                .split_whitespace()
                .find(|name| FAST_CLOCKS.contains(name));
            match better {
                Some(better) => source
                    .bad(Status::Advice, current, better, "")
                    .fixed_by([(Setting::File { path }, better.to_owned())]),
                None => source.bad(
                    Status::Advice,
                    format!("{current}; available: {available}"),
                    "tsc, or the hypervisor's clock",
                    "clocksource=tsc among the kernel's boot parameters, if the machine's TSC is stable",
                ),
            }
        }
    };
    let sync = Finding::new(
        "clock",
        "time synchronisation",
        "records, events and captures of several machines are compared by time",
    );
    let sync = match view.calls.time_sync() {
        Err(error) => sync.unknown(error),
        Ok(state) if state.synchronised => {
            sync.ok(format!("kept, wrong by at most {} µs", state.error_us_max))
        }
        Ok(_) => sync.bad(
            Status::Advice,
            "nobody keeps the wall clock",
            "kept by chrony, ntpd or systemd-timesyncd",
            "systemctl enable --now chrony",
        ),
    };
    vec![source, sync]
}
