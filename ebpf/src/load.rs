//! The load of measurements: RTP out of one core by live frames, and its count where it arrives. Not for production.
//!
//! [`Load`] has the programs and what they write; [`generate`] runs the one that sends, and blocks for as long as it
//! sends. `src/bpf/load.bpf.c` says how.

mod layout;

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::object;
use crate::plain::{Plain, bytes_of, from_bytes, zeroed};
use crate::{Error, Program};
use layout::{Control, HEADERS, Histogram, Stream};
pub use layout::{LoadCounts, LoadProgress};

/// Bytes of RTP in a packet: PCMA, 20 ms.
pub const LOAD_PAYLOAD: usize = 172;
const FRAME: usize = HEADERS + LOAD_PAYLOAD;
/// Where the part of the payload begins that is the same in all packets.
const SILENCE_FROM: usize = 28;
/// Silence of the A-law.
const SILENCE: u8 = 0xd5;
/// Frames of one turn of the generator: short, so that what comes back waits little for it.
const BATCH: u32 = 32;
const BUCKET_BITS: u32 = 6;

/// What is measured in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadTime {
    /// From the generator to the sink.
    Latency,
    /// Between the latencies of neighbouring packets of a stream.
    Jitter,
    /// From when packets might have left to when they did.
    Late,
}

/// The ends of the load: addresses of both interfaces, and the ports that stand for all callers and all callees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadEnds {
    /// Link-layer address of the load's interface.
    pub load_mac: [u8; 6],
    /// Link-layer address of the relay's.
    pub relay_mac: [u8; 6],
    /// Address of all parties.
    pub load: Ipv4Addr,
    /// Address of the relay.
    pub relay: Ipv4Addr,
    /// Ports of all callers and of all callees.
    pub parties: [u16; 2],
}

/// One stream of a run. Stream 2n goes from the caller of call n to its callee, stream 2n+1 back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadStream {
    /// The relay's port that it is sent to.
    pub face: u16,
    /// Packets that it has sent in earlier runs, so that sequence numbers and timestamps go on.
    pub sent_before: u64,
}

/// What a run sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadPlan {
    /// Written into every packet; those of other runs are not counted. Not 0.
    pub run: u32,
    /// Packets of each stream.
    pub per_stream: u32,
    /// The time in which every stream sends one packet, evenly spread; `None`: as fast as can be.
    pub ptime: Option<Duration>,
    /// Packets that are due leave together, this often.
    pub tick: Duration,
    /// The most that leave together.
    pub burst: u32,
    /// Packets that may be on their way before the next one waits, its send time being that before the wait; 0: any number.
    pub window: u32,
}

/// The loaded programs and their maps.
#[derive(Debug)]
pub struct Load {
    generator: Program,
    sink: Program,
    maps: Maps,
    streams_max: u32,
}

#[derive(Debug)]
struct Maps {
    control: MapHandle,
    progress: MapHandle,
    counts: MapHandle,
    streams: MapHandle,
    histograms: MapHandle,
}

impl Load {
    /// Loads both programs for at most so many streams.
    pub fn new(streams_max: u32) -> Result<Self, Error> {
        load(streams_max.max(2))
    }

    /// The sink, to be attached natively to the load's interface before anything is sent.
    pub const fn sink(&self) -> &Program {
        &self.sink
    }

    /// The generator's number, by which another process runs it with [`generate`].
    pub fn generator_id(&self) -> Result<u32, Error> {
        self.generator.id()
    }

