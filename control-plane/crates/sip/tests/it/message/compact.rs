//! Compact forms in, long forms out (RFC 3261 §7.3.3).

use bytes::Bytes;
use sip::message::{HeaderName, Message};

#[test]
fn every_compact_form_is_the_long_name() {
    for name in HeaderName::KNOWN {
        let Some(letter) = name.compact() else { continue };
        let value = match name {
            HeaderName::CallId
            | HeaderName::From
            | HeaderName::To
            | HeaderName::Via
            | HeaderName::ContentLength => continue,
            HeaderName::Contact => "<sip:a@h>",
            _ => "text/plain",
        };
        for written in [letter, letter.to_ascii_uppercase()] {
            let text = format!(
                "OPTIONS sip:b@h SIP/2.0\r\nV: SIP/2.0/UDP a\r\nf: <sip:a@h>;tag=1\r\nT: <sip:b@h>\r\ni: x\r\n\
                 CSeq: 1 OPTIONS\r\n{written} : {value}\r\nL: 0\r\n\r\n"
            );
            let message = Message::parse_datagram(Bytes::from(text)).unwrap();
            assert_eq!(message.header(*name), Some(value));
            assert_eq!(message.header(&*letter.to_string()), Some(value));
            let printed = message.edit().build().unwrap();
            let names: Vec<&str> = printed.headers().map(|header| header.name).collect();
            assert_eq!(
                names,
                [
                    "Via",
                    "From",
                    "To",
                    "Call-ID",
                    "CSeq",
                    name.as_str(),
                    "Content-Length"
                ]
            );
        }
    }
}
