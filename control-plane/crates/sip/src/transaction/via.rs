use std::net::IpAddr;

use sans_io::Random;

use super::config::Listener;
use crate::message::{BRANCH_COOKIE, Message, OVERLOAD_OFFER, Via};
use crate::{Destination, Source, Transport};

/// A Via of ours with a branch that nobody can guess: 128 random bits. Whoever answers with that branch has seen the
/// request, so a response is matched by it alone. `rport` asks for the answer to come to where we sent from (RFC 3581);
/// over TLS `alias` offers the connection for requests to us (RFC 5923 §5). `oc` offers to obey (RFC 7339 §5.1).
pub(super) fn own_via(listener: &Listener, random: &mut Random, obeys: bool) -> String {
    format!(
        "SIP/2.0/{} {};branch={BRANCH_COOKIE}{:016x}{:016x};rport{}{}",
        listener.transport.via_name(),
        listener.sent_by,
        random.next_u64(),
        random.next_u64(),
        if listener.transport == Transport::Tls {
            ";alias"
        } else {
            ""
        },
        if obeys { OVERLOAD_OFFER } else { "" },
    )
}

/// What to add to the top Via of a request from `source`: `received`, and the value of `rport`.
///
/// `received` when the sent-by is not the address that the request came from (RFC 3261 §18.2.1), and whenever the
/// client asked for `rport` (RFC 3581 §4).
pub(super) fn source_params(via: &Via<'_>, source: &Source) -> (Option<IpAddr>, Option<u16>) {
    let ip = source.remote.ip().to_canonical();
    if via.rport().is_some() {
        return (Some(ip), Some(source.remote.port()));
    }
    let differs = via.host.ip() != Some(ip);
    (differs.then_some(ip), None)
}

/// Where a response to `request` goes (RFC 3261 §18.2.2, RFC 3581 §4): on a reliable transport the connection that
/// the request came on, and when that is gone a new one to `received` and the port of the sent-by; on UDP `received`
/// and `rport`, or the port of the sent-by.
///
/// The address is always the one that the request came from: `maddr` would let a forged request send our answers to
/// a third party, so we do not follow it.
///
/// `None` if the request has no readable Via.
pub fn response_destination(source: &Source, request: &Message) -> Option<Destination> {
    let via = request.via().ok()?;
    // A copy with another port keeps the scope of a link-local address.
    let mut sent_by = source.remote;
    sent_by.set_port(via.port.unwrap_or(source.transport.default_port()));
    let remote = match source.transport {
        Transport::Udp if via.rport().is_some() => source.remote,
        _ => sent_by,
    };
    Some(Destination {
        transport: source.transport,
        remote,
        flow: Some(source.flow),
    })
}
