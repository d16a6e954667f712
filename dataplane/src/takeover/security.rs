//! The indexes and replay windows of secured lines, as they go to the next process. Keys go with the call's record.

use media_engine::SecurityState;
use srtp::{ContextState, KeyUse, StreamState, Window};

/// What a secured line has beyond its keys.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Security {
    #[prost(message, optional, tag = "1")]
    receive: Option<Context>,
    #[prost(message, optional, tag = "2")]
    send: Option<Context>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Context {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
    /// Packets under each key: SRTP, SRTCP, SRTP of the next, and so on.
    #[prost(uint64, repeated, tag = "2")]
    used: Vec<u64>,
    #[prost(uint64, tag = "3")]
    sending: u64,
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
        Self {
            receive: state.receive.as_ref().map(Context::new),
            send: state.send.as_ref().map(Context::new),
        }
    }

    /// `None` when it makes no sense: then the line passes nothing.
    pub(super) fn state(&self) -> Option<SecurityState> {
        let context = |context: &Option<Context>| match context {
            Some(context) => context.state().map(Some),
            None => Some(None),
        };
        Some(SecurityState {
            receive: context(&self.receive)?,
            send: context(&self.send)?,
        })
    }
}

impl Context {
    fn new(state: &ContextState) -> Self {
        Self {
            streams: state.streams.iter().map(Stream::new).collect(),
            used: state.keys.iter().flat_map(|key| [key.rtp, key.rtcp]).collect(),
            sending: state.sending as u64,
        }
    }

    fn state(&self) -> Option<ContextState> {
        let (used, rest) = self.used.as_chunks::<2>();
        let streams: Option<Vec<StreamState>> = self.streams.iter().map(Stream::state).collect();
        rest.is_empty().then_some(ContextState {
            streams: streams?,
            keys: used.iter().map(|&[rtp, rtcp]| KeyUse { rtp, rtcp }).collect(),
            sending: usize::try_from(self.sending).ok()?,
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
