//! The doors of the node: Unix socket, health, reflection, limits, and what knocks without manners.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

use proto::media_v1 as wire;
use proto::media_v1::media_node_client::MediaNodeClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::node::{Backend, Node, Settings, call, line, query};
use crate::process::PATIENCE;

impl Node {
    fn tcp(&self) -> &str {
        self.grpc.strip_prefix("tcp ").expect("a TCP listener")
    }

    async fn another_channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.tcp())).expect("a URI");
        endpoint.timeout(PATIENCE).connect().await.expect("connects")
    }
}

#[tokio::test]
async fn a_unix_socket_serves_and_its_file_goes_with_the_node() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("media.sock");
    // Left by a node that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
    let settings = Settings {
        listen: format!("unix:{}", path.display()),
        ..Settings::default()
    };
    let mut node = Node::with(Backend::Socket, settings.clone()).await;
    assert_eq!(node.grpc, format!("unix {}", path.display()));
    node.client
        .create_call(call("u", line(None), line(None)))
        .await
        .expect("created");
    let metadata = std::fs::symlink_metadata(&path).expect("there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);

    // A second node does not steal it.
    let mut second = crate::process::Process::start(&settings.toml(), &["--backend", "socket"]);
    assert_eq!(second.ended().await.code(), Some(1));
    assert!(
        second.log().contains("another process listens there"),
        "{}",
        second.log()
    );
    node.client
        .query_call(query("u"))
        .await
        .expect("the first still serves");
    node.stop().await;
    assert!(!path.exists());

    std::fs::write(&path, "a file of someone").expect("written");
    let mut refused = crate::process::Process::start(&settings.toml(), &["--backend", "socket"]);
    assert_eq!(refused.ended().await.code(), Some(1));
    assert_eq!(
        std::fs::read_to_string(&path).expect("still there"),
        "a file of someone"
    );
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    let node = Node::start(Backend::Socket).await;
    let mut health = HealthClient::new(node.another_channel().await);
    for service in ["", "ringpath.media.v1.MediaNode"] {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let answer = health.check(request).await.expect("known").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let status = health
        .check(HealthCheckRequest {
            service: "other".into(),
        })
        .await
        .expect_err("unknown");
    assert_eq!(status.code(), Code::NotFound);

    let mut reflection = ServerReflectionClient::new(node.another_channel().await);
    let ask = |message| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    };
    let questions = vec![
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "ringpath.media.v1.MediaNode".into(),
        )),
    ];
    let mut answers = reflection
        .server_reflection_info(tokio_stream::iter(questions))
        .await
        .expect("answers")
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.next().await.expect("one").expect("good").message_response
    else {
        panic!("not a list")
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    assert!(
        names.contains(&"ringpath.media.v1.MediaNode".to_owned()),
        "{names:?}"
    );
    assert!(names.contains(&"grpc.health.v1.Health".to_owned()), "{names:?}");
    let Some(MessageResponse::FileDescriptorResponse(files)) =
        answers.next().await.expect("two").expect("good").message_response
    else {
        panic!("no file")
    };
    assert!(!files.file_descriptor_proto.is_empty());
    node.stop().await;
}

#[tokio::test]
async fn garbage_on_the_grpc_port_harms_nobody() {
    let mut node = Node::start(Backend::Socket).await;
    let mut random = sans_io::Random::from_number(7);
    for length in [0usize, 1, 9, 100, 1_000, 20_000] {
        let mut bytes = vec![0; length];
        random.fill(&mut bytes);
        for preface in [
            &b""[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            &[22, 3, 1, 2, 0],
        ] {
            let mut stream = TcpStream::connect(node.tcp()).await.expect("connects");
            // The node may close at the first wrong byte.
            let _ = stream.write_all(preface).await;
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = vec![];
            let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
            assert!(
                read.is_ok(),
                "closed after {length} bytes of garbage behind {preface:?}"
            );
        }
    }
    let described = node
        .client
        .describe(wire::DescribeRequest {})
        .await
        .expect("answers")
        .into_inner();
    assert_eq!(described.node_id, "media-it");
    assert!(node.metric("ringpath_dataplane_grpc_connections_total", "").await > 24);
    node.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_counted() {
    let settings = Settings {
        grpc: "connections_max = 2".into(),
        ..Settings::default()
    };
    let mut node = Node::with(Backend::Socket, settings).await;
    let second = node.another_channel().await;
    let mut third = TcpStream::connect(node.tcp()).await.expect("the kernel takes it");
    let mut answer = vec![];
    let read = tokio::time::timeout(PATIENCE, third.read_to_end(&mut answer))
        .await
        .expect("closed in time");
    assert!(read.is_err() || answer.is_empty());
    assert_eq!(
        node.metric("ringpath_dataplane_grpc_connections_refused_total", "")
            .await,
        1
    );
    node.client
        .describe(wire::DescribeRequest {})
        .await
        .expect("the first goes on");
    drop(second);
    let again = async {
        loop {
            let endpoint = Channel::from_shared(format!("http://{}", node.tcp())).expect("a URI");
            if let Ok(channel) = endpoint.timeout(PATIENCE).connect().await
                && MediaNodeClient::new(channel)
                    .describe(wire::DescribeRequest {})
                    .await
                    .is_ok()
            {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again)
        .await
        .expect("a place is free again");
    node.stop().await;
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused() {
    let settings = Settings {
        grpc: "message_bytes_max = 65536".into(),
        ..Settings::default()
    };
    let mut node = Node::with(Backend::Socket, settings).await;
    let request = wire::RenewLeasesRequest {
        call_ids: vec!["x".repeat(60); 1_200],
    };
    let status = node.client.renew_leases(request).await.expect_err("too large");
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    node.client
        .create_call(call("small", line(None), line(None)))
        .await
        .expect("fits");
    node.stop().await;
}
