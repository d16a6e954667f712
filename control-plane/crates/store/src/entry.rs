use serde::{Deserialize, Serialize};

use crate::{BindingChange, CallRecord};

/// What the journal keeps: a frame of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Entry {
    /// A contact changed.
    Binding {
        /// How.
        binding: BindingChange,
    },
    /// A call got on. Untagged, as in the journals of versions that knew nothing else.
    Call(Box<CallRecord>),
}

impl Entry {
    /// Reads what a frame of the journal holds. A call is read straight away and not by way of the copy of all its fields that
    /// finding out its kind would take.
    pub(crate) fn read(json: &[u8]) -> serde_json::Result<Self> {
        match json.starts_with(b"{\"binding\":") {
            true => serde_json::from_slice(json),
            false => serde_json::from_slice(json).map(Self::Call),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_read_back_as_written() {
        let binding = BindingChange::Remove(-7);
        let entry = Entry::Binding { binding };
        let json = serde_json::to_string(&entry).unwrap();
        assert_eq!(json, r#"{"binding":{"remove":-7}}"#);
        assert_eq!(Entry::read(json.as_bytes()).unwrap(), entry);
        let call = CallRecord {
            call_id: "c".into(),
            ..CallRecord::default()
        };
        let entry = Entry::Call(Box::new(call.clone()));
        let json = serde_json::to_string(&entry).unwrap();
        assert_eq!(json, serde_json::to_string(&call).unwrap());
        assert_eq!(Entry::read(json.as_bytes()).unwrap(), entry);
    }
}
