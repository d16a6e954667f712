//! A loopback address of one's own.
//!
//! All of 127.0.0.0/8 is this machine. A test that takes an address for itself can choose ports there that no other
//! test, and no other program that listens on 127.0.0.1, will take between the choice and the use.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

/// Held by whoever owns the address; below the ports that are handed out.
const GUARD_PORT: u16 = 1_024;
const FIRST_PORT: u16 = 5_060;

/// An address of 127.0.0.0/8 that no other `Host`, in this process or another, has at the same time.
#[derive(Debug)]
pub struct Host {
    ip: Ipv4Addr,
    next_port: u16,
    _guard: UdpSocket,
}

impl Host {
    /// Takes a free address.
    pub fn reserve() -> anyhow::Result<Self> {
        static TAKEN: AtomicU32 = AtomicU32::new(0);
        // 127.0.x.y is left to people and to other programs.
        const ADDRESSES: u32 = 0x00ff_0000;
        let start = std::process::id().wrapping_mul(0x9e37);
        for _ in 0..1_000 {
            let place = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % ADDRESSES;
            let ip = Ipv4Addr::from(0x7f01_0000 + place);
            // The broadcast address of the network cannot be bound.
            if ip.octets()[1..] == [255; 3] {
                continue;
            }
            if let Ok(guard) = UdpSocket::bind((ip, GUARD_PORT)) {
                return Ok(Self {
                    ip,
                    next_port: FIRST_PORT,
                    _guard: guard,
                });
            }
        }
        anyhow::bail!("no free address in 127.0.0.0/8")
    }

    /// The address.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// A port that is free for UDP and TCP now and is handed out once.
    pub fn port(&mut self) -> anyhow::Result<u16> {
        loop {
            let port = self.next_port;
            self.next_port = port
                .checked_add(1)
                .context("the ports of the address are used up")?;
            if UdpSocket::bind((self.ip, port)).is_ok() && TcpListener::bind((self.ip, port)).is_ok() {
                return Ok(port);
            }
        }
    }

    /// A free port with the address.
    pub fn address(&mut self) -> anyhow::Result<SocketAddr> {
        Ok((self.ip, self.port()?).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_handed_out_once() {
        let (mut a, b) = (Host::reserve().unwrap(), Host::reserve().unwrap());
        assert_ne!(a.ip(), b.ip());
        let first = a.address().unwrap();
        let _taken = UdpSocket::bind((a.ip(), first.port() + 1)).unwrap();
        assert_eq!(
            a.port().unwrap(),
            first.port() + 2,
            "a port in use is passed over"
        );
    }
}
