use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libbpf_rs::MapHandle;

use crate::entry::Owner;
use crate::flow::TAP;
use crate::local::{Locals, LocalsFull};
use crate::mapping::{Mapped, read_words};
use crate::{
    Error, FlowKey, FlowReading, FlowSpec, InstalledFlow, Media, StreamState, TableError, layout,
    plain::zeroed, stream,
};

/// Times that a state is read again while programs write it.
const READS_MAX: usize = 64;

/// Places for flows beyond those for states, for changes of a flow: the new one is there before the old one goes.
#[cfg(bpf_built)]
pub(crate) const FLOWS_SPARE: u32 = 64;

/// The flows of a relay: what is in the kernel's maps, and which of their places are free.
///
/// Clones are the same table, for any threads of one process; changes wait for one another, packets for none of them.
/// One process writes a table at a time. Packets see a change of a flow whole or not at all. The maps lie in this
/// process's memory: but for the first use of an address nothing here is a system call.
#[derive(Clone, Debug)]
pub struct FlowTable {
    shared: Arc<Shared>,
}

/// The maps of flows.
#[derive(Debug)]
pub(crate) struct FlowMaps {
    pub(crate) locals: MapHandle,
    pub(crate) ports: MapHandle,
    pub(crate) flows: MapHandle,
    pub(crate) states: MapHandle,
    pub(crate) streams: MapHandle,
}

#[derive(Debug)]
struct Shared {
    maps: FlowMaps,
    locals: Locals,
    ports: Mapped<u64>,
    flows: Mapped<layout::Flow>,
    states: Mapped<layout::State>,
    streams: Mapped<layout::Streams>,
    book: Mutex<Book>,
}

/// Free places go round: oldest first, so that none is taken again while a packet that saw what was in it may still be
/// on its way.
#[derive(Debug, Default)]
struct Book {
    by_key: HashMap<FlowKey, Owner>,
    flows: VecDeque<u32>,
    /// States that have streams, and those beyond, for RTCP.
    states: VecDeque<u32>,
    states_rtcp: VecDeque<u32>,
    tapped: HashSet<FlowKey>,
}

