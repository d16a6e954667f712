use media_types::SrtpKey;
use srtp::{ContextState, KeyUse};

/// The keys of one direction of a line, with the indexes that were used under them: the same key must never begin anew, or
/// a keystream is used twice (RFC 3711 §9.1), and what came under it could come again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyHistory {
    /// In the order in which they were left; no key is in two of them.
    entries: Vec<UsedKeys>,
}

/// Keys that shared their indexes: one that is sent with, or those that a party might use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedKeys {
    /// The keys.
    pub keys: Vec<SrtpKey>,
    /// What was used; `None` when nobody knows, and the keys are of no use any more.
    pub context: Option<ContextState>,
}

/// What is known of keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recalled {
    /// They are new.
    New,
    /// One of them was used: its indexes go on.
    Used(ContextState),
    /// One of them was used, and its indexes are lost.
    Lost,
}

impl KeyHistory {
    /// Of an earlier process.
    pub fn new(entries: Vec<UsedKeys>) -> Self {
        Self { entries }
    }

    /// What it has, for the next process.
    pub fn entries(&self) -> &[UsedKeys] {
        &self.entries
    }

    /// The keys that were noted last.
    pub(crate) fn latest(&self) -> &[SrtpKey] {
        self.entries.last().map_or(&[], |entry| &entry.keys)
    }

    /// Notes what was used under keys that are left.
    pub(crate) fn note(&mut self, keys: &[SrtpKey], context: Option<ContextState>) {
        if keys.is_empty() {
            return;
        }
        for entry in &mut self.entries {
            entry.forget(keys);
        }
        self.entries.retain(|entry| !entry.keys.is_empty());
        self.entries.push(UsedKeys {
            keys: keys.to_vec(),
            context,
        });
    }

    /// What is known of `keys`, as a context of them can go on with it.
    pub(crate) fn recall(&self, keys: &[SrtpKey]) -> Recalled {
        let latest = self
            .entries
            .iter()
            .rev()
            .find(|entry| entry.keys.iter().any(|old| is_among(old, keys)));
        let Some(entry) = latest else {
            return Recalled::New;
        };
        let Some(context) = &entry.context else {
            return Recalled::Lost;
        };
        let used = |key: &SrtpKey| -> KeyUse {
            let place = entry.keys.iter().position(|old| is_same(old, key));
            place
                .and_then(|place| context.keys.get(place))
                .copied()
                .unwrap_or_default()
        };
        Recalled::Used(ContextState {
            streams: context.streams.clone(),
            keys: keys.iter().map(used).collect(),
            sending: 0,
        })
    }

    /// Whether `keys` can be noted beside those that `current` are, within `keys_max` keys.
    pub(crate) fn has_room(&self, current: &[SrtpKey], keys: &[SrtpKey], keys_max: usize) -> bool {
        let mut known: Vec<&SrtpKey> = self.entries.iter().flat_map(|entry| &entry.keys).collect();
        for key in current.iter().chain(keys) {
            if !known.iter().any(|old| is_same(old, key)) {
                known.push(key);
            }
        }
        known.len() <= keys_max
    }
}

impl UsedKeys {
    /// Takes keys out that are noted elsewhere, each with its use.
    fn forget(&mut self, keys: &[SrtpKey]) {
        while let Some(place) = self.keys.iter().position(|old| is_among(old, keys)) {
            self.keys.remove(place);
            if let Some(context) = self.context.as_mut().filter(|context| place < context.keys.len()) {
                context.keys.remove(place);
            }
        }
    }
}

/// By the secret alone: with another suite, identifier or lifetime it still makes the same keystream.
fn is_same(one: &SrtpKey, other: &SrtpKey) -> bool {
    one.key_and_salt() == other.key_and_salt()
}

fn is_among(key: &SrtpKey, keys: &[SrtpKey]) -> bool {
    keys.iter().any(|other| is_same(key, other))
}
