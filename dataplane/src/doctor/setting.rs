use std::fs;
use std::io;
use std::process::Command;

use host::{Channels, UdpFlow, hash};
use serde::{Deserialize, Serialize};

use super::view::View;

/// Something of the running system that can be read, set and set back. Values are text, as the kernel writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Setting {
    /// A file below /proc/sys, by its name with dots: `net.core.rmem_max`.
    Sysctl {
        /// The name.
        name: String,
    },
    /// A file in /sys that holds its value, or shows it in brackets among others.
    File {
        /// The path.
        path: String,
    },
    /// The cores that may serve an interrupt: `0-1`.
    Interrupt {
        /// Its number.
        number: u32,
    },
    /// An interface's offload: `on` or `off`.
    Feature {
        /// The interface.
        interface: String,
        /// The kernel's name for the offload.
        name: String,
    },
    /// The fields of UDP packets that choose the queue, as ethtool writes them: `sdfn`. A number when there are others.
    UdpHash {
        /// The interface.
        interface: String,
        /// IPv6; else IPv4.
        ipv6: bool,
    },
    /// The number of queues for both directions.
    Queues {
        /// The interface.
        interface: String,
    },
}

/// A setting with the value that it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The setting.
    pub setting: Setting,
    /// The value.
    pub value: String,
}

impl Wanted {
    /// The command by which a person does the same.
    pub fn command(&self) -> String {
        let value = &self.value;
        match &self.setting {
            Setting::Sysctl { name } => format!("sysctl -w {name}={}", quoted(value)),
            Setting::File { path } => format!("echo {value} > {path}"),
            Setting::Interrupt { number } => format!("echo {value} > /proc/irq/{number}/smp_affinity_list"),
            Setting::Feature { interface, name } => format!("ethtool -K {interface} {name} {value}"),
            Setting::UdpHash { interface, ipv6 } => {
                format!(
                    "ethtool -N {interface} rx-flow-hash {} {value}",
                    flow(*ipv6).name()
                )
            }
            Setting::Queues { interface } => format!("ethtool -L {interface} combined {value}"),
        }
    }
}

fn quoted(value: &str) -> String {
    match value.contains(|c: char| !c.is_ascii_alphanumeric() && c != '.') {
        true => format!("'{value}'"),
        false => value.to_owned(),
    }
}

impl Setting {
    /// What it is, for people.
    pub fn name(&self) -> String {
        match self {
            Self::Sysctl { name } => name.clone(),
            Self::File { path } => path.clone(),
            Self::Interrupt { number } => format!("interrupt {number}"),
            Self::Feature { interface, name } => format!("{interface} {name}"),
            Self::UdpHash { interface, ipv6 } => format!("{interface} {} hash", flow(*ipv6).name()),
            Self::Queues { interface } => format!("{interface} queues"),
        }
    }

    /// Whether it belongs to a network namespace, or to the machine.
    pub fn is_of_namespace(&self) -> bool {
        match self {
            Self::Sysctl { name } => name.starts_with("net."),
            Self::File { path } => path.starts_with("/sys/class/net/"),
            Self::Interrupt { .. } => false,
            Self::Feature { .. } | Self::UdpHash { .. } | Self::Queues { .. } => true,
        }
    }

    /// What it is now.
    ///
    /// # Errors
    /// When the kernel or the driver does not say.
    pub fn read(&self, view: &View<'_>) -> io::Result<String> {
        match self {
            Self::Sysctl { name } => {
                let text = view.read(&sysctl_path(name))?;
                Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
            }
            Self::File { path } => Ok(chosen(&view.read(path)?).to_owned()),
            Self::Interrupt { number } => view.read(&format!("/proc/irq/{number}/smp_affinity_list")),
            Self::Feature { interface, name } => {
                let features = view.calls.features(interface)?;
                let feature = features
                    .get(name)
                    .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no offload {name}")))?;
                Ok(if feature.active { "on" } else { "off" }.to_owned())
            }
            Self::UdpHash { interface, ipv6 } => {
                Ok(fields_to_text(view.calls.udp_hash(interface, flow(*ipv6))?))
            }
            Self::Queues { interface } => Ok(view.calls.channels(interface)?.combined.to_string()),
        }
    }

