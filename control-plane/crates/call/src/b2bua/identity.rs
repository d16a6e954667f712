//! Who calls, as the next hop may know it: asserted within trust (RFC 3325), hidden where the caller wants it so (RFC 3323).

use sip::message::{FieldName, NameAddr, RequestBuilder};
use sip::{HeaderName, Message};

use super::call::Inbound;
use super::headers;
use crate::{Named, NextHop};

/// Identities that are passed on: one of SIP, one of a telephone (RFC 3325 §9.1).
const ASSERTED_MAX: usize = 2;

/// Who does not want to be known (RFC 3323 §4.1.1.3).
pub(super) const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

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
        let values: Vec<&str> = invite.values(HeaderName::Privacy).collect();
        Self::read(&values.join(";"))
    }

    fn read(values: &str) -> Self {
        let has = |name: &str| {
            values
                .split(';')
                .any(|value| value.trim().eq_ignore_ascii_case(name))
        };
        let wants = !has("none");
        Self {
            id: wants && has("id"),
            user: wants && has("user"),
        }
    }

    /// Whether a caller wants not to be known beyond trust.
    const fn hides(self) -> bool {
        self.id || self.user
    }
}

/// What of `Privacy` is left to be asked for behind the border: what privacy services do is done there, and not asked for
/// again (RFC 3323 §5).
fn left_to_ask(values: &str) -> Option<String> {
    let left = values.split(';').map(str::trim).filter(|value| {
        !["user", "header", "session"]
            .iter()
            .any(|it| it.eq_ignore_ascii_case(value))
    });
    let left = left.collect::<Vec<_>>().join(";");
    (!left.is_empty()).then_some(left)
}

/// Who is asserted: what a trusted caller says, or the account by which a user has proved who it is.
fn asserted<'a>(
    invite: &'a Message,
    is_trusted: bool,
    account: Option<&'a str>,
) -> impl Iterator<Item = NameAddr<'a>> {
    let of_caller = invite
        .values(HeaderName::PAssertedIdentity)
        .filter(move |_| is_trusted);
    of_caller
        .chain(account)
        .filter_map(|value| NameAddr::parse(value).ok())
        .take(ASSERTED_MAX)
}

/// What is known of a party that called us, for those who are called on its behalf later: the targets of transfers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Who it is within trust (RFC 3325): display name and user count, the host is each reader's.
    asserted: Vec<String>,
    /// The account by which it has proved who it is.
    account: Option<String>,
    privacy: Option<String>,
}

impl Known {
    /// `None` if there is nothing but its `From`.
    pub(super) fn of(invite: &Message, is_trusted: bool, account: Option<&str>) -> Option<Box<Self>> {
        let names = headers::own_names(invite);
        let asserted = asserted(invite, is_trusted, account)
            .map(|address| headers::identity(&address, "host.invalid", &names))
            .collect();
        let privacy: Vec<&str> = invite
            .values(HeaderName::Privacy)
            .filter(|value| headers::may_pass(value, &names))
            .collect();
        let known = Self {
            asserted,
            account: account.map(str::to_owned),
            privacy: (!privacy.is_empty()).then(|| privacy.join(";")),
        };
        let is_nothing = known.asserted.is_empty() && known.privacy.is_none();
        (!is_nothing).then(|| Box::new(known))
    }

    /// Whether the party wants not to be known beyond trust.
    pub(super) fn is_hidden(&self) -> bool {
        self.privacy
            .as_deref()
            .is_some_and(|privacy| Wish::read(privacy).hides())
    }

    /// `From` at a next hop whose policy wants the account in it.
    pub(super) fn named(&self, hop: &NextHop, host: &str) -> Option<String> {
        named_by_account(self.account.as_deref(), hop, host)
    }

    /// Adds what a next hop is told beside `From`.
    pub(super) fn tell(&self, builder: RequestBuilder, hop: &NextHop, host: &str) -> RequestBuilder {
        let is_trusted = is_trusted(hop);
        let addresses = self.asserted.iter().filter(|_| is_trusted);
        let builder =
            addresses
                .filter_map(|value| NameAddr::parse(value).ok())
                .fold(builder, |builder, address| {
                    let identity = headers::identity(&address, host, &[]);
                    builder.header(HeaderName::PAssertedIdentity, identity)
                });
        let privacy = match (&self.privacy, is_trusted) {
            (Some(privacy), true) => Some(privacy.clone()),
            (Some(privacy), false) => left_to_ask(privacy),
            (None, _) => None,
        };
        privacy.into_iter().fold(builder, |builder, privacy| {
            builder.header(HeaderName::Privacy, privacy)
        })
    }
}

/// The account as the `From` of a next hop that wants to know it so.
fn named_by_account(account: Option<&str>, hop: &NextHop, host: &str) -> Option<String> {
    let is_wanted = hop.peer.as_ref().is_some_and(|peer| peer.from == Named::Account);
    let account = NameAddr::parse(account.filter(|_| is_wanted)?).ok()?;
    Some(headers::identity(&account, host, &[]))
}

/// Whether those behind a next hop are trusted.
pub(super) fn is_trusted(hop: &NextHop) -> bool {
    hop.peer.as_ref().is_some_and(|peer| peer.trusted)
}

/// `From` without its tag, for a next hop: who does not trust us, and whom we don't trust, does not learn who a caller is
/// that hides it.
pub(super) fn from(inbound: &Inbound, hop: &NextHop, host: &str, own_names: &[&str]) -> String {
    if !is_trusted(hop) && Wish::of(&inbound.invite).hides() {
        return ANONYMOUS.to_owned();
    }
    if let Some(account) = named_by_account(inbound.account.as_deref(), hop, host) {
        return account;
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
    asserted(&inbound.invite, inbound.is_trusted, inbound.account.as_deref()).fold(
        builder,
        |builder, address| {
            let identity = headers::identity(&address, host, &names);
            builder.header(HeaderName::PAssertedIdentity, identity)
        },
    )
}

/// Adds what passes of the caller's header fields.
pub(super) fn pass_through(builder: RequestBuilder, inbound: &Inbound, hop: &NextHop) -> RequestBuilder {
    let wish = Wish::of(&inbound.invite);
    let is_border = !is_trusted(hop);
    headers::passed(&inbound.invite).fold(builder, |builder, (name, value)| match name {
        FieldName::Known(HeaderName::Privacy) if is_border => match left_to_ask(value) {
            None => builder,
            Some(left) => builder.header(HeaderName::Privacy, left),
        },
        FieldName::Known(known) if is_border && wish.user && OF_THE_USER.contains(&known) => builder,
        name => builder.header(name, value),
    })
}
