use serde::{Deserialize, Serialize};

use crate::{BindingChange, CallRecord};

/// What a frame of the journal holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Entry {
    /// A contact changed.
    Binding {
        /// How.
        binding: BindingChange,
    },
    /// A call got on. Untagged, as in the journals of versions that knew nothing else.
    Call(Box<CallRecord>),
}

/// An [`Entry`] that is to be written.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum EntryRef<'a> {
    Binding { binding: &'a BindingChange },
    Call(&'a CallRecord),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_read_back_as_written() {
        let binding = BindingChange::Remove(-7);
        let json = serde_json::to_string(&EntryRef::Binding { binding: &binding }).unwrap();
        assert_eq!(json, r#"{"binding":{"remove":-7}}"#);
        assert_eq!(
            serde_json::from_str::<Entry>(&json).unwrap(),
            Entry::Binding { binding }
        );
        let call = CallRecord {
            call_id: "c".into(),
            ..CallRecord::default()
        };
        let json = serde_json::to_string(&EntryRef::Call(&call)).unwrap();
        assert_eq!(json, serde_json::to_string(&call).unwrap());
        assert_eq!(
            serde_json::from_str::<Entry>(&json).unwrap(),
            Entry::Call(Box::new(call))
        );
    }
}
