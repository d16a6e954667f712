use std::net::SocketAddr;

use super::timers::Timers;
use crate::{Destination, Transport};

/// What a [`Layer`](super::Layer) is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Lengths of the timers.
    pub timers: Timers,
    /// Most transactions at once, those included that linger after their final response. At the limit requests are
    /// answered 503 with `Retry-After` and without state, and [`send_request`](super::Layer::send_request) refuses.
    ///
    /// The last sixteenth is kept for requests inside dialogs: an overloaded server still takes the BYE. More than
    /// 2**30 count as 2**30.
    pub transactions_max: usize,
    /// The `Retry-After` of those 503, in seconds.
    pub retry_after_s: u32,
    /// Our listening addresses, for the Via of what we send. A [`crate::FlowId`] tells which by its place.
    pub listeners: Vec<Listener>,
}

/// An address that we listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The protocol.
    pub transport: Transport,
    /// The bound address.
    pub local: SocketAddr,
    /// Host and port that answers shall come to, as a Via has them: `198.51.100.7:5060`, `[2001:db8::1]:5060`.
    pub sent_by: String,
}

impl Listener {
    /// A listener that is reached at the very address it is bound to.
    pub fn new(transport: Transport, local: SocketAddr) -> Self {
        Self {
            transport,
            local,
            sent_by: local.to_string(),
        }
    }
}

impl Config {
    /// The RFC's timers and 200,000 transactions: a call of two legs has four (two INVITE, two BYE), so 1,500 calls a
    /// second for the 32 s that a finished transaction lingers.
    pub fn new(listeners: Vec<Listener>) -> Self {
        Self {
            timers: Timers::default(),
            transactions_max: 200_000,
            retry_after_s: 5,
            listeners,
        }
    }

    /// The listener that a request to `destination` leaves by, so the one that its Via and Contact name: that of the
    /// flow, else the first of the same protocol and address family. One of another family only when there is no other,
    /// for an owner that does not tell them apart.
    pub fn listener(&self, destination: &Destination) -> Option<&Listener> {
        let is_usable = |listener: &&Listener| listener.transport == destination.transport;
        let is_family = |listener: &&Listener| listener.local.is_ipv4() == destination.remote.is_ipv4();
        let usable = || self.listeners.iter().filter(is_usable);
        let of_flow = destination
            .flow
            .and_then(|flow| self.listeners.get(flow.listener()))
            .filter(is_usable)
            .filter(is_family);
        of_flow
            .or_else(|| usable().find(is_family))
            .or_else(|| usable().next())
    }

    /// How many transactions there may be.
    pub(super) fn limit(&self) -> usize {
        self.transactions_max.min(1 << 30)
    }

    /// How many transactions requests outside dialogs may fill.
    pub(super) fn limit_out_of_dialog(&self) -> usize {
        self.limit() - self.limit() / 16
    }
}
