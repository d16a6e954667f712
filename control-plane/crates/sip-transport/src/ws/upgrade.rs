#![expect(
    clippy::result_large_err,
    reason = "the answer to a request is of the library's type"
)]

use std::io;

use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use super::metered::Metered;
use crate::config::{Config, WebSocket};
use crate::counters::Drop;
use crate::tcp::Stream;

/// The subprotocol (RFC 7118 §4).
const SIP: &str = "sip";
/// Bytes read at once; kept as long as the connection.
const READ_BYTES: usize = 4 * 1024;
/// What answers to pings may take, two of which may wait beside a message (RFC 6455 §5.5: 125 bytes and a head each).
const PONGS_BYTES: usize = 512;

/// Waits for a client's request to speak WebSocket, and answers it.
///
/// A client has to offer `sip`, and a browser, which says what page it is in, that of an origin that we know. Its request may have
/// as many bytes as the head of a message.
pub(crate) async fn upgrade(
    stream: Stream,
    config: &Config,
) -> Result<WebSocketStream<Metered>, (Drop, io::Error)> {
    let mut reason = Drop::WebSocketHandshake;
    let judge =
        |request: &Request, response: Response| judge(&config.websocket, request, response, &mut reason);
    let metered = Metered::new(stream, config);
    let accepted = accept_hdr_async_with_config(metered, judge, Some(limits(config)));
    match tokio::time::timeout(config.websocket.handshake_timeout, accepted).await {
        Ok(Ok(mut stream)) => {
            // Frames that came together with the request are refused by the library.
            stream.get_mut().speak();
            Ok(stream)
        }
        Ok(Err(error)) => Err((reason, io::Error::other(error))),
        Err(_elapsed) => Err((Drop::WebSocketHandshake, io::ErrorKind::TimedOut.into())),
    }
}

/// Of one message, in one frame or several. What is written waits in the queue of the connection: here there is one message, which is
/// larger than one that came by what we add to it, and the answers to pings.
fn limits(config: &Config) -> WebSocketConfig {
    let largest = config.message.head_bytes + config.message.body_bytes;
    let mut limits = WebSocketConfig::default();
    limits.read_buffer_size = READ_BYTES;
    limits.write_buffer_size = 0;
    limits.max_write_buffer_size = 2 * largest + PONGS_BYTES;
    limits.max_message_size = Some(largest);
    limits.max_frame_size = Some(largest);
    limits
}

fn judge(
    config: &WebSocket,
    request: &Request,
    mut response: Response,
    reason: &mut Drop,
) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let offers_sip = offered
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim() == SIP);
    if !offers_sip {
        return Err(refusal(
            StatusCode::BAD_REQUEST,
            "the subprotocol here is sip (RFC 7118)",
        ));
    }
    // Only browsers say where their page is from, and each its own truth: a guard against other people's pages, not programs.
    if let Some(origin) = request.headers().get(header::ORIGIN)
        && !config.takes_origin(origin.as_bytes())
    {
        *reason = Drop::WebSocketOrigin;
        return Err(refusal(
            StatusCode::FORBIDDEN,
            "pages of this origin are not taken",
        ));
    }
    response
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SIP));
    Ok(response)
}

fn refusal(status: StatusCode, text: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(format!("{text}\n")));
    *response.status_mut() = status;
    response
}
