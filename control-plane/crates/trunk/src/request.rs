use sans_io::Random;
use sip::dialog::{new_call_id, new_tag};
use sip::message::{BuildError, RequestBuilder};
use sip::{HeaderName, Message};

/// What all requests of one series have in common: their Call-ID, tag and the order of their CSeq (RFC 3261 §10.2).
#[derive(Debug)]
pub(crate) struct Series {
    call_id: String,
    tag: String,
    cseq: u32,
}

impl Series {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            call_id: new_call_id(random),
            tag: new_tag(random),
            cseq: 0,
        }
    }

    /// The next request; `finish` adds what is its own.
    pub(crate) fn next(
        &mut self,
        method: &str,
        uri: &str,
        from: &str,
        to: &str,
        finish: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Message, BuildError> {
        self.cseq += 1;
        let request = RequestBuilder::new(method, uri)
            .header(HeaderName::MaxForwards, 70)
            .header(HeaderName::From, format_args!("<{from}>;tag={}", self.tag))
            .header(HeaderName::To, format_args!("<{to}>"))
            .header(HeaderName::CallId, &self.call_id)
            .header(HeaderName::CSeq, format_args!("{} {method}", self.cseq));
        finish(request).build()
    }
}
