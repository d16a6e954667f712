use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use host::{Channels, Feature, TimeSync, UdpFlow};

/// What the kernel tells and takes through system calls only. Everything else is in files.
pub trait Calls {
    /// The name of an interface's driver.
    fn driver(&self, interface: &str) -> io::Result<String>;
    /// An interface's queues.
    fn channels(&self, interface: &str) -> io::Result<Channels>;
    /// Sets them.
    fn set_channels(&self, interface: &str, channels: Channels) -> io::Result<()>;
    /// The fields by which UDP packets are spread over queues.
    fn udp_hash(&self, interface: &str, flow: UdpFlow) -> io::Result<u64>;
    /// Sets them.
    fn set_udp_hash(&self, interface: &str, flow: UdpFlow, fields: u64) -> io::Result<()>;
    /// An interface's offloads.
    fn features(&self, interface: &str) -> io::Result<BTreeMap<String, Feature>>;
    /// Turns one on or off.
    fn set_feature(&self, interface: &str, name: &str, on: bool) -> io::Result<()>;
    /// Whether the wall clock is kept.
    fn time_sync(&self) -> io::Result<TimeSync>;
    /// Whether io_uring works for this process, and why not.
    fn uring(&self) -> Result<String, String>;
    /// Whether the kernel takes a BPF program from this process, and why not.
    fn bpf(&self) -> Result<(), String>;
    /// The same of the program that steers packets to sockets.
    fn steering(&self) -> Result<(), String>;
    /// What the driver of an interface says of native XDP: whether it runs programs, and whether what they send leaves.
    fn xdp(&self, interface: &str) -> Result<(bool, bool), String>;
    /// The whole firewall of this network namespace as `nft list ruleset` prints it.
    fn ruleset(&self) -> Result<String, String>;
}

/// Media ports of a local address, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRange {
    /// The address that the node binds.
    pub address: IpAddr,
    /// The first port.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// The machine that is looked at.
pub struct View<'a> {
    /// `/`; tests have a directory with some of /proc and /sys.
    root: PathBuf,
    /// System calls.
    pub calls: &'a dyn Calls,
    /// Interfaces of the operating system with their addresses.
    pub addresses: Vec<(String, IpAddr)>,
    /// What the configuration says; empty without one.
    pub media: Vec<MediaRange>,
    /// The cores of the workers as far as the configuration tells; empty without one.
    pub workers: Vec<usize>,
}

impl<'a> View<'a> {
    /// Of the files below `root`.
    pub fn new(root: &Path, calls: &'a dyn Calls) -> Self {
        Self {
            root: root.to_owned(),
            calls,
            addresses: Vec::new(),
            media: Vec::new(),
            workers: Vec::new(),
        }
    }

    /// Where `path`, which begins with a slash, really is.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file's text without the white space around it.
    ///
    /// # Errors
    /// With the file's name.
    pub fn read(&self, path: &str) -> io::Result<String> {
        let text = fs::read_to_string(self.at(path))
            .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
        Ok(text.trim().to_owned())
    }

    /// A file with a number.
    ///
    /// # Errors
    /// As for [`Self::read`], and when it is none.
    pub fn number(&self, path: &str) -> io::Result<u64> {
        let text = self.read(path)?;
        let number = text
            .split_whitespace()
            .next()
            .and_then(|first| first.parse().ok());
        number.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{path}: {text:?} is no number"),
            )
        })
    }

    /// Whether there is such a file or directory.
    pub fn is_there(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// The names in a directory in order; none when there is no such directory.
    pub fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.at(path)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort_by_key(|name| natural(name));
        names
    }

    /// The cores that are running.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn online(&self) -> io::Result<Vec<usize>> {
        let text = self.read("/sys/devices/system/cpu/online")?;
        cores(&text)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{text:?} names no cores")))
    }

    /// The interfaces that hold the media addresses, or all when no configuration names any; those below a VLAN, bond or
    /// bridge as well, since they have the queues.
    pub fn interfaces(&self) -> Vec<String> {
        let mut found: Vec<String> = if self.media.is_empty() {
            self.names("/sys/class/net")
                .into_iter()
                .filter(|name| self.is_there(&format!("/sys/class/net/{name}/type")))
                .collect()
        } else {
            self.addresses
                .iter()
                .filter(|(_, address)| self.media.iter().any(|range| range.address == *address))
                .map(|(name, _)| name.clone())
                .collect()
        };
        let mut next = 0;
        while let Some(name) = found.get(next) {
            let lower: Vec<String> = self
                .names(&format!("/sys/class/net/{name}"))
                .iter()
                .filter_map(|entry| entry.strip_prefix("lower_").map(str::to_owned))
                .collect();
            found.extend(lower);
            next += 1;
        }
        let mut seen = Vec::new();
        found.retain(|name| {
            let new = !seen.contains(name);
            seen.push(name.clone());
            new
        });
        found
    }

    /// Loopback has neither queues nor interrupts.
    pub fn is_loopback(&self, interface: &str) -> bool {
        // ARPHRD_LOOPBACK
        self.number(&format!("/sys/class/net/{interface}/type")).ok() == Some(772)
    }
}

/// `rx-2` before `rx-10`.
fn natural(name: &str) -> (String, u64) {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (text, number) = name.split_at(name.len() - digits);
    (text.to_owned(), number.parse().unwrap_or(0))
}

/// A list of cores such as `0-3,8`. Empty text is no core.
pub fn cores(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last < first || last >= 1 << 14 {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// A mask of cores in groups of 32 bits such as `00000001,80000000`, as in `rps_cpus`.
pub fn mask_cores(mask: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for (group, word) in mask.trim().rsplit(',').enumerate() {
        let word = u32::from_str_radix(word.trim(), 16).ok()?;
        cores.extend(
            (0..32)
                .filter(|bit| word >> bit & 1 == 1)
                .map(|bit| group * 32 + bit),
        );
    }
    Some(cores)
}

/// The other way round.
pub fn mask(cores: &[usize]) -> String {
    let groups = cores.iter().max().map_or(1, |most| most / 32 + 1);
    let words: Vec<String> = (0..groups)
        .rev()
        .map(|group| {
            let bits = cores.iter().filter(|core| *core / 32 == group);
            let word = bits.fold(0_u32, |word, core| word | 1 << (core % 32));
            format!("{word:08x}")
        })
        .collect();
    words.join(",")
}

/// As people write it: `0-3,8`.
pub fn list(cores: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => parts.push((core, core)),
        }
    }
    let text = |(first, last): (usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.into_iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_of_cores_are_read_and_written_as_the_kernel_does() {
        assert_eq!(cores("0-2,7"), Some(vec![0, 1, 2, 7]));
        assert_eq!(cores(""), Some(vec![]));
        assert_eq!(cores("3-1"), None);
        assert_eq!(cores("all"), None);
        assert_eq!(mask_cores("80000001,00000002"), Some(vec![1, 32, 63]));
        assert_eq!(mask_cores("3"), Some(vec![0, 1]));
        assert_eq!(mask_cores("x"), None);
        assert_eq!(mask(&[1, 32, 63]), "80000001,00000002");
        assert_eq!(mask(&[]), "00000000");
        assert_eq!(list(&[0, 1, 2, 7]), "0-2,7");
        let mut queues = ["rx-10", "rx-9", "tx-0"].map(natural);
        queues.sort();
        assert_eq!(queues[0].1, 9);
    }
}
