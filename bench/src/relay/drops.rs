//! Where the kernel dropped packets of a bed, so that a loss can be explained.

use std::fs;

use anyhow::Context as _;
use serde::Serialize;

/// Packets dropped, by place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// At the relay's end of the veth pair: its receive work did not keep up with its ring of 256 packets.
    pub veth_relay: u64,
    /// At the load's end, likewise.
    pub veth_load: u64,
    /// At full sockets of the relay.
    pub relay_sockets: u64,
    /// At full sockets of the generator.
    pub load_sockets: u64,
}

impl Drops {
    /// What came about since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            veth_relay: self.veth_relay.saturating_sub(before.veth_relay),
            veth_load: self.veth_load.saturating_sub(before.veth_load),
            relay_sockets: self.relay_sockets.saturating_sub(before.relay_sockets),
            load_sockets: self.load_sockets.saturating_sub(before.load_sockets),
        }
    }
}

/// Packets that an interface of the process' network namespace could not hand to its peer, whose ring was full.
pub fn at_interface(pid: u32, interface: &str) -> anyhow::Result<u64> {
    dropped_by(&fs::read_to_string(format!("/proc/{pid}/net/dev"))?, interface)
}

/// Datagrams for which a socket of the process' network namespace had no room.
pub fn at_sockets(pid: u32) -> anyhow::Result<u64> {
    receive_buffer_errors(&fs::read_to_string(format!("/proc/{pid}/net/snmp"))?)
}

fn dropped_by(table: &str, interface: &str) -> anyhow::Result<u64> {
    let row = table
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))
        .with_context(|| format!("no interface {interface}"))?;
    let fields: Vec<u64> = row.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    // Eight columns of what was received, then eight of what was sent; the fourth of them is what was dropped.
    let sent = fields.get(11).copied();
    sent.with_context(|| format!("the row of {interface} is too short"))
}

fn receive_buffer_errors(table: &str) -> anyhow::Result<u64> {
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next(), lines.next());
    let (names, values) = names.zip(values).context("no UDP in snmp")?;
    let place = names
        .split(' ')
        .position(|name| name == "RcvbufErrors")
        .context("no RcvbufErrors in snmp")?;
    Ok(values
        .split(' ')
        .nth(place)
        .context("no value of RcvbufErrors")?
        .parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_of_one_interface_are_counted() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame\n    \
                     lo:  1 1 0 9 0 0 0 0  1 1 0 9 0 0 0 0\n  l17: 10 2 0 3 0 0 0 0 10 2 0 4 0 0 0 0\n";
        assert_eq!(dropped_by(table, "l17").unwrap(), 4);
        assert!(dropped_by(table, "l1").is_err());
    }

    #[test]
    fn full_sockets_are_found_by_the_name_of_the_column() {
        let table = "Icmp: InMsgs\nIcmp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\n\
                     Udp: 5 0 3 5 2 0\nUdpLite: RcvbufErrors\nUdpLite: 8\n";
        assert_eq!(receive_buffer_errors(table).unwrap(), 2);
        assert!(receive_buffer_errors("Icmp: InMsgs\n").is_err());
    }
}