impl FlowTable {
    /// The table of these maps, with the flows that are in them. What another process has tapped still is: see [`Self::end_taps`].
    pub(crate) fn new(maps: FlowMaps) -> Result<Self, Error> {
        let copy = |map: &MapHandle| {
            MapHandle::try_from(map).map_err(|error| Error::libbpf("copying a descriptor", &error))
        };
        let ports: Mapped<u64> = Mapped::map(&maps.ports)?;
        let shared = Shared {
            locals: Locals::new(copy(&maps.locals)?, ports.count() / layout::PORTS)?,
            ports,
            flows: Mapped::map(&maps.flows)?,
            states: Mapped::map(&maps.states)?,
            streams: Mapped::map(&maps.streams)?,
            maps,
            book: Mutex::default(),
        };
        *shared.book() = shared.take_stock();
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Looks at the maps again, which another process has written since. That one must have stopped writing.
    pub fn reload(&self) {
        let mut book = self.shared.book();
        *book = self.shared.take_stock();
    }

    pub(crate) fn maps(&self) -> &FlowMaps {
        &self.shared.maps
    }

    pub(crate) fn locals(&self) -> &Locals {
        &self.shared.locals
    }

    /// Flows that fit in all.
    pub fn flows_max(&self) -> u32 {
        self.shared.states.count()
    }

    /// Flows and ports of user space that are in the table.
    pub fn len(&self) -> usize {
        self.shared.book().by_key.len()
    }

    /// Whether nothing is in the table.
    pub fn is_empty(&self) -> bool {
        self.shared.book().by_key.is_empty()
    }

    /// The keys in the table, in no order; `true` for flows, `false` for ports of user space.
    pub fn keys(&self) -> Vec<(FlowKey, bool)> {
        let book = self.shared.book();
        let keys = book.by_key.iter();
        keys.map(|(key, owner)| (*key, matches!(owner, Owner::Flow { .. })))
            .collect()
    }

    /// The flows in the table with what each has counted, in no order; ports of user space left out.
    pub fn flows(&self) -> Vec<InstalledFlow> {
        let book = self.shared.book();
        let mut flows = Vec::with_capacity(book.by_key.len());
        for (key, owner) in &book.by_key {
            let Owner::Flow { flow, state } = *owner else {
                continue;
            };
            let Some(flow) = self.shared.flows.read(flow) else {
                continue;
            };
            let (source, egress_local, destination) = flow.addresses();
            flows.push(InstalledFlow {
                local: key.local(),
                source,
                egress_local,
                destination,
                media: flow.media(),
                reading: self.shared.reading(state),
            });
        }
        flows
    }

    /// Puts a flow in. From the next packet on the kernel forwards, and counts on from `streams`, of which the four
    /// latest heard are kept apart; all other counters begin at zero.
    pub fn install(&self, spec: &FlowSpec, streams: &[StreamState]) -> Result<(), TableError> {
        let key = spec.key();
        let mut book = self.shared.book();
        if book.by_key.contains_key(&key) {
            return Err(TableError::Occupied(key));
        }
        self.shared.put(&mut book, spec, streams)
    }

    /// Changes a flow, whose counters go on, or makes one of a port of user space, which counts on from `streams`. No
    /// packet falls between the two.
    pub fn replace(&self, spec: &FlowSpec, streams: &[StreamState]) -> Result<(), TableError> {
        let key = spec.key();
        let shared = &self.shared;
        let mut book = shared.book();
        let (flow, state) = match book.by_key.get(&key) {
            None => return Err(TableError::Absent(key)),
            Some(Owner::User) => return shared.put(&mut book, spec, streams),
            Some(Owner::Flow { flow, state }) => (*flow, *state),
        };
        if spec.media != Media::Rtcp && state >= shared.streams.count() {
            return Err(TableError::Rtcp(key));
        }
        let epoch = shared.flows.read(flow).map_or(0, |flow| flow.epoch);
        let changed = layout::Flow {
            epoch: epoch.wrapping_add(1),
            ..spec.encode(state)?
        };
        shared.publish(&mut book, key, changed, state)?;
        book.flows.push_back(flow);
        Ok(())
    }

    /// Says that user space takes the packets of a port: they go up, whatever is said of unowned ports. Gives what a
    /// flow counted that was there before; no packet falls between the two.
    pub fn leave_to_user_space(&self, key: FlowKey) -> Result<Option<FlowReading>, TableError> {
        let shared = &self.shared;
        let mut book = shared.book();
        shared.point(key, Owner::User.word())?;
        let before = book.by_key.insert(key, Owner::User);
        Ok(shared.end(&mut book, before))
    }

    /// Takes a flow out and gives what it counted; `None` for a port of user space. A packet that another CPU has in
    /// hand at this very moment may be forwarded still, and counted after the reading.
    pub fn remove(&self, key: FlowKey) -> Result<Option<FlowReading>, TableError> {
        let shared = &self.shared;
        let mut book = shared.book();
        if !book.by_key.contains_key(&key) {
            return Err(TableError::Absent(key));
        }
        shared.point(key, 0)?;
        let before = book.by_key.remove(&key);
        Ok(shared.end(&mut book, before))
    }

    /// What a flow has counted so far; `None` when the key has none. See docs/performance.md for what it costs.
    pub fn read(&self, key: FlowKey) -> Option<FlowReading> {
        match self.shared.book().by_key.get(&key) {
            Some(Owner::Flow { state, .. }) => Some(self.shared.reading(*state)),
            _ => None,
        }
    }

    /// Adds packets that user space got of a stream to those that its flow keeps for the next process. What is there and
    /// what is added must fit into 32 bits. False when the flow or the stream is not in the table.
    pub fn add_aside(&self, key: FlowKey, ssrc: u32, packets: u32, bytes: u32) -> bool {
        let book = self.shared.book();
        let Some(Owner::Flow { state, .. }) = book.by_key.get(&key) else {
            return false;
        };
        self.shared.add_aside(*state, ssrc, packets, bytes)
    }

    /// Begins or ends the tap of a key. It may have no flow yet, and keeps the tap when its flow comes, goes or changes.
    pub fn set_tap(&self, key: FlowKey, on: bool) {
        let mut book = self.shared.book();
        let changed = if on {
            book.tapped.insert(key)
        } else {
            book.tapped.remove(&key)
        };
        if let (true, Some(Owner::Flow { flow, .. })) = (changed, book.by_key.get(&key)) {
            self.shared.flag_tap(*flow, on);
        }
    }

    /// Ends the taps that another process has left in the maps.
    pub fn end_taps(&self) {
        let book = self.shared.book();
        for (key, owner) in &book.by_key {
            if let Owner::Flow { flow, .. } = owner {
                self.shared.flag_tap(*flow, book.tapped.contains(key));
            }
        }
    }

    /// The keys that are tapped.
    pub fn tapped(&self) -> Vec<FlowKey> {
        self.shared.book().tapped.iter().copied().collect()
    }
}

impl Shared {
    /// What a panicked thread has left is whole: the book is written after the maps, in one step.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in the maps.
    fn take_stock(&self) -> Book {
        let mut book = Book::default();
        let mut flows_used = vec![false; self.flows.count() as usize];
        let mut states_used = vec![false; self.states.count() as usize];
        for (address, base) in self.locals.all() {
            for port in 0..=u16::MAX {
                let word = self.ports.words(base + u32::from(port)).and_then(<[_]>::first);
                let word = word.map_or(0, |word| word.load(Ordering::Acquire));
                let Some(owner) = Owner::of(word) else { continue };
                if let Owner::Flow { flow, state } = owner {
                    let known = (
                        flows_used.get_mut(flow as usize),
                        states_used.get_mut(state as usize),
                    );
                    let (Some(flow_used), Some(state_used)) = known else {
                        continue;
                    };
                    (*flow_used, *state_used) = (true, true);
                }
                book.by_key
                    .insert(FlowKey::new(SocketAddr::new(address, port)), owner);
            }
        }
        book.flows.extend(
            (0..)
                .zip(flows_used)
                .filter(|(_, used)| !used)
                .map(|(place, _)| place),
        );
        for (place, _) in (0..).zip(states_used).filter(|(_, used)| !used) {
            if place < self.streams.count() {
                book.states.push_back(place);
            } else {
                book.states_rtcp.push_back(place);
            }
        }
        book
    }

