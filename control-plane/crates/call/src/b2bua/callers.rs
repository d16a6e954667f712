use std::collections::HashMap;
use std::sync::Arc;

use super::hub::CallKey;

/// Which users have how many calls. Only those who have proved to be users are in it, and only while they have one.
#[derive(Debug, Default)]
pub(super) struct Callers {
    calls: HashMap<CallKey, Arc<str>>,
    /// Those that took another party's place in a call, which is theirs as well until it is over.
    joined: HashMap<CallKey, Vec<Arc<str>>>,
    counts: HashMap<Arc<str>, u32>,
}

impl Callers {
    /// Whether no user has a call.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.joined.is_empty() && self.counts.is_empty()
    }

    /// The calls of a user by its account.
    pub(super) fn count(&self, account: &str) -> u32 {
        self.counts.get(account).copied().unwrap_or(0)
    }

    /// A user has one more.
    pub(super) fn begin(&mut self, call: CallKey, account: &str) {
        let account = self.count_one(account);
        self.calls.insert(call, account);
    }

    /// A user has taken a party's place in a call.
    pub(super) fn join(&mut self, call: CallKey, account: &str) {
        let account = self.count_one(account);
        self.joined.entry(call).or_default().push(account);
    }

    fn count_one(&mut self, account: &str) -> Arc<str> {
        let known = self.counts.get_key_value(account);
        let account: Arc<str> = known.map_or_else(|| account.into(), |(known, _)| known.clone());
        *self.counts.entry(account.clone()).or_default() += 1;
        account
    }

    /// A call is over.
    pub(super) fn end(&mut self, call: CallKey) {
        let began = self.calls.remove(&call);
        let joined = self.joined.remove(&call).unwrap_or_default();
        for account in began.into_iter().chain(joined) {
            if let Some(count) = self.counts.get_mut(&account) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&account);
                }
            }
        }
    }
}
