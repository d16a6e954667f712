//! Who has sent a call on before it came to where it goes: Diversion (RFC 5806) and History-Info (RFC 7044), each mapped to
//! the other where a next hop wants it (RFC 7544), within trust alone.

use sip::message::{NameAddr, RequestBuilder, Uri};
use sip::{HeaderName, Message};

use super::call::Inbound;
use super::headers;
use super::identity::is_trusted;
use crate::{Called, History, NextHop};

/// Diversions that are read and told.
const DIVERSIONS_MAX: usize = 16;

/// Causes of RFC 4458 and the reasons of RFC 5806 that mean the same (RFC 7544 §6); the first fits both ways.
const REASONS: &[(u16, &str)] = &[
    (404, "unknown"),
    (486, "user-busy"),
    (408, "no-answer"),
    (503, "unavailable"),
    (302, "unconditional"),
    (480, "deflection"),
    (487, "deflection"),
];

/// One who has sent the call on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Diversion {
    called: Called,
    /// Why, as RFC 4458 says it.
    cause: u16,
    is_private: bool,
}

fn called(uri: &str, own_names: &[&str]) -> Called {
    let (user, params) = headers::user_and_params(uri, own_names);
    Called {
        user,
        is_phone: !params.is_empty(),
        by: None,
    }
}

/// What `Diversion` says, the latest first.
fn of_diversion(invite: &Message, own_names: &[&str]) -> Vec<Diversion> {
    let read = |value| {
        let address = NameAddr::parse(value).ok()?;
        let reason = address.param("reason").unwrap_or("").trim_matches('"');
        let known = REASONS.iter().find(|(_, name)| name.eq_ignore_ascii_case(reason));
        Some(Diversion {
            called: called(address.uri, own_names),
            cause: known.map_or(404, |(cause, _)| *cause),
            is_private: address
                .param("privacy")
                .is_some_and(|privacy| !privacy.trim_matches('"').eq_ignore_ascii_case("off")),
        })
    };
    let values = invite.values(HeaderName::Diversion);
    values.filter_map(read).take(DIVERSIONS_MAX).collect()
}

/// What `History-Info` says, the latest first: an entry was diverted when the one after it has a cause (RFC 7544 §7.2).
fn of_history(invite: &Message, own_names: &[&str]) -> Vec<Diversion> {
    let all_private = invite
        .values(HeaderName::Privacy)
        .flat_map(|value| value.split(';'))
        .any(|value| value.trim().eq_ignore_ascii_case("history"));
    let addresses = || {
        invite
            .values(HeaderName::HistoryInfo)
            .filter_map(|value| NameAddr::parse(value).ok())
    };
    let cause = |address: NameAddr<'_>| Uri::parse(address.uri).ok()?.param("cause")?.parse().ok();
    let mut diversions: Vec<Diversion> = addresses()
        .zip(addresses().skip(1))
        .take(DIVERSIONS_MAX)
        .filter_map(|(address, next)| {
            let (_, fields) = address.uri.split_once('?').unwrap_or_default();
            Some(Diversion {
                called: called(address.uri, own_names),
                cause: cause(next)?,
                is_private: all_private || fields.to_ascii_lowercase().contains("privacy=history"),
            })
        })
        .collect();
    diversions.reverse();
    diversions
}

/// Those who have sent the call on, the latest first: by redirections that were followed here, and before it came, as a
/// trusted caller says.
fn diversions(inbound: &Inbound, hop: &NextHop, target: &Called) -> Vec<Diversion> {
    let invite = &inbound.invite;
    let names = headers::own_names(invite);
    let mut diversions = Vec::new();
    let mut by = hop.called.as_ref().map(|called| called.by.clone());
    while let Some(one) = by {
        let called = one.as_deref().unwrap_or(target).clone();
        diversions.push(Diversion {
            called,
            cause: 302,
            is_private: false,
        });
        by = one.map(|one| one.by.clone());
    }
    if inbound.is_trusted {
        let before = match invite.has(HeaderName::Diversion) {
            true => of_diversion(invite, &names),
            false => of_history(invite, &names),
        };
        diversions.extend(before);
    }
    diversions.truncate(DIVERSIONS_MAX);
    diversions
}

