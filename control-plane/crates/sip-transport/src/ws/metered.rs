use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::frames::Frames;
use crate::config::Config;
use crate::tcp::Stream;

/// The bytes of a WebSocket connection, with limits that a library of whole messages cannot keep: of the request that begins it, and of
/// messages that have begun.
#[derive(Debug)]
pub(crate) struct Metered {
    stream: Stream,
    phase: Phase,
    /// Frames that one message may have.
    fragments_max: u32,
}

#[derive(Debug)]
enum Phase {
    /// The client asks for WebSocket, in so many bytes more at most.
    Asking(usize),
    /// Frames come.
    Speaking {
        frames: Frames,
        /// Since when a message, or a frame, has been incomplete.
        unfinished: Option<Instant>,
        /// Frames that nobody has counted yet.
        uncounted: u32,
    },
    /// More came than may.
    Exceeded,
}

impl Metered {
    pub(crate) fn new(stream: Stream, config: &Config) -> Self {
        Self {
            stream,
            phase: Phase::Asking(config.message.head_bytes),
            fragments_max: config.websocket.fragments_max,
        }
    }

    /// What comes from now on are frames.
    pub(crate) fn speak(&mut self) {
        self.phase = Phase::Speaking {
            frames: Frames::default(),
            unfinished: None,
            uncounted: 0,
        };
    }

    /// Since when a message has been incomplete.
    pub(crate) fn unfinished(&self) -> Option<Instant> {
        match self.phase {
            Phase::Speaking { unfinished, .. } => unfinished,
            Phase::Asking(_) | Phase::Exceeded => None,
        }
    }

    /// Nothing was read for a while: what is incomplete has its time from now on.
    pub(crate) fn read_again(&mut self) {
        if let Phase::Speaking {
            unfinished: Some(since),
            ..
        } = &mut self.phase
        {
            *since = Instant::now();
        }
    }

    /// Frames that have come since the last call.
    pub(crate) fn count(&mut self) -> u32 {
        match &mut self.phase {
            Phase::Speaking { uncounted, .. } => std::mem::take(uncounted),
            Phase::Asking(_) | Phase::Exceeded => 0,
        }
    }

    /// Whether the request, or a message, had more bytes or parts than it may.
    pub(crate) fn is_exceeded(&self) -> bool {
        matches!(self.phase, Phase::Exceeded)
    }

    fn came(&mut self, bytes: &[u8]) -> io::Result<()> {
        let is_within = match &mut self.phase {
            Phase::Asking(left) => {
                let (rest, exceeds) = left.overflowing_sub(bytes.len());
                *left = rest;
                !exceeds
            }
            Phase::Speaking {
                frames,
                unfinished,
                uncounted,
            } => {
                let seen = frames.come(bytes);
                *uncounted = uncounted.saturating_add(seen.frames);
                *unfinished = match frames.is_unfinished() {
                    false => None,
                    // The one before is complete, and this is another.
                    true if seen.messages > 0 => Some(Instant::now()),
                    true => unfinished.or_else(|| Some(Instant::now())),
                };
                seen.fragments_most <= self.fragments_max
            }
            Phase::Exceeded => false,
        };
        if is_within {
            return Ok(());
        }
        self.phase = Phase::Exceeded;
        Err(io::ErrorKind::InvalidData.into())
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let metered = self.get_mut();
        let before = buffer.filled().len();
        ready!(metered.stream.poll_read(context, buffer))?;
        Poll::Ready(metered.came(&buffer.filled()[before..]))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_shutdown(context)
    }
}
