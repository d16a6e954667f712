use crate::Fingerprint;

/// A line whose SRTP keys come from a DTLS handshake of the node with the party (RFC 5764): nothing in clear passes between
/// them, also before.
///
/// While it stays as it is, so does the handshake, or what came of it. Another role, other fingerprints or another `tls_id` is
/// another association, which begins anew (RFC 8842 §4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DtlsSpec {
    /// What the node does.
    pub role: DtlsRole,
    /// Of the certificates that the party may show (RFC 8122 §5). Empty until its description has said so: the handshake may
    /// go on, and its keys are used when they are there.
    pub fingerprints: Vec<Fingerprint>,
    /// The party's `a=tls-id` (RFC 8842 §5.2); empty without one.
    pub tls_id: String,
}

impl DtlsSpec {
    /// Whether it is the same association as one that had these terms: fingerprints that come, or are not known for a while, change
    /// nothing.
    pub fn continues(&self, before: &Self) -> bool {
        let is_subset = |some: &[Fingerprint], all: &[Fingerprint]| some.iter().all(|one| all.contains(one));
        let (old, new) = (&before.fingerprints, &self.fingerprints);
        let are_same = is_subset(old, new) && is_subset(new, old);
        self.role == before.role
            // Nothing was known of the party before there was a description of it.
            && (old.is_empty() || self.tls_id == before.tls_id)
            && (are_same || old.is_empty() || new.is_empty())
    }

    /// These terms after those before: an association that [`continues`](Self::continues) is still with whoever its party was,
    /// while the fingerprints are not known anew.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        if self.fingerprints.is_empty() && self.continues(before) {
            self.fingerprints.clone_from(&before.fingerprints);
        }
        self
    }
}

/// Who begins a handshake (RFC 5763 §5), by what `a=setup` has come to for the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DtlsRole {
    /// The node sends the ClientHello.
    Active,
    /// The party does.
    Passive,
}

/// Where a handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DtlsState {
    /// Nothing has come, and nothing was sent.
    New,
    /// It is under way.
    Handshaking,
    /// The party is who its description says, and the keys are in use.
    Connected,
    /// It came to nothing.
    Failed,
}

/// What became of a line's handshake. No key is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DtlsReport {
    /// Where it is.
    pub state: DtlsState,
    /// The version that both agreed on, such as `DTLS 1.2`; empty before.
    pub version: &'static str,
    /// The label of why it failed; empty when it has not.
    pub failure: &'static str,
}
