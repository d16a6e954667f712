//! Steering on a ring: few sockets for all ports.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use media_engine::PortId;

use super::setup::SetupError;
use crate::config::IoConfig;
use crate::steering::{Exits, SharedSockets, SteeredPorts, Steering};

/// What a ring has beside its slots when ports are steered. The slots are then those of the receiving sockets, and the file table has
/// the exits behind them.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ports: SteeredPorts,
    pub(super) exits: Exits,
    /// The sockets that receive, in the order of their slots.
    pub(super) receivers: Vec<OwnedFd>,
}

impl Shared {
    pub(super) fn new(config: &IoConfig, steering: Steering) -> io::Result<Self> {
        let SharedSockets { v4, v6, exits } = steering.sockets;
        let addresses: Vec<IpAddr> = exits.iter().map(|exit| exit.address).collect();
        let exits = Exits::new(exits, config.socket.dscp)?;
        Ok(Self {
            ports: SteeredPorts::new(steering.steer, &exits, &addresses, config.ports_max),
            exits,
            receivers: [v4, v6].into_iter().flatten().collect(),
        })
    }

    /// Other descriptors of the sockets.
    pub(super) fn share(&self) -> io::Result<SharedSockets> {
        SharedSockets::share(self.receivers.iter().map(AsFd::as_fd), &self.exits)
    }

    /// Sockets in the file table.
    pub(super) fn files(&self) -> u32 {
        (self.receivers.len() + self.exits.len()) as u32
    }

    /// Puts the sockets into the file table.
    pub(super) fn register(&self, submitter: &io_uring::Submitter<'_>) -> Result<(), SetupError> {
        let mut files: Vec<i32> = self.receivers.iter().map(AsRawFd::as_raw_fd).collect();
        files.extend((0..self.exits.len()).map(|exit| self.exits.socket(exit as u16).as_raw_fd()));
        submitter
            .register_files_update(0, &files)
            .map_err(SetupError::at("io_uring_register of the shared sockets"))?;
        Ok(())
    }

    /// The place of an exit in the file table.
    pub(super) fn file_of_exit(&self, exit: u16) -> u32 {
        self.receivers.len() as u32 + u32::from(exit)
    }

    /// The address that a receiving socket is bound to, which nothing is meant to come to.
    pub(super) fn bound(&self, receiver: usize) -> Option<SocketAddr> {
        let address = rustix::net::getsockname(self.receivers[receiver].as_fd()).ok()?;
        address.try_into().ok()
    }

    /// The port that a datagram to `local` is for, with its generation.
    pub(super) fn find(&self, local: Option<SocketAddr>) -> Option<(PortId, u32)> {
        let port = self.ports.find(local?)?;
        Some((port, self.ports.generation(port)?))
    }
}
