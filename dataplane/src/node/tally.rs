use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tonic::Code;

/// What the control thread counts itself. What workers count is read from [`crate::worker::Published`].
#[derive(Clone, Debug, Default)]
pub struct Tally {
    commands: Family<CommandLabels, Counter>,
    missed: Counter,
    connections: Counter,
    connections_refused: Counter,
    accept_errors: Counter,
    restored: Counter,
    not_restored: Counter,
}

/// A request of the gRPC service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Describe.
    Describe,
    /// CreateCall.
    Create,
    /// UpdateCall.
    Update,
    /// DeleteCall.
    Delete,
    /// Exchange.
    Exchange,
    /// QueryCall.
    Query,
    /// ListCalls.
    List,
    /// RenewLeases.
    Renew,
    /// WatchEvents.
    WatchEvents,
    /// WatchStatistics.
    WatchStatistics,
    /// Drain.
    Drain,
    /// TapCall.
    TapCall,
}

impl Operation {
    const fn label(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Exchange => "exchange",
            Self::Query => "query",
            Self::List => "list",
            Self::Renew => "renew",
            Self::WatchEvents => "watch_events",
            Self::WatchStatistics => "watch_statistics",
            Self::Drain => "drain",
            Self::TapCall => "tap_call",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommandLabels {
    command: &'static str,
    result: &'static str,
}

impl Tally {
    /// A request has come; its outcome is counted by what is returned.
    pub fn request(&self, operation: Operation) -> Counting<'_> {
        Counting {
            tally: self,
            operation,
            result: "abandoned",
        }
    }

    /// Events that a slow watcher lost.
    pub fn count_missed(&self, events: u64) {
        self.missed.inc_by(events);
    }

    /// A gRPC connection was taken.
    pub fn count_connection(&self) {
        self.connections.inc();
    }

    /// A connection was closed at once, since there are as many as configured.
    pub fn count_refused_connection(&self) {
        self.connections_refused.inc();
    }

    /// Accepting failed.
    pub fn count_accept_error(&self) {
        self.accept_errors.inc();
    }

    /// A call of an earlier process goes on, or is lost.
    pub fn count_restored(&self, restored: bool) {
        match restored {
            true => self.restored.inc(),
            false => self.not_restored.inc(),
        };
    }

    /// Shows the counters in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "commands",
            "gRPC requests by command and result",
            self.commands.clone(),
        );
        registry.register(
            "watcher_events_missed",
            "Events that slow watchers lost",
            self.missed.clone(),
        );
        registry.register(
            "grpc_connections",
            "gRPC connections taken",
            self.connections.clone(),
        );
        registry.register(
            "grpc_connections_refused",
            "gRPC connections closed at once: as many as configured are open",
            self.connections_refused.clone(),
        );
        registry.register(
            "grpc_accept_errors",
            "Errors of accepting connections",
            self.accept_errors.clone(),
        );
        registry.register(
            "calls_restored",
            "Calls of an earlier process that go on",
            self.restored.clone(),
        );
        registry.register(
            "calls_not_restored",
            "Calls of an earlier process that could not go on",
            self.not_restored.clone(),
        );
    }
}

/// A request that has not been answered. Dropped, it counts as `abandoned`: its caller has gone, or its time is over.
#[derive(Debug)]
pub struct Counting<'a> {
    tally: &'a Tally,
    operation: Operation,
    result: &'static str,
}

impl Counting<'_> {
    /// The request was answered: counts `ok`, the label of the refusal, or the gRPC code.
    pub fn answered<T>(mut self, outcome: &Result<T, tonic::Status>) {
        self.result = match outcome {
            Ok(_) => "ok",
            Err(status) => match proto::convert::refusal_from_status(status) {
                Some(refusal) => refusal.reason(),
                None => code_label(status.code()),
            },
        };
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        let labels = CommandLabels {
            command: self.operation.label(),
            result: self.result,
        };
        self.tally.commands.get_or_create(&labels).inc();
    }
}

const fn code_label(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::InvalidArgument => "invalid",
        Code::DeadlineExceeded => "deadline",
        Code::NotFound => "not_found",
        Code::Unavailable => "unavailable",
        Code::ResourceExhausted => "limit",
        _ => "error",
    }
}
