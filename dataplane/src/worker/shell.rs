use std::net::SocketAddr;

use media_engine::{Flow, FlowError, FlowReading, Flows, OpenError, PortId, Ports, StreamState};

/// What a worker's engine sees of the world between batches: the back-end's ports, and the table of flows.
pub struct Surroundings<'a, Io> {
    ports: &'a mut Io,
    flows: &'a mut dyn Flows,
    /// Packets may wait that the engine has not seen.
    is_behind: bool,
}

impl<'a, Io> Surroundings<'a, Io> {
    pub fn new(ports: &'a mut Io, flows: &'a mut dyn Flows, is_behind: bool) -> Self {
        Self {
            ports,
            flows,
            is_behind,
        }
    }
}

impl<Io: Ports> Ports for Surroundings<'_, Io> {
    fn open(&mut self, local: SocketAddr) -> Result<PortId, OpenError> {
        self.ports.open(local)
    }

    fn close(&mut self, port: PortId) {
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
}
