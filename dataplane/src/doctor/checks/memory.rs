use crate::doctor::finding::{Finding, Status};
use crate::doctor::setting::Setting;
use crate::doctor::view::View;

const TRANSPARENT: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// Huge pages, asked for and not.
pub fn memory(view: &View<'_>) -> Vec<Finding> {
    let transparent = Finding::new(
        "memory",
        "transparent huge pages",
        "the kernel stops a process while it gathers its memory into huge pages",
    );
    let path = TRANSPARENT.to_owned();
    let setting = Setting::File { path };
    let transparent = match setting.read(view) {
        // A kernel without them.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => transparent.ok("none in this kernel"),
        Err(error) => transparent.unknown(error),
        Ok(mode) if mode == "always" => transparent
            .bad(Status::Advice, mode, "madvise or never", "")
            .fixed_by([(setting, "madvise".to_owned())]),
        Ok(mode) => transparent.ok(mode),
    };
    let reserved = Finding::new(
        "memory",
        "reserved huge pages",
        "the node asks for none: memory reserved for them is lost to it",
    );
    let reserved = match view.number("/proc/sys/vm/nr_hugepages") {
        Err(error) => reserved.unknown(error),
        Ok(count) => reserved.ok(format!("{count}; the node needs none")),
    };
    vec![transparent, reserved]
}
