use crate::message::{HeaderName, Message, NameAddr, RequestBuilder, Uri};

use super::DialogError;

/// The proxies that a dialog's requests pass, in the order of the Route header fields to send (RFC 3261 §12.1).
/// Fixed when the dialog is made; the 2xx may change what a provisional response said (§13.2.2.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RouteSet(Box<[Box<str>]>);

impl RouteSet {
    /// At the server: the Record-Route of the request, in its order (§12.1.1).
    pub(super) fn of_request(request: &Message) -> Result<Self, DialogError> {
        Ok(Self(record_routes(request)?.into()))
    }

    /// At the client: the Record-Route of the response, in reverse (§12.1.2).
    pub(super) fn of_response(response: &Message) -> Result<Self, DialogError> {
        let mut routes = record_routes(response)?;
        routes.reverse();
        Ok(Self(routes.into()))
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|route| &**route)
    }

    /// The URI whose host the request is sent to (§8.1.2): that of the first route, strict or loose, or the target.
    pub(super) fn next_hop<'a>(&'a self, target: &'a str) -> &'a str {
        self.first_uri().map_or(target, |uri| uri)
    }

    /// A request to `target` along the routes (§12.2.1.1).
    ///
    /// A first route without `lr` is a strict router, which wants its own URI as Request-URI and the target at the
    /// end of the Route.
    pub(super) fn request(&self, method: &str, target: &str) -> RequestBuilder {
        let strict = self.first_uri().filter(|uri| !is_loose(uri));
        let Some(first) = strict else {
            let request = RequestBuilder::new(method, target);
            return self
                .routes()
                .fold(request, |request, route| request.header(HeaderName::Route, route));
        };
        let request = RequestBuilder::new(method, &without_what_a_request_uri_lacks(first));
        let rest = self.routes().skip(1);
        let request = rest.fold(request, |request, route| request.header(HeaderName::Route, route));
        request.header(HeaderName::Route, format_args!("<{target}>"))
    }

    fn first_uri(&self) -> Option<&str> {
        let first = self.0.first()?;
        NameAddr::parse(first).ok().map(|route| route.uri)
    }
}

/// Every value is read once here, so that a broken one is refused when the dialog is made and not when it is used.
fn record_routes(message: &Message) -> Result<Vec<Box<str>>, DialogError> {
    for route in message.record_routes() {
        route?;
    }
    Ok(message.values(HeaderName::RecordRoute).map(Into::into).collect())
}

fn is_loose(uri: &str) -> bool {
    Uri::parse(uri).is_ok_and(|uri| uri.is_loose_router())
}

/// A Request-URI has neither a `method` parameter nor headers (§19.1.1, table 1).
fn without_what_a_request_uri_lacks(uri: &str) -> String {
    let Ok(parsed) = Uri::parse(uri) else {
        return uri.to_owned();
    };
    let uri = parsed.without_headers();
    let Some((start, params)) = uri.split_once(';') else {
        return uri.to_owned();
    };
    let kept = params.split(';').filter(|param| {
        let name = param.split_once('=').map_or(*param, |(name, _)| name);
        !name.eq_ignore_ascii_case("method")
    });
    kept.fold(start.to_owned(), |uri, param| uri + ";" + param)
}
