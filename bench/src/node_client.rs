//! A media node's gRPC from a synchronous program.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use proto::media_v1 as pb;
use proto::media_v1::media_node_client::MediaNodeClient;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A connection to one node. Calls block; each is an error after five seconds.
#[derive(Debug)]
pub struct NodeClient {
    runtime: Runtime,
    client: MediaNodeClient<Channel>,
}

impl NodeClient {
    /// Connects.
    pub fn connect(grpc: SocketAddr) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let endpoint = Endpoint::from_shared(format!("http://{grpc}"))?
            .connect_timeout(ANSWER_WITHIN)
            .timeout(ANSWER_WITHIN);
        let channel = runtime
            .block_on(endpoint.connect())
            .with_context(|| format!("the media node at {grpc}"))?;
        Ok(Self {
            runtime,
            client: MediaNodeClient::new(channel),
        })
    }

    /// What the node is and holds.
    pub fn describe(&mut self) -> anyhow::Result<pb::DescribeResponse> {
        let answer = self
            .runtime
            .block_on(self.client.describe(pb::DescribeRequest {}))?;
        Ok(answer.into_inner())
    }

    /// Up to a thousand calls of the node.
    pub fn calls(&mut self) -> anyhow::Result<Vec<String>> {
        let request = pb::ListCallsRequest {
            page_size: 1_000,
            page_token: String::new(),
        };
        let answer = self.runtime.block_on(self.client.list_calls(request))?;
        Ok(answer.into_inner().call_ids)
    }

    /// One call with its statistics.
    pub fn query(&mut self, call: &str) -> anyhow::Result<pb::Call> {
        let request = pb::QueryCallRequest {
            call_id: call.to_owned(),
        };
        let answer = self.runtime.block_on(self.client.query_call(request))?;
        answer.into_inner().call.context("an answer has a call")
    }

    /// The lines of a call that are not on `path`, each with the reason that the node gives for it.
    pub fn lines_not_on(&mut self, path: pb::Path, call: &str) -> anyhow::Result<Vec<String>> {
        let lines = self.query(call)?.legs.into_iter().flat_map(|leg| leg.lines);
        Ok(lines
            .filter(|line| line.path != i32::from(path))
            .map(|line| line.path_reason)
            .collect())
    }

    /// Allocates a call.
    pub fn create(&mut self, request: pb::CreateCallRequest) -> anyhow::Result<pb::Call> {
        let answer = self.runtime.block_on(self.client.create_call(request))?;
        answer.into_inner().call.context("an answer has a call")
    }

    /// Changes the media of a call.
    pub fn update(&mut self, request: pb::UpdateCallRequest) -> anyhow::Result<pb::Call> {
        let answer = self.runtime.block_on(self.client.update_call(request))?;
        answer.into_inner().call.context("an answer has a call")
    }

    /// Removes a call.
    pub fn delete(&mut self, call: &str) -> anyhow::Result<()> {
        let request = pb::DeleteCallRequest {
            call_id: call.to_owned(),
            idempotency_key: format!("delete-{call}"),
        };
        self.runtime.block_on(self.client.delete_call(request))?;
        Ok(())
    }

    /// Takes the node out of service for new calls, or back.
    pub fn drain(&mut self, drain: bool) -> anyhow::Result<u64> {
        let answer = self
            .runtime
            .block_on(self.client.drain(pb::DrainRequest { drain }))?;
        Ok(answer.into_inner().calls_left)
    }

    /// What still belongs to calls.
    pub fn held(&mut self) -> anyhow::Result<Held> {
        let description = self.describe()?;
        let capacity = description.capacity.context("a node has a capacity")?;
        Ok(Held {
            calls: description.load.context("a node has a load")?.calls,
            port_pairs: capacity
                .port_pairs
                .saturating_sub(capacity.port_pairs_free)
                .saturating_sub(capacity.port_pairs_quarantined),
        })
    }
}

/// The best path that a node has for a call, in the words of [`crate::relay::contender::System::Ringpath`].
pub fn path_of(node: &pb::DescribeResponse) -> &'static str {
    let off = [pb::KernelMode::Unspecified, pb::KernelMode::Off].map(i32::from);
    if node.kernel.iter().any(|interface| !off.contains(&interface.mode)) {
        "kernel"
    } else if node.backend == "socket" {
        "socket"
    } else if node.backend_reason.contains("ports are steered") {
        "uring"
    } else {
        "uring-no-steering"
    }
}

/// Calls of a node, and port pairs that are neither free nor resting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Held {
    /// Calls.
    pub calls: u64,
    /// Port pairs.
    pub port_pairs: u64,
}
