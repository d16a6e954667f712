use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use sip::{Destination, FlowId};
use tokio::sync::{Notify, mpsc};

use crate::outgoing::Outgoing;

/// The connections that exist or are being made.
#[derive(Debug, Default)]
pub(crate) struct Table {
    connections: HashMap<FlowId, Handle>,
    /// The latest connection of each listener, by its place, with each peer.
    by_remote: HashMap<(usize, SocketAddr), FlowId>,
    per_source: HashMap<IpAddr, usize>,
}

/// How others reach a connection's task.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) remote: SocketAddr,
    pub(crate) queue: mpsc::Sender<Box<Outgoing>>,
    pub(crate) close: Arc<Notify>,
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Connections with `source`, made by either side.
    pub(crate) fn of_source(&self, source: IpAddr) -> usize {
        self.per_source.get(&source).copied().unwrap_or(0)
    }

    pub(crate) fn insert(&mut self, flow: FlowId, handle: Handle) {
        *self.per_source.entry(handle.remote.ip()).or_default() += 1;
        self.by_remote.insert((flow.listener(), handle.remote), flow);
        self.connections.insert(flow, handle);
    }

    pub(crate) fn remove(&mut self, flow: FlowId) -> Option<Handle> {
        let handle = self.connections.remove(&flow)?;
        let with_peer = (flow.listener(), handle.remote);
        if self.by_remote.get(&with_peer) == Some(&flow) {
            self.by_remote.remove(&with_peer);
        }
        if let Some(count) = self.per_source.get_mut(&handle.remote.ip()) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&handle.remote.ip());
            }
        }
        Some(handle)
    }

    /// The connection of a flow.
    pub(crate) fn find_flow(&self, flow: FlowId) -> Option<Handle> {
        self.connections.get(&flow).cloned()
    }

    /// The connection for a message: that of its flow while it lives, else one of the listener that it leaves by with
    /// its address (RFC 3261 §18.1.1, §18.2.2).
    pub(crate) fn find(&self, place: u16, destination: &Destination) -> Option<(FlowId, Handle)> {
        let by_flow = destination
            .flow
            .filter(|flow| self.connections.contains_key(flow));
        let with_peer = (usize::from(place), destination.remote);
        let flow = by_flow.or_else(|| self.by_remote.get(&with_peer).copied())?;
        Some((flow, self.connections.get(&flow)?.clone()))
    }
}

#[cfg(test)]
mod tests {
    use sip::Transport;

    use super::*;

    fn handle(port: u16) -> Handle {
        let (queue, _) = mpsc::channel(1);
        Handle {
            remote: ([192, 0, 2, 1], port).into(),
            queue,
            close: Arc::default(),
        }
    }

    fn found(table: &Table, flow: Option<u64>, port: u16) -> Option<u64> {
        let remote = ([192, 0, 2, 1], port).into();
        let destination = Destination {
            transport: Transport::Tcp,
            remote,
            flow: flow.map(FlowId),
        };
        table.find(0, &destination).map(|(flow, _)| flow.0)
    }

    #[test]
    fn a_flow_is_preferred_and_its_address_is_the_way_back_when_it_is_gone() {
        let mut table = Table::default();
        table.insert(FlowId(1), handle(1_000));
        table.insert(FlowId(2), handle(2_000));
        assert_eq!(found(&table, Some(1), 2_000), Some(1));
        assert_eq!(found(&table, None, 2_000), Some(2));
        assert_eq!(found(&table, Some(9), 2_000), Some(2));
        assert_eq!(found(&table, Some(9), 3_000), None);
        table.remove(FlowId(1));
        assert_eq!(found(&table, Some(1), 2_000), Some(2));
    }

    #[test]
    fn nothing_is_left_of_connections_that_are_gone() {
        let mut table = Table::default();
        table.insert(FlowId(1), handle(1_000));
        table.insert(FlowId(2), handle(1_000));
        assert_eq!((table.len(), table.of_source([192, 0, 2, 1].into())), (2, 2));
        table.remove(FlowId(1));
        assert_eq!(
            found(&table, None, 1_000),
            Some(2),
            "the later one with the same peer stays"
        );
        table.remove(FlowId(2));
        assert!(table.remove(FlowId(2)).is_none());
        assert_eq!((table.len(), table.of_source([192, 0, 2, 1].into())), (0, 0));
        assert!(table.by_remote.is_empty() && table.per_source.is_empty());
    }
}