    /// Sets it. What the kernel made of it is for the caller to read.
    ///
    /// # Errors
    /// When the kernel or the driver refuses.
    pub fn write(&self, view: &View<'_>, value: &str) -> io::Result<()> {
        let invalid = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{value:?} is no value of it"),
            )
        };
        match self {
            // With a line end, for an empty value would be no write at all.
            Self::Sysctl { name } => fs::write(view.at(&sysctl_path(name)), format!("{value}\n")),
            Self::File { path } => fs::write(view.at(path), value),
            Self::Interrupt { number } => {
                fs::write(view.at(&format!("/proc/irq/{number}/smp_affinity_list")), value)
            }
            Self::Feature { interface, name } => {
                let on = match value {
                    "on" => true,
                    "off" => false,
                    _ => return Err(invalid()),
                };
                view.calls.set_feature(interface, name, on)
            }
            Self::UdpHash { interface, ipv6 } => {
                let fields = fields_from_text(value).ok_or_else(invalid)?;
                view.calls.set_udp_hash(interface, flow(*ipv6), fields)
            }
            Self::Queues { interface } => {
                let combined = value.parse().map_err(|_| invalid())?;
                let now = view.calls.channels(interface)?;
                view.calls.set_channels(interface, Channels { combined, ..now })
            }
        }
    }
}

const fn flow(ipv6: bool) -> UdpFlow {
    match ipv6 {
        true => UdpFlow::V6,
        false => UdpFlow::V4,
    }
}

/// Where a sysctl's file is. Names of interfaces with dots do not occur among those that are set here.
pub fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// `always [madvise] never` is `madvise`; other text is itself.
fn chosen(text: &str) -> &str {
    text.split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or(text, |(chosen, _)| chosen)
}

/// ethtool's letters.
const LETTERS: [(char, u64); 4] = [
    ('s', hash::IP_SOURCE),
    ('d', hash::IP_DESTINATION),
    ('f', hash::PORT_SOURCE),
    ('n', hash::PORT_DESTINATION),
];

/// `sdfn`, or a number when a field has no letter here.
pub fn fields_to_text(fields: u64) -> String {
    if fields & !hash::FOUR_TUPLE != 0 {
        return format!("{fields:#x}");
    }
    if fields == 0 {
        return "none".to_owned();
    }
    let set = LETTERS.iter().filter(|(_, bit)| fields & bit != 0);
    set.map(|(letter, _)| *letter).collect()
}

fn fields_from_text(text: &str) -> Option<u64> {
    if let Some(number) = text.strip_prefix("0x") {
        return u64::from_str_radix(number, 16).ok();
    }
    if text == "none" {
        return Some(0);
    }
    text.chars()
        .map(|letter| {
            LETTERS
                .iter()
                .find(|(known, _)| *known == letter)
                .map(|(_, bit)| bit)
        })
        .try_fold(0, |fields, bit| Some(fields | bit?))
}

/// The firewall as `nft` prints it.
///
/// # Errors
/// When there is no `nft`, or it may not.
pub fn nft_ruleset() -> Result<String, String> {
    let output = Command::new("nft")
        .args(["list", "ruleset"])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .map_err(|error| format!("nft list ruleset: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!(
            "nft list ruleset: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_fields_are_written_as_ethtool_does() {
        for (fields, text) in [
            (hash::FOUR_TUPLE, "sdfn"),
            (hash::IP_SOURCE | hash::IP_DESTINATION, "sd"),
            (0, "none"),
            (0x32, "0x32"),
        ] {
            assert_eq!(fields_to_text(fields), text);
            assert_eq!(fields_from_text(text), Some(fields));
        }
        assert_eq!(fields_from_text("sdx"), None);
    }

    #[test]
    fn a_value_among_others_is_the_one_in_brackets() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("performance"), "performance");
    }
}