    /// Puts in a flow that takes a free state.
    fn put(&self, book: &mut Book, spec: &FlowSpec, streams: &[StreamState]) -> Result<(), TableError> {
        let rtcp = spec.media == Media::Rtcp;
        let place = match book.states_rtcp.front() {
            Some(place) if rtcp => Some(place),
            _ => book.states.front(),
        };
        let most = if rtcp {
            &self.states.count()
        } else {
            &self.streams.count()
        };
        let &state = place.ok_or(TableError::Full(*most))?;
        let flow = spec.encode(state)?;
        let (begun, streams) = stream::begin(streams);
        self.states.write(state, &begun);
        self.streams.write(state, &streams);
        self.publish(book, spec.key(), flow, state)?;
        let states = if state < self.streams.count() {
            &mut book.states
        } else {
            &mut book.states_rtcp
        };
        states.pop_front();
        Ok(())
    }

    /// Writes a flow to a free place, and then lets its port point to it.
    fn publish(
        &self,
        book: &mut Book,
        key: FlowKey,
        mut value: layout::Flow,
        state: u32,
    ) -> Result<(), TableError> {
        let &flow = book.flows.front().ok_or(TableError::Full(self.states.count()))?;
        value.flags |= if book.tapped.contains(&key) { TAP } else { 0 };
        self.flows.write(flow, &value);
        let owner = Owner::Flow { flow, state };
        self.point(key, owner.word())?;
        book.flows.pop_front();
        book.by_key.insert(key, owner);
        Ok(())
    }

    /// Writes the word of a port, after all that it points to.
    fn point(&self, key: FlowKey, word: u64) -> Result<(), TableError> {
        let local = key.local();
        let base = self.locals.take(local.ip())?;
        let base = base.map_err(|LocalsFull(most)| TableError::Addresses(most))?;
        let words = self.ports.words(base + u32::from(local.port()));
        let port = words.and_then(<[_]>::first);
        let base_max = self.ports.count() / layout::PORTS;
        let port = port.ok_or(TableError::Addresses(base_max))?;
        port.store(word, Ordering::Release);
        Ok(())
    }

