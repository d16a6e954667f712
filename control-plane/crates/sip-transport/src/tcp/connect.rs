use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use sip::FlowId;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use super::connection;
use super::table::Handle;
use crate::counters::Drop;
use crate::outgoing::Outgoing;
use crate::transport::Shared;

impl Shared {
    /// Notes a connection with `remote`. What is queued for it waits until its task takes it.
    pub(crate) fn enter(&self, remote: SocketAddr) -> (FlowId, mpsc::Receiver<Box<Outgoing>>, Arc<Notify>) {
        let flow = self.next_flow();
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

    /// Begins to connect to `remote`, with `first` waiting.
    pub(crate) fn connect(&self, remote: SocketAddr, first: Box<Outgoing>) {
        let Some(shared) = self.itself.upgrade() else {
            return;
        };
        if self.table().len() >= self.config.connections_max {
            self.counters.drop(Drop::ConnectionsMax);
            return self.unsent(*first);
        }
        let (flow, mut queue, close) = self.enter(remote);
        let Some(handle) = self.table().find_flow(flow) else {
            return;
        };
        // The queue is new and takes one message at least.
        if let Err(error) = handle.queue.try_send(first) {
            self.unsent(*error.into_inner());
        }
        drop(handle);
        tokio::spawn(async move {
            let connecting = tokio::time::timeout(shared.config.write_timeout, TcpStream::connect(remote));
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
