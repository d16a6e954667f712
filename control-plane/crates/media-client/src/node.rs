use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use media_types::{CallId, Fingerprint, NodeName};
use proto::convert;
use proto::media_v1::call_request::Request as CallRequest;
use proto::media_v1::media_node_client::MediaNodeClient;
use proto::media_v1::{Call, DescribeResponse};
use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;

use crate::exchange::Exchange;
use crate::orphans::Orphans;

/// How a node is, as last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers and takes calls.
    Up,
    /// It answers and takes no new calls.
    Draining,
    /// It does not answer, or has not yet.
    Down,
}

impl Health {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

/// A node at one moment, for metrics.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Its name.
    pub name: NodeName,
    /// How it is.
    pub health: Health,
    /// Calls that it said it could still take.
    pub free: u64,
    /// Calls of ours on it, whose leases we renew.
    pub held: usize,
    /// Calls that may have been left on it and are still to be deleted.
    pub orphans: usize,
}

/// One node and what the client's tasks share about it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: NodeName,
    channel: Channel,
    pub(crate) exchange: Exchange,
    state: Mutex<State>,
    /// Wakes the renewal: what we believe of the node's calls is in doubt.
    pub(crate) reconcile: Notify,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) health: Health,
    /// Calls it can take, from its last description.
    free: u64,
    /// Creates sent since then, and of these the ones under way.
    reserved: u64,
    under_way: u64,
    /// Our calls and when each was last known to be there.
    pub(crate) held: HashMap<CallId, Instant>,
    pub(crate) orphans: Orphans,
    /// Of the certificate that it shows in handshakes.
    pub(crate) fingerprint: Option<Arc<Fingerprint>>,
    /// Since when its address refuses connections.
    refused_since: Option<Instant>,
}

impl Node {
    pub(crate) fn new(name: NodeName, channel: Channel, requests_max: usize) -> Self {
        let state = State {
            health: Health::Down,
            free: 0,
            reserved: 0,
            under_way: 0,
            held: HashMap::new(),
            orphans: Orphans::default(),
            fingerprint: None,
            refused_since: None,
        };
        Self {
            name,
            channel,
            exchange: Exchange::new(requests_max),
            state: Mutex::new(state),
            reconcile: Notify::new(),
        }
    }

    /// A stub for one call; all share one connection.
    pub(crate) fn stub(&self) -> MediaNodeClient<Channel> {
        MediaNodeClient::new(self.channel.clone())
    }

    /// One create, update or delete: with others by the stream of requests, or by itself when there is none.
    pub(crate) async fn command(
        &self,
        request: CallRequest,
        timeout: Duration,
    ) -> Result<Option<Call>, Status> {
        match self.exchange.send(request, timeout) {
            Ok(sent) => sent.answer().await,
            // On the heap: it is large, rare, and would be moved about with every request.
            Err(request) => Box::pin(self.by_itself(request)).await,
        }
    }

    async fn by_itself(&self, request: CallRequest) -> Result<Option<Call>, Status> {
        let mut stub = self.stub();
        Ok(match request {
            CallRequest::Create(create) => stub.create_call(create).await?.into_inner().call,
            CallRequest::Update(update) => stub.update_call(update).await?.into_inner().call,
            CallRequest::Delete(delete) => stub.delete_call(delete).await?.into_inner().call,
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn status(&self) -> NodeStatus {
        let state = self.state();
        NodeStatus {
            name: self.name.clone(),
            health: state.health,
            free: state.free(),
            held: state.held.len(),
            orphans: state.orphans.len(),
        }
    }
}

impl State {
    /// Calls that the node can still take.
    pub(crate) fn free(&self) -> u64 {
        self.free.saturating_sub(self.reserved)
    }

    /// Takes over what the node said of itself. Returns its health before.
    pub(crate) fn described(&mut self, description: &DescribeResponse) -> Health {
        let capacity = description.capacity.unwrap_or_default();
        let calls = description.load.unwrap_or_default().calls;
        // A call of one audio line takes a port pair on each of its two legs.
        self.free = capacity
            .calls_max
            .saturating_sub(calls)
            .min(capacity.port_pairs_free / 2);
        self.reserved = self.under_way;
        let shown = description.fingerprint.as_ref();
        let shown = shown.and_then(|shown| convert::fingerprint_from_wire(shown).ok());
        if shown.as_ref() != self.fingerprint.as_deref() {
            self.fingerprint = shown.map(Arc::new);
        }
        let health = if description.draining {
            Health::Draining
        } else {
            Health::Up
        };
        std::mem::replace(&mut self.health, health)
    }

    /// Notes whether the node's address refuses connections. True when it has for `gone_after` and there are calls to be
    /// given up for it.
    pub(crate) fn refusing(&mut self, refuses: bool, gone_after: Duration) -> bool {
        self.refused_since = refuses.then(|| self.refused_since.unwrap_or_else(Instant::now));
        self.is_gone(gone_after) && !self.held.is_empty()
    }

    /// Whether the node's process does not run, and has not for `gone_after`: its sockets went with it.
    pub(crate) fn is_gone(&self, gone_after: Duration) -> bool {
        self.refused_since
            .is_some_and(|since| since.elapsed() >= gone_after)
    }

    /// Notes that a create is being sent.
    pub(crate) fn reserve(&mut self) {
        self.reserved += 1;
        self.under_way += 1;
    }

    /// Notes that a create was answered; `taken` when the call is on the node now.
    pub(crate) fn settle(&mut self, taken: bool) {
        self.under_way = self.under_way.saturating_sub(1);
        if !taken {
            self.reserved = self.reserved.saturating_sub(1);
        }
    }

    /// Believes the node full until it says something else.
    pub(crate) fn full(&mut self) {
        self.free = 0;
    }
}

#[cfg(test)]
mod tests {
    use proto::media_v1::{Capacity, Load};

    use super::*;

    fn description(calls_max: u64, calls: u64, port_pairs_free: u64) -> DescribeResponse {
        DescribeResponse {
            capacity: Some(Capacity {
                calls_max,
                port_pairs_free,
                ..Capacity::default()
            }),
            load: Some(Load {
                calls,
                ..Load::default()
            }),
            ..DescribeResponse::default()
        }
    }

    #[tokio::test]
    async fn free_capacity_counts_what_was_sent_since_the_description() {
        let channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let node = Node::new(NodeName::new("n").unwrap(), channel, 1);
        let mut state = node.state();
        state.described(&description(100, 90, 50));
        assert_eq!((state.free(), state.health), (10, Health::Up));
        state.reserve();
        state.reserve();
        assert_eq!(state.free(), 8);
        state.settle(true);
        state.settle(false);
        assert_eq!(state.free(), 9);
        state.reserve();
        state.described(&description(100, 91, 8));
        assert_eq!(
            state.free(),
            3,
            "ports are the scarcer, and one create is still under way"
        );
        state.full();
        assert_eq!(state.free(), 0);
    }
}
