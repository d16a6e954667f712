use std::collections::BTreeMap;
use std::sync::Arc;

use proto::admin_v1 as wire;

use crate::Changes;

/// The calls as the server's thread knows them, from the changes that it was told.
#[derive(Debug, Default)]
pub struct Mirror {
    calls: BTreeMap<String, Arc<wire::Call>>,
    /// Changes before the list begins anew belong to a watch that is over.
    begun: bool,
    complete: bool,
}

/// Changes as they are told to every watcher. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub restart: bool,
    pub changed: Vec<Arc<wire::Call>>,
    pub gone: Vec<Arc<wire::Call>>,
    pub complete: bool,
}

impl Mirror {
    /// Takes changes in; gives what watchers shall be told, `None` for what is left of an earlier watch.
    pub fn apply(&mut self, changes: Changes) -> Option<Told> {
        if changes.restart {
            self.calls.clear();
            self.begun = true;
        }
        if !self.begun {
            return None;
        }
        let told = Told {
            restart: changes.restart,
            changed: changes.changed.into_iter().map(Arc::new).collect(),
            gone: changes.gone.into_iter().map(Arc::new).collect(),
            complete: changes.complete,
        };
        for call in &told.gone {
            self.calls.remove(&call.call_id);
        }
        for call in &told.changed {
            self.calls.insert(call.call_id.clone(), call.clone());
        }
        self.complete = changes.complete;
        Some(told)
    }

    /// All calls that are known, in the order of their names, or the one of that name.
    pub fn calls(&self, only: Option<&str>) -> Vec<Arc<wire::Call>> {
        match only {
            Some(only) => self.calls.get(only).cloned().into_iter().collect(),
            None => self.calls.values().cloned().collect(),
        }
    }

    /// Whether these are all calls that there are.
    pub fn is_complete(&self) -> bool {
        self.complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> wire::Call {
        wire::Call {
            call_id: id.into(),
            ..wire::Call::default()
        }
    }

    fn names(mirror: &Mirror) -> Vec<String> {
        let calls = mirror.calls(None);
        calls.iter().map(|call| call.call_id.clone()).collect()
    }

    #[test]
    fn what_is_left_of_an_earlier_watch_is_not_taken_in() {
        let mut mirror = Mirror::default();
        let late = Changes {
            changed: vec![call("old")],
            complete: true,
            ..Changes::default()
        };
        assert!(mirror.apply(late).is_none());
        assert!(names(&mirror).is_empty() && !mirror.is_complete());
    }

    #[test]
    fn changes_replace_and_remove_and_a_restart_forgets() {
        let mut mirror = Mirror::default();
        let list = Changes {
            restart: true,
            changed: vec![call("b"), call("a")],
            ..Changes::default()
        };
        assert!(mirror.apply(list).is_some());
        assert_eq!(names(&mirror), ["a", "b"]);
        assert!(!mirror.is_complete());
        let mut ringing = call("b");
        ringing.state = wire::CallState::Ringing.into();
        let more = Changes {
            changed: vec![ringing],
            gone: vec![call("a")],
            complete: true,
            ..Changes::default()
        };
        assert!(mirror.apply(more).is_some_and(|told| told.gone.len() == 1));
        assert_eq!(names(&mirror), ["b"]);
        assert_eq!(mirror.calls(Some("b"))[0].state(), wire::CallState::Ringing);
        assert!(mirror.calls(Some("a")).is_empty() && mirror.is_complete());
        let anew = Changes {
            restart: true,
            ..Changes::default()
        };
        assert!(mirror.apply(anew).is_some());
        assert!(names(&mirror).is_empty() && !mirror.is_complete());
    }
}
