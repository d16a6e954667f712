use std::borrow::Cow;

use sip::message::{NameAddr, unquote};
use sip::{HeaderName, Message};

use crate::{Config, Refusal};

/// The seconds that a broken expiry stands for (RFC 3261 §10.3 step 6, §20.19).
const EXPIRES_BROKEN_S: u32 = 3_600;

/// The longest `Call-ID` that is kept.
const CALL_ID_BYTES_MAX: usize = 256;

/// The longest instance id; a URN of a UUID has 45 bytes.
const INSTANCE_BYTES_MAX: usize = 128;

/// What a REGISTER asks for, as far as it can be read by itself.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) contacts: Contacts<'a>,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    /// All Path values, divided by commas.
    pub(crate) path: String,
    /// Whether the sender knows of outbound, path and gruu.
    pub(crate) outbound: bool,
    pub(crate) gruu: bool,
}

/// The contacts of a REGISTER.
#[derive(Debug)]
pub(crate) enum Contacts<'a> {
    /// None: it asks for the bindings that there are.
    Query,
    /// `*`: all bindings go.
    All,
    /// These.
    Listed(Vec<Contact<'a>>),
}

/// One contact.
#[derive(Debug)]
pub(crate) struct Contact<'a> {
    pub(crate) uri: &'a str,
    pub(crate) expires_s: u32,
    pub(crate) q_permille: u16,
    pub(crate) instance: Cow<'a, str>,
    /// Zero when the contact is not of an outbound flow.
    pub(crate) reg_id: u32,
}

impl<'a> Asked<'a> {
    pub(crate) fn read(request: &'a Message, config: &Config) -> Result<Self, Refusal> {
        let malformed = |_| Refusal::Malformed;
        let call_id = request.call_id().map_err(malformed)?;
        let cseq = request.cseq().map_err(malformed)?.seq;
        if call_id.len() > CALL_ID_BYTES_MAX {
            return Err(Refusal::Malformed);
        }
        let supports = |tag| request.has_token(HeaderName::Supported, tag);
        let path: Vec<&str> = request.values(HeaderName::Path).collect();
        let is_readable = path.iter().all(|value| NameAddr::parse(value).is_ok());
        let path = path.join(",");
        // RFC 3261 allows a quoted NUL, which no answer of ours and no text of PostgreSQL can hold.
        if !is_readable || path.contains('\0') || path.len() > config.path_bytes_max {
            return Err(Refusal::Malformed);
        }
        let mut asked = Self {
            contacts: Contacts::Query,
            call_id,
            cseq,
            path,
            outbound: supports("outbound"),
            gruu: supports("gruu"),
        };
        let expires = match request.number(HeaderName::Expires) {
            Ok(expires) => expires,
            Err(_) => Some(EXPIRES_BROKEN_S),
        };
        asked.contacts = contacts(request, config, expires, asked.outbound)?;
        Ok(asked)
    }
}

fn contacts<'a>(
    request: &'a Message,
    config: &Config,
    expires: Option<u32>,
    outbound: bool,
) -> Result<Contacts<'a>, Refusal> {
    let mut values = request.values(HeaderName::Contact).peekable();
    match values.peek() {
        None => return Ok(Contacts::Query),
        Some(&"*") => {
            values.next();
            let is_alone = values.next().is_none();
            // RFC 3261 §10.2.2.
            return match is_alone && expires == Some(0) {
                true => Ok(Contacts::All),
                false => Err(Refusal::Wildcard),
            };
        }
        Some(_) => {}
    }
    let mut contacts = Vec::new();
    for value in values {
        if value == "*" {
            return Err(Refusal::Wildcard);
        }
        if contacts.len() >= config.contacts_max {
            return Err(Refusal::TooManyContacts);
        }
        let address = NameAddr::parse(value).map_err(|_| Refusal::Malformed)?;
        contacts.push(contact(&address, config, expires, outbound)?);
    }
    // RFC 5626 §6: one flow a REGISTER.
    let flows = contacts
        .iter()
        .filter(|contact| contact.reg_id != 0 && contact.expires_s > 0);
    match flows.count() {
        0 | 1 => Ok(Contacts::Listed(contacts)),
        _ => Err(Refusal::Malformed),
    }
}

fn contact<'a>(
    address: &NameAddr<'a>,
    config: &Config,
    expires: Option<u32>,
    outbound: bool,
) -> Result<Contact<'a>, Refusal> {
    let expires_s = match address.param("expires") {
        Some(text) => text.parse().unwrap_or(EXPIRES_BROKEN_S),
        None => expires.unwrap_or(config.expires_default_s),
    };
    if (1..config.expires_min_s).contains(&expires_s) {
        return Err(Refusal::TooBrief);
    }
    let q_permille = match address.param("q") {
        Some(text) => q_permille(text).ok_or(Refusal::Malformed)?,
        None => 1_000,
    };
    let instance = address.param("+sip.instance").map_or(Cow::Borrowed(""), instance);
    let reg_id = match address.param("reg-id") {
        // Without an instance or without outbound it means nothing (RFC 5626 §6).
        Some(_) if instance.is_empty() || !outbound => 0,
        Some(text) => text
            .parse()
            .ok()
            .filter(|&id| id != 0 && id <= u32::MAX >> 1)
            .ok_or(Refusal::Malformed)?,
        None => 0,
    };
    if address.uri.len() > config.contact_bytes_max || !is_urn(&instance) {
        return Err(Refusal::Malformed);
    }
    Ok(Contact {
        uri: address.uri,
        expires_s: expires_s.min(config.expires_max_s),
        q_permille,
        instance,
        reg_id,
    })
}

/// The content of `+sip.instance="<urn:…>"`.
fn instance(value: &str) -> Cow<'_, str> {
    let strip = |text: &str| {
        let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
        inner.unwrap_or(text).to_owned()
    };
    Cow::Owned(strip(&unquote(value)))
}

/// Whether an instance is none, or can be one: we print it in quoted strings and as the parameter of a URI (RFC 5627 §4.2),
/// so it must be nothing that ends either.
fn is_urn(instance: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte);
    instance.len() <= INSTANCE_BYTES_MAX && instance.bytes().all(is_plain)
}

/// A `qvalue`: 0 to 1 with at most three decimals (RFC 3261 §25.1), in thousandths.
fn q_permille(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_number = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || !matches!(whole, "0" | "1") {
        return None;
    }
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    let q = if whole == "1" {
        1_000 + thousandths
    } else {
        thousandths
    };
    (q <= 1_000).then_some(q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qvalues_are_read_as_the_grammar_says() {
        for (text, q) in [
            ("1", Some(1_000)),
            ("1.0", Some(1_000)),
            ("0.7", Some(700)),
            ("0.75", Some(750)),
            ("0.001", Some(1)),
            ("0", Some(0)),
            ("0.", Some(0)),
            ("1.001", None),
            ("2", None),
            ("-0.5", None),
            ("0.0001", None),
            ("0.x", None),
            ("", None),
        ] {
            assert_eq!(q_permille(text), q, "{text}");
        }
    }

    #[test]
    fn an_instance_loses_its_marks() {
        assert_eq!(instance("\"<urn:uuid:1>\""), "urn:uuid:1");
        assert_eq!(instance("\"urn:uuid:1\""), "urn:uuid:1");
    }
}
