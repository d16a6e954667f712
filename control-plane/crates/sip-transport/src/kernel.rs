use std::os::fd::{AsRawFd, RawFd};

use crate::udp::Udp;

/// Datagrams that the kernel dropped because a socket's receive buffer was full (the share of `RcvbufErrors` of these
/// sockets), summed. Read from `/proc`, so only at a scrape; `None` where that is not there.
pub(crate) fn receive_drops(sockets: &[Udp]) -> Option<u64> {
    let mut sum = 0;
    for udp in sockets {
        let table = if udp.local.is_ipv4() {
            "/proc/net/udp"
        } else {
            "/proc/net/udp6"
        };
        let inode = inode(udp.socket.as_raw_fd())?;
        sum += drops_of(&std::fs::read_to_string(table).ok()?, &inode)?;
    }
    Some(sum)
}

fn inode(fd: RawFd) -> Option<String> {
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
    Some(
        link.to_str()?
            .strip_prefix("socket:[")?
            .strip_suffix(']')?
            .to_owned(),
    )
}

/// The last column of the line whose tenth is the inode (proc_pid_net(5)).
fn drops_of(table: &str, inode: &str) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        (columns.get(9) == Some(&inode)).then(|| columns.get(12)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drops_of_a_socket_are_found_by_its_inode() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
              120: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 17\n\
              121: 0100007F:13C5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 0\n";
        assert_eq!(drops_of(table, "4711"), Some(17));
        assert_eq!(drops_of(table, "4712"), Some(0));
        assert_eq!(drops_of(table, "1"), None);
    }
}