/// `sip:` and the user at `host`, or nobody in particular.
fn uri(called: &Called, host: &str, is_hidden: bool) -> String {
    let Called { user, is_phone, .. } = called;
    let (at, params) = (
        if user.is_empty() { "" } else { "@" },
        if *is_phone { ";user=phone" } else { "" },
    );
    match is_hidden {
        true => "sip:anonymous@anonymous.invalid".to_owned(),
        false => format!("sip:{user}{at}{host}{params}"),
    }
}

fn print_diversion(
    builder: RequestBuilder,
    diversions: &[Diversion],
    host: &str,
    is_border: bool,
) -> RequestBuilder {
    diversions.iter().fold(builder, |builder, diversion| {
        let known = REASONS.iter().find(|(cause, _)| *cause == diversion.cause);
        let reason = known.map_or("unknown", |(_, reason)| reason);
        let privacy = if is_border || diversion.is_private {
            "full"
        } else {
            "off"
        };
        let uri = uri(&diversion.called, host, is_border);
        builder.header(
            HeaderName::Diversion,
            format_args!("<{uri}>;reason={reason};privacy={privacy};counter=1"),
        )
    })
}

fn print_history(
    mut builder: RequestBuilder,
    diversions: &[Diversion],
    target: &Called,
    host: &str,
    is_border: bool,
) -> RequestBuilder {
    let mut index = String::new();
    let mut cause = None;
    for diversion in diversions.iter().rev() {
        let fields = if diversion.is_private && !is_border {
            "?Privacy=history"
        } else {
            ""
        };
        let uri = uri(&diversion.called, host, is_border);
        builder = entry(builder, &uri, cause, fields, &mut index);
        cause = Some(diversion.cause);
    }
    let uri = uri(target, host, is_border && !diversions.is_empty());
    entry(builder, &uri, cause, "", &mut index)
}

/// Adds one entry, whose `index` is one level below that of the entry before.
fn entry(
    builder: RequestBuilder,
    uri: &str,
    cause: Option<u16>,
    fields: &str,
    index: &mut String,
) -> RequestBuilder {
    let before = std::mem::take(index);
    *index = if before.is_empty() {
        "1".to_owned()
    } else {
        format!("{before}.1")
    };
    match cause {
        Some(cause) => builder.header(
            HeaderName::HistoryInfo,
            format_args!("<{uri};cause={cause}{fields}>;index={index};mp={before}"),
        ),
        None => builder.header(
            HeaderName::HistoryInfo,
            format_args!("<{uri}{fields}>;index={index}"),
        ),
    }
}

/// Adds who has sent the call on, in the form that the next hop wants, with us as the host. Behind the border of trust it is
/// said that and why, but not by whom.
pub(super) fn tell(builder: RequestBuilder, inbound: &Inbound, hop: &NextHop, host: &str) -> RequestBuilder {
    let form = hop.peer.as_ref().map(|peer| peer.history).unwrap_or_default();
    let is_told = |name| inbound.is_trusted && inbound.invite.has(name);
    let (came_as_history, came_as_diversion) =
        (is_told(HeaderName::HistoryInfo), is_told(HeaderName::Diversion));
    if form == History::Off || hop.called.is_none() && !came_as_history && !came_as_diversion {
        return builder;
    }
    let names = headers::own_names(&inbound.invite);
    let asked = called(inbound.invite.request_uri().unwrap_or(""), &names);
    let diversions = diversions(inbound, hop, &asked);
    let target = hop.called.as_deref().unwrap_or(&asked);
    let (as_history, as_diversion) = match form {
        History::Pass => (came_as_history, came_as_diversion || !came_as_history),
        History::HistoryInfo => (true, false),
        History::Diversion => (false, true),
        History::Off => (false, false),
    };
    let is_border = !is_trusted(hop);
    let builder = match as_history {
        true => print_history(builder, &diversions, target, host, is_border),
        false => builder,
    };
    match as_diversion {
        true => print_diversion(builder, &diversions, host, is_border),
        false => builder,
    }
}