    /// Makes a run ready: everything is counted from zero again.
    ///
    /// # Panics
    /// When there are more streams than [`Load::new`] was told.
    pub fn prepare(&mut self, ends: &LoadEnds, plan: &LoadPlan, streams: &[LoadStream]) -> Result<(), Error> {
        assert!(
            streams.len() <= self.streams_max as usize,
            "the caller knows how many streams it asked for"
        );
        let control = control(ends, plan, streams.len() as u32);
        // Nothing is due while the total is zero.
        let closed = Control { total: 0, ..control };
        put(&self.maps.control, 0, &closed)?;
        for (place, stream) in streams.iter().enumerate() {
            let stream = Stream {
                face: stream.face.to_be(),
                first_seq: stream.sent_before as u16,
                first_timestamp: (stream.sent_before as u32).wrapping_mul(160),
            };
            put(&self.maps.streams, place as u32, &stream)?;
        }
        put(&self.maps.progress, 0, &zeroed::<LoadProgress>())?;
        put(&self.maps.counts, 0, &zeroed::<LoadCounts>())?;
        for time in [LoadTime::Latency, LoadTime::Jitter, LoadTime::Late] {
            put(&self.maps.histograms, time as u32, &zeroed::<Histogram>())?;
        }
        put(&self.maps.control, 0, &control)
    }

    /// Sends nothing more of the run.
    pub fn close(&mut self) -> Result<(), Error> {
        let control: Control = read(&self.maps.control, 0)?;
        put(&self.maps.control, 0, &Control { total: 0, ..control })
    }

    /// Packets of the run, all streams together.
    pub fn planned(&self) -> Result<u64, Error> {
        read::<Control>(&self.maps.control, 0).map(|control| control.total)
    }

    /// Where the generator is.
    pub fn progress(&self) -> Result<LoadProgress, Error> {
        read(&self.maps.progress, 0)
    }

    /// What has arrived.
    pub fn counts(&self) -> Result<LoadCounts, Error> {
        read(&self.maps.counts, 0)
    }

    /// The times of a kind that occurred, in nanoseconds (the middle of their bucket, which is 1.6 % wide at most), and how
    /// often each did.
    pub fn times(&self, kind: LoadTime) -> Result<Vec<(u64, u64)>, Error> {
        let histogram: Histogram = read(&self.maps.histograms, kind as u32)?;
        Ok(histogram
            .buckets
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(bucket, count)| (bucket_middle(bucket as u64), *count))
            .collect())
    }
}

impl Program {
    /// Loads the floor under the kernel path: a relay with the rewrite of a real one and nothing else, between parties
    /// at these ports of one address.
    pub fn load_bare(parties: [u16; 2]) -> Result<Self, Error> {
        load_bare(parties.map(u16::to_be))
    }
}

/// Runs the generator with number `program` on `interface` of the caller's network namespace until a signal comes. What is
/// to be sent is said by [`Load::prepare`]; frames that are not due are dropped, so this takes all of a core.
pub fn generate(program: u32, interface: &str) -> Result<(), Error> {
    const WHAT: &str = "running the generator";
    let name = CString::new(interface).map_err(|error| Error::kernel(WHAT, io::Error::other(error)))?;
    let ifindex =
        nix::net::if_::if_nametoindex(name.as_c_str()).map_err(|errno| Error::kernel(WHAT, errno))?;
    // SAFETY: takes no pointer; the result is checked below.
    let fd = unsafe { libbpf_sys::bpf_prog_get_fd_by_id(program) };
    if fd < 0 {
        return Err(Error::kernel(WHAT, io::Error::last_os_error()));
    }
    // SAFETY: the call gave a new descriptor, which nothing else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut frame = [SILENCE; FRAME];
    frame[..HEADERS + SILENCE_FROM].fill(0);
    let context = libbpf_sys::xdp_md {
        data_end: FRAME as u32,
        ingress_ifindex: ifindex,
        ..Default::default()
    };
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
        data_in: frame.as_ptr().cast(),
        data_size_in: FRAME as u32,
        ctx_in: (&raw const context).cast(),
        ctx_size_in: size_of::<libbpf_sys::xdp_md>() as u32,
        // Read as unsigned by the kernel.
        repeat: -1,
        flags: libbpf_sys::BPF_F_TEST_XDP_LIVE_FRAMES,
        batch_size: BATCH,
        ..Default::default()
    };
    // SAFETY: the descriptor is owned; `options` is a live local whose `sz` is its size; frame and context are live for
    // the call and as long as they are said to be; nothing is written but into `options`.
    let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(fd.as_raw_fd(), &raw mut options) };
    match io::Error::last_os_error() {
        error if result < 0 && error.kind() != io::ErrorKind::Interrupted => Err(Error::kernel(WHAT, error)),
        _ => Ok(()),
    }
}

