use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use proto::media_v1::media_node_server::MediaNodeServer;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic_health::pb::health_server::{Health, HealthServer};

use super::Incoming;
use super::service::Service;
use crate::config::{Grpc, Tls};
use crate::node::Node;
use crate::tap::Admission;

/// Silence on a connection after which the peer is asked whether it is still there, and the time it has to answer.
const PING_AFTER: Duration = Duration::from_secs(20);
const PING_ANSWER: Duration = Duration::from_secs(10);
/// Time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Headers of one request, in bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// Serves until `shutdown` completes, then until the requests under way are answered.
///
/// # Errors
/// When TLS cannot be set up, or the listener breaks.
pub async fn serve(
    config: &Grpc,
    incoming: Incoming,
    node: Arc<Node>,
    taps: Admission,
    health: HealthServer<impl Health>,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let media = MediaNodeServer::new(Service::new(node, taps, config))
        .max_decoding_message_size(config.message_bytes_max)
        .max_encoding_message_size(config.message_bytes_max);
    let mut server = builder(config)?;
    server
        .add_service(media)
        .add_service(health)
        .add_service(reflection().build_v1().context("reflection")?)
        // grpcurl before 1.9 and other old clients ask for this one.
        .add_service(reflection().build_v1alpha().context("reflection")?)
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
        .context("the gRPC server broke")
}

/// Checks that certificates, keys and authorities fit together, without listening.
///
/// # Errors
/// With what does not.
pub fn check_tls(config: &Grpc) -> anyhow::Result<()> {
    builder(config).map(drop)
}

fn builder(config: &Grpc) -> anyhow::Result<Server> {
    let server = Server::builder()
        .max_concurrent_streams(config.streams_max)
        .http2_keepalive_interval(Some(PING_AFTER))
        .http2_keepalive_timeout(Some(PING_ANSWER))
        .http2_max_header_list_size(HEADER_BYTES_MAX);
    match &config.tls {
        Some(tls) => server.tls_config(tls_config(tls)?).context("grpc.tls"),
        None => Ok(server),
    }
}

fn tls_config(tls: &Tls) -> anyhow::Result<ServerTlsConfig> {
    let read = |path: &std::path::Path| std::fs::read(path).with_context(|| path.display().to_string());
    let identity = Identity::from_pem(read(&tls.certificate)?, read(&tls.key)?);
    let config = ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE);
    Ok(match &tls.client_ca {
        Some(path) => config.client_ca_root(Certificate::from_pem(read(path)?)),
        None => config,
    })
}
