//! A worker whose calls go to another process.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use media_engine::CallState;
use media_types::CallId;
use net_io::steering::SharedSockets;
use net_io::{PacketIo, PortId};
use sans_io::Timestamp;

use super::Worker;
use super::shell::Surroundings;

/// Turns in which everything that was received must have been sent.
const FLUSH_TURNS: u32 = 1_000;

/// What the control thread asks of a worker whose calls go to another process, in this order.
#[derive(Debug)]
pub enum Handover {
    /// Other descriptors of the sockets that all its ports share.
    Share,
    /// Stop receiving, send what was received, and do nothing by itself any more.
    Hold,
    /// The state and the sockets of calls.
    Export(Vec<CallId>),
    /// Go on: nobody has taken the calls, or, in the process that has taken them, all are there.
    GoOn,
    /// End, and leave the calls to whoever has taken them.
    Leave,
}

/// What a worker answers to a [`Handover`].
#[derive(Debug)]
pub enum HandedOver {
    /// To `Share`; `None` where each port has its own socket.
    Shared(io::Result<Option<SharedSockets>>),
    /// To `Hold`.
    Held(io::Result<()>),
    /// To `Export`, without those that it does not have.
    Exported(Vec<Exported>),
    /// To `GoOn` and `Leave`.
    Done,
}

/// A call for another process.
#[derive(Debug)]
pub struct Exported {
    /// Its name.
    pub call: CallId,
    /// What the engine has learned and counted.
    pub state: CallState,
    /// Its sockets, when its ports have their own.
    pub sockets: io::Result<Vec<(SocketAddr, OwnedFd)>>,
}

/// Of a worker that does nothing by itself.
#[derive(Debug, Default)]
pub(super) struct Held {
    ports: HashMap<SocketAddr, PortId>,
}

impl<Io: PacketIo> Worker<Io> {
    pub(super) fn hand_over(&mut self, now: Timestamp, command: Handover) -> HandedOver {
        match command {
            Handover::Share => HandedOver::Shared(self.io.share_sockets()),
            Handover::Hold => HandedOver::Held(self.hold()),
            Handover::Export(calls) => {
                let calls: Vec<Exported> = calls
                    .into_iter()
                    .filter_map(|call| self.export(now, call))
                    .collect();
                HandedOver::Exported(calls)
            }
            Handover::GoOn => {
                if self.held.take().is_some() {
                    self.flows.hold(false);
                    self.io.start_receiving();
                }
                HandedOver::Done
            }
            Handover::Leave => HandedOver::Done,
        }
    }

    /// Lets go of the sockets and sends everything that was received: what comes from now on waits in them. After an error the
    /// worker is held all the same, until [`Handover::GoOn`] has it receive again.
    fn hold(&mut self) -> io::Result<()> {
        let ports = self.io.socket_ports().into_iter().collect();
        self.held = Some(Held { ports });
        self.flows.hold(true);
        self.io.stop_receiving()?;
        for _ in 0..FLUSH_TURNS {
            let more = self.handle_packets(self.clock.now());
            self.io.poll(Some(Duration::ZERO))?;
            let frames = self.io.frames();
            if !more && frames.received == 0 && frames.sending == 0 {
                // Keys that a handshake has given are the next process's, too.
                self.take_setup_answers(self.clock.now(), usize::MAX);
                // Of a stream that has a flow, the next process hears from the table alone.
                let mut shell = Surroundings::new(&mut self.io, &mut *self.flows, false);
                self.engine.keep_asides(&mut shell);
                return Ok(());
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn export(&mut self, now: Timestamp, call: CallId) -> Option<Exported> {
        let state = self.engine.state(now, &call)?;
        let sockets = self.sockets_of(&state);
        Some(Exported { call, state, sockets })
    }

    fn sockets_of(&mut self, state: &CallState) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let Some(held) = &self.held else {
            return Ok(Vec::new());
        };
        let locals = state.lines.iter().flatten().filter_map(|line| line.local);
        let mut sockets = Vec::new();
        for rtp in locals {
            // RTCP has the next port, unless it shares this one.
            let rtcp = rtp
                .port()
                .checked_add(1)
                .map(|port| SocketAddr::new(rtp.ip(), port));
            for local in [Some(rtp), rtcp].into_iter().flatten() {
                if let Some(port) = held.ports.get(&local) {
                    sockets.push((local, self.io.share_socket(*port)?));
                }
            }
        }
        Ok(sockets)
    }
}
