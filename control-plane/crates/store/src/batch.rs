use std::collections::HashMap;

use crate::entry::Entry;
use crate::{BindingChange, BindingRecord, CallRecord};

/// What a batch of entries comes to: each call and each contact once, as PostgreSQL wants it of the rows of one statement.
#[derive(Debug, Default)]
pub(crate) struct Batch<'a> {
    /// Calls, in the order in which they came first.
    pub(crate) calls: Vec<CallRecord>,
    /// Contacts that are there.
    pub(crate) put: Vec<&'a BindingRecord>,
    /// Contacts that are gone.
    pub(crate) removed: Vec<i64>,
}

impl<'a> Batch<'a> {
    /// Merges the entries of one call. Of several changes of one contact only the last counts: it has all that the others
    /// had.
    pub(crate) fn of(entries: &'a [Entry]) -> Self {
        let mut batch = Self::default();
        let mut calls: HashMap<&str, usize> = HashMap::new();
        let mut changes: HashMap<i64, &BindingChange> = HashMap::new();
        for entry in entries {
            match entry {
                Entry::Call(record) => match calls.get(record.call_id.as_str()) {
                    Some(&place) => batch.calls[place].merge(record),
                    None => {
                        calls.insert(&record.call_id, batch.calls.len());
                        batch.calls.push(CallRecord::clone(record));
                    }
                },
                Entry::Binding { binding } => {
                    changes.insert(binding.id(), binding);
                }
            }
        }
        for change in changes.into_values() {
            match change {
                BindingChange::Put(binding) => batch.put.push(binding),
                BindingChange::Remove(id) => batch.removed.push(*id),
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(id: i64, cseq: u32) -> BindingRecord {
        BindingRecord {
            id,
            username: String::new(),
            contact: String::new(),
            call_id: String::new(),
            cseq,
            q_permille: 0,
            reg_id: 0,
            instance: String::new(),
            path: String::new(),
            transport: String::new(),
            remote: String::new(),
            expires_at_ms: 0,
        }
    }

    #[test]
    fn each_call_and_each_contact_is_there_once() {
        let call = |call_id: &str, node: Option<&str>, status| {
            Entry::Call(Box::new(CallRecord {
                call_id: call_id.into(),
                node: node.map(Into::into),
                status,
                ..CallRecord::default()
            }))
        };
        let change = |binding| Entry::Binding { binding };
        let entries = [
            call("a", Some("n1"), Some(200)),
            change(BindingChange::Put(binding(1, 1))),
            change(BindingChange::Put(binding(2, 1))),
            call("b", None, None),
            call("a", Some("n2"), None),
            change(BindingChange::Put(binding(1, 2))),
            change(BindingChange::Remove(2)),
        ];
        let batch = Batch::of(&entries);
        assert_eq!(batch.calls.len(), 2);
        assert_eq!(batch.calls[0].node.as_deref(), Some("n2"));
        assert_eq!(batch.calls[0].status, Some(200));
        assert_eq!(batch.put, [&binding(1, 2)]);
        assert_eq!(batch.removed, [2]);
    }
}
