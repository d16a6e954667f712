use sip::{Message, Method};

/// How a message is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A response, an ACK, or a request within a dialog: it ends or advances work that exists, so it goes first.
    Urgent,
    /// A request that would begin work.
    New,
    /// An emergency call. It finds room in the queue where others do not.
    Emergency,
    /// A CANCEL. It stays behind the INVITE that it is for, and is not refused: it makes work less.
    Cancel,
}

impl Class {
    /// Tells by the tag of `To`: without one a request is outside any dialog (RFC 3261 §12.2).
    pub(crate) fn of(message: &Message) -> Self {
        match message.method() {
            None | Some(Method::Ack) => Self::Urgent,
            Some(Method::Cancel) => Self::Cancel,
            Some(_) if message.to().is_ok_and(|to| to.tag().is_some()) => Self::Urgent,
            Some(_) => Self::New,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn class(method: &str, to: &str) -> Class {
        let text = format!(
            "{method} sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: {to}\r\n\
             Call-ID: x\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        Class::of(&Message::parse_datagram(Bytes::from(text)).unwrap())
    }

    #[test]
    fn what_exists_goes_before_what_is_new() {
        assert_eq!(class("INVITE", "<sip:b@h>"), Class::New);
        assert_eq!(class("OPTIONS", "<sip:b@h>"), Class::New);
        assert_eq!(class("INVITE", "<sip:b@h>;tag=2"), Class::Urgent);
        assert_eq!(class("BYE", "<sip:b@h>;tag=2"), Class::Urgent);
        assert_eq!(class("ACK", "<sip:b@h>"), Class::Urgent);
        assert_eq!(class("CANCEL", "<sip:b@h>"), Class::Cancel);
    }
}
