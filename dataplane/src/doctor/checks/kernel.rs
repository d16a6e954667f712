use crate::doctor::finding::{Finding, Status};
use crate::doctor::view::View;

/// The oldest kernel that has all that the paths need: multishot receive of io_uring came with 6.0.
const RELEASE_MIN: (u32, u32) = (6, 1);

/// The kernel's version.
pub fn kernel(view: &View<'_>) -> Vec<Finding> {
    let finding = Finding::new(
        "kernel",
        "release",
        "io_uring's multishot receive, socket steering and the kernel path need what older kernels lack",
    );
    let release = match view.read("/proc/sys/kernel/osrelease") {
        Ok(release) => release,
        Err(error) => return vec![finding.unknown(error)],
    };
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    let (Some(major), Some(minor)) = (number(), number()) else {
        return vec![finding.unknown(format!("{release:?} is no version"))];
    };
    vec![if (major, minor) >= RELEASE_MIN {
        finding.ok(release)
    } else {
        let (major, minor) = RELEASE_MIN;
        finding.bad(
            Status::Advice,
            release,
            format!("at least {major}.{minor}"),
            "install a newer kernel",
        )
    }]
}

/// Whether io_uring works for this process.
pub fn uring(view: &View<'_>) -> Vec<Finding> {
    let why = "without io_uring packets of user space take the socket path, at more cost each";
    let setting = Finding::new("io-uring", "kernel.io_uring_disabled", why);
    let setting = match view.number("/proc/sys/kernel/io_uring_disabled") {
        Ok(0) => setting.ok("0: for everyone"),
        Ok(1) => setting.ok("1: for CAP_SYS_ADMIN and the group of kernel.io_uring_group"),
        Ok(disabled) => setting.bad(
            Status::Advice,
            format!("{disabled}: for nobody"),
            "0, or 1 and the service's group in kernel.io_uring_group",
            "sysctl -w kernel.io_uring_disabled=0",
        ),
        // Kernels before 6.6 have no such switch.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            setting.ok("no such switch in this kernel")
        }
        Err(error) => setting.unknown(error),
    };
    let works = Finding::new("io-uring", "a ring of this process", why);
    let works = match view.calls.uring() {
        Ok(reason) => works.ok(reason),
        Err(reason) => works.bad(
            Status::Advice,
            reason,
            "a ring that works",
            "allow io_uring in the service's seccomp filter and sysctl",
        ),
    };
    vec![setting, works]
}

/// Whether the kernel path's programs can be loaded and kept.
pub fn bpf(view: &View<'_>) -> Vec<Finding> {
    let why = "without BPF there is no kernel path and no steering: media stays on user space's paths";
    let loads = Finding::new("bpf", "a program of this process", why);
    let loads = match view.calls.bpf() {
        Ok(()) => loads.ok("a program of this build was loaded and let go"),
        Err(reason) => loads.bad(
            Status::Advice,
            reason,
            "programs that load",
            "build with clang; give the service CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN",
        ),
    };
    let steers = Finding::new(
        "bpf",
        "sk_lookup of this process",
        "without steering each media port is a socket of its own, and the limit of open files bounds the calls",
    );
    let steers = match view.calls.steering() {
        Ok(()) => steers.ok("the program of this build was loaded and let go"),
        Err(reason) => steers.bad(
            Status::Advice,
            reason,
            "a program that loads",
            "build with clang; give the service CAP_BPF and CAP_NET_ADMIN",
        ),
    };
    let pins = Finding::new(
        "bpf",
        "/sys/fs/bpf",
        "programs and maps pinned there go on relaying while the node is restarted",
    );
    let pins = match view.read("/proc/mounts") {
        Err(error) => pins.unknown(error),
        Ok(mounts) => {
            let mounted = mounts.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.nth(1) == Some("/sys/fs/bpf") && words.next() == Some("bpf")
            });
            match mounted {
                true => pins.ok("mounted"),
                false => pins.bad(
                    Status::Advice,
                    "not mounted",
                    "mounted",
                    "mount -t bpf bpf /sys/fs/bpf",
                ),
            }
        }
    };
    vec![loads, steers, pins]
}
