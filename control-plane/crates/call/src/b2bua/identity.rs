//! Who calls, as the next hop may know it: asserted within trust (RFC 3325), hidden where the caller wants it so (RFC 3323).

use sip::message::{FieldName, NameAddr, RequestBuilder};
use sip::{HeaderName, Message};

use super::call::Inbound;
use super::headers;
use crate::NextHop;

/// Identities that are passed on: one of SIP, one of a telephone (RFC 3325 §9.1).
const ASSERTED_MAX: usize = 2;

/// Header fields that speak of a user who wants to be unknown (RFC 3323 §4.1, table 1).
const OF_THE_USER: &[HeaderName] = &[HeaderName::Subject];

/// The privacy that a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Wish {
    id: bool,
    user: bool,
}

impl Wish {
    fn of(invite: &Message) -> Self {
        let values = || {
            invite
                .values(HeaderName::Privacy)
                .flat_map(|value| value.split(';'))
        };
        let has = |name: &str| values().any(|value| value.trim().eq_ignore_ascii_case(name));
        let wants = !has("none");
        Self {
            id: wants && has("id"),
            user: wants && has("user"),
        }
    }
}

/// Whether a caller wants not to be known beyond trust.
pub(super) fn is_hidden(invite: &Message) -> bool {
    let wish = Wish::of(invite);
    wish.id || wish.user
}

/// Whether those behind a next hop are trusted.
pub(super) fn is_trusted(hop: &NextHop) -> bool {
    hop.peer.as_ref().is_some_and(|peer| peer.trusted)
}

/// `From` without its tag, for a next hop: who does not trust us, and whom we don't trust, does not learn who a caller is
/// that hides it.
pub(super) fn from(inbound: &Inbound, hop: &NextHop, host: &str, own_names: &[&str]) -> String {
    if !is_trusted(hop) && is_hidden(&inbound.invite) {
        return "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned();
    }
    let address = inbound.invite.from().ok();
    address.map_or_else(
        || format!("<sip:{host}>"),
        |address| headers::identity(&address, host, own_names),
    )
}

/// Adds `P-Asserted-Identity` for a next hop that is trusted: what a trusted caller says, or the account by which a user has
/// proved who it is. What anybody else says is made up (RFC 3325 §5).
pub(super) fn assert(
    builder: RequestBuilder,
    inbound: &Inbound,
    hop: &NextHop,
    host: &str,
) -> RequestBuilder {
    if !is_trusted(hop) {
        return builder;
    }
    let names = headers::own_names(&inbound.invite);
    let of_caller = inbound
        .invite
        .values(HeaderName::PAssertedIdentity)
        .filter(|_| inbound.is_trusted);
    of_caller
        .chain(inbound.account.as_deref())
        .filter_map(|value| NameAddr::parse(value).ok())
        .take(ASSERTED_MAX)
        .fold(builder, |builder, address| {
            let identity = headers::identity(&address, host, &names);
            builder.header(HeaderName::PAssertedIdentity, identity)
        })
}

/// Adds what passes of the caller's header fields. What privacy services are asked for is done at the border, and not asked
/// for again behind it (RFC 3323 §5).
pub(super) fn pass_through(builder: RequestBuilder, inbound: &Inbound, hop: &NextHop) -> RequestBuilder {
    let wish = Wish::of(&inbound.invite);
    let is_border = !is_trusted(hop);
    headers::passed(&inbound.invite).fold(builder, |builder, (name, value)| match name {
        FieldName::Known(HeaderName::Privacy) if is_border => {
            let left = value.split(';').map(str::trim).filter(|value| {
                !["user", "header", "session"]
                    .iter()
                    .any(|it| it.eq_ignore_ascii_case(value))
            });
            match left.collect::<Vec<_>>().join(";") {
                left if left.is_empty() => builder,
                left => builder.header(HeaderName::Privacy, left),
            }
        }
        FieldName::Known(known) if is_border && wish.user && OF_THE_USER.contains(&known) => builder,
        name => builder.header(name, value),
    })
}
