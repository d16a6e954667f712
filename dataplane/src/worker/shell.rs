use std::net::SocketAddr;

use media_engine::{Aside, Flow, FlowError, FlowReading, Flows, OpenError, PortId, Ports, StreamState};
use rtp::Ssrc;

use crate::kernel::PortTable;

/// What a worker's engine sees of the world between batches: the back-end's ports, and the table of flows.
pub struct Surroundings<'a, Io> {
    ports: &'a mut Io,
    flows: &'a mut (dyn PortTable + Send),
    /// Packets may wait that the engine has not seen.
    is_behind: bool,
}

impl<'a, Io> Surroundings<'a, Io> {
    pub fn new(ports: &'a mut Io, flows: &'a mut (dyn PortTable + Send), is_behind: bool) -> Self {
        Self {
            ports,
            flows,
            is_behind,
        }
    }
}

impl<Io: Ports> Ports for Surroundings<'_, Io> {
    fn open(&mut self, local: SocketAddr) -> Result<PortId, OpenError> {
        let port = self.ports.open(local)?;
        if let Err(error) = self.flows.opened(port, local) {
            self.ports.close(port);
            return Err(error);
        }
        Ok(port)
    }

    fn close(&mut self, port: PortId) {
        self.flows.closing(port);
        self.ports.close(port);
    }

    fn is_behind(&self) -> bool {
        self.is_behind
    }
}

impl<Io> Flows for Surroundings<'_, Io> {
    fn install(&mut self, flow: &Flow, streams: &[StreamState]) -> Result<(), FlowError> {
        self.flows.install(flow, streams)
    }

    fn remove(&mut self, local: SocketAddr) -> Option<FlowReading> {
        self.flows.remove(local)
    }

    fn read(&mut self, local: SocketAddr) -> Option<FlowReading> {
        self.flows.read(local)
    }

    fn keep_aside(&mut self, local: SocketAddr, ssrc: Ssrc, aside: Aside) -> bool {
        self.flows.keep_aside(local, ssrc, aside)
    }
}
