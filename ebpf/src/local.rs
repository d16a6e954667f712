use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::flow::mapped;
use crate::plain::{bytes_of, from_bytes, zeroed};
use crate::{Error, layout};

const USED: u32 = 1;
const RANGE: u32 = 2;
const DROP: u32 = 4;

/// The addresses of the relay, each with its place among the ports. None is ever given back.
#[derive(Debug)]
pub(crate) struct Locals {
    map: MapHandle,
    addresses_max: u32,
    /// By the place in the map.
    known: Mutex<Vec<(u32, layout::Local)>>,
}

/// All places for addresses are taken.
pub(crate) struct LocalsFull(pub(crate) u32);

impl Locals {
    /// The addresses in `map`, of which `addresses_max` have ports.
    pub(crate) fn new(map: MapHandle, addresses_max: u32) -> Result<Self, Error> {
        let locals = Self {
            map,
            addresses_max,
            known: Mutex::default(),
        };
        for place in 0..layout::LOCALS as u32 {
            let local = locals.entry(place)?;
            if local.flags & USED != 0 {
                locals.known().push((place, local));
            }
        }
        Ok(locals)
    }

    /// Every address, with the place of its port 0.
    pub(crate) fn all(&self) -> Vec<(IpAddr, u32)> {
        let known = self.known();
        let address = |local: &layout::Local| (crate::flow::address(local.address, 0).ip(), local.base);
        known.iter().map(|(_, local)| address(local)).collect()
    }

    /// The place of the address's port 0; `None` when it is not the relay's.
    pub(crate) fn base(&self, address: IpAddr) -> Option<u32> {
        let octets = mapped(address);
        let known = self.known();
        let found = known.iter().find(|(_, local)| local.address == octets);
        found.map(|(_, local)| local.base)
    }

    /// The same, and makes the address the relay's.
    pub(crate) fn take(&self, address: IpAddr) -> Result<Result<u32, LocalsFull>, Error> {
        match self.base(address) {
            Some(base) => Ok(Ok(base)),
            None => self.add(mapped(address)),
        }
    }

    fn add(&self, address: [u8; 16]) -> Result<Result<u32, LocalsFull>, Error> {
        let mut known = self.known();
        let number = known.len() as u32;
        let taken = |place: &u32| known.iter().any(|(known, _)| known == place);
        let free = places(address).find(|place| !taken(place));
        let Some(place) = free.filter(|_| number < self.addresses_max) else {
            return Ok(Err(LocalsFull(number)));
        };
        let local = layout::Local {
            address,
            base: number * layout::PORTS,
            flags: USED,
            ..zeroed()
        };
        self.write(place, &local)?;
        known.push((place, local));
        Ok(Ok(local.base))
    }

    /// Says which ports of an address are the relay's. Its counters go on, but for what comes at this very moment.
    pub(crate) fn set_range(&self, address: IpAddr, ports: (u16, u16), drop: bool) -> Result<(), Error> {
        let octets = mapped(address);
        let flags = USED | RANGE | if drop { DROP } else { 0 };
        self.change(|local| local.address == octets, flags, ports)
    }

    /// No port is the relay's but those that have an owner, until [`Self::set_range`] says so anew: an address that the relay
    /// had may be another's by now.
    pub(crate) fn lift_ranges(&self) -> Result<(), Error> {
        self.change(|local| local.flags & RANGE != 0, USED, (0, 0))
    }

    fn change(
        &self,
        which: impl Fn(&layout::Local) -> bool,
        flags: u32,
        (port_min, port_max): (u16, u16),
    ) -> Result<(), Error> {
        for (place, local) in self.known().iter_mut().filter(|(_, local)| which(local)) {
            *local = layout::Local {
                flags,
                port_min,
                port_max,
                ..self.entry(*place)?
            };
            self.write(*place, local)?;
        }
        Ok(())
    }

    /// Packets and bytes to ports of the range that nobody owns; `None` when the address has no range.
    pub(crate) fn unowned(&self, address: IpAddr) -> Result<Option<(u64, u64)>, Error> {
        let octets = mapped(address);
        let found = {
            let known = self.known();
            let mut found = known.iter().filter(|(_, local)| local.address == octets);
            found.next().map(|(place, _)| *place)
        };
        let Some(place) = found else { return Ok(None) };
        let local = self.entry(place)?;
        Ok((local.flags & RANGE != 0).then_some((local.packets, local.bytes)))
    }

    fn known(&self) -> MutexGuard<'_, Vec<(u32, layout::Local)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, place: u32) -> Result<layout::Local, Error> {
        let value = self
            .map
            .lookup(&place.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| Error::libbpf("reading a local address", &error))?;
        value
            .as_deref()
            .and_then(from_bytes)
            .ok_or_else(|| Error::Layout {
                map: self.map.name().to_string_lossy().into_owned(),
                key_len: self.map.key_size(),
                value_len: self.map.value_size(),
            })
    }

    fn write(&self, place: u32, local: &layout::Local) -> Result<(), Error> {
        self.map
            .update(&place.to_ne_bytes(), bytes_of(local), MapFlags::ANY)
            .map_err(|error| Error::libbpf("writing a local address", &error))
    }
}

/// Where the program looks for an address, in its order: `find_local` of relay.bpf.c.
fn places(address: [u8; 16]) -> impl Iterator<Item = u32> {
    let hash = address
        .chunks_exact(4)
        .map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
        .fold(0, |all, word| all ^ word)
        .wrapping_mul(0x9e37_79b1)
        >> 25;
    (0..layout::PROBES as u32).map(move |n| (hash + n) % layout::LOCALS as u32)
}
