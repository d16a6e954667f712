use std::net::IpAddr;
use std::ops::RangeInclusive;

use media_types::InterfaceName;
use ops::config::{Problems, Validate};
use serde::Deserialize;

/// One side of the node, as parties see it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// The name by which a control plane asks for it.
    pub name: String,
    /// The UDP ports that the node may use on each address: `20000-29999`.
    pub ports: PortRange,
    /// The addresses; a leg gets the first of its family.
    pub addresses: Vec<Address>,
}

/// A local address.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// What the node binds.
    pub local: IpAddr,
    /// What parties are told to send to, when a 1:1 NAT stands before the node; else the same.
    #[serde(default)]
    pub advertised: Option<IpAddr>,
}

impl Address {
    fn advertised(&self) -> IpAddr {
        self.advertised.unwrap_or(self.local)
    }
}

/// A range of UDP ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Every port of it.
    pub const fn ports(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }

    /// The even ports whose odd neighbour is in the range as well: one for each pair of RTP and RTCP ports
    /// (RFC 3550 §11).
    pub fn pairs(self) -> impl ExactSizeIterator<Item = u16> {
        let first = self.first.next_multiple_of(2);
        let count = (u32::from(self.last) + 1).saturating_sub(u32::from(first)) / 2;
        (0..count as u16).map(move |n| first + 2 * n)
    }
}

impl PortRange {
    /// Both ends included.
    pub const fn range(self) -> std::ops::RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bounds = text.split_once('-').and_then(|(first, last)| {
            Some((
                first.trim().parse::<u16>().ok()?,
                last.trim().parse::<u16>().ok()?,
            ))
        });
        match bounds {
            Some((first @ 1024.., last)) if first < last => {
                let range = Self { first, last };
                if range.pairs().len() == 0 {
                    return Err(format!("\"{text}\" has no even port with the odd one after it"));
                }
                Ok(range)
            }
            _ => Err(format!(
                "\"{text}\" is not a range of ports such as \"20000-29999\", from 1024 to 65535"
            )),
        }
    }
}

impl Interface {
    /// The part of the `index`-th of `count` workers: every address, and one port pair in `count`. Which worker has a pair depends on
    /// its number alone, on all interfaces.
    pub fn share(&self, index: usize, count: usize) -> media_engine::Interface {
        media_engine::Interface {
            // Validation has seen to it that every name is good.
            name: InterfaceName::new(&self.name).expect("a validated name"),
            addresses: self
                .addresses
                .iter()
                .map(|address| media_engine::Address {
                    local: address.local,
                    advertised: address.advertised(),
                })
                .collect(),
            ports: self
                .ports
                .pairs()
                .filter(|port| usize::from(port / 2) % count == index)
                .collect(),
        }
    }

    /// As a control plane sees it.
    pub fn to_wire(&self) -> proto::media_v1::Interface {
        let addresses = self.addresses.iter().map(|address| proto::media_v1::Address {
            local: address.local.to_string(),
            advertised: address.advertised().to_string(),
        });
        proto::media_v1::Interface {
            name: self.name.clone(),
            addresses: addresses.collect(),
        }
    }

    /// Whether some port of some address would belong to both.
    pub fn collides(&self, other: &Self) -> bool {
        self.ports.first <= other.ports.last
            && other.ports.first <= self.ports.last
            && self
                .addresses
                .iter()
                .any(|a| other.addresses.iter().any(|b| a.local == b.local))
    }
}

impl Validate for Interface {
    fn validate(&self, problems: &mut Problems) {
        if let Err(reason) = InterfaceName::new(&self.name) {
            problems.push("name", reason.to_string());
        }
        if self.addresses.is_empty() {
            problems.push("addresses", "must have one at least");
        }
        for (n, address) in self.addresses.iter().enumerate() {
            problems.within(&format!("addresses.{n}"), address);
            if self.addresses[..n]
                .iter()
                .any(|earlier| earlier.local == address.local)
            {
                problems.push(&format!("addresses.{n}.local"), "is there twice");
            }
        }
    }
}

impl Validate for Address {
    fn validate(&self, problems: &mut Problems) {
        let reason = "must be the address of one host: not unspecified, not multicast";
        if self.local.is_unspecified() || self.local.is_multicast() {
            problems.push("local", reason);
        }
        let Some(advertised) = self.advertised else { return };
        if advertised.is_unspecified() || advertised.is_multicast() {
            problems.push("advertised", reason);
        }
        if advertised.is_ipv4() != self.local.is_ipv4() {
            problems.push("advertised", "must be of the family of the local address");
        }
    }
}
