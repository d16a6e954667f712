use std::net::IpAddr;
use std::ops::RangeInclusive;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::flow::mapped;
use crate::object::{self, Maps, RelayObject};
use crate::plain::{bytes_of, from_bytes, zeroed};
use crate::{Error, FlowTable, PinDirectory, Program, RtcpCopies, Totals, layout};

/// Sizes of the relay's maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// Flows at once: one a port that carries media. About 1.6 kB each, taken at once.
    pub flows_max: u32,
    /// Bytes for copies of RTCP that user space has not read, rounded up to a power of two of pages.
    pub copies_bytes: u32,
}

impl Default for RelayConfig {
    /// 4,096 flows, 1 MiB.
    fn default() -> Self {
        Self {
            flows_max: 4_096,
            copies_bytes: 1 << 20,
        }
    }
}

/// The media ports of one local address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The address.
    pub address: IpAddr,
    /// Its media ports.
    pub ports: RangeInclusive<u16>,
    /// Whether packets to those of them that no flow has are dropped; else they go up. Both are counted.
    pub drop_unowned: bool,
}

/// The loaded relay: its program and what it reads and writes. Nothing is attached by this.
#[derive(Debug)]
pub struct Relay {
    program: Program,
    table: FlowTable,
    ranges: MapHandle,
    totals: MapHandle,
    copies: MapHandle,
}

impl Relay {
    /// Loads the program and makes its maps.
    pub fn load(config: &RelayConfig) -> Result<Self, Error> {
        let copies_bytes = config.copies_bytes.clamp(4_096, 1 << 30);
        Self::new(object::load_relay(Maps::New {
            flows: config.flows_max.max(1),
            copies_bytes: copies_bytes.next_power_of_two(),
        })?)
    }

    /// Takes the relay that another process pinned, its program as it is. `None` when there is none.
    pub fn adopt(directory: &PinDirectory) -> Result<Option<Self>, Error> {
        if !directory.has_relay() {
            return Ok(None);
        }
        Self::new(RelayObject {
            program: Program::open_pin(&directory.program())?,
            flows: directory.map("flows")?,
            states: directory.map("states")?,
            ranges: directory.map("ranges")?,
            totals: directory.map("totals")?,
            copies: directory.map("copies")?,
        })
        .map(Some)
    }

    /// Takes the maps that another process pinned, and puts this build's program in the place of the pinned one on
    /// every pinned attachment. No packet is lost and no counter begins anew. `None` when nothing is pinned.
    pub fn upgrade(directory: &PinDirectory) -> Result<Option<Self>, Error> {
        if !directory.has_relay() {
            return Ok(None);
        }
        let relay = Self::new(object::load_relay(Maps::Pinned(directory.path()))?)?;
        for attachment in directory.attachments()? {
            attachment.update(&relay.program)?;
        }
        std::fs::remove_file(directory.program())
            .map_err(|source| Error::kernel("removing a pin", source))?;
        relay.program.pin(&directory.program())?;
        Ok(Some(relay))
    }

    /// Pins the maps, and the program last. Attachments are pinned by [`PinDirectory::pin_attachment`].
    pub fn pin(&self, directory: &PinDirectory) -> Result<(), Error> {
        let (flows, states) = self.table.maps();
        for (name, map) in [
            ("flows", flows),
            ("states", states),
            ("ranges", &self.ranges),
            ("totals", &self.totals),
            ("copies", &self.copies),
        ] {
            directory.pin_map(name, map)?;
        }
        self.program.pin(&directory.program())
    }

    fn new(object: RelayObject) -> Result<Self, Error> {
        let RelayObject {
            program,
            flows,
            states,
            ranges,
            totals,
            copies,
        } = object;
        Ok(Self {
            program,
            table: FlowTable::new(flows, states)?,
            ranges,
            totals,
            copies,
        })
    }

    /// The XDP program.
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// The flows; a clone is the same table, for another thread.
    pub const fn table(&self) -> &FlowTable {
        &self.table
    }

    /// The copies of RTCP. A second reader would take them from the first.
    pub fn rtcp_copies(&self) -> Result<RtcpCopies, Error> {
        MapHandle::try_from(&self.copies)
            .map_err(|error| Error::libbpf("copying a descriptor", &error))
            .and_then(RtcpCopies::new)
    }

    /// Says which ports of an address are the relay's, in place of what was said of the address before; its counters
    /// begin anew.
    pub fn set_range(&self, range: &Range) -> Result<(), Error> {
        let value = layout::Range {
            port_min: *range.ports.start(),
            port_max: *range.ports.end(),
            drop: range.drop_unowned.into(),
            ..zeroed()
        };
        self.ranges
            .update(&range_key(range.address), bytes_of(&value), MapFlags::ANY)
            .map_err(|error| Error::libbpf("setting a port range", &error))
    }

    /// Packets and bytes that came to ports of the range of `address` that no flow has.
    pub fn unowned(&self, address: IpAddr) -> Result<Option<(u64, u64)>, Error> {
        let value = self
            .ranges
            .lookup(&range_key(address), MapFlags::ANY)
            .map_err(|error| Error::libbpf("reading a port range", &error))?;
        Ok(value
            .as_deref()
            .and_then(from_bytes::<layout::Range>)
            .map(|range| (range.packets, range.bytes)))
    }

    /// What was done with all packets so far.
    pub fn totals(&self) -> Result<Totals, Error> {
        let cpus = self
            .totals
            .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| Error::libbpf("reading totals", &error))?
            .unwrap_or_default();
        let none = Totals { totals: zeroed() };
        Ok(cpus
            .iter()
            .filter_map(|cpu| from_bytes::<layout::Totals>(cpu))
            .fold(none, |sum, cpu| sum.add(&cpu)))
    }
}

fn range_key(address: IpAddr) -> [u8; 16] {
    mapped(address)
}
