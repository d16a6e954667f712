use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use sip::{Destination, FlowId, Transmit, Transport as Protocol};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::answer::Answers;
use crate::counters::Counters;
use crate::defence::Defence;
use crate::inbox::Inbox;
use crate::recent::Recent;
use crate::tcp::{self, Table, Tcp};
use crate::tls::{self, Tls};
use crate::udp::{self, Udp};
use crate::{Config, Inbound, LoadError, Snapshot, kernel};

/// New requests whose fate is remembered, at least; more when more may wait. 40 bytes each.
const RECENT_MIN: usize = 8_192;

/// The open transport. Dropping it closes the listeners; connections end when they next have nothing to do.
#[derive(Debug)]
pub struct Transport {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

/// A listener as it is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The protocol.
    pub transport: Protocol,
    /// The address with its real port.
    pub local: SocketAddr,
}

/// Why the transport cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A listener cannot be opened.
    #[error("{}:{}: {error}", bound.transport.via_name().to_ascii_lowercase(), bound.local)]
    Listener {
        /// The listener as it was wanted.
        bound: Bound,
        /// Why not.
        error: io::Error,
    },
    /// A listener of TLS, and no certificate.
    #[error("{}:{}: there is no certificate for TLS", .0.transport.via_name().to_ascii_lowercase(), .0.local)]
    NoCertificate(Bound),
    /// The TLS files cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] LoadError),
    /// A peer's name that no certificate can have.
    #[error("tls: \"{0}\" is no name that a peer can prove")]
    PeerName(String),
}

impl BindError {
    const fn at(bound: Bound, error: io::Error) -> Self {
        Self::Listener { bound, error }
    }
}

/// What the tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) inbox: Inbox,
    pub(crate) counters: Counters,
    pub(crate) answers: Answers,
    pub(crate) defence: Defence,
    /// The listeners by their place, as a [`FlowId`] has it.
    pub(crate) bound: Vec<Bound>,
    pub(crate) udp: Vec<Udp>,
    pub(crate) tls: Option<Tls>,
    /// Clients that may still ask for WebSocket.
    pub(crate) asking: Arc<Semaphore>,
    /// The names that peers of TLS have to prove, by their number.
    peers: RwLock<Vec<ServerName<'static>>>,
    table: Mutex<Table>,
    recent: Mutex<Recent>,
    /// The next connection's number.
    connections: AtomicU64,
    /// Messages that wait to be written to connections.
    pub(crate) unwritten: watch::Sender<usize>,
    /// For tasks that a call from outside starts.
    pub(crate) itself: Weak<Self>,
}

impl Shared {
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The flow of a new connection of the listener at `place`. No other of this process has had it.
    pub(crate) fn next_flow(&self, place: u16) -> FlowId {
        FlowId::of_connection(place, self.connections.fetch_add(1, Relaxed))
    }

    /// The name that the peer of a TLS connection for `destination` has to prove: that of the flow, else its address.
    pub(crate) fn peer_name(&self, destination: &Destination) -> ServerName<'static> {
        let number = destination.flow.and_then(FlowId::peer);
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let name = number.and_then(|number| peers.get(usize::try_from(number).ok()?));
        name.cloned()
            .unwrap_or_else(|| ServerName::IpAddress(destination.remote.ip().into()))
    }

    /// The place of the listener that a message for `destination` leaves by: that of the flow, else the first of the
    /// protocol and address family. A connection can be made without a listener of its protocol: from the address of
    /// another. None is made for WebSocket.
    pub(crate) fn place(&self, destination: &Destination) -> Option<u16> {
        let is_family = |bound: &Bound| bound.local.is_ipv4() == destination.remote.is_ipv4();
        let fits = |bound: &Bound| bound.transport == destination.transport && is_family(bound);
        let any = || {
            let is_reliable = destination.transport.is_reliable() && !destination.transport.is_websocket();
            self.bound
                .iter()
                .position(|bound| is_reliable && is_family(bound))
        };
        let of_flow = destination
            .flow
            .map(FlowId::listener)
            .filter(|&place| self.bound.get(place).is_some_and(fits));
        // There are no more than 65,536: `bind` saw to that.
        of_flow
            .or_else(|| self.bound.iter().position(fits))
            .or_else(any)
            .and_then(|place| u16::try_from(place).ok())
    }
}