    /// Gives back the places of a flow that no port points to any more, with what it counted.
    fn end(&self, book: &mut Book, owner: Option<Owner>) -> Option<FlowReading> {
        let Some(Owner::Flow { flow, state }) = owner else {
            return None;
        };
        book.flows.push_back(flow);
        if state < self.streams.count() {
            book.states.push_back(state);
        } else {
            book.states_rtcp.push_back(state);
        }
        Some(self.reading(state))
    }

    /// By a sequence lock: the version is even and the same before and after. A flow of 100 packets a second is at rest
    /// most of the time; one that never is gives its figures as they are, and says so.
    fn reading(&self, place: u32) -> FlowReading {
        let mut reading = FlowReading {
            state: zeroed(),
            streams: zeroed(),
            whole: false,
        };
        let Some(first) = self.states.words(place).and_then(<[_]>::first) else {
            return reading;
        };
        for _ in 0..READS_MAX {
            let before = version(first.load(Ordering::Acquire));
            self.states.read_into(place, &mut reading.state);
            self.read_streams(place, &mut reading.streams);
            fence(Ordering::Acquire);
            reading.whole = before.is_multiple_of(2) && version(first.load(Ordering::Relaxed)) == before;
            if reading.whole {
                break;
            }
            std::hint::spin_loop();
        }
        reading
    }

    /// Streams are taken in order and never given back: most flows have one, and the lines of the others stay where they
    /// are, which programs on this CPU's cache feel.
    fn read_streams(&self, place: u32, streams: &mut layout::Streams) {
        const WORDS: usize = size_of::<layout::Stream>() / size_of::<u64>();
        const USED: usize = std::mem::offset_of!(layout::Stream, used) / size_of::<u64>();
        let words = self.streams.words(place).unwrap_or_default();
        for (stream, words) in streams.stream.iter_mut().zip(words.chunks_exact(WORDS)) {
            // Of this word nothing is set before the stream is used.
            if words[USED].load(Ordering::Relaxed) == 0 {
                break;
            }
            read_words(words, stream);
        }
    }

    /// Programs never write this word of a stream, but clear it when another one takes its place.
    fn add_aside(&self, place: u32, ssrc: u32, packets: u32, bytes: u32) -> bool {
        const STREAM: usize = size_of::<layout::Stream>() / size_of::<u64>();
        const AT: usize = std::mem::offset_of!(layout::Stream, aside_packets);
        const { assert!(AT.is_multiple_of(size_of::<u64>())) };
        const { assert!(std::mem::offset_of!(layout::Stream, aside_bytes) == AT + size_of::<u32>()) };
        let mut streams = zeroed();
        self.read_streams(place, &mut streams);
        let is_its = |stream: &layout::Stream| stream.used != 0 && stream.ssrc == ssrc;
        let Some(at) = streams.stream.iter().position(is_its) else {
            return false;
        };
        let words = self.streams.words(place).unwrap_or_default();
        let Some(word) = words.get(at * STREAM + AT / size_of::<u64>()) else {
            return false;
        };
        let mut both = [0; size_of::<u64>()];
        both[..4].copy_from_slice(&packets.to_ne_bytes());
        both[4..].copy_from_slice(&bytes.to_ne_bytes());
        word.fetch_add(u64::from_ne_bytes(both), Ordering::Relaxed);
        true
    }

    fn flag_tap(&self, flow: u32, on: bool) {
        let at = std::mem::offset_of!(layout::Flow, flags) / size_of::<u64>();
        let Some(word) = self.flows.words(flow).and_then(|words| words.get(at)) else {
            return;
        };
        // The flags are the first half of their word.
        const { assert!(std::mem::offset_of!(layout::Flow, flags).is_multiple_of(size_of::<u64>())) };
        let mut bit = [0; size_of::<u64>()];
        bit[..4].copy_from_slice(&TAP.to_ne_bytes());
        let bit = u64::from_ne_bytes(bit);
        if on {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// The version, which is the first half of a state's first word.
fn version(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
