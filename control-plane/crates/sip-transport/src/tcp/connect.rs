use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use nix::sys::socket::{setsockopt, sockopt};
use sip::FlowId;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_rustls::rustls::pki_types::ServerName;

use super::table::Handle;
use super::{Stream, connection};
use crate::counters::Drop;
use crate::outgoing::Outgoing;
use crate::transport::Shared;

/// Connects to `remote` from the address `from`, or from the one that the system chooses if that is unspecified.
async fn open(from: IpAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = match remote {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if !from.is_unspecified() {
        // With the port left open until the connection is made, so that each peer has all ports to itself and not a share
        // of those of one address.
        // Where the system cannot, there are fewer connections and nothing else is different.
        let _ = setsockopt(&socket, sockopt::IpBindAddressNoPort, &true);
        socket.bind((from, 0).into())?;
    }
    socket.connect(remote).await
}

/// A connection that is in the table, and what its task is told through.
pub(crate) struct Entered {
    pub(crate) flow: FlowId,
    pub(crate) queue: mpsc::Receiver<Box<Outgoing>>,
    pub(crate) close: Arc<Notify>,
}

impl Entered {
    /// It did not come about: forgets it, and does what is to be done with what waits for it.
    pub(crate) fn give_up(mut self, shared: &Shared, reason: Drop) {
        shared.counters.drop(reason);
        shared.close(self.flow);
        while let Ok(outgoing) = self.queue.try_recv() {
            shared.unsent(*outgoing);
        }
    }
}

impl Shared {
    /// Notes a connection with `remote` that belongs to `group`: a listener, or a peer with a name. What is queued for it
    /// waits until its task takes it.
    pub(crate) fn enter(&self, group: FlowId, remote: SocketAddr) -> Entered {
        // A place is 16 bits of the flow that it comes from.
        let flow = self.next_flow(group.listener() as u16);
        let (queue, receiver) = mpsc::channel(self.config.write_queue_max);
        let close = Arc::new(Notify::new());
        let handle = Handle {
            remote,
            queue,
            close: close.clone(),
        };
        self.table().insert(flow, group, handle);
        Entered {
            flow,
            queue: receiver,
            close,
        }
    }

    /// Begins to connect to `remote` from the address of the listener of `group`, with `first` waiting. With a `name` over
    /// TLS, and the peer has to prove it.
    pub(crate) fn connect(
        &self,
        group: FlowId,
        remote: SocketAddr,
        name: Option<ServerName<'static>>,
        first: Box<Outgoing>,
    ) {
        let Some(shared) = self.itself.upgrade() else {
            return;
        };
        if self.table().len() >= self.config.connections_max {
            self.counters.drop(Drop::ConnectionsMax);
            return self.unsent(*first);
        }
        let entered = self.enter(group, remote);
        let Some(handle) = self.table().find_flow(entered.flow) else {
            return;
        };
        // The queue is new and takes one message at least.
        if let Err(error) = handle.queue.try_send(first) {
            self.unsent(*error.into_inner());
        }
        drop(handle);
        let from = self.bound[group.listener()].local.ip();
        tokio::spawn(async move {
            match shared.establish(from, remote, name).await {
                Ok(stream) => connection::run(shared, remote, stream, entered).await,
                Err((reason, error)) => {
                    tracing::debug!(%remote, %error, "connect");
                    entered.give_up(&shared, reason);
                }
            }
        });
    }

    async fn establish(
        &self,
        from: IpAddr,
        remote: SocketAddr,
        name: Option<ServerName<'static>>,
    ) -> Result<Stream, (Drop, io::Error)> {
        let stream = tokio::time::timeout(self.config.write_timeout, open(from, remote))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| (Drop::ConnectError, error))?;
        match (name, &self.tls, &self.config.tls) {
            (None, ..) => Ok(Stream::Tcp(stream)),
            (Some(name), Some(tls), Some(config)) => {
                let stream = tls.connect(stream, name, config.handshake_timeout).await?;
                self.counters.handshake(true);
                Ok(stream)
            }
            (Some(_), ..) => Err((Drop::NoListener, io::Error::other("TLS is not configured"))),
        }
    }
}
