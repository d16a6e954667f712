//! Many requests to a node over one stream.

use std::collections::BTreeMap;

use proto::media_v1 as wire;
use proto::media_v1::call_answer::Result as Answered;
use proto::media_v1::call_request::Request;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::node::{Backend, Node, Settings, call, delete, line, query};
use crate::process::PATIENCE;

/// A stream of requests to a node.
struct Exchange {
    requests: mpsc::Sender<wire::ExchangeRequest>,
    answers: Streaming<wire::ExchangeResponse>,
}

impl Exchange {
    async fn with(node: &mut Node) -> Self {
        let (requests, stream) = mpsc::channel(64);
        let answers = node.client.exchange(ReceiverStream::new(stream)).await;
        Self {
            requests,
            answers: answers.expect("a stream").into_inner(),
        }
    }

    async fn send(&self, requests: Vec<wire::CallRequest>) {
        let message = wire::ExchangeRequest { requests };
        self.requests.send(message).await.expect("the stream is there");
    }

    async fn message(&mut self) -> Result<Option<wire::ExchangeResponse>, tonic::Status> {
        tokio::time::timeout(PATIENCE, self.answers.message())
            .await
            .expect("in time")
    }

    /// So many answers, by their numbers.
    async fn answers(&mut self, count: usize) -> BTreeMap<u64, Answered> {
        let mut answers = BTreeMap::new();
        while answers.len() < count {
            let message = self.message().await.expect("good").expect("more");
            for answer in message.answers {
                let before = answers.insert(answer.request_id, answer.result.expect("a result"));
                assert!(before.is_none(), "{} is answered twice", answer.request_id);
            }
        }
        answers
    }
}

fn request(request_id: u64, request: Request) -> wire::CallRequest {
    wire::CallRequest {
        request_id,
        timeout_ms: 0,
        request: Some(request),
    }
}

fn create(number: u64, name: &str) -> wire::CallRequest {
    request(number, Request::Create(call(name, line(None), line(None))))
}

fn code(answer: &Answered) -> (Code, &str) {
    match answer {
        Answered::Call(_) => (Code::Ok, ""),
        Answered::Failure(failure) => (Code::from_i32(failure.code as i32), &failure.refusal),
    }
}

#[tokio::test]
async fn calls_are_made_changed_and_removed_over_one_stream() {
    let mut node = Node::start(Backend::Socket).await;
    let mut exchange = Exchange::with(&mut node).await;
    exchange
        .send((0..100).map(|n| create(n, &format!("c{n}"))).collect())
        .await;
    let answers = exchange.answers(100).await;
    for (number, answer) in &answers {
        let Answered::Call(call) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(call.call_id, format!("c{number}"));
        assert_eq!(call.legs.len(), 2);
    }
    // The same by itself: one answer, no second effect.
    let alone = node.client.create_call(call("c7", line(None), line(None))).await;
    let alone = alone.expect("known").into_inner().call.expect("a call");
    let Answered::Call(together) = &answers[&7] else {
        panic!("made")
    };
    assert_eq!(
        alone.legs[0].lines[0].local_rtp,
        together.legs[0].lines[0].local_rtp
    );
    // What one of them is refused, or lacks, is no matter of the others.
    let update = wire::UpdateCallRequest {
        call_id: "c1".into(),
        idempotency_key: "c1-update".into(),
        legs: vec![],
    };
    exchange
        .send(vec![
            request(1, Request::Update(update)),
            request(2, Request::Delete(delete("c2"))),
            request(3, Request::Delete(delete("nobody"))),
            request(4, Request::Create(wire::CreateCallRequest::default())),
            wire::CallRequest {
                request_id: 5,
                timeout_ms: 0,
                request: None,
            },
        ])
        .await;
    let answers = exchange.answers(5).await;
    let codes: Vec<_> = answers.values().map(code).collect();
    assert_eq!(
        codes[1..],
        [
            (Code::Ok, ""),
            (Code::NotFound, "unknown_call"),
            (Code::InvalidArgument, "invalid"),
            (Code::InvalidArgument, "invalid"),
        ]
    );
    node.client.query_call(query("c2")).await.expect_err("removed");
    let commands = |command: &str, result: &str| format!("command=\"{command}\",result=\"{result}\"");
    let made = node
        .metric("ringpath_dataplane_commands_total", &commands("create", "ok"))
        .await;
    assert_eq!(made, 101);
    // Drained as for requests alone.
    let drain = wire::DrainRequest { drain: true };
    node.client.drain(drain).await.expect("drains");
    exchange.send(vec![create(6, "late")]).await;
    let answers = exchange.answers(1).await;
    assert_eq!(code(&answers[&6]), (Code::Unavailable, "draining"));
    // The caller's end has all its answers.
    exchange
        .send(vec![request(7, Request::Delete(delete("c3")))])
        .await;
    let Exchange {
        requests,
        mut answers,
    } = exchange;
    drop(requests);
    let last = tokio::time::timeout(PATIENCE, answers.message())
        .await
        .expect("in time");
    assert_eq!(last.expect("good").expect("one").answers[0].request_id, 7);
    let end = tokio::time::timeout(PATIENCE, answers.message())
        .await
        .expect("in time");
    assert!(end.expect("good").is_none());
    node.stop().await;
}

