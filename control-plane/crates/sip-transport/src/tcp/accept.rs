use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sip::{FlowId, Source, Transport};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio_tungstenite::WebSocketStream;

use super::{Stream, connection};
use crate::counters::Drop;
use crate::transport::Shared;
use crate::ws;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1_024;

/// How long to wait when none can be accepted, which is mostly for want of file descriptors.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// A bound TCP listener.
#[derive(Debug)]
pub(crate) struct Tcp {
    /// Its place among the listeners.
    place: u16,
    transport: Transport,
    pub(crate) local: SocketAddr,
    listener: TcpListener,
}

impl Tcp {
    pub(crate) fn bind(place: u16, transport: Transport, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // A restart shall not wait for connections of the process before.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        Ok(Self {
            place,
            transport,
            local: listener.local_addr()?,
            listener,
        })
    }
}

/// Accepts for ever.
pub(crate) async fn accept(shared: Arc<Shared>, tcp: Tcp) {
    loop {
        match tcp.listener.accept().await {
            Ok((stream, remote)) => admit(&shared, &tcp, stream, remote),
            Err(error) => {
                shared.counters.drop(Drop::AcceptError);
                tracing::warn!(%error, "TCP accept");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

/// Begins with a connection, or closes it at once when there are too many.
fn admit(shared: &Arc<Shared>, tcp: &Tcp, stream: TcpStream, remote: SocketAddr) {
    if let Err(reason) = shared.lets_in(remote.ip()) {
        return shared.counters.drop(reason);
    }
    let (all, of_source) = {
        let table = shared.table();
        (table.len(), table.of_source(remote.ip()))
    };
    if all >= shared.config.connections_max {
        return shared.counters.drop(Drop::ConnectionsMax);
    }
    if of_source.connections >= shared.config.connections_per_source_max {
        return shared.counters.drop(Drop::ConnectionsPerSource);
    }
    let (is_tls, is_websocket) = (tcp.transport.is_secure(), tcp.transport.is_websocket());
    let of_source_max = match &shared.config.tls {
        _ if is_websocket => Some(shared.config.websocket.handshakes_per_source_max),
        Some(tls) if is_tls => Some(tls.handshakes_per_source_max),
        _ => None,
    };
    if of_source_max.is_some_and(|max| of_source.handshakes >= max) {
        return shared.counters.drop(Drop::HandshakesPerSource);
    }
    let securing = shared.tls.as_ref().filter(|_| is_tls).map(|tls| &tls.handshakes);
    let asking = is_websocket.then_some(&shared.asking);
    let (Ok(securing), Ok(asking)) = (permit(securing), permit(asking)) else {
        return shared.counters.drop(Drop::HandshakesMax);
    };
    let entered = shared.enter(FlowId::of_listener(tcp.place), remote);
    let (shared, transport) = (shared.clone(), tcp.transport);
    if of_source_max.is_some() {
        shared.table().handshake_begins(remote.ip());
    }
    tokio::spawn(async move {
        let begun = begin(&shared, transport, entered.flow, stream, securing).await;
        drop(asking);
        if of_source_max.is_some() {
            shared.table().handshake_ends(remote.ip());
        }
        match begun {
            Ok(Begun::Stream(stream)) => connection::run(shared, remote, stream, entered).await,
            Ok(Begun::WebSocket(stream, local)) => {
                let source = Source {
                    transport,
                    flow: entered.flow,
                    remote,
                    local: local.unwrap_or(remote),
                };
                ws::run(shared, source, stream, entered).await;
            }
            Err((reason, error)) => {
                tracing::debug!(%remote, %error, "handshake of a client");
                entered.give_up(&shared, reason);
            }
        }
    });
}

/// A place among those that may be at something at once, where there is a limit.
fn permit(of: Option<&Arc<Semaphore>>) -> Result<Option<OwnedSemaphorePermit>, TryAcquireError> {
    of.map(|of| of.clone().try_acquire_owned()).transpose()
}

/// What a client has begun.
enum Begun {
    /// SIP, as it is.
    Stream(Stream),
    /// SIP over WebSocket, at this address of ours. Boxed: it is much more than the other.
    WebSocket(Box<WebSocketStream<ws::Metered>>, Option<SocketAddr>),
}

/// Waits for what a client has to do before it may speak SIP. The TLS handshake holds `securing` meanwhile.
async fn begin(
    shared: &Shared,
    transport: Transport,
    flow: FlowId,
    stream: TcpStream,
    securing: Option<OwnedSemaphorePermit>,
) -> Result<Begun, (Drop, io::Error)> {
    let stream = secure(shared, flow, stream, securing).await?;
    if !transport.is_websocket() {
        return Ok(Begun::Stream(stream));
    }
    // Without it small messages wait for acknowledgements; when it cannot be set they do, and arrive all the same.
    let _ = stream.tcp().set_nodelay(true);
    let local = stream.tcp().local_addr().ok();
    let stream = ws::upgrade(stream, &shared.config).await?;
    Ok(Begun::WebSocket(Box::new(stream), local))
}

/// Waits for the handshake of a TLS client, which holds `permit` meanwhile.
async fn secure(
    shared: &Shared,
    flow: FlowId,
    stream: TcpStream,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Stream, (Drop, io::Error)> {
    let (Some(_permit), Some(tls), Some(config)) = (permit, &shared.tls, &shared.config.tls) else {
        return Ok(Stream::Tcp(stream));
    };
    let (stream, certificate) = tls.accept(stream, config.handshake_timeout).await?;
    shared.counters.handshake(false);
    if let Some(certificate) = certificate {
        shared.table().prove(flow, certificate);
    }
    Ok(stream)
}
