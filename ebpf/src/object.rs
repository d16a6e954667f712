//! The built objects: opened, given their sizes, loaded, and left as descriptors that own themselves.

#[cfg(bpf_built)]
use std::cell::RefCell;
use std::path::Path;
#[cfg(bpf_built)]
use std::sync::Once;

use libbpf_rs::MapHandle;

use crate::table::FlowMaps;
use crate::{Error, Program};
#[cfg(bpf_built)]
use crate::{layout, table::FLOWS_SPARE};

/// Why the programs are not in this build.
#[cfg(not(bpf_built))]
pub(crate) const MISSING: &str = env!("RINGPATH_BPF_MISSING");

/// Bytes of what libbpf said that an error keeps: the end of a verifier's log says what was wrong.
#[cfg(bpf_built)]
const LOG_MAX: usize = 4_096;

#[cfg(bpf_built)]
#[allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "output of libbpf-cargo"
)]
mod skeletons {
    pub(crate) mod relay {
        include!(concat!(env!("OUT_DIR"), "/relay.skel.rs"));
    }
    pub(crate) mod relay_tc {
        include!(concat!(env!("OUT_DIR"), "/relay_tc.skel.rs"));
    }
    pub(crate) mod steer {
        include!(concat!(env!("OUT_DIR"), "/steer.skel.rs"));
    }
    pub(crate) mod advance {
        include!(concat!(env!("OUT_DIR"), "/advance.skel.rs"));
    }
    pub(crate) mod echo {
        include!(concat!(env!("OUT_DIR"), "/echo.skel.rs"));
    }
    pub(crate) mod pass {
        include!(concat!(env!("OUT_DIR"), "/pass.skel.rs"));
    }
    pub(crate) mod xsk {
        include!(concat!(env!("OUT_DIR"), "/xsk.skel.rs"));
    }
}

#[cfg(bpf_built)]
pub(crate) use skeletons::relay::types as relay_types;
#[cfg(bpf_built)]
pub(crate) use skeletons::steer::types as steer_types;
#[cfg(bpf_built)]
pub(crate) use skeletons::xsk::types as xsk_types;

/// Where the relay's maps come from.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(bpf_built),
    expect(dead_code, reason = "without programs nothing is loaded with them")
)]
pub(crate) enum Maps<'path> {
    /// They are made, for so many flows, flows of RTP, addresses, and bytes of copies and taps.
    New {
        flows: u32,
        rtp_flows: u32,
        addresses: u32,
        copies_bytes: u32,
        taps_bytes: u32,
    },
    /// They are pinned in this directory under their names.
    Pinned(&'path Path),
}

/// The steering program and its maps.
pub(crate) struct SteerObject {
    pub(crate) program: Program,
    pub(crate) sockets: MapHandle,
    pub(crate) owners: MapHandle,
    pub(crate) addresses: MapHandle,
    pub(crate) totals: MapHandle,
}

/// The program of AF_XDP sockets and its own maps.
pub(crate) struct XskObject {
    pub(crate) program: Program,
    pub(crate) queues: MapHandle,
    pub(crate) xsks: MapHandle,
}

/// The relay's program and maps.
pub(crate) struct RelayObject {
    pub(crate) program: Program,
    pub(crate) maps: FlowMaps,
    pub(crate) settings: MapHandle,
    pub(crate) totals: MapHandle,
    pub(crate) copies: MapHandle,
    pub(crate) taps: MapHandle,
    /// `None` of a program that another process loaded.
    pub(crate) user_space: Option<MapHandle>,
}

#[cfg(not(bpf_built))]
pub(crate) fn load_relay(_maps: Maps<'_>) -> Result<RelayObject, Error> {
    Err(Error::Unavailable(MISSING))
}

#[cfg(not(bpf_built))]
pub(crate) fn load_pass() -> Result<Program, Error> {
    Err(Error::Unavailable(MISSING))
}

