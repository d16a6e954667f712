/// What a [`Layer`](super::Layer) saw and did, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Client transactions begun, CANCELs included.
    pub client_transactions: u64,
    /// Server transactions begun, CANCELs included.
    pub server_transactions: u64,
    /// Requests, ACKs for failures and responses that a timer sent again.
    pub retransmissions_sent: u64,
    /// Requests that came again and were absorbed.
    pub retransmissions_absorbed: u64,
    /// Responses that belong to no transaction, dropped (RFC 3261 §18.1.2, RFC 6026 §8.9).
    pub stray_responses: u64,
    /// CANCELs that belong to no INVITE, answered 481.
    pub stray_cancels: u64,
    /// Requests that arrived over a second path, answered 482 (RFC 3261 §8.2.2.2).
    pub merged_requests: u64,
    /// Requests answered 503 because `transactions_max` was reached.
    pub refused_requests: u64,
    /// Messages without a usable Via, CSeq, From or Call-ID: they can be neither matched nor answered.
    pub unusable_messages: u64,
    /// Transactions that ended by timer B, F or H, or without an answer from the user.
    pub timeouts: u64,
    /// Transactions that were told of a transport failure.
    pub transport_failures: u64,
}

impl Counters {
    /// Every counter with its label, for `/metrics`.
    pub fn all(&self) -> [(&'static str, u64); 11] {
        let Self {
            client_transactions,
            server_transactions,
            retransmissions_sent,
            retransmissions_absorbed,
            stray_responses,
            stray_cancels,
            merged_requests,
            refused_requests,
            unusable_messages,
            timeouts,
            transport_failures,
        } = *self;
        [
            ("client_transactions", client_transactions),
            ("server_transactions", server_transactions),
            ("retransmissions_sent", retransmissions_sent),
            ("retransmissions_absorbed", retransmissions_absorbed),
            ("stray_responses", stray_responses),
            ("stray_cancels", stray_cancels),
            ("merged_requests", merged_requests),
            ("refused_requests", refused_requests),
            ("unusable_messages", unusable_messages),
            ("timeouts", timeouts),
            ("transport_failures", transport_failures),
        ]
    }
}