/// What the programs are told of a run.
fn control(ends: &LoadEnds, plan: &LoadPlan, streams: u32) -> Control {
    let (ip_length, udp_length) = ((28 + LOAD_PAYLOAD) as u16, (8 + LOAD_PAYLOAD) as u16);
    let mut headers = [0; HEADERS];
    headers[0..6].copy_from_slice(&ends.relay_mac);
    headers[6..12].copy_from_slice(&ends.load_mac);
    headers[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
    headers[16..18].copy_from_slice(&ip_length.to_be_bytes());
    // May not be fragmented, so that its identification is zero (RFC 6864).
    headers[18..24].copy_from_slice(&[0, 0, 0x40, 0, 64, 17]);
    headers[26..30].copy_from_slice(&ends.load.octets());
    headers[30..34].copy_from_slice(&ends.relay.octets());
    let check = !fold(sum(&headers[14..34]));
    headers[24..26].copy_from_slice(&check.to_ne_bytes());
    headers[38..40].copy_from_slice(&udp_length.to_be_bytes());
    let mut payload = [SILENCE; LOAD_PAYLOAD];
    payload[..SILENCE_FROM].fill(0);
    payload[0] = 0x80;
    payload[1] = 8;
    let length_sum = u32::from(udp_length.to_be());
    let pseudo_sum = sum(&headers[26..34]) + u32::from(17u16.to_be()) + length_sum;
    let payload_sum = sum(&payload);
    Control {
        total: u64::from(plan.per_stream) * u64::from(streams),
        ptime_ns: plan.ptime.map_or(0, |ptime| ptime.as_nanos() as u64),
        tick_ns: (plan.tick.as_nanos() as u64).max(1),
        streams,
        burst: plan.burst.max(1),
        run: plan.run,
        window: plan.window,
        udp_sum: pseudo_sum + length_sum + payload_sum,
        payload_sum,
        pseudo_sum,
        relay: u32::from_ne_bytes(ends.relay.octets()),
        parties: ends.parties.map(u16::to_be),
        headers,
        zero: [0; 2],
    }
}

/// Of the 16-bit words as they lie in memory (RFC 1071 §2: the order of bytes does not matter). Even lengths only.
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks_exact(2)
        .map(|word| u32::from(u16::from_ne_bytes([word[0], word[1]])))
        .sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn bucket_middle(bucket: u64) -> u64 {
    let Some(shift) = (bucket >> BUCKET_BITS).checked_sub(1) else {
        return bucket;
    };
    let low = ((1 << BUCKET_BITS) | (bucket & ((1 << BUCKET_BITS) - 1))) << shift;
    low + (1 << shift) / 2
}

fn put<T: Plain>(map: &MapHandle, place: u32, value: &T) -> Result<(), Error> {
    map.update(&place.to_ne_bytes(), bytes_of(value), MapFlags::ANY)
        .map_err(|error| Error::libbpf("writing the load", &error))
}

fn read<T: Plain>(map: &MapHandle, place: u32) -> Result<T, Error> {
    map.lookup(&place.to_ne_bytes(), MapFlags::ANY)
        .map_err(|error| Error::libbpf("reading the load", &error))?
        .as_deref()
        .and_then(from_bytes)
        .ok_or_else(|| Error::Layout {
            map: map.name().to_string_lossy().into_owned(),
            key_len: map.key_size(),
            value_len: map.value_size(),
        })
}

#[cfg(not(bpf_built))]
fn load(_streams_max: u32) -> Result<Load, Error> {
    Err(Error::Unavailable(object::MISSING))
}

#[cfg(not(bpf_built))]
fn load_bare(_parties: [u16; 2]) -> Result<Program, Error> {
    Err(Error::Unavailable(object::MISSING))
}

#[cfg(bpf_built)]
fn load(streams_max: u32) -> Result<Load, Error> {
    use std::mem::MaybeUninit;

    use libbpf_rs::skel::{OpenSkel, SkelBuilder};

    object::with_log(|| {
        let failed = |error: libbpf_rs::Error| Error::libbpf("loading the load", &error);
        let mut place = MaybeUninit::uninit();
        let mut open = skeletons::load::LoadSkelBuilder::default()
            .open(&mut place)
            .map_err(failed)?;
        let maps = &mut open.maps;
        maps.load_streams.set_max_entries(streams_max).map_err(failed)?;
        maps.receptions.set_max_entries(streams_max).map_err(failed)?;
        let loaded = open.load().map_err(failed)?;
        let own = |map: &libbpf_rs::MapMut<'_>| MapHandle::try_from(map).map_err(failed);
        Ok(Load {
            generator: Program::own(&loaded.progs.ringpath_load)?,
            sink: Program::own(&loaded.progs.ringpath_sink)?,
            maps: Maps {
                control: own(&loaded.maps.control)?,
                progress: own(&loaded.maps.progress)?,
                counts: own(&loaded.maps.counts)?,
                streams: own(&loaded.maps.load_streams)?,
                histograms: own(&loaded.maps.histograms)?,
            },
            streams_max,
        })
    })
}

#[cfg(bpf_built)]
fn load_bare(parties: [u16; 2]) -> Result<Program, Error> {
    use std::mem::MaybeUninit;

    use libbpf_rs::skel::{OpenSkel, SkelBuilder};

    object::with_log(|| {
        let failed = |error: libbpf_rs::Error| Error::libbpf("loading the bare relay", &error);
        let mut place = MaybeUninit::uninit();
        let mut open = skeletons::bare::BareSkelBuilder::default()
            .open(&mut place)
            .map_err(failed)?;
        open.maps
            .rodata_data
            .as_deref_mut()
            .ok_or(Error::Unavailable(
                "built without the constants of the bare relay",
            ))?
            .parties = parties;
        let loaded = open.load().map_err(failed)?;
        Program::own(&loaded.progs.ringpath_bare)
    })
}

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
    pub(crate) mod load {
        include!(concat!(env!("OUT_DIR"), "/load.skel.rs"));
    }
    pub(crate) mod bare {
        include!(concat!(env!("OUT_DIR"), "/bare.skel.rs"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_named_by_their_middle() {
        // `bucket_of` of the program, for the lowest value of a bucket.
        for (ns, bucket) in [
            (0, 0),
            (63, 63),
            (64, 64),
            (127, 127),
            (128, 128),
            (130, 129),
            (1 << 20, 15 * 64),
        ] {
            let middle = bucket_middle(bucket);
            assert!(
                middle >= ns && middle <= ns + ns / 64 + 1,
                "{ns} {bucket} {middle}"
            );
        }
    }

    #[test]
    fn the_sum_of_the_header_is_right() {
        let ends = LoadEnds {
            load_mac: [2; 6],
            relay_mac: [4; 6],
            load: Ipv4Addr::new(198, 18, 0, 1),
            relay: Ipv4Addr::new(198, 18, 0, 2),
            parties: [4_000, 4_002],
        };
        let plan = LoadPlan {
            run: 1,
            per_stream: 50,
            ptime: Some(Duration::from_millis(20)),
            tick: Duration::from_micros(50),
            burst: 64,
            window: 0,
        };
        let control = control(&ends, &plan, 20_000);
        assert_eq!(fold(sum(&control.headers[14..34])), 0xffff);
        assert_eq!(control.total, 1_000_000);
        assert_eq!(control.headers[30..34], ends.relay.octets());
    }
}
