/// What a [`B2bua`](crate::B2bua) has seen and done since its start. All only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// INVITEs that began a call: each has its record in the end.
    pub calls_attempted: u64,
    /// Calls that were answered.
    pub calls_answered: u64,
    /// Calls that ended, answered or not.
    pub calls_ended: u64,
    /// INVITEs refused at the limit of calls.
    pub calls_refused_at_limit: u64,
    /// INVITEs refused because their user had as many calls as a user may have.
    pub calls_refused_at_user_limit: u64,
    /// INVITEs refused before they began a call that have a record.
    pub refusals_recorded: u64,
    /// INVITEs refused before they began a call that have none: too many of late, or the journal is full.
    pub refusals_unrecorded: u64,
    /// Requests refused before anything was begun for them: unknown methods, extensions, bodies, dialogs.
    pub requests_refused: u64,
    /// Requests outside of dialogs that begin nothing, answered without a transaction.
    pub requests_without_state: u64,
    /// Session descriptions that could not be used.
    pub descriptions_refused: u64,
    /// Media requests that failed or were not answered in time.
    pub media_failures: u64,
    /// Next hops given up for the one after them.
    pub next_hops_skipped: u64,
    /// Next hops passed over because their trunk had as many calls as it takes.
    pub next_hops_at_limit: u64,
    /// 503 with `Retry-After` after which a next hop was left alone for a while.
    pub next_hops_rested: u64,
    /// Next hops passed over because they do not want so many calls (RFC 7339).
    pub next_hops_spared: u64,
    /// Words of servers about their overload that counted.
    pub overloads_heard: u64,
    /// Words of servers about their overload that were older than another, or bogus.
    pub overloads_ignored: u64,
    /// Redirections that were followed.
    pub redirects_followed: u64,
    /// Redirections that were to be followed, and lead to nobody who may be called.
    pub redirects_refused: u64,
    /// Contacts of users that were not called because there were too many.
    pub branches_left_out: u64,
    /// 2xx answers of forks that lost: acknowledged and hung up.
    pub forks_dismissed: u64,
    /// Calls that ended because a session was not refreshed in time.
    pub sessions_expired: u64,
    /// Transfers that began.
    pub transfers_begun: u64,
    /// Transfers that came to their end: somebody else has a party's place.
    pub transfers_completed: u64,
    /// Transfers that came to nothing.
    pub transfers_failed: u64,
    /// Transfers that were refused: by policy, by the routing table, at a limit, or as malformed.
    pub transfers_refused: u64,
    /// REFERs passed on to the other party.
    pub transfers_passed: u64,
    /// Calls whose 2xx was never acknowledged.
    pub unacknowledged: u64,
}
