use std::fmt;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::grammar::{Values, trim, trim_end};
use super::printer::Printer;
use super::{BuildError, FieldName, Header, HeaderName, Message, Param, Params, Via};

/// A changed copy of a message: everything that is not changed stays as it was, known names in long form.
#[derive(Clone, Debug)]
#[must_use = "nothing is made before build()"]
pub struct Edit<'a> {
    message: &'a Message,
    request_uri: Option<&'a str>,
    removed: Vec<FieldName<'a>>,
    first_value: Vec<(HeaderName, String)>,
    front: Vec<(FieldName<'a>, String)>,
    back: Printer,
    body: Option<(Option<&'a str>, &'a [u8])>,
}

/// Bytes for `Content-Length` and what long forms add to compact ones.
const SPARE: usize = 128;

impl Message {
    /// A copy to be changed.
    pub fn edit(&self) -> Edit<'_> {
        Edit {
            message: self,
            request_uri: None,
            removed: Vec::new(),
            first_value: Vec::new(),
            front: Vec::new(),
            back: Printer::default(),
            body: None,
        }
    }

    /// A copy whose topmost `Via` has these `received` and `rport` and no others: what a server adds on receipt
    /// (RFC 3261 §18.2.1, RFC 3581 §4). A `None` leaves the parameter out, except that an `rport` flag stays. All
    /// other bytes stay as they are.
    ///
    /// # Errors
    /// [`BuildError::Value`] without a readable `Via`, [`BuildError::Refused`] when the header table cannot hold it.
    pub fn with_top_via_params(
        &self,
        received: Option<IpAddr>,
        rport: Option<u16>,
    ) -> Result<Self, BuildError> {
        self.with_top_via(|params| {
            let mut text = String::with_capacity(params.as_str().len() + SPARE);
            append_params(&mut text, params, received, rport);
            text
        })
    }

    /// A copy whose topmost `Via` has the parameters that `params` makes of those that are there.
    pub(super) fn with_top_via(&self, params: impl FnOnce(Params<'_>) -> String) -> Result<Self, BuildError> {
        let error = BuildError::Value(HeaderName::Via);
        let field = self
            .entries
            .iter()
            .find(|entry| entry.id == HeaderName::Via)
            .ok_or(error)?;
        let text = Values::new(self.text(field.value)).next().unwrap_or_default();
        let via = Via::parse(text).map_err(|_| error)?;
        let head = trim_end(&text[..text.len() - via.params.as_str().len()]);
        let params = params(via.params);

        // A value starts where its field's value starts, since the scan left out the white space before it.
        let params_at = usize::from(field.value.at) + head.len();
        let value_end = usize::from(field.value.at) + text.len();
        let mut bytes = Vec::with_capacity(self.bytes.len() + params.len());
        bytes.extend_from_slice(&self.bytes[..params_at]);
        bytes.extend_from_slice(params.as_bytes());
        bytes.extend_from_slice(&self.bytes[value_end..]);
        Self::printed(bytes)
    }
}

/// A parameter as it was written, with its semicolon.
pub(super) fn param_text(param: Param<'_>) -> impl Iterator<Item = &str> {
    let value = param.value.into_iter().flat_map(|value| ["=", value]);
    [";", param.name].into_iter().chain(value)
}

fn append_params(text: &mut String, params: Params<'_>, received: Option<IpAddr>, rport: Option<u16>) {
    for param in params.iter() {
        let replaced = param.name.eq_ignore_ascii_case("received")
            || (param.name.eq_ignore_ascii_case("rport") && (rport.is_some() || param.value.is_some()));
        if !replaced {
            text.extend(param_text(param));
        }
    }
    // Writing to a String does not fail.
    let _ = received.map(|address| write!(text, ";received={address}"));
    let _ = rport.map(|port| write!(text, ";rport={port}"));
}

impl<'a> Edit<'a> {
    /// Another request URI.
    pub const fn request_uri(mut self, uri: &'a str) -> Self {
        self.request_uri = Some(uri);
        self
    }

    /// A field before all fields of that name: a `Via` or `Route` on top.
    pub fn prepend(mut self, name: impl Into<FieldName<'a>>, value: impl fmt::Display) -> Self {
        self.front.push((name.into(), value.to_string()));
        self
    }

    /// A field after all others.
    pub fn append(mut self, name: impl Into<FieldName<'a>>, value: impl fmt::Display) -> Self {
        self.back.field(name.into(), value);
        self
    }

    /// No field of that name. Fields that this edit adds stay.
    pub fn remove(mut self, name: impl Into<FieldName<'a>>) -> Self {
        self.removed.push(name.into());
        self
    }

    /// One field of that name with that value, in place of all that were there.
    pub fn set(self, name: impl Into<FieldName<'a>>, value: impl fmt::Display) -> Self {
        let name = name.into();
        self.remove(name).append(name, value)
    }

    /// Another value in place of the first of a list header; an empty one takes it away.
    pub fn replace_first_value(mut self, name: HeaderName, value: impl fmt::Display) -> Self {
        self.first_value.push((name, value.to_string()));
        self
    }

    /// Without the first value of a list header: the topmost `Via` or `Route`.
    pub fn remove_first_value(self, name: HeaderName) -> Self {
        self.replace_first_value(name, "")
    }

    /// Another body with its `Content-Type`.
    pub const fn body(mut self, content_type: &'a str, body: &'a [u8]) -> Self {
        self.body = Some((Some(content_type), body));
        self
    }

    /// No body and no `Content-Type`.
    pub const fn without_body(mut self) -> Self {
        self.body = Some((None, &[]));
        self
    }

