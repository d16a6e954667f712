use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::OnceLock;

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use nix::errno::Errno;

use crate::local::LocalsFull;
use crate::object::{self, Maps, RelayObject, SharedMaps};
use crate::plain::{bytes_of, from_bytes, zeroed};
use crate::table::FlowMaps;
use crate::tap::{TAP_LENGTH_MAX, TAP_LENGTH_MIN};
use crate::{
    AttachError, Attachment, Error, FlowTable, Mode, PinDirectory, Program, RtcpCopies, TableError, Taps,
    Totals, layout,
};

/// Sizes of the relay's maps, whose memory is taken at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// Flows at once: one a port that carries media. 640 bytes each.
    pub flows_max: u32,
    /// Of these, how many can carry RTP; 0 for all. 768 bytes more each.
    pub rtp_flows_max: u32,
    /// Local addresses, at most 64. 512 KiB each.
    pub addresses_max: u32,
    /// Bytes for copies of RTCP that user space has not read, rounded up to a power of two of pages.
    pub copies_bytes: u32,
    /// Bytes for what taps copied and user space has not read, rounded likewise.
    pub taps_bytes: u32,
}

impl Default for RelayConfig {
    /// 4,096 flows of any kind, 8 addresses, 1 MiB for either ring.
    fn default() -> Self {
        Self {
            flows_max: 4_096,
            rtp_flows_max: 0,
            addresses_max: 8,
            copies_bytes: 1 << 20,
            taps_bytes: 1 << 20,
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
    /// Loaded when it is first needed.
    tc_program: OnceLock<Program>,
    table: FlowTable,
    settings: MapHandle,
    totals: MapHandle,
    copies: MapHandle,
    taps: MapHandle,
    user_space: Option<MapHandle>,
}

impl Relay {
    /// Loads the program and makes its maps.
    pub fn load(config: &RelayConfig) -> Result<Self, Error> {
        let ring = |bytes: u32| bytes.clamp(4_096, 1 << 30).next_power_of_two();
        let flows = config.flows_max.max(1);
        let relay = Self::new(object::load_relay(Maps::New {
            flows,
            rtp_flows: match config.rtp_flows_max {
                0 => flows,
                rtp => rtp.min(flows),
            },
            addresses: config.addresses_max.clamp(1, layout::LOCALS as u32 / 2),
            copies_bytes: ring(config.copies_bytes),
            taps_bytes: ring(config.taps_bytes),
        })?)?;
        relay.set_tap_length(TAP_LENGTH_MAX)?;
        Ok(relay)
    }

    /// Takes the relay that another process pinned, its program as it is. `None` when there is none.
    pub fn adopt(directory: &PinDirectory) -> Result<Option<Self>, Error> {
        if !directory.has_relay() {
            return Ok(None);
        }
        Self::new(RelayObject {
            program: Program::open_pin(&directory.program())?,
            maps: FlowMaps {
                locals: directory.map("locals")?,
                ports: directory.map("ports")?,
                flows: directory.map("flows")?,
                states: directory.map("states")?,
                streams: directory.map("streams")?,
            },
            settings: directory.map("settings")?,
            totals: directory.map("totals")?,
            copies: directory.map("copies")?,
            taps: directory.map("taps")?,
            user_space: None,
        })
        .map(Some)
    }

    /// Takes the maps that another process pinned, and puts this build's program in the place of the pinned one on
    /// every pinned attachment. No packet is lost and no counter begins anew. Attachments to interfaces that are gone lose
    /// their pins. What was said of ports that nobody owns still holds: see [`Self::lift_ranges`]. `None` when nothing is pinned.
    pub fn upgrade(directory: &PinDirectory) -> Result<Option<Self>, Error> {
        if !directory.has_relay() {
            return Ok(None);
        }
        let relay = Self::new(object::load_relay(Maps::Pinned(directory.path()))?)?;
        for attachment in directory.attachments()? {
            match attachment.update(relay.program_of(attachment.mode())?) {
                Err(Error::Kernel { source, .. }) if source.raw_os_error() == Some(Errno::ENOLINK as i32) => {
                    directory.unpin_attachment(&attachment)?;
                }
                updated => updated?,
            }
        }
        directory.pin_program(&relay.program)?;
        Ok(Some(relay))
    }

    /// Pins the maps, and the program last. Attachments are pinned by [`PinDirectory::pin_attachment`].
    ///
    /// What lies there without a program goes: it was left by a process that was killed meanwhile, and nobody can take it
    /// over.
    pub fn pin(&self, directory: &PinDirectory) -> Result<(), Error> {
        if !directory.has_relay() {
            directory.clear()?;
        }
        let maps = self.table.maps();
        for (name, map) in [
            ("locals", &maps.locals),
            ("ports", &maps.ports),
            ("flows", &maps.flows),
            ("states", &maps.states),
            ("streams", &maps.streams),
            ("settings", &self.settings),
            ("totals", &self.totals),
            ("copies", &self.copies),
            ("taps", &self.taps),
        ] {
            directory.pin_map(name, map)?;
        }
        directory.pin_program(&self.program)
    }

    fn new(object: RelayObject) -> Result<Self, Error> {
        let RelayObject {
            program,
            maps,
            settings,
            totals,
            copies,
            taps,
            user_space,
        } = object;
        Ok(Self {
            program,
            tc_program: OnceLock::new(),
            table: FlowTable::new(maps)?,
            settings,
            totals,
            copies,
            taps,
            user_space,
        })
    }

    /// Has packets to user space's ports go on to this program, where the relay is attached in XDP, as long as this process has the
    /// relay; `None`: up, as without. So does the end of the process.
    ///
    /// # Errors
    /// What the kernel refuses; and another process's program takes none.
    pub fn set_user_space(&self, program: Option<&Program>) -> Result<(), Error> {
        let map = self
            .user_space
            .as_ref()
            .ok_or_else(|| Error::kernel("changing another process's program", Errno::EPERM))?;
        let place = 0u32.to_ne_bytes();
        match program {
            Some(program) => {
                let descriptor = program.as_fd().as_raw_fd().to_ne_bytes();
                map.update(&place, &descriptor, MapFlags::ANY)
                    .map_err(|error| Error::libbpf("giving the relay a next program", &error))
            }
            None => match map.delete(&place) {
                Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => {
                    Err(Error::libbpf("taking the relay's next program", &error))
                }
                _ => Ok(()),
            },
        }
    }

    /// The XDP program.
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// The program for TC, with the same flows and counters. Loaded the first time.
    pub fn tc_program(&self) -> Result<&Program, Error> {
        if let Some(program) = self.tc_program.get() {
            return Ok(program);
        }
        let program = object::load_relay_tc(&SharedMaps {
            maps: self.table.maps(),
            settings: &self.settings,
            totals: &self.totals,
            copies: &self.copies,
            taps: &self.taps,
        })?;
        Ok(self.tc_program.get_or_init(|| program))
    }

    fn program_of(&self, mode: Mode) -> Result<&Program, Error> {
        match mode {
            Mode::Native | Mode::Generic => Ok(&self.program),
            Mode::Tc => self.tc_program(),
        }
    }

    /// Attaches the relay to `interface`, which is looked up in the calling thread's network namespace, in the first of
    /// `modes` that works.
    pub fn attach(&self, interface: &str, modes: &[Mode]) -> Result<Attachment, AttachError> {
        Attachment::with(|mode| self.program_of(mode), interface, modes)
    }

    /// The flows; a clone is the same table, for another thread.
    pub const fn table(&self) -> &FlowTable {
        &self.table
    }

    /// The copies of RTCP. A second reader would take them from the first.
    pub fn rtcp_copies(&self) -> Result<RtcpCopies, Error> {
        RtcpCopies::new(copy(&self.copies)?)
    }

    /// The packets of tapped flows ([`FlowTable::set_tap`]). A second reader would take them from the first.
    pub fn taps(&self) -> Result<Taps, Error> {
        Taps::new(copy(&self.taps)?)
    }

    /// Says how many bytes of a packet, from its IP header on, taps copy at most, 48 to 2,048; 2,048 when
    /// nothing is said.
    pub fn set_tap_length(&self, length_max: u16) -> Result<(), Error> {
        let settings = layout::Settings {
            tap_length_max: length_max.clamp(TAP_LENGTH_MIN, TAP_LENGTH_MAX).into(),
            ..zeroed()
        };
        self.settings
            .update(&0u32.to_ne_bytes(), bytes_of(&settings), MapFlags::ANY)
            .map_err(|error| Error::libbpf("setting the length of taps", &error))
    }

    /// Takes back what was said of the ports of every address, by whichever process: an address may be another's by now.
    pub fn lift_ranges(&self) -> Result<(), Error> {
        self.table.locals().lift_ranges()
    }

    /// Says which ports of an address are the relay's, in place of what was said of the address before; its counters
    /// go on.
    pub fn set_range(&self, range: &Range) -> Result<(), TableError> {
        let locals = self.table.locals();
        locals
            .take(range.address)?
            .map_err(|LocalsFull(most)| TableError::Addresses(most))?;
        let ports = (*range.ports.start(), *range.ports.end());
        Ok(locals.set_range(range.address, ports, range.drop_unowned)?)
    }

    /// Packets and bytes that came to ports of the range of `address` that no flow has.
    pub fn unowned(&self, address: IpAddr) -> Result<Option<(u64, u64)>, Error> {
        self.table.locals().unowned(address)
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

fn copy(map: &MapHandle) -> Result<MapHandle, Error> {
    MapHandle::try_from(map).map_err(|error| Error::libbpf("copying a descriptor", &error))
}
