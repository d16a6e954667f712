use std::net::IpAddr;

use sip::message::{NameAddr, Scheme, Uri};
use sip::{Destination, Transport};

use crate::Binding;

/// Where a call to a user goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The request URI: the contact as it was registered, without headers (RFC 3261 §16.6 step 2).
    pub uri: String,
    /// `Route` values from the contact's Path, in order (RFC 3327 §5.3).
    pub routes: Vec<String>,
    /// Where the message goes.
    pub destination: Destination,
    /// Preference in thousandths.
    pub q_permille: u16,
    /// The instance, empty without one: targets of one instance are flows to one device, tried in turn (RFC 5626 §6).
    pub instance: String,
}

impl Target {
    pub(crate) fn of(binding: &Binding) -> Self {
        let uri = Uri::parse(&binding.contact).map_or(&*binding.contact, |uri| uri.without_headers());
        Self {
            uri: uri.to_owned(),
            routes: sip::message::Values::new(&binding.path)
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
                .collect(),
            destination: destination(binding),
            q_permille: binding.q_permille,
            instance: binding.instance.to_string(),
        }
    }
}

impl Target {
    /// A `sips:` contact is called over TLS, or WebSocket over it, or not at all (RFC 5630 §4).
    pub(crate) fn is_as_secure_as_asked(&self) -> bool {
        let is_sips = Uri::parse(&self.uri).is_ok_and(|uri| uri.scheme() == Scheme::Sips);
        !is_sips || self.destination.transport.is_secure()
    }
}

/// The first Path's address, if there is one. Else the contact's own when it is the host that registered and no
/// connection has to be used; and in all other cases, such as behind a NAT or on WebSocket, or when the address names that or
/// a transport that we do not speak, where the REGISTER came from.
fn destination(binding: &Binding) -> Destination {
    let received = binding.received;
    if received.transport.is_websocket() {
        return received;
    }
    let path = sip::message::Values::new(&binding.path).find(|value| !value.is_empty());
    let first = path.and_then(|path| Some(NameAddr::parse(path).ok()?.uri));
    let uri = match first {
        Some(uri) => Uri::parse(uri).ok(),
        None => Uri::parse(&binding.contact).ok(),
    };
    let Some((uri, ip)) = uri.and_then(|uri| Some((uri, uri.host()?.ip()?))) else {
        return received;
    };
    let named = uri.param("transport").map(Transport::of_uri_param);
    let transport = match named {
        // Nobody is connected to by WebSocket (RFC 7118 §5).
        Some(Some(transport)) if transport.is_websocket() => return received,
        // RFC 3261 §26.2.2: TLS, and `transport=tcp` says what is below it.
        _ if uri.scheme() == Scheme::Sips => Transport::Tls,
        Some(Some(transport)) => transport,
        Some(None) => return received,
        None if ip == received.remote.ip() => received.transport,
        None => Transport::Udp,
    };
    let is_device = ip == received.remote.ip();
    let needs_flow = received.transport.is_reliable() && transport == received.transport;
    let is_hidden = first.is_none() && !is_device && !is_public(ip);
    if binding.reg_id != 0 && first.is_none() || (is_device && needs_flow) || is_hidden {
        return received;
    }
    Destination {
        transport,
        remote: (ip, uri.port().unwrap_or(transport.default_port())).into(),
        flow: received
            .flow
            .filter(|_| is_device && transport == received.transport),
    }
}

/// Whether an address can be reached from anywhere: those that cannot are behind a NAT when they are not the source's.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let is_shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_multicast()
                || is_shared)
        }
        IpAddr::V6(address) => {
            !(address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unique_local()
                || address.is_unicast_link_local())
        }
    }
}
