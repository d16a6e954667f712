//! The keys that secured lines have had, with indexes and replay windows, as they go to the next process over a socket of the two.

use media_engine::{KeyHistory, SecurityState, UsedKeys};
use media_types::SrtpKey;
use proto::convert;
use proto::media_v1 as wire;
use srtp::{ContextState, KeyUse, StreamState, Window};

/// Of a line that is or was secured.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Security {
    #[prost(message, repeated, tag = "1")]
    receive: Vec<Used>,
    #[prost(message, repeated, tag = "2")]
    send: Vec<Used>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Used {
    #[prost(message, repeated, tag = "1")]
    keys: Vec<wire::SrtpKey>,
    #[prost(message, optional, tag = "2")]
    context: Option<Context>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Context {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
    /// Packets under each key: SRTP, SRTCP, SRTP of the next, and so on.
    #[prost(uint64, repeated, tag = "2")]
    used: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Stream {
    #[prost(fixed32, tag = "1")]
    ssrc: u32,
    #[prost(uint64, optional, tag = "2")]
    rtp_highest: Option<u64>,
    #[prost(bytes = "vec", tag = "3")]
    rtp_seen: Vec<u8>,
    #[prost(uint64, optional, tag = "4")]
    rtcp_highest: Option<u64>,
    #[prost(bytes = "vec", tag = "5")]
    rtcp_seen: Vec<u8>,
}

impl Security {
    pub(super) fn new(state: &SecurityState) -> Self {
        let used = |history: &KeyHistory| history.entries().iter().map(Used::new).collect();
        Self {
            receive: used(&state.receive),
            send: used(&state.send),
        }
    }

    /// `None` when it makes no sense: then what the line is to be secured with counts as used and lost.
    pub(super) fn state(&self) -> Option<SecurityState> {
        let history = |used: &[Used]| -> Option<KeyHistory> {
            let entries: Option<Vec<UsedKeys>> = used.iter().map(Used::state).collect();
            entries.map(KeyHistory::new)
        };
        Some(SecurityState {
            receive: history(&self.receive)?,
            send: history(&self.send)?,
        })
    }
}

impl Used {
    fn new(used: &UsedKeys) -> Self {
        Self {
            keys: used.keys.iter().map(convert::srtp_key_to_wire).collect(),
            context: used.context.as_ref().map(Context::new),
        }
    }

    fn state(&self) -> Option<UsedKeys> {
        let keys: Option<Vec<SrtpKey>> = self
            .keys
            .iter()
            .map(|key| convert::srtp_key_from_wire(key.clone()).ok())
            .collect();
        let context = match &self.context {
            Some(context) => Some(context.state()?),
            None => None,
        };
        Some(UsedKeys { keys: keys?, context })
    }
}

impl Context {
    fn new(state: &ContextState) -> Self {
        Self {
            streams: state.streams.iter().map(Stream::new).collect(),
            used: state.keys.iter().flat_map(|key| [key.rtp, key.rtcp]).collect(),
        }
    }

    fn state(&self) -> Option<ContextState> {
        let (used, rest) = self.used.as_chunks::<2>();
        let streams: Option<Vec<StreamState>> = self.streams.iter().map(Stream::state).collect();
        rest.is_empty().then_some(ContextState {
            streams: streams?,
            keys: used.iter().map(|&[rtp, rtcp]| KeyUse { rtp, rtcp }).collect(),
            // One key is sent with, and a receiver has no such thing.
            sending: 0,
        })
    }
}

impl Stream {
    fn new(state: &StreamState) -> Self {
        Self {
            ssrc: state.ssrc,
            rtp_highest: state.rtp.highest,
            rtp_seen: state.rtp.seen.to_le_bytes().to_vec(),
            rtcp_highest: state.rtcp.highest,
            rtcp_seen: state.rtcp.seen.to_le_bytes().to_vec(),
        }
    }

    fn state(&self) -> Option<StreamState> {
        let window = |highest, seen: &[u8]| {
            Some(Window {
                highest,
                seen: u128::from_le_bytes(seen.try_into().ok()?),
            })
        };
        Some(StreamState {
            ssrc: self.ssrc,
            rtp: window(self.rtp_highest, &self.rtp_seen)?,
            rtcp: window(self.rtcp_highest, &self.rtcp_seen)?,
        })
    }
}