/// Loads the relay.
#[cfg(bpf_built)]
pub(crate) fn load_relay(maps: Maps<'_>) -> Result<RelayObject, Error> {
    use libbpf_rs::skel::{OpenSkel, SkelBuilder};
    use std::mem::MaybeUninit;

    with_log(|| {
        let failed = |error: libbpf_rs::Error| Error::libbpf("loading the relay", &error);
        let mut place = MaybeUninit::uninit();
        let mut open = skeletons::relay::RelaySkelBuilder::default()
            .open(&mut place)
            .map_err(failed)?;
        match maps {
            Maps::New {
                flows,
                rtp_flows,
                addresses,
                copies_bytes,
                taps_bytes,
            } => {
                let maps = &mut open.maps;
                for (map, entries) in [
                    (&mut maps.ports, addresses * layout::PORTS),
                    (&mut maps.flows, flows.saturating_add(FLOWS_SPARE)),
                    (&mut maps.states, flows),
                    (&mut maps.streams, rtp_flows),
                    (&mut maps.copies, copies_bytes),
                    (&mut maps.taps, taps_bytes),
                ] {
                    map.set_max_entries(entries).map_err(failed)?;
                }
            }
            Maps::Pinned(directory) => {
                let maps = &mut open.maps;
                for (name, map) in [
                    ("locals", &mut maps.locals),
                    ("ports", &mut maps.ports),
                    ("flows", &mut maps.flows),
                    ("states", &mut maps.states),
                    ("streams", &mut maps.streams),
                    ("settings", &mut maps.settings),
                    ("totals", &mut maps.totals),
                    ("copies", &mut maps.copies),
                    ("taps", &mut maps.taps),
                ] {
                    map.reuse_pinned_map(directory.join(name)).map_err(failed)?;
                }
            }
        }
        let loaded = open.load().map_err(failed)?;
        let own = |map: &libbpf_rs::MapMut<'_>| MapHandle::try_from(map).map_err(failed);
        Ok(RelayObject {
            program: Program::own(&loaded.progs.ringpath_relay)?,
            maps: FlowMaps {
                locals: own(&loaded.maps.locals)?,
                ports: own(&loaded.maps.ports)?,
                flows: own(&loaded.maps.flows)?,
                states: own(&loaded.maps.states)?,
                streams: own(&loaded.maps.streams)?,
            },
            settings: own(&loaded.maps.settings)?,
            totals: own(&loaded.maps.totals)?,
            copies: own(&loaded.maps.copies)?,
            taps: own(&loaded.maps.taps)?,
            user_space: Some(own(&loaded.maps.user_space)?),
        })
    })
}

/// The maps that both variants of the relay use, by name.
#[cfg_attr(not(bpf_built), expect(dead_code, reason = "nothing is loaded with them"))]
pub(crate) struct SharedMaps<'relay> {
    pub(crate) maps: &'relay FlowMaps,
    pub(crate) settings: &'relay MapHandle,
    pub(crate) totals: &'relay MapHandle,
    pub(crate) copies: &'relay MapHandle,
    pub(crate) taps: &'relay MapHandle,
}

#[cfg(not(bpf_built))]
pub(crate) fn load_relay_tc(_shared: &SharedMaps<'_>) -> Result<Program, Error> {
    Err(Error::Unavailable(MISSING))
}

/// Loads the relay for TC, over the maps of the one for XDP.
#[cfg(bpf_built)]
pub(crate) fn load_relay_tc(shared: &SharedMaps<'_>) -> Result<Program, Error> {
    use libbpf_rs::skel::{OpenSkel, SkelBuilder};
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;

    with_log(|| {
        let failed = |error: libbpf_rs::Error| Error::libbpf("loading the relay for TC", &error);
        let mut place = MaybeUninit::uninit();
        let mut open = skeletons::relay_tc::RelayTcSkelBuilder::default()
            .open(&mut place)
            .map_err(failed)?;
        let maps = &mut open.maps;
        for (map, of_xdp) in [
            (&mut maps.locals, &shared.maps.locals),
            (&mut maps.ports, &shared.maps.ports),
            (&mut maps.flows, &shared.maps.flows),
            (&mut maps.states, &shared.maps.states),
            (&mut maps.streams, &shared.maps.streams),
            (&mut maps.settings, shared.settings),
            (&mut maps.totals, shared.totals),
            (&mut maps.copies, shared.copies),
            (&mut maps.taps, shared.taps),
        ] {
            map.reuse_fd(of_xdp.as_fd()).map_err(failed)?;
        }
        let loaded = open.load().map_err(failed)?;
        Program::own_tc(&loaded.progs.ringpath_relay)
    })
}

#[cfg(not(bpf_built))]
pub(crate) fn load_echo() -> Result<Program, Error> {
    Err(Error::Unavailable(MISSING))
}

/// Loads the yardstick of measurements.
#[cfg(bpf_built)]
pub(crate) fn load_echo() -> Result<Program, Error> {
    use libbpf_rs::skel::{OpenSkel, SkelBuilder};
    use std::mem::MaybeUninit;

    with_log(|| {
        let failed = |error: libbpf_rs::Error| Error::libbpf("loading the echo", &error);
        let mut place = MaybeUninit::uninit();
        let loaded = skeletons::echo::EchoSkelBuilder::default()
            .open(&mut place)
            .and_then(OpenSkel::load)
            .map_err(failed)?;
        Program::own(&loaded.progs.ringpath_echo)
    })
}

#[cfg(not(bpf_built))]
pub(crate) fn load_laps(_of: &Program, _lap_packets: u32) -> Result<(Program, MapHandle), Error> {
    Err(Error::Unavailable(MISSING))
}

/// Loads the program that numbers the packets of a measurement and goes on with `of`; it does so while the map is held.
#[cfg(bpf_built)]
pub(crate) fn load_laps(of: &Program, lap_packets: u32) -> Result<(Program, MapHandle), Error> {
    use libbpf_rs::skel::{OpenSkel, SkelBuilder};
    use libbpf_rs::{MapCore, MapFlags};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, AsRawFd};

    with_log(|| {
        let failed = |error: libbpf_rs::Error| Error::libbpf("loading the laps", &error);
        let mut place = MaybeUninit::uninit();
        let mut open = skeletons::advance::AdvanceSkelBuilder::default()
            .open(&mut place)
            .map_err(failed)?;
        if let Some(data) = &mut open.maps.data_data {
            data.lap_packets = lap_packets.into();
            data.left = lap_packets.into();
        }
        let loaded = open.load().map_err(failed)?;
        let next = MapHandle::try_from(&loaded.maps.next).map_err(failed)?;
        next.update(
            &0u32.to_ne_bytes(),
            &of.as_fd().as_raw_fd().to_ne_bytes(),
            MapFlags::ANY,
        )
        .map_err(failed)?;
        Ok((Program::own(&loaded.progs.ringpath_advance)?, next))
    })
}

