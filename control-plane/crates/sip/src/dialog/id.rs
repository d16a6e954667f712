use sans_io::Random;

use super::DialogError;
use crate::message::Message;

/// What identifies a dialog at one of its ends (RFC 3261 §12). Tags compare byte by byte. A peer of RFC 2543 may have
/// no tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialogId {
    /// The Call-ID.
    pub call_id: Box<str>,
    /// Our tag.
    pub local_tag: Box<str>,
    /// The peer's tag.
    pub remote_tag: Option<Box<str>>,
}

impl DialogId {
    /// The dialog that a received request belongs to; `None` if it belongs to none, having no To tag.
    pub fn of_request(request: &Message) -> Result<Option<Self>, DialogError> {
        let Some(local_tag) = request.to()?.tag() else {
            return Ok(None);
        };
        Ok(Some(Self {
            call_id: request.call_id()?.into(),
            local_tag: local_tag.into(),
            remote_tag: request.from()?.tag().map(Into::into),
        }))
    }

    /// The dialog that a received response belongs to or makes; `None` for a response without a To tag, such as 100.
    pub fn of_response(response: &Message) -> Result<Option<Self>, DialogError> {
        let Some(remote_tag) = response.to()?.tag() else {
            return Ok(None);
        };
        Ok(Some(Self {
            call_id: response.call_id()?.into(),
            local_tag: response.from()?.tag().unwrap_or_default().into(),
            remote_tag: Some(remote_tag.into()),
        }))
    }
}

/// A tag for From or To: 64 random bits (§19.3 asks for at least 32).
pub fn new_tag(random: &mut Random) -> String {
    format!("{:016x}", random.next_u64())
}

/// A Call-ID that tells nothing of its maker (§8.1.1.4): 128 random bits.
pub fn new_call_id(random: &mut Random) -> String {
    format!("{:016x}{:016x}", random.next_u64(), random.next_u64())
}
