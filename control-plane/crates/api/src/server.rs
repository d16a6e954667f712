use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use proto::admin_v1::control_plane_server::ControlPlaneServer;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::config::{Config, Tls};
use crate::counters::Counters;
use crate::desk::{Counter, Desk, desk};
use crate::feeder::Feed;
use crate::incoming::Incoming;
use crate::service::Service;
use crate::token::Token;

/// Silence on a connection after which the peer is asked whether it is still there, and the time it has to answer.
const PING_AFTER: Duration = Duration::from_secs(20);
const PING_ANSWER: Duration = Duration::from_secs(10);
/// Time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Headers of one request, and a request itself, in bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// The server, on its thread.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    counters: Arc<Counters>,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<anyhow::Result<()>>,
}

/// Starts the server; gives the desk for the thread that owns the calls.
///
/// # Errors
/// When it cannot listen, certificates or token cannot be used, or the system gives no thread.
pub fn start(config: &Config) -> anyhow::Result<(Server, Desk)> {
    let token = config.token_file.as_deref().map(Token::read).transpose();
    let token = token.map_err(|reason| anyhow::anyhow!("admin.token_file: {reason}"))?;
    let builder = builder(config)?;
    let listener = std::net::TcpListener::bind(config.listen)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .with_context(|| format!("admin.listen {}", config.listen))?;
    let address = listener.local_addr().context("admin.listen")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the admin server's runtime")?;
    let counters = Arc::new(Counters::default());
    let (desk, counter) = desk();
    let (stop, stopped) = oneshot::channel::<()>();
    let (tell, ended) = oneshot::channel();
    let (config, counts) = (config.clone(), counters.clone());
    std::thread::Builder::new()
        .name("admin".into())
        .spawn(move || {
            let result = runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                serve(builder, &config, listener, token, counter, counts, stopped).await
            });
            // Nobody listens when the process ends without waiting.
            let _ = tell.send(result);
        })
        .context("the admin server's thread")?;
    let server = Server {
        address,
        counters,
        stop,
        ended,
    };
    Ok((server, desk))
}

impl Server {
    /// Where it listens, with the port that the kernel chose if that was 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it counts.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Stops listening and ends what is under way. Drop the [`Desk`] before: that ends the streams.
    ///
    /// # Errors
    /// When the server had broken.
    pub async fn stop(self, patience: Duration) -> anyhow::Result<()> {
        // A server that has ended already says so below.
        let _ = self.stop.send(());
        match tokio::time::timeout(patience, self.ended).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(anyhow::anyhow!("the admin server's thread panicked")),
            // A client that keeps its connection does not hold the process up.
            Err(_) => Ok(()),
        }
    }
}

async fn serve(
    mut builder: tonic::transport::Server,
    config: &Config,
    listener: TcpListener,
    token: Option<Token>,
    counter: Counter,
    counters: Arc<Counters>,
    stopped: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("ringpath.admin.v1.ControlPlane")
            .with_service_name("grpc.health.v1.Health")
    };
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ControlPlaneServer<Service>>().await;
    let feed = Feed::new(counters.clone());
    let service = Service::new(counter.line.clone(), feed.clone(), counters.clone(), config);
    let service = ControlPlaneServer::new(service).max_decoding_message_size(REQUEST_BYTES_MAX);
    let feeding = tokio::spawn(feed.run(counter));
    let counts = counters.clone();
    let check = move |request: tonic::Request<()>| {
        if let Some(token) = &token {
            token
                .check(&request)
                .inspect_err(|_| counts.count_unauthenticated())?;
        }
        Ok(request)
    };
    builder
        .add_service(tonic::service::interceptor::InterceptedService::new(
            service, check,
        ))
        .add_service(health_service)
        .add_service(reflection().build_v1().context("reflection")?)
        // grpcurl before 1.9 and other old clients ask for this one.
        .add_service(reflection().build_v1alpha().context("reflection")?)
        .serve_with_incoming_shutdown(Incoming::new(listener, config.connections_max, counters), async {
            // Fails when the process goes without a word, which means the same.
            let _ = stopped.await;
        })
        .await
        .context("the admin server broke")?;
    feeding.abort();
    Ok(())
}

fn builder(config: &Config) -> anyhow::Result<tonic::transport::Server> {
    let server = tonic::transport::Server::builder()
        .max_concurrent_streams(config.streams_max)
        .http2_keepalive_interval(Some(PING_AFTER))
        .http2_keepalive_timeout(Some(PING_ANSWER))
        .http2_max_header_list_size(HEADER_BYTES_MAX);
    match &config.tls {
        Some(tls) => server.tls_config(tls_config(tls)?).context("admin.tls"),
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