impl Transport {
    /// Opens all listeners, or none. Must run within a Tokio runtime.
    ///
    /// # Errors
    /// The first listener that cannot be opened, or what is wrong with TLS.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        let tls = config
            .tls
            .as_ref()
            .map(|tls| Tls::new(tls.files.clone(), tls.handshakes_max))
            .transpose()?;
        let peers = config.tls.iter().flat_map(|tls| &tls.peers);
        let peers = peers.map(|name| peer(name)).collect::<Result<Vec<_>, _>>();
        let peers = peers?;
        let (mut udp, mut tcp, mut bound) = (Vec::new(), Vec::new(), Vec::new());
        for (place, listen) in config.listen.iter().enumerate() {
            let wanted = Bound {
                transport: listen.transport,
                local: listen.address,
            };
            let place = u16::try_from(place)
                .map_err(|_| BindError::at(wanted, io::ErrorKind::QuotaExceeded.into()))?;
            let local = match listen.transport {
                Protocol::Udp => {
                    let flow = FlowId::of_listener(place);
                    let socket = Udp::bind(flow, listen.address, config.receive_buffer_bytes)
                        .map_err(|error| BindError::at(wanted, error))?;
                    udp.push(socket);
                    udp[udp.len() - 1].local
                }
                Protocol::Tls | Protocol::Wss if tls.is_none() => {
                    return Err(BindError::NoCertificate(wanted));
                }
                Protocol::Tcp | Protocol::Tls | Protocol::Ws | Protocol::Wss => {
                    let socket = Tcp::bind(place, listen.transport, listen.address);
                    tcp.push(socket.map_err(|error| BindError::at(wanted, error))?);
                    tcp[tcp.len() - 1].local
                }
                _ => return Err(BindError::at(wanted, io::ErrorKind::Unsupported.into())),
            };
            bound.push(Bound { local, ..wanted });
        }
        let shared = Arc::new_cyclic(|itself| Shared {
            inbox: Inbox::new(config.new_requests_max, config.urgent_max),
            counters: Counters::default(),
            answers: Answers::default(),
            defence: Defence::new(&config),
            table: Mutex::default(),
            recent: Mutex::new(Recent::new(
                config.new_requests_max.saturating_mul(8).max(RECENT_MIN),
            )),
            connections: AtomicU64::new(1),
            unwritten: watch::Sender::new(0),
            itself: itself.clone(),
            bound,
            udp,
            tls,
            asking: Arc::new(Semaphore::new(
                config.websocket.handshakes_max.min(Semaphore::MAX_PERMITS),
            )),
            peers: RwLock::new(peers),
            config,
        });
        let mut tasks = JoinSet::new();
        for index in 0..shared.udp.len() {
            tasks.spawn(udp::receive(shared.clone(), index));
        }
        if let Some(tls) = &shared.config.tls {
            tasks.spawn(tls::watch(shared.clone(), tls.watch_interval));
        }
        for listener in tcp {
            tasks.spawn(tcp::accept(shared.clone(), listener));
        }
        Ok(Self {
            shared,
            _tasks: tasks,
        })
    }

    /// The listeners in the order of the configuration, so that a [`FlowId`] tells them by their place.
    pub fn bound(&self) -> &[Bound] {
        &self.shared.bound
    }

    /// Waits for what comes in next. Cancel safe.
    pub async fn receive(&self) -> Inbound {
        let (since, inbound) = self.shared.inbox.receive().await;
        self.shared.taken(since);
        inbound
    }

    /// What came in, if anything waits.
    pub fn try_receive(&self) -> Option<Inbound> {
        let (since, inbound) = self.shared.inbox.try_receive()?;
        self.shared.taken(since);
        Some(inbound)
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Sends. Never waits: a datagram goes to the system at once, a message for a connection is queued. What cannot be
    /// sent comes back as [`Inbound::Failed`].
    pub fn send(&self, transmit: Transmit) {
        self.shared.send(transmit);
    }

    /// Whether something for `destination` would leave at once: over UDP, or over a connection that there is.
    pub fn is_connected(&self, destination: &Destination) -> bool {
        self.shared.is_connected(destination)
    }

    /// Takes the TLS files as they are now, for connections from a moment later on; they are read by another thread. Files that cannot be used are told in the log and in
    /// [`Snapshot::reloads`], and nothing changes. Does nothing without TLS.
    pub fn reload_tls(&self) {
        if self.shared.tls.is_some() {
            let shared = self.shared.clone();
            tokio::task::spawn_blocking(move || shared.reload());
        }
    }

    /// Waits until everything that was sent over connections is written, or given up, for at most `limit`.
    pub async fn flush(&self, limit: Duration) {
        let mut unwritten = self.shared.unwritten.subscribe();
        // The sender lives in `shared`; a wait that is too long ends without a word, as the caller wanted.
        let _ = tokio::time::timeout(limit, unwritten.wait_for(|&count| count == 0)).await;
    }

    /// A view for metrics that may outlive the transport.
    pub fn view(&self) -> View {
        View(self.shared.clone())
    }
}

/// What can be read of a transport from elsewhere.
#[derive(Clone, Debug)]
pub struct View(Arc<Shared>);

impl View {
    /// The names that peers of TLS have to prove from now on. Those of before must be at their places: connections and flows
    /// go by them.
    ///
    /// # Errors
    /// A name that no certificate can have; then nothing changes.
    pub fn name_peers(&self, names: &[String]) -> Result<(), BindError> {
        let peers = names
            .iter()
            .map(|name| peer(name))
            .collect::<Result<Vec<_>, _>>()?;
        *self.0.peers.write().unwrap_or_else(PoisonError::into_inner) = peers;
        Ok(())
    }

    /// The counters.
    pub fn counters(&self) -> Snapshot {
        self.0.counters.snapshot()
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.0.table().len()
    }

    /// Messages that wait for the owner: of work that exists, and new requests.
    pub fn waiting(&self) -> (usize, usize) {
        self.0.inbox.waiting()
    }

    /// What the guard before the parser saw and did, and how many networks are banned.
    pub fn guard(&self) -> (guard::Counters, usize) {
        let guard = self.0.defence.guard();
        (*guard.counters(), guard.ban_count())
    }

    /// The share of new work that is refused because it would wait too long, in thousandths.
    pub fn refused_permille(&self) -> u64 {
        let (now, first) = (self.0.defence.now(), self.0.inbox.first());
        self.0.defence.admission().share_permille(now, first)
    }

    /// Datagrams that the kernel dropped because the receive buffers were full; `None` where the system does not say.
    pub fn kernel_drops(&self) -> Option<u64> {
        kernel::receive_drops(&self.0.udp)
    }
}

fn peer(name: &str) -> Result<ServerName<'static>, BindError> {
    ServerName::try_from(name.to_owned()).map_err(|_| BindError::PeerName(name.to_owned()))
}
