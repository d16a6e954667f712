//! What this process asks of the kernel's table of flows.

use ebpf::{FlowKey, FlowReading, FlowSpec, FlowTable, InstalledFlow, StreamState, TableError};

/// [`FlowTable`], or one that a test has in its place. Each method is that of the same name there.
pub(super) trait Backing: std::fmt::Debug + Send + Sync {
    fn install(&self, spec: &FlowSpec, streams: &[StreamState]) -> Result<(), TableError>;
    fn replace(&self, spec: &FlowSpec, streams: &[StreamState]) -> Result<(), TableError>;
    fn leave_to_user_space(&self, key: FlowKey) -> Result<Option<FlowReading>, TableError>;
    fn remove(&self, key: FlowKey) -> Result<Option<FlowReading>, TableError>;
    fn read(&self, key: FlowKey) -> Option<FlowReading>;
    fn add_aside(&self, key: FlowKey, ssrc: u32, packets: u32, bytes: u32) -> bool;
    fn reload(&self);
    fn end_taps(&self);
    fn flows(&self) -> Vec<InstalledFlow>;
    fn keys(&self) -> Vec<(FlowKey, bool)>;
    fn len(&self) -> usize;
    fn flows_max(&self) -> u32;
}

impl Backing for FlowTable {
    fn install(&self, spec: &FlowSpec, streams: &[StreamState]) -> Result<(), TableError> {
        self.install(spec, streams)
    }

    fn replace(&self, spec: &FlowSpec, streams: &[StreamState]) -> Result<(), TableError> {
        self.replace(spec, streams)
    }

    fn leave_to_user_space(&self, key: FlowKey) -> Result<Option<FlowReading>, TableError> {
        self.leave_to_user_space(key)
    }

    fn remove(&self, key: FlowKey) -> Result<Option<FlowReading>, TableError> {
        self.remove(key)
    }

    fn read(&self, key: FlowKey) -> Option<FlowReading> {
        self.read(key)
    }

    fn add_aside(&self, key: FlowKey, ssrc: u32, packets: u32, bytes: u32) -> bool {
        self.add_aside(key, ssrc, packets, bytes)
    }

    fn reload(&self) {
        self.reload();
    }

    fn end_taps(&self) {
        self.end_taps();
    }

    fn flows(&self) -> Vec<InstalledFlow> {
        self.flows()
    }

    fn keys(&self) -> Vec<(FlowKey, bool)> {
        self.keys()
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn flows_max(&self) -> u32 {
        self.flows_max()
    }
}
