use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::flow::mapped;
use crate::link::Link;
use crate::object::{self, SteerObject};
use crate::plain::from_bytes;
use crate::xsk::Xsks;
use crate::{Error, Program, layout};

/// Steering of media ports to one UDP socket a worker and IP version (`sk_lookup`): a call costs no descriptor.
///
/// A datagram to an owned port of a served address goes to the owner's socket; all others are looked up as ever. The
/// socket learns the port from `IP_RECVORIGDSTADDR` or `IPV6_RECVORIGDSTADDR`.
#[derive(Debug)]
pub struct Steering {
    program: Program,
    sockets: MapHandle,
    owners: MapHandle,
    addresses: MapHandle,
    /// Those that are served, at the places that the program knows them by.
    served: Vec<IpAddr>,
    totals: MapHandle,
}

/// What steering did with datagrams to owned ports of served addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SteeringTotals {
    /// Given to the owner's socket.
    pub assigned: u64,
    /// Looked up as ever, since the owner has no socket of the IP version.
    pub no_socket: u64,
    /// Looked up as ever, since the kernel refused the socket.
    pub not_assigned: u64,
}

/// Why steering could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum SteeringError {
    /// The caller's mistake.
    #[error("worker {0} is not below {max}", max = layout::WORKERS_MAX)]
    Worker(u32),
    /// The caller's mistake.
    #[error("{0} is not an address that is steered")]
    Address(IpAddr),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] Error),
}

impl Steering {
    /// Loads the program for these addresses, with no socket or port. Half a megabyte of kernel memory each.
    ///
    /// # Errors
    /// More than [`layout::STEERED_ADDRESSES_MAX`] addresses, or what the kernel refuses.
    pub fn load(served: &[IpAddr]) -> Result<Self, Error> {
        let SteerObject {
            program,
            sockets,
            owners,
            addresses,
            totals,
        } = object::load_steer(served.len().clamp(1, layout::STEERED_ADDRESSES_MAX) as u32)?;
        for (number, &address) in served.iter().enumerate() {
            addresses
                .update(
                    &mapped(address),
                    &(number as u32).to_ne_bytes(),
                    MapFlags::NO_EXIST,
                )
                .map_err(|error| Error::libbpf("serving an address", &error))?;
        }
        Ok(Self {
            program,
            sockets,
            owners,
            addresses,
            served: served.to_vec(),
            totals,
        })
    }

    /// The program.
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// Steers in the network namespace whose descriptor this is, until the link is dropped.
    pub fn attach(&self, namespace: BorrowedFd<'_>) -> Result<Link, Error> {
        Link::create(
            self.program.as_fd(),
            namespace.as_raw_fd(),
            libbpf_sys::BPF_SK_LOOKUP,
            0,
        )
    }

    /// Gives a worker its socket, UDP and bound, for its IP version; closing the socket takes it out.
    pub fn set_socket(&self, worker: u32, ipv6: bool, socket: BorrowedFd<'_>) -> Result<(), SteeringError> {
        check(worker)?;
        let place = 2 * worker + u32::from(ipv6);
        let descriptor = socket.as_raw_fd() as u64;
        self.sockets
            .update(&place.to_ne_bytes(), &descriptor.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| Error::libbpf("giving a worker its socket", &error).into())
    }

    /// Makes a worker the owner of a port of a served address, or nobody.
    pub fn set_owner(&self, local: SocketAddr, worker: Option<u32>) -> Result<(), SteeringError> {
        let owner = match worker {
            None => 0,
            Some(worker) => {
                check(worker)?;
                worker as u8 + 1
            }
        };
        let number = self
            .served
            .iter()
            .position(|&served| served == local.ip())
            .ok_or(SteeringError::Address(local.ip()))?;
        let place = (number as u32) << 16 | u32::from(local.port());
        self.owners
            .update(&place.to_ne_bytes(), &[owner], MapFlags::ANY)
            .map_err(|error| Error::libbpf("giving a port its owner", &error).into())
    }

    /// The program that hands datagrams to steered ports to AF_XDP sockets, with none yet; it goes by what is said of ports and
    /// owners here, before and after.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn load_xsks(&self) -> Result<Xsks, Error> {
        Xsks::load(&self.owners, &self.addresses)
    }

    /// What was done so far.
    pub fn totals(&self) -> Result<SteeringTotals, Error> {
        let cpus = self
            .totals
            .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| Error::libbpf("reading steering's totals", &error))?
            .unwrap_or_default();
        let mut sum = SteeringTotals::default();
        for cpu in cpus
            .iter()
            .filter_map(|cpu| from_bytes::<layout::SteeringTotals>(cpu))
        {
            sum.assigned += cpu.assigned;
            sum.no_socket += cpu.no_socket;
            sum.not_assigned += cpu.not_assigned;
        }
        Ok(sum)
    }
}

const fn check(worker: u32) -> Result<(), SteeringError> {
    if worker < layout::WORKERS_MAX {
        Ok(())
    } else {
        Err(SteeringError::Worker(worker))
    }
}
