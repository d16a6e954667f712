//! How nodes on one host notice that they have the same media ports.
//!
//! With steering nothing is bound, so the kernel would let two nodes take one port. Each node therefore claims its ranges: an abstract
//! Unix socket for each, whose name says address, ports and process. Such names live in the network namespace, as ports do,
//! need no privilege and no directory, and end with the process in whatever way it ends. /proc/net/unix shows them to all.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The first word of all names.
const WORD: &str = "ringpath-media";

/// A range of ports of an address, claimed while this lives.
#[derive(Debug)]
pub struct RangeClaim {
    _socket: UnixDatagram,
    range: Range,
}

/// A node that has claimed some of the same ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ports {}-{} of {address} are also those of process {process}{}", .ports.start(), .ports.end(),
    if *.steered { ", which steers them" } else { "" })]
pub struct ClaimError {
    /// The address.
    pub address: IpAddr,
    /// The other's ports.
    pub ports: RangeInclusive<u16>,
    /// The other's number, as it knows it.
    pub process: u32,
    /// Whether it steers, so that packets may never reach sockets that are bound to these ports.
    pub steered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    steered: bool,
    address: IpAddr,
    ports: RangeInclusive<u16>,
    process: u32,
}

impl RangeClaim {
    /// Claims a range for this process.
    ///
    /// # Errors
    /// What the kernel answers; `AddrInUse` if a process with the same number in another namespace has claimed the very same.
    pub fn make(address: IpAddr, ports: RangeInclusive<u16>, steered: bool) -> io::Result<Self> {
        let range = Range {
            steered,
            address,
            ports,
            process: std::process::id(),
        };
        let name = SocketAddr::from_abstract_name(range.name())?;
        Ok(Self {
            _socket: UnixDatagram::bind_addr(&name)?,
            range,
        })
    }

    /// The first claim of another process, `but` that of some, that has a port of this one.
    ///
    /// Make the claim first and look then: of two that start together at least one sees the other.
    ///
    /// # Errors
    /// /proc can't be read.
    pub fn conflict(&self, but: &[u32]) -> io::Result<Option<ClaimError>> {
        let table = fs::read_to_string("/proc/thread-self/net/unix")?;
        let mut others = table.lines().filter_map(Range::parse);
        Ok(others
            .find(|other| {
                other.process != self.range.process
                    && !but.contains(&other.process)
                    && other.overlaps(&self.range)
            })
            .map(|other| ClaimError {
                address: other.address,
                ports: other.ports,
                process: other.process,
                steered: other.steered,
            }))
    }
}

impl Range {
    fn name(&self) -> String {
        let kind = if self.steered { "steered" } else { "sockets" };
        let (first, last) = (self.ports.start(), self.ports.end());
        format!("{WORD}/{kind}/{}/{first}-{last}/{}", self.address, self.process)
    }

    /// Reads a row of /proc/net/unix; `None` if it is not about a claim.
    fn parse(row: &str) -> Option<Self> {
        let (_, name) = row.rsplit_once(" @")?;
        let mut words = name.trim_end_matches('@').split('/');
        if words.next()? != WORD {
            return None;
        }
        let steered = match words.next()? {
            "steered" => true,
            "sockets" => false,
            _ => return None,
        };
        let address = words.next()?.parse().ok()?;
        let (first, last) = words.next()?.split_once('-')?;
        let range = Self {
            steered,
            address,
            ports: first.parse().ok()?..=last.parse().ok()?,
            process: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(range)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.address == other.address
            && self.ports.start() <= other.ports.end()
            && other.ports.start() <= self.ports.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Option<Range> {
        Range::parse(&format!(
            "0000000000000000: 00000002 00000000 00000000 0002 01 12345 {text}"
        ))
    }

    #[test]
    fn a_claim_is_read_from_the_row_that_shows_it() {
        for (steered, address) in [(true, "192.0.2.1"), (false, "2001:db8::1")] {
            let claim = Range {
                steered,
                address: address.parse().unwrap(),
                ports: 20_000..=29_999,
                process: 77,
            };
            assert_eq!(range(&format!("@{}", claim.name())), Some(claim));
        }
        for other in [
            "",
            "/run/x",
            "@other/steered/192.0.2.1/1-2/3",
            "@ringpath-media/steered/192.0.2.1/1-2",
            "@",
        ] {
            assert_eq!(range(other), None, "{other}");
        }
    }

    #[test]
    fn claims_meet_when_they_have_a_port_of_an_address_in_common() {
        let one = range("@ringpath-media/steered/192.0.2.1/100-199/1").unwrap();
        for (other, expected) in [
            ("192.0.2.1/199-300", true),
            ("192.0.2.1/50-100", true),
            ("192.0.2.1/120-130", true),
            ("192.0.2.1/200-300", false),
            ("192.0.2.2/100-199", false),
        ] {
            let other = range(&format!("@ringpath-media/sockets/{other}/2")).unwrap();
            assert_eq!(
                (one.overlaps(&other), other.overlaps(&one)),
                (expected, expected),
                "{other:?}"
            );
        }
    }

    #[test]
    fn a_claim_of_this_process_is_seen_and_is_no_conflict() {
        let address = "127.0.99.200".parse().unwrap();
        let claim = RangeClaim::make(address, 1_000..=1_999, true).unwrap();
        assert_eq!(claim.conflict(&[]).unwrap(), None);
        let again = RangeClaim::make(address, 1_000..=1_999, true).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        let mut foreign = claim.range.clone();
        foreign.process += 1;
        let name = SocketAddr::from_abstract_name(foreign.name()).unwrap();
        let other = UnixDatagram::bind_addr(&name).unwrap();
        let conflict = claim.conflict(&[]).unwrap().expect("the same ports");
        assert_eq!((conflict.process, conflict.steered), (foreign.process, true));
        assert_eq!(claim.conflict(&[foreign.process]).unwrap(), None);
        drop(other);
        assert_eq!(claim.conflict(&[]).unwrap(), None);
    }
}
