use sans_io::Timestamp;
use sip::Destination;

/// One contact of an address-of-record (RFC 3261 §10.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Names the binding over restarts: random, and never changed by a refresh.
    pub id: u64,
    /// The contact's URI as it was given.
    pub contact: Box<str>,
    /// `Call-ID` of the last REGISTER for it.
    pub call_id: Box<str>,
    /// `CSeq` of the last REGISTER for it.
    pub cseq: u32,
    /// Preference in thousandths: 1000 unless the contact says less.
    pub q_permille: u16,
    /// The flow's number when the contact is an outbound one (RFC 5626 §4.2), else zero.
    pub reg_id: u32,
    /// `+sip.instance`, without quotation marks and angle brackets; empty without one.
    pub instance: Box<str>,
    /// Path values, topmost first, divided by commas; empty without any (RFC 3327).
    pub path: Box<str>,
    /// Where the REGISTER came from, and the flow while it exists.
    pub received: Destination,
    /// When it runs out.
    pub expires: Timestamp,
}

impl Binding {
    /// Whether it is for the same contact as `uri`, or for the same flow of the same instance (RFC 5626 §6).
    pub(crate) fn is_for(&self, uri: &str, instance: &str, reg_id: u32) -> bool {
        match (reg_id, self.reg_id) {
            (0, 0) => crate::is_same_uri(&self.contact, uri),
            (0, _) | (_, 0) => false,
            _ => self.reg_id == reg_id && *self.instance == *instance,
        }
    }
}