    /// The changed message.
    ///
    /// # Errors
    /// The first thing that was refused.
    pub fn build(mut self) -> Result<Message, BuildError> {
        let message = self.message;
        let added = self
            .front
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len());
        let new_body = self.body.map_or(0, |(_, body)| body.len());
        let capacity = message.bytes().len() + added.sum::<usize>() + self.back.len() + new_body + SPARE;
        let mut printer = match (message.method(), message.request_uri()) {
            (Some(method), Some(uri)) => {
                Printer::request(method.as_str(), self.request_uri.unwrap_or(uri), capacity)
            }
            _ => Printer::response(
                message.status().unwrap_or_default(),
                message.reason_phrase().unwrap_or_default(),
                capacity,
            ),
        };
        // Fields that go on top of their like come first of all when there is no like.
        for (name, value) in self.front.iter().rev() {
            if !message
                .headers()
                .any(|header| name.matches(header.id, header.name))
            {
                printer.field(*name, value);
            }
        }
        for header in message.headers() {
            self.print_field(&mut printer, header);
        }
        printer.append(&self.back);
        let body = match self.body {
            Some((content_type, body)) => {
                if let Some(content_type) = content_type {
                    printer.field(HeaderName::ContentType.into(), content_type);
                }
                body
            }
            None => message.body(),
        };
        printer.finish(body)
    }

    fn print_field(&mut self, printer: &mut Printer, header: Header<'_>) {
        // The one added last stands on top.
        for index in (0..self.front.len()).rev() {
            if self.front[index].0.matches(header.id, header.name) {
                let (name, value) = self.front.remove(index);
                printer.field(name, value);
            }
        }
        let replaced_body = self.body.is_some() && header.id == HeaderName::ContentType;
        let removed = self
            .removed
            .iter()
            .any(|name| name.matches(header.id, header.name));
        if header.id == HeaderName::ContentLength || replaced_body || removed {
            return;
        }
        let Some(index) = self.first_value.iter().position(|(name, _)| *name == header.id) else {
            return printer.copy(header);
        };
        let (_, first) = self.first_value.swap_remove(index);
        let mut values = Values::new(header.value);
        values.next();
        let rest = trim(values.rest());
        match (first.is_empty(), rest.is_empty()) {
            (true, true) => {}
            (true, false) => printer.field(header.id.into(), rest),
            (false, true) => printer.field(header.id.into(), first),
            (false, false) => printer.field(header.id.into(), format_args!("{first}, {rest}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message() -> Message {
        let text = "BYE sip:b@h SIP/2.0\r\nv: SIP/2.0/UDP a.example:5070;rport;branch=z9hG4bK1;received=1.2.3.4, SIP/2.0/TCP b\r\n\
            Route: <sip:p1;lr>\r\nroute: <sip:p2;lr>, <sip:p3;lr>\r\nf: <sip:a@h>;tag=1\r\nt: <sip:b@h>;tag=2\r\ni: x\r\n\
            CSeq: 1 BYE\r\nX-Odd:   a\t b \r\nl: 0\r\n\r\n";
        Message::parse_datagram(Bytes::from(text)).unwrap()
    }

    #[test]
    fn top_via_gets_received_and_rport_of_ours_alone() {
        let edited = message()
            .with_top_via_params(Some([192, 0, 2, 9].into()), Some(40000))
            .unwrap();
        let values: Vec<_> = edited.values(HeaderName::Via).collect();
        assert_eq!(
            values,
            [
                "SIP/2.0/UDP a.example:5070;branch=z9hG4bK1;received=192.0.2.9;rport=40000",
                "SIP/2.0/TCP b"
            ]
        );
        let edited = message().with_top_via_params(None, None).unwrap();
        assert_eq!(
            edited.values(HeaderName::Via).next(),
            Some("SIP/2.0/UDP a.example:5070;rport;branch=z9hG4bK1")
        );
    }

    #[test]
    fn values_are_put_on_top_and_taken_off() {
        let message = message();
        let edited = message
            .edit()
            .request_uri("sip:c@h")
            .prepend(HeaderName::Via, "SIP/2.0/UDP me;branch=z9hG4bK2")
            .prepend(HeaderName::RecordRoute, "<sip:me;lr>")
            .remove_first_value(HeaderName::Route)
            .set("X-Odd", "c")
            .append(HeaderName::MaxForwards, 69)
            .body("text/plain", b"hi")
            .build()
            .unwrap();
        assert_eq!(edited.request_uri(), Some("sip:c@h"));
        assert_eq!(edited.via().unwrap().branch(), Some("z9hG4bK2"));
        assert_eq!(edited.vias().count(), 3);
        assert_eq!(edited.routes().count(), 2);
        assert_eq!(edited.header("x-odd"), Some("c"));
        assert_eq!((edited.max_forwards(), edited.body()), (Ok(Some(69)), &b"hi"[..]));
        let again = edited
            .edit()
            .remove_first_value(HeaderName::Route)
            .without_body()
            .build()
            .unwrap();
        assert_eq!(
            again.values(HeaderName::Route).collect::<Vec<_>>(),
            ["<sip:p3;lr>"]
        );
        assert_eq!((again.content_type(), again.body()), (None, &b""[..]));
    }

    #[test]
    fn unchanged_copy_has_long_names_and_unknown_ones_as_written() {
        let copy = message().edit().build().unwrap();
        let text = std::str::from_utf8(copy.bytes()).unwrap();
        assert!(
            text.contains("\r\nVia: ")
                && text.contains("\r\nX-Odd: a\t b\r\n")
                && text.ends_with("\r\nContent-Length: 0\r\n\r\n")
        );
        assert_eq!(copy.edit().build().unwrap(), copy);
    }
}
