use media_types::Codec;
use rtp::emodel::Impairment;
use rtp::{PayloadType, PayloadTypeSet};

/// The clock of a payload type that no description names, when there is no first format either: that of nearly all
/// static audio types (RFC 3551 §6).
const CLOCK_RATE_DEFAULT_HZ: u32 = 8_000;

/// What the engine keeps of one payload format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Format {
    /// `None` for a codec that cannot be judged.
    pub(crate) impairment: Option<Impairment>,
    pub(crate) clock_rate_hz: u32,
    pub(crate) ptime_ms: u16,
    pub(crate) payload_type: PayloadType,
    /// Its packets repeat a timestamp on purpose, so that they say nothing about jitter (RFC 4733 §2.2.1).
    pub(crate) is_event: bool,
}

impl Format {
    /// `None` when the payload type or the clock rate is out of range.
    pub(crate) fn new(codec: &Codec) -> Option<Self> {
        if codec.clock_rate_hz == 0 {
            return None;
        }
        Some(Self {
            impairment: Impairment::of(&codec.name),
            clock_rate_hz: codec.clock_rate_hz,
            ptime_ms: codec.ptime_ms,
            payload_type: PayloadType::new(codec.payload_type)?,
            is_event: codec.name.eq_ignore_ascii_case("telephone-event"),
        })
    }
}

/// The formats that may come in on a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Formats {
    list: Box<[Format]>,
    pub(crate) payload_types: PayloadTypeSet,
}

impl Formats {
    /// A party sends with the numbers of the *other* party's description (RFC 3264 §5.1), so `peer` comes first;
    /// `own` is there for those that send with their own.
    pub(crate) fn of(peer: &[Format], own: &[Format]) -> Self {
        let mut payload_types = PayloadTypeSet::EMPTY;
        let mut list = Vec::with_capacity(peer.len() + own.len());
        for format in peer.iter().chain(own) {
            if !payload_types.contains(format.payload_type) {
                payload_types.insert(format.payload_type);
                list.push(*format);
            }
        }
        Self {
            list: list.into(),
            payload_types,
        }
    }

    /// The format of a payload type.
    pub(crate) fn find(&self, payload_type: PayloadType) -> Option<&Format> {
        self.list
            .iter()
            .find(|format| format.payload_type == payload_type)
    }

    /// The first format that carries media: what a stream is taken for when its latest packet was of another kind.
    pub(crate) fn first(&self) -> Option<&Format> {
        self.list.iter().find(|format| !format.is_event)
    }

    /// The payload types that a flow in the kernel takes, each with its [`Self::jitter_clock_hz`], and how many different
    /// clocks these are. Comfort noise may come with any audio, and without a description every type.
    pub(crate) fn flow_types(&self, is_audio: bool) -> (Vec<(PayloadType, u32)>, usize) {
        let all = (0..128).filter_map(PayloadType::new);
        let any = self.payload_types.is_empty();
        let types: Vec<_> = all
            .filter(|of| {
                any || self.payload_types.contains(*of) || (is_audio && *of == PayloadType::COMFORT_NOISE)
            })
            .map(|of| (of, self.jitter_clock_hz(of)))
            .collect();
        let mut clocks: Vec<u32> = types.iter().map(|(_, clock)| *clock).collect();
        clocks.sort_unstable();
        clocks.dedup();
        (types, clocks.len())
    }

    /// The clock to measure jitter by; 0 for formats to be left out. An unknown type takes that of the first.
    pub(crate) fn jitter_clock_hz(&self, payload_type: PayloadType) -> u32 {
        match self.find(payload_type).or(self.first()) {
            Some(format) if format.is_event => 0,
            Some(format) => format.clock_rate_hz,
            None => CLOCK_RATE_DEFAULT_HZ,
        }
    }
}
