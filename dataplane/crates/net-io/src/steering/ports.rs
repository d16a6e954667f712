//! Ports that are entries in a table.

use std::net::{IpAddr, SocketAddr};

use media_engine::{OpenError, PortId};

use super::{Exits, Steer};
use crate::port_table::PortTable;
use crate::udp_socket;

/// The open ports of a worker that steers, found by identity and by local address.
#[derive(Debug)]
pub(crate) struct SteeredPorts {
    steer: Box<dyn Steer>,
    table: PortTable<SteeredPort>,
    addresses: Vec<Address>,
    /// Some port was closed since [`Self::forget_closed`]: its datagrams may still be in the shared socket.
    closed: bool,
}

/// What is known of an open port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SteeredPort {
    pub(crate) local: SocketAddr,
    /// The place of its address in [`Exits`].
    pub(crate) exit: u16,
}

#[derive(Debug)]
struct Address {
    ip: IpAddr,
    exit: u16,
    /// By port number: the identity plus one, or 0. Untouched pages of it take no memory.
    ports: Box<[u32]>,
}

impl SteeredPorts {
    pub(crate) fn new(steer: Box<dyn Steer>, exits: &Exits, addresses: &[IpAddr], ports_max: u32) -> Self {
        let addresses = addresses.iter().filter_map(|&ip| {
            Some(Address {
                ip,
                exit: exits.of(ip)?,
                ports: vec![0; 1 << 16].into(),
            })
        });
        Self {
            steer,
            table: PortTable::new(ports_max),
            addresses: addresses.collect(),
            closed: false,
        }
    }

    /// Opens a port. Binds it for a moment, so that one that another socket has is refused.
    pub(crate) fn open(&mut self, local: SocketAddr) -> Result<PortId, OpenError> {
        if self.table.next().is_none() {
            return Err(OpenError::Exhausted);
        }
        if local.port() != 0 && self.find(local).is_some() {
            return Err(OpenError::InUse);
        }
        let local = loop {
            let free = udp_socket::free(local)?;
            // The kernel does not know our ports, and may offer one of them.
            if self.find(free).is_none() {
                break free;
            }
        };
        let place = self.addresses.iter().position(|address| address.ip == local.ip());
        let address = &mut self.addresses[place.ok_or(OpenError::Refused)?];
        self.steer
            .begin(local)
            .map_err(|error| udp_socket::open_error(&error))?;
        let port = SteeredPort {
            local,
            exit: address.exit,
        };
        let id = self.table.insert(port).map_err(|_| OpenError::Exhausted)?;
        address.ports[usize::from(local.port())] = id.0 + 1;
        Ok(id)
    }

    /// Closes a port; false if it was not open.
    pub(crate) fn close(&mut self, id: PortId) -> bool {
        let Some(port) = self.table.remove(id) else {
            return false;
        };
        self.steer.end(port.local);
        self.closed = true;
        if let Some(address) = self
            .addresses
            .iter_mut()
            .find(|address| address.ip == port.local.ip())
        {
            address.ports[usize::from(port.local.port())] = 0;
        }
        true
    }

    /// Whether datagrams of a closed port may be in the shared sockets, which have to be read empty before the same number is opened.
    pub(crate) fn has_closed(&self) -> bool {
        self.closed
    }

    /// The shared sockets were read empty.
    pub(crate) fn forget_closed(&mut self) {
        self.closed = false;
    }

    /// The port that a datagram to `local` is for.
    pub(crate) fn find(&self, local: SocketAddr) -> Option<PortId> {
        let ip = local.ip();
        let address = self.addresses.iter().find(|address| address.ip == ip)?;
        let id = address.ports[usize::from(local.port())].checked_sub(1)?;
        Some(PortId(id))
    }

    pub(crate) fn at(&self, id: PortId) -> Option<&SteeredPort> {
        self.table.at(id)
    }

    pub(crate) fn generation(&self, id: PortId) -> Option<u32> {
        self.table.generation(id)
    }

    pub(crate) fn is_current(&self, id: PortId, generation: u32) -> bool {
        self.table.is_current(id, generation)
    }
}

impl Drop for SteeredPorts {
    /// Ends the steering of what is open: the program may outlive the back-end.
    fn drop(&mut self) {
        for id in self.table.open() {
            self.close(id);
        }
    }
}
