//! What is looked at, one noun a file. Checks only read.

mod conntrack;
mod cores;
mod interface;
mod interrupts;
mod kernel;
mod limits;
mod memory;
mod offloads;
mod ports;
mod queues;
mod sysctls;

use super::finding::Finding;
use super::view::View;

/// A check: its name for `--only`, and what it says.
type Check = (&'static str, fn(&View<'_>) -> Vec<Finding>);

/// Every check, in the order of the report.
pub const ALL: &[Check] = &[
    ("interfaces", interface::interfaces),
    ("mtu", interface::mtu),
    ("queues", queues::queues),
    ("rss", queues::rss),
    ("interrupts", interrupts::interrupts),
    ("steering", queues::steering),
    ("offloads", offloads::offloads),
    ("xdp", offloads::xdp),
    ("veth", offloads::veth),
    ("conntrack", conntrack::conntrack),
    ("ports", ports::ports),
    ("sysctl", sysctls::sysctls),
    ("limits", limits::limits),
    ("capabilities", limits::capabilities),
    ("kernel", kernel::kernel),
    ("io-uring", kernel::uring),
    ("bpf", kernel::bpf),
    ("cores", cores::isolation),
    ("governor", cores::governor),
    ("clock", cores::clock),
    ("memory", memory::memory),
];

/// Runs the checks that `only` names, or all when it names none.
pub fn run(view: &View<'_>, only: &[String]) -> Vec<Finding> {
    ALL.iter()
        .filter(|(name, _)| only.is_empty() || only.iter().any(|wanted| wanted == name))
        .flat_map(|(_, check)| check(view))
        .collect()
}
