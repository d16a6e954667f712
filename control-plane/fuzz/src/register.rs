use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use registrar::{Change, Config, Located, Registrar};
use sans_io::{Random, Timestamp};
use sip::message::Uri;
use sip::{FlowId, HeaderName, Message, Source, Transport};

/// Bindings that a user may have here.
const CONTACTS_MAX: usize = 3;

/// Header fields of REGISTERs, divided by empty lines: what a user agent that follows no rule sends.
///
/// Asserts: no input panics; every REGISTER has an answer that can be read; the answer to a query names as many contacts as
/// there are bindings; limits hold; what was to be kept is what there is; calls to the user go somewhere exactly while
/// there is a binding; and in the end all bindings run out.
///
/// # Panics
/// When one of these does not hold.
pub fn register(data: &[u8]) {
    let mut config = Config::new("example.com");
    config.authentication = None;
    config.contacts_max = CONTACTS_MAX;
    config.foreign_contacts = true;
    let mut registrar = Registrar::new(config, Random::from_number(1));
    let source = Source {
        transport: Transport::Udp,
        flow: FlowId(1),
        remote: SocketAddr::from(([192, 0, 2, 1], 5060)),
        local: SocketAddr::from(([198, 51, 100, 1], 5060)),
    };
    let mut now = Timestamp::from_millis(1);
    let mut kept = std::collections::BTreeSet::new();
    let text = String::from_utf8_lossy(data);
    for (number, fields) in text.split("\n\n").take(16).enumerate() {
        for fields in [fields, ""] {
            let fields = fields.replace('\n', "\r\n");
            let request = format!(
                "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
                 From: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\nCall-ID: x\r\n\
                 CSeq: {} REGISTER\r\n{fields}\r\n\r\n",
                number + 1
            );
            let Ok(request) = Message::parse_datagram(Bytes::from(request)) else {
                continue;
            };
            let answer = registrar.register(now, &source, &request, "t");
            let answer = answer.expect("every REGISTER has an answer").bytes().clone();
            let answer = Message::parse_datagram(answer).expect("our answers can be read");
            while let Some(change) = registrar.poll_change() {
                match change {
                    Change::Put { binding, .. } => kept.insert(binding.id),
                    Change::Remove { id } => kept.remove(&id),
                };
            }
            assert_eq!(kept.len(), registrar.binding_count());
            assert!(kept.len() <= CONTACTS_MAX);
            if fields.is_empty() {
                assert_eq!(
                    answer.values(HeaderName::Contact).count(),
                    kept.len(),
                    "{answer:?}"
                );
            }
            let uri = Uri::parse("sip:alice@example.com").expect("it is a URI");
            match registrar.locate(now, &uri) {
                Located::At(targets) => assert_eq!(targets.len(), kept.len()),
                Located::Away | Located::Unknown => assert!(kept.is_empty()),
            }
        }
        now = now + Duration::from_secs(30);
        while registrar.poll_timeout().is_some_and(|at| at <= now) {
            registrar.handle_timeout(now);
        }
        while let Some(change) = registrar.poll_change() {
            if let Change::Remove { id } = change {
                kept.remove(&id);
            }
        }
    }
    registrar.handle_timeout(now + Duration::from_secs(100_000));
    assert_eq!((registrar.binding_count(), registrar.poll_timeout()), (0, None));
}
