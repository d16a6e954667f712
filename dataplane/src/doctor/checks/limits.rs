use crate::doctor::finding::{Finding, Status};
use crate::doctor::view::View;

/// Open files that leave room for calls when each has its sockets.
const FILES_MIN: u64 = 65_536;
/// Locked memory of the rings and maps of a few workers.
const LOCKED_BYTES_MIN: u64 = 64 << 20;

/// What this process may open and lock. The node's service may be given other limits.
pub fn limits(view: &View<'_>) -> Vec<Finding> {
    let text = match view.read("/proc/self/limits") {
        Ok(text) => text,
        Err(error) => {
            return vec![Finding::new("limits", "this process", "limits bound the calls").unknown(error)];
        }
    };
    let checks = [
        (
            "Max open files",
            FILES_MIN,
            "without steering a call takes four sockets",
            "LimitNOFILE=1048576 in the service unit",
        ),
        (
            "Max locked memory",
            LOCKED_BYTES_MIN,
            "rings and packet buffers of io_uring are locked memory",
            "LimitMEMLOCK=infinity in the service unit",
        ),
    ];
    let judge = |(name, least, why, change): (&str, u64, &'static str, &str)| {
        let subject = format!("{} of this process", name.trim_start_matches("Max "));
        let finding = Finding::new("limits", subject, why);
        let Some(hard) = hard_limit(&text, name) else {
            return finding.unknown(format!("/proc/self/limits has no line {name:?}"));
        };
        match hard {
            None => finding.ok("unlimited"),
            Some(hard) if hard >= least => finding.ok(hard.to_string()),
            Some(hard) => finding.bad(
                Status::Advice,
                hard.to_string(),
                format!("at least {least}"),
                change,
            ),
        }
    };
    checks.map(judge).into()
}

/// The hard limit in a line of /proc/self/limits; inside, `None` is unlimited.
fn hard_limit(text: &str, name: &str) -> Option<Option<u64>> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let hard = rest.split_whitespace().nth(1)?;
    match hard {
        "unlimited" => Some(None),
        number => Some(Some(number.parse().ok()?)),
    }
}

/// Capabilities of linux/capability.h, and what the node does with them.
const CAPABILITIES: &[(u32, &str, &str)] = &[
    (
        39,
        "CAP_BPF",
        "loads the programs of the kernel path and of steering",
    ),
    (
        38,
        "CAP_PERFMON",
        "lets the verifier take the kernel path's program",
    ),
    (12, "CAP_NET_ADMIN", "attaches the programs"),
    (13, "CAP_NET_RAW", "sends from any media port through one socket"),
];

/// What this process may do. The node's service may be given other capabilities.
pub fn capabilities(view: &View<'_>) -> Vec<Finding> {
    let status = view.read("/proc/self/status");
    let held = status.map(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    });
    CAPABILITIES
        .iter()
        .map(|(number, name, why)| {
            let finding = Finding::new("capabilities", format!("{name} of this process"), why);
            match &held {
                Err(error) => finding.unknown(error),
                Ok(None) => finding.unknown("/proc/self/status does not tell"),
                Ok(Some(held)) if held >> number & 1 == 1 => finding.ok("held"),
                Ok(Some(_)) => finding.bad(
                    Status::Advice,
                    "not held",
                    "held",
                    format!("AmbientCapabilities={name} in the service unit"),
                ),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_is_the_second_number() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max open files            1024                 20000                files\n\
                    Max locked memory         unlimited            unlimited            bytes\n";
        assert_eq!(hard_limit(text, "Max open files"), Some(Some(20_000)));
        assert_eq!(hard_limit(text, "Max locked memory"), Some(None));
        assert_eq!(hard_limit(text, "Max realtime timeout"), None);
    }
}
