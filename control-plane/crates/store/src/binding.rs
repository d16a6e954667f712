use serde::{Deserialize, Serialize};

/// A contact of a user, as the registrar has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingRecord {
    /// Names it for ever.
    pub id: i64,
    /// The user.
    pub username: String,
    /// The contact's URI.
    pub contact: String,
    /// `Call-ID` of the last REGISTER for it.
    pub call_id: String,
    /// `CSeq` of the last REGISTER for it.
    pub cseq: u32,
    /// Preference in thousandths.
    pub q_permille: u16,
    /// The outbound flow's number, or zero.
    pub reg_id: u32,
    /// The instance, or empty.
    pub instance: String,
    /// Path values, or empty.
    pub path: String,
    /// The protocol that the REGISTER came by, as Via names it.
    pub transport: String,
    /// The address and port that it came from.
    pub remote: String,
    /// When it runs out, in milliseconds since the Unix epoch.
    pub expires_at_ms: i64,
}

/// What happened to a contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BindingChange {
    /// It is there, new or refreshed.
    Put(BindingRecord),
    /// The one with that id is gone.
    Remove(i64),
}

impl BindingChange {
    /// Which contact it is about.
    pub const fn id(&self) -> i64 {
        match self {
            Self::Put(binding) => binding.id,
            Self::Remove(id) => *id,
        }
    }
}
