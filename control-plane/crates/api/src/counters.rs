use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A method of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `Describe`.
    Describe,
    /// `GetActiveCalls`.
    GetActiveCalls,
    /// `HangupCall`.
    HangupCall,
    /// `TransferCall`.
    TransferCall,
    /// `GetRegistrations`.
    GetRegistrations,
    /// `GetTrunks`.
    GetTrunks,
    /// `GetBans`.
    GetBans,
    /// `BanNetwork`.
    BanNetwork,
    /// `LiftBan`.
    LiftBan,
    /// `Drain`.
    Drain,
}

impl Operation {
    /// All, in the order of the contract.
    pub const ALL: [Self; 10] = [
        Self::Describe,
        Self::GetActiveCalls,
        Self::HangupCall,
        Self::TransferCall,
        Self::GetRegistrations,
        Self::GetTrunks,
        Self::GetBans,
        Self::BanNetwork,
        Self::LiftBan,
        Self::Drain,
    ];

    /// The word in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::GetActiveCalls => "get_active_calls",
            Self::HangupCall => "hangup_call",
            Self::TransferCall => "transfer_call",
            Self::GetRegistrations => "get_registrations",
            Self::GetTrunks => "get_trunks",
            Self::GetBans => "get_bans",
            Self::BanNetwork => "ban_network",
            Self::LiftBan => "lift_ban",
            Self::Drain => "drain",
        }
    }
}

/// What the server has seen and done. All only grow, but for `watchers`.
#[derive(Debug, Default)]
pub struct Counters {
    succeeded: [AtomicU64; Operation::ALL.len()],
    failed: [AtomicU64; Operation::ALL.len()],
    unauthenticated: AtomicU64,
    connections: AtomicU64,
    connections_refused: AtomicU64,
    missed: AtomicU64,
    watchers: AtomicU64,
}

/// A copy of the counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Requests that were answered, a stream that began among them: method, those that succeeded, those that failed.
    pub requests: Vec<(Operation, u64, u64)>,
    /// Requests without the right token.
    pub unauthenticated: u64,
    /// Connections that were accepted.
    pub connections: u64,
    /// Connections that were closed at once: at the limit, or because accepting failed.
    pub connections_refused: u64,
    /// Messages that watchers were too slow for.
    pub missed: u64,
    /// Lists and watches under way.
    pub watchers: u64,
}

impl Counters {
    pub(crate) fn count_request(&self, operation: Operation, succeeded: bool) {
        let counters = if succeeded { &self.succeeded } else { &self.failed };
        counters[operation as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_unauthenticated(&self) {
        self.unauthenticated.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_connection(&self, accepted: bool) {
        let counter = if accepted {
            &self.connections
        } else {
            &self.connections_refused
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_missed(&self, messages: u64) {
        self.missed.fetch_add(messages, Relaxed);
    }

    pub(crate) fn watching(&self, watchers: usize) {
        self.watchers.store(watchers as u64, Relaxed);
    }

    /// What they are now.
    pub fn counted(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let of = |operation: Operation| {
            let place = operation as usize;
            (operation, read(&self.succeeded[place]), read(&self.failed[place]))
        };
        Counted {
            requests: Operation::ALL.map(of).to_vec(),
            unauthenticated: read(&self.unauthenticated),
            connections: read(&self.connections),
            connections_refused: read(&self.connections_refused),
            missed: read(&self.missed),
            watchers: read(&self.watchers),
        }
    }
}