#[cfg(not(bpf_built))]
pub(crate) fn load_steer(_addresses: u32) -> Result<SteerObject, Error> {
    Err(Error::Unavailable(MISSING))
}

/// Loads the steering program, for so many addresses.
#[cfg(bpf_built)]
pub(crate) fn load_steer(addresses: u32) -> Result<SteerObject, Error> {
    use libbpf_rs::skel::{OpenSkel, SkelBuilder};
    use std::mem::MaybeUninit;

    with_log(|| {
        let failed = |error: libbpf_rs::Error| Error::libbpf("loading the steering program", &error);
        let mut place = MaybeUninit::uninit();
        let mut open = skeletons::steer::SteerSkelBuilder::default()
            .open(&mut place)
            .map_err(failed)?;
        let ports = addresses.saturating_mul(1 << 16);
        open.maps.owners.set_max_entries(ports).map_err(failed)?;
        let loaded = open.load().map_err(failed)?;
        let own = |map: &libbpf_rs::MapMut<'_>| MapHandle::try_from(map).map_err(failed);
        Ok(SteerObject {
            program: Program::own(&loaded.progs.ringpath_steer)?,
            sockets: own(&loaded.maps.sockets)?,
            owners: own(&loaded.maps.owners)?,
            addresses: own(&loaded.maps.addresses)?,
            totals: own(&loaded.maps.steering_totals)?,
        })
    })
}

#[cfg(not(bpf_built))]
pub(crate) fn load_xsk(_owners: &MapHandle, _addresses: &MapHandle) -> Result<XskObject, Error> {
    Err(Error::Unavailable(MISSING))
}

/// Loads the program of AF_XDP sockets over the maps of the steering program.
#[cfg(bpf_built)]
pub(crate) fn load_xsk(owners: &MapHandle, addresses: &MapHandle) -> Result<XskObject, Error> {
    use libbpf_rs::skel::{OpenSkel, SkelBuilder};
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;

    with_log(|| {
        let failed = |error: libbpf_rs::Error| Error::libbpf("loading the program of AF_XDP sockets", &error);
        let mut place = MaybeUninit::uninit();
        let mut open = skeletons::xsk::XskSkelBuilder::default()
            .open(&mut place)
            .map_err(failed)?;
        open.maps.owners.reuse_fd(owners.as_fd()).map_err(failed)?;
        open.maps.addresses.reuse_fd(addresses.as_fd()).map_err(failed)?;
        let loaded = open.load().map_err(failed)?;
        let own = |map: &libbpf_rs::MapMut<'_>| MapHandle::try_from(map).map_err(failed);
        Ok(XskObject {
            program: Program::own(&loaded.progs.ringpath_xsk)?,
            queues: own(&loaded.maps.queues)?,
            xsks: own(&loaded.maps.xsks)?,
        })
    })
}

/// Loads the program for a veth's peer.
#[cfg(bpf_built)]
pub(crate) fn load_pass() -> Result<Program, Error> {
    use libbpf_rs::skel::{OpenSkel, SkelBuilder};
    use std::mem::MaybeUninit;

    with_log(|| {
        let failed = |error: libbpf_rs::Error| Error::libbpf("loading the passing program", &error);
        let mut place = MaybeUninit::uninit();
        let loaded = skeletons::pass::PassSkelBuilder::default()
            .open(&mut place)
            .and_then(OpenSkel::load)
            .map_err(failed)?;
        Program::own(&loaded.progs.ringpath_pass)
    })
}

#[cfg(bpf_built)]
thread_local! {
    /// What libbpf says on this thread while an object is loaded.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `load` and gives its error what libbpf said. libbpf's own habit is to write it to standard error.
#[cfg(bpf_built)]
pub(crate) fn with_log<T>(load: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Warn, |_level, line| {
            SAID.with_borrow_mut(|said| said.push_str(&line));
        })));
    });
    SAID.with_borrow_mut(String::clear);
    load().map_err(|error| {
        let said = SAID.with_borrow_mut(std::mem::take);
        let said = shorten(said);
        error.with_log(said)
    })
}

/// The first line and the end: how the load failed, and what the verifier said last.
#[cfg(bpf_built)]
fn shorten(said: String) -> String {
    if said.len() <= LOG_MAX {
        return said;
    }
    let tail = said.ceil_char_boundary(said.len() - LOG_MAX);
    let head: String = said.lines().take(2).collect::<Vec<_>>().join("\n");
    format!("{head}\n[...]\n{}", &said[tail..])
}
