use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use sans_io::Timestamp;

use crate::{Binding, Change};

/// The bindings of all users, and when they run out.
///
/// A registration takes about half a kilobyte: its binding, its strings, and its place in both indexes.
#[derive(Debug, Default)]
pub(crate) struct Location {
    by_user: HashMap<Box<str>, Box<[Binding]>>,
    /// When each binding runs out, by its id.
    due: BTreeSet<(Timestamp, u64)>,
    /// Whose each binding is.
    users_of: HashMap<u64, Box<str>>,
}

impl Location {
    /// The bindings of a user that have not run out at `now`.
    pub(crate) fn of(&self, now: Timestamp, user: &str) -> impl Iterator<Item = &Binding> {
        let bindings = self.by_user.get(user).map_or(&[][..], |bindings| bindings);
        bindings.iter().filter(move |binding| binding.expires > now)
    }

    /// How many bindings there are.
    pub(crate) fn len(&self) -> usize {
        self.users_of.len()
    }

    /// How many users have one.
    pub(crate) fn users(&self) -> usize {
        self.by_user.len()
    }

    /// Gives a user these bindings instead of those it has, and tells what changed.
    pub(crate) fn replace(&mut self, user: &str, bindings: Vec<Binding>, changes: &mut Vec<Change>) {
        let before = self.by_user.remove(user).unwrap_or_default();
        for old in &before {
            let kept = bindings.iter().find(|binding| binding.id == old.id);
            if kept.is_none_or(|kept| kept.expires != old.expires) {
                self.due.remove(&(old.expires, old.id));
            }
            if kept.is_none() {
                self.users_of.remove(&old.id);
                changes.push(Change::Remove { id: old.id });
            }
        }
        for binding in &bindings {
            if before.contains(binding) {
                continue;
            }
            self.due.insert((binding.expires, binding.id));
            self.users_of.entry(binding.id).or_insert_with(|| user.into());
            changes.push(Change::Put {
                user: user.into(),
                binding: binding.clone(),
            });
        }
        if !bindings.is_empty() {
            self.by_user.insert(user.into(), bindings.into());
        }
    }

    /// Takes out one binding that has run out at `now`; false when there is none.
    pub(crate) fn expire_one(&mut self, now: Timestamp, changes: &mut Vec<Change>) -> bool {
        let Some(&(at, id)) = self.due.first() else {
            return false;
        };
        if at > now {
            return false;
        }
        self.due.pop_first();
        if let Some(user) = self.users_of.remove(&id) {
            if let Some(bindings) = self.by_user.remove(&user) {
                let mut left = bindings.into_vec();
                left.retain(|binding| binding.id != id);
                if !left.is_empty() {
                    self.by_user.insert(user, left.into());
                }
            }
            changes.push(Change::Remove { id });
        }
        true
    }

    /// At most `max` bindings and whose they are, in the order in which they run out, after the one that ran out at that time
    /// with that id. Does not allocate.
    pub(crate) fn after(
        &self,
        mark: Option<(Timestamp, u64)>,
        max: usize,
    ) -> impl Iterator<Item = (&str, &Binding)> {
        let from = mark.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.due.range((from, Bound::Unbounded)).take(max);
        found.filter_map(|(_, id)| {
            let user = self.users_of.get(id)?;
            let binding = self.by_user.get(user)?.iter().find(|it| it.id == *id)?;
            Some((&**user, binding))
        })
    }

    /// When the first binding runs out.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|&(at, _)| at)
    }
}