#[tokio::test]
async fn a_node_that_stops_ends_the_stream() {
    let mut node = Node::start(Backend::Socket).await;
    let mut exchange = Exchange::with(&mut node).await;
    exchange.send(vec![create(1, "c")]).await;
    exchange.answers(1).await;
    let ending = async {
        loop {
            match exchange.message().await {
                Ok(None) | Err(_) => return,
                Ok(Some(_)) => {}
            }
        }
    };
    tokio::join!(ending, node.stop());
}

#[tokio::test]
async fn as_many_requests_as_configured_are_under_way_and_all_are_answered() {
    let settings = Settings {
        grpc: "exchange_requests_max = 2".into(),
        ..Settings::default()
    };
    let mut node = Node::with(Backend::Socket, settings).await;
    let mut exchange = Exchange::with(&mut node).await;
    for part in 0..4 {
        let from = part * 50;
        let requests = (from..from + 50).map(|n| create(n, &format!("c{n}")));
        exchange.send(requests.collect()).await;
    }
    let answers = exchange.answers(200).await;
    assert!(answers.values().all(|answer| code(answer).0 == Code::Ok));
    node.stop().await;
}

#[tokio::test]
async fn too_many_requests_in_a_message_end_the_stream_and_nothing_else() {
    let settings = Settings {
        grpc: "message_bytes_max = 65536".into(),
        ..Settings::default()
    };
    let mut node = Node::with(Backend::Socket, settings).await;
    let mut exchange = Exchange::with(&mut node).await;
    let deletes = |count| {
        (0..count)
            .map(|n| request(n, Request::Delete(delete("x"))))
            .collect()
    };
    exchange.send(deletes(256)).await;
    exchange.answers(256).await;
    exchange.send(deletes(257)).await;
    let status = exchange.message().await.expect_err("too many");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("at most 256"), "{status}");

    let mut exchange = Exchange::with(&mut node).await;
    let mut large = delete("x");
    large.idempotency_key = "k".repeat(70_000);
    exchange.send(vec![request(1, Request::Delete(large))]).await;
    let status = exchange.message().await.expect_err("too large");
    assert_eq!(status.code(), Code::OutOfRange, "{status}");

    let mut exchange = Exchange::with(&mut node).await;
    exchange.send(vec![create(1, "c")]).await;
    exchange.answers(1).await;
    node.stop().await;
}

/// A caller that has stopped waiting is not served: its time runs from when its request comes, not from its turn.
#[tokio::test]
async fn requests_whose_time_is_over_before_their_turn_are_not_begun() {
    let settings = Settings {
        grpc: "exchange_requests_max = 1".into(),
        ..Settings::default()
    };
    let mut node = Node::with(Backend::Socket, settings).await;
    let mut exchange = Exchange::with(&mut node).await;
    let requests = (0..256u64).map(|n| wire::CallRequest {
        timeout_ms: 1,
        ..create(n, &format!("c{n}"))
    });
    exchange.send(requests.collect()).await;
    let answers = exchange.answers(256).await;
    let mut not_begun = 0;
    for (number, answer) in &answers {
        let Answered::Failure(failure) = answer else {
            continue;
        };
        if failure.message.contains("was not begun") {
            assert_eq!(code(answer).0, Code::DeadlineExceeded);
            not_begun += 1;
            let asked = node.client.query_call(query(&format!("c{number}"))).await;
            assert_eq!(asked.expect_err("no call").code(), Code::NotFound);
        }
    }
    assert!(not_begun > 0, "256 calls within a millisecond");
    node.stop().await;
}
