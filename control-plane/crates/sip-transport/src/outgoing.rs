use bytes::Bytes;
use sip::{Destination, FlowId, Transmit, Transport};
use tokio::sync::watch;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::class::Class;
use crate::counters::Drop;
use crate::inbox::Inbound;
use crate::large;
use crate::tcp::Handle;
use crate::transport::Shared;

/// What waits to be written to a connection. Boxed in its queue: a queue has places for 32 from the beginning, and most
/// connections are idle.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The wire image.
    pub(crate) bytes: Bytes,
    /// What to do when it cannot be written.
    pub(crate) otherwise: Otherwise,
    /// Counted as long as it waits.
    _unwritten: Unwritten,
}

/// One message that waits to be written. Telling its end to whoever waits for all of them is this value's drop.
#[derive(Debug)]
struct Unwritten(watch::Sender<usize>);

impl std::ops::Drop for Unwritten {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// What to do with something that a connection did not take.
#[derive(Debug)]
pub(crate) enum Otherwise {
    /// Tell the owner.
    Report(Destination),
    /// Send this over UDP: a large request that had a choice.
    Udp(Transmit),
    /// Nothing: a keep-alive's answer, or one of ours without state.
    Forget,
}

impl Shared {
    /// Sends, and never waits. What cannot be sent is reported as [`Inbound::Failed`].
    pub(crate) fn send(&self, transmit: Transmit) {
        let transmit = self.tell_overload(transmit);
        match transmit.destination.transport {
            Transport::Udp if self.is_large(&transmit) => match large::for_tcp(&transmit.bytes) {
                Some(bytes) => {
                    let destination = Destination {
                        transport: Transport::Tcp,
                        flow: None,
                        ..transmit.destination
                    };
                    self.send_stream(destination, self.outgoing(bytes, Otherwise::Udp(transmit)));
                }
                None => self.send_udp(&transmit),
            },
            Transport::Udp => self.send_udp(&transmit),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                let destination = transmit.destination;
                self.send_stream(
                    destination,
                    self.outgoing(transmit.bytes, Otherwise::Report(destination)),
                );
            }
            // The transport of a later version, which this one has no listener for.
            _ => {
                self.counters.drop(Drop::NoListener);
                self.failed(transmit.destination);
            }
        }
    }

    /// Something to be written, counted until it is dropped.
    pub(crate) fn outgoing(&self, bytes: Bytes, otherwise: Otherwise) -> Box<Outgoing> {
        self.unwritten.send_modify(|count| *count += 1);
        Box::new(Outgoing {
            bytes,
            otherwise,
            _unwritten: Unwritten(self.unwritten.clone()),
        })
    }

    fn is_large(&self, transmit: &Transmit) -> bool {
        self.config.large_requests_over_tcp && transmit.bytes.len() > large::UDP_REQUEST_BYTES_MAX
    }

    /// Whether something for `destination` would leave at once: over UDP, or a connection that there is.
    pub(crate) fn is_connected(&self, destination: &Destination) -> bool {
        let Some(place) = self.place(destination) else {
            return false;
        };
        let (group, name) = self.group(place, destination);
        !destination.transport.is_reliable() || self.find(group, destination, name.as_ref()).is_some()
    }

    /// The connection that what is for `destination` goes by.
    fn find(
        &self,
        group: FlowId,
        destination: &Destination,
        name: Option<&ServerName<'static>>,
    ) -> Option<(FlowId, Handle)> {
        match destination.transport.is_websocket() {
            // Behind the address of one browser there may be another by now.
            true => {
                let flow = destination.flow?;
                Some((flow, self.table().find_flow(flow)?))
            }
            false => self.table().find(group, destination, name),
        }
    }

    /// Whose connections are for `destination`, and what the peer has to prove.
    fn group(&self, place: u16, destination: &Destination) -> (FlowId, Option<ServerName<'static>>) {
        // Over TLS the connection belongs to who has proven the name.
        let (group, name) = match destination.transport {
            Transport::Tls => {
                let number = destination.flow.and_then(FlowId::peer);
                let group = number.map(|number| FlowId::of_peer(place, number));
                (group, Some(self.peer_name(destination)))
            }
            _ => (None, None),
        };
        (group.unwrap_or(FlowId::of_listener(place)), name)
    }

    /// Queues for the connection, which is made if there is none.
    fn send_stream(&self, destination: Destination, outgoing: Box<Outgoing>) {
        let Some(place) = self.place(&destination) else {
            self.counters.drop(Drop::NoListener);
            return self.unsent(*outgoing);
        };
        let (group, name) = self.group(place, &destination);
        let Some((flow, handle)) = self.find(group, &destination, name.as_ref()) else {
            if destination.transport.is_websocket() {
                // Whoever it was comes back by itself, or not at all (RFC 7118 §5).
                self.counters.drop(Drop::ConnectionGone);
                return self.unsent(*outgoing);
            }
            return self.connect(group, destination.remote, name, outgoing);
        };
        if let Err(error) = handle.queue.try_send(outgoing) {
            // Either it is slow, then it is closed, with what waits for it; or it is closing.
            if matches!(error, tokio::sync::mpsc::error::TrySendError::Full(_)) {
                self.counters.drop(Drop::ConnectionStuck);
            }
            self.close(flow);
            self.unsent(*error.into_inner());
        }
    }

    /// Makes the connection unknown and tells its task to end.
    pub(crate) fn close(&self, flow: FlowId) {
        if let Some(handle) = self.table().remove(flow) {
            handle.close.notify_one();
        }
    }

    /// Does what is to be done with something that could not be written.
    pub(crate) fn unsent(&self, outgoing: Outgoing) {
        match outgoing.otherwise {
            Otherwise::Report(destination) => self.failed(destination),
            Otherwise::Udp(transmit) => self.send_udp(&transmit),
            Otherwise::Forget => {}
        }
    }

    /// Tells the owner that `destination` was not reached.
    pub(crate) fn failed(&self, destination: Destination) {
        if self
            .inbox
            .push(self.defence.now(), Class::Urgent, Inbound::Failed(destination))
            .is_err()
        {
            self.counters.drop(Drop::FailureReport);
        }
    }
}
