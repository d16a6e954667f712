use sip::message::framing::{StreamFramer, StreamItem};
use sip::message::{HeaderName, Limits, Message};

/// A byte stream, as it comes from a connection. The first byte says how the rest is divided.
///
/// Asserts: no input panics; the items do not depend on how the stream is divided; what the framer keeps stays within
/// the limits; a message from a stream is what the datagram parser makes of the same bytes; an error stays.
///
/// # Panics
/// When one of these does not hold.
pub fn sip_stream(data: &[u8]) {
    let Some((division, stream)) = data.split_first() else {
        return;
    };
    let whole = items(stream, stream.len().max(1));
    assert_eq!(
        whole,
        items(stream, usize::from(*division) % 97 + 1),
        "the division changes what is read"
    );
}

/// What came out, in a form that can be compared.
#[derive(Debug, PartialEq)]
enum Item {
    Message(Message),
    Malformed(&'static str),
    KeepAlive,
    Pong,
    OutOfStep(&'static str),
}

fn items(stream: &[u8], chunk_len: usize) -> Vec<Item> {
    let limits = Limits::default();
    let mut framer = StreamFramer::new(limits);
    let mut items = Vec::new();
    for chunk in stream.chunks(chunk_len) {
        framer.push(chunk);
        loop {
            items.push(match framer.next() {
                Ok(None) => break,
                Ok(Some(StreamItem::Message(message))) => {
                    alone(&message);
                    Item::Message(message)
                }
                Ok(Some(StreamItem::Malformed(failure))) => {
                    assert!(failure.partial.is_some() || failure.response_code().is_none());
                    Item::Malformed(failure.error.reason())
                }
                Ok(Some(StreamItem::KeepAlive)) => Item::KeepAlive,
                Ok(Some(StreamItem::Pong)) => Item::Pong,
                Ok(Some(other)) => panic!("unknown item {other:?}"),
                Err(error) => {
                    assert_eq!(framer.buffered(), 0, "a stream that is given up keeps nothing");
                    framer.push(b"\r\n");
                    assert_eq!(
                        framer.next().expect_err("an error stays").reason(),
                        error.reason()
                    );
                    items.push(Item::OutOfStep(error.reason()));
                    return items;
                }
            });
        }
        assert!(
            framer.buffered() <= limits.head_bytes + limits.body_bytes,
            "{} bytes kept",
            framer.buffered()
        );
    }
    items
}

fn alone(message: &Message) {
    assert!(message.has(HeaderName::ContentLength));
    let again = Message::parse_datagram(message.bytes().clone()).expect("a datagram of the same bytes");
    assert_eq!(&again, message);
}
