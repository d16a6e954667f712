use crate::{Failure, Keys};

/// What has become of an association.
#[derive(Debug)]
pub enum Event {
    /// The handshake is complete and the party is who its description says. Comes once.
    Connected(Keys),
    /// It came to nothing, or ended. Comes once, and nothing after it.
    Failed(Failure),
    /// The party closed it (`close_notify`). Its SRTP keys stay good until signalling ends the call (RFC 5764 §4.1).
    Closed,
}
