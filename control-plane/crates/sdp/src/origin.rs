use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};

/// Our own `o=` line towards one party (RFC 8866 §5.2): the session id and the address stay for the life of the
/// dialog, and the version grows by one whenever the description changes (RFC 3264 §8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    id: u64,
    version: u64,
    address: Option<IpAddr>,
    /// Hash of the latest description without its `o=` line; the text itself would be kilobytes a held call.
    printed: Option<u64>,
}

impl Origin {
    /// A new identity. `id` is random; it is cut to 62 bits, as the RFC 3264 §5 wants it to fit a signed number.
    pub const fn new(id: u64) -> Self {
        let id = id >> 2;
        Self {
            id,
            version: id,
            address: None,
            printed: None,
        }
    }

    /// The version of the latest description.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The `o=` line for the description `rest` (all else that will be printed) whose first address is `address`.
    pub(crate) fn next(&mut self, rest: &impl Hash, address: Option<IpAddr>) -> sdp_types::Origin {
        let mut hasher = DefaultHasher::new();
        rest.hash(&mut hasher);
        let hash = hasher.finish();
        if self.printed.is_some_and(|printed| printed != hash) {
            self.version += 1;
        }
        self.printed = Some(hash);
        if self.address.is_none() {
            self.address = address;
        }
        let ip = self.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        sdp_types::Origin::with_ip_addr(self.id, self.version, ip)
    }
}
