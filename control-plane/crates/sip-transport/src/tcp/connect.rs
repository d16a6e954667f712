use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use nix::sys::socket::{setsockopt, sockopt};
use sip::FlowId;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc};

use super::connection;
use super::table::Handle;
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

impl Shared {
    /// Notes a connection with `remote`. What is queued for it waits until its task takes it.
    pub(crate) fn enter(
        &self,
        place: u16,
        remote: SocketAddr,
    ) -> (FlowId, mpsc::Receiver<Box<Outgoing>>, Arc<Notify>) {
        let flow = self.next_flow(place);
        let (queue, receiver) = mpsc::channel(self.config.write_queue_max);
        let close = Arc::new(Notify::new());
        self.table().insert(
            flow,
            Handle {
                remote,
                queue,
                close: close.clone(),
            },
        );
        (flow, receiver, close)
    }

    /// Begins to connect to `remote` from the address of the listener at `place`, with `first` waiting.
    pub(crate) fn connect(&self, place: u16, remote: SocketAddr, first: Box<Outgoing>) {
        let Some(shared) = self.itself.upgrade() else {
            return;
        };
        if self.table().len() >= self.config.connections_max {
            self.counters.drop(Drop::ConnectionsMax);
            return self.unsent(*first);
        }
        let (flow, mut queue, close) = self.enter(place, remote);
        let Some(handle) = self.table().find_flow(flow) else {
            return;
        };
        // The queue is new and takes one message at least.
        if let Err(error) = handle.queue.try_send(first) {
            self.unsent(*error.into_inner());
        }
        drop(handle);
        tokio::spawn(async move {
            let from = shared.bound[usize::from(place)].local.ip();
            let connecting = tokio::time::timeout(shared.config.write_timeout, open(from, remote));
            match connecting
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            {
                Ok(stream) => connection::run(shared, flow, remote, stream, queue, close).await,
                Err(error) => {
                    shared.counters.drop(Drop::ConnectError);
                    tracing::debug!(%remote, %error, "TCP connect");
                    shared.close(flow);
                    while let Ok(outgoing) = queue.try_recv() {
                        shared.unsent(*outgoing);
                    }
                }
            }
        });
    }
}
