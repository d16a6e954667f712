//! The operators' HTTP endpoint of a plane: `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::bounded::Bounded;

/// Whether the plane can take work now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot, for this reason: starting, draining, no media node, …
    NotReady(String),
}

/// What the endpoint shows.
pub struct Ops {
    /// The metrics. Collectors in it read the workers' counters at each scrape.
    pub registry: Registry,
    /// Told by the plane whenever it changes.
    pub readiness: watch::Receiver<Readiness>,
    /// Connections at once; more are closed at once and counted as `ops_connections_refused`.
    pub connections_max: usize,
}

/// What each request sees.
#[derive(Clone)]
struct Shown {
    registry: Arc<Registry>,
    readiness: watch::Receiver<Readiness>,
}

/// Serves until `shutdown` completes; requests under way are finished.
///
/// `/healthz` answers 200 while the runtime turns at all; `/readyz` answers 200 or 503 with the reason; `/metrics`
/// answers in the OpenMetrics text format. A connection on which nothing moves for 30 s is closed.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(
    listener: TcpListener,
    mut ops: Ops,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let refused = Counter::default();
    ops.registry.register(
        "ops_connections_refused",
        "Connections of operators closed at once: as many as configured are open",
        refused.clone(),
    );
    let shown = Shown {
        registry: Arc::new(ops.registry),
        readiness: ops.readiness,
    };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(shown);
    axum::serve(Bounded::new(listener, ops.connections_max, refused), router)
        .with_graceful_shutdown(shutdown)
        .await
}

async fn metrics(State(ops): State<Shown>) -> impl IntoResponse {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &ops.registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text),
        Err(error) => {
            let reason = format!("a metric cannot be written: {error}\n");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                [(header::CONTENT_TYPE, "text/plain")],
                reason,
            )
        }
    }
}

async fn readyz(State(ops): State<Shown>) -> impl IntoResponse {
    match &*ops.readiness.borrow() {
        Readiness::Ready => (StatusCode::OK, "ready\n".to_owned()),
        Readiness::NotReady(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn fetch(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        answer
    }

    #[tokio::test]
    async fn health_readiness_and_metrics_are_served_until_shutdown() {
        let mut registry = Registry::default();
        let calls = Counter::<u64>::default();
        registry.register("calls", "Calls taken", calls.clone());
        calls.inc_by(3);
        let (readiness, watched) = watch::channel(Readiness::NotReady("starting".into()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let ops = Ops {
            registry,
            readiness: watched,
            connections_max: 4,
        };
        let server = tokio::spawn(serve(listener, ops, async {
            stopped.await.expect("told to stop")
        }));

        assert!(fetch(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let answer = fetch(address, "/readyz").await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.ends_with("starting\n"),
            "{answer}"
        );
        readiness.send(Readiness::Ready).expect("watched");
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let answer = fetch(address, "/metrics").await;
        assert!(
            answer.contains("application/openmetrics-text") && answer.contains("calls_total 3\n"),
            "{answer}"
        );
        assert!(fetch(address, "/other").await.starts_with("HTTP/1.1 404"));

        stop.send(()).expect("running");
        server.await.expect("no panic").expect("clean end");
        assert!(TcpStream::connect(address).await.is_err());
    }
}
