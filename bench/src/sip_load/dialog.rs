//! A call of our own, by hand: SIPp's clock counts in milliseconds.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, bail};
use ops::clock::MonotonicClock;

/// How long an answer is waited for.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// A caller's side of an established call.
#[derive(Debug)]
pub struct Dialog {
    local: SocketAddr,
    /// What tells it from the caller's other calls.
    number: u64,
    id: String,
    to: String,
    /// Where its requests go, and by which proxies: the remote target and lines of `Route`.
    uri: String,
    routes: String,
    cseq: u32,
}

/// A socket at `local` that waits for [`PATIENCE`].
pub fn bind(local: SocketAddr) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(local).with_context(|| format!("a party of our own at {local}"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// The next datagram as text; `None` when none came in time.
pub fn receive(socket: &UdpSocket) -> anyhow::Result<Option<(String, SocketAddr)>> {
    let mut buffer = [0; 4_096];
    match socket.recv_from(&mut buffer) {
        Ok((length, from)) => Ok(Some((
            String::from_utf8_lossy(&buffer[..length]).into_owned(),
            from,
        ))),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The values of a header field, in order.
pub fn values<'a>(message: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    message
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .filter(move |(field, _)| field.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// A description of one stream of PCMA.
pub fn description(local: SocketAddr) -> String {
    let ip = local.ip();
    format!(
        "v=0\r\no=probe 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 30000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
    )
}

impl Dialog {
    /// Calls `user` at `target` and acknowledges the answer: the call, and the time from INVITE sent to 200 received. `None` when
    /// it was not answered in time, or with something else.
    pub fn set_up(
        socket: &UdpSocket,
        target: SocketAddr,
        user: &str,
        number: u64,
    ) -> anyhow::Result<Option<(Self, Duration)>> {
        let local = socket.local_addr()?;
        let mut dialog = Self {
            local,
            number,
            id: format!("probe-{number}@{local}"),
            to: format!("<sip:{user}@{target}>"),
            uri: format!("sip:{user}@{target}"),
            routes: String::new(),
            cseq: 1,
        };
        let body = description(local);
        let more = format!("Contact: <sip:probe@{local}>\r\nContent-Type: application/sdp\r\n");
        let Some((answer, took)) = dialog.ask(socket, target, "INVITE", &more, &body)? else {
            return Ok(None);
        };
        if !answer.starts_with("SIP/2.0 200 ") {
            return Ok(None);
        }
        dialog.to = values(&answer, "To")
            .next()
            .context("a 200 without To")?
            .to_owned();
        let contact = values(&answer, "Contact")
            .next()
            .context("a 200 without Contact")?;
        let Some((uri, _)) = contact.split_once('<').and_then(|(_, rest)| rest.split_once('>')) else {
            bail!("a Contact without brackets: {contact}");
        };
        dialog.uri = uri.to_owned();
        let routes: Vec<&str> = values(&answer, "Record-Route").collect();
        dialog.routes = routes
            .iter()
            .rev()
            .map(|route| format!("Route: {route}\r\n"))
            .collect();
        socket.send_to(dialog.print("ACK", "", "").as_bytes(), target)?;
        Ok(Some((dialog, took)))
    }

    /// Sends the next request within the call: how long its 200 took. `None` when it did not come in time.
    pub fn request(
        &mut self,
        socket: &UdpSocket,
        target: SocketAddr,
        method: &str,
    ) -> anyhow::Result<Option<Duration>> {
        self.cseq += 1;
        let answered = self.ask(socket, target, method, "", "")?;
        Ok(answered.and_then(|(answer, took)| answer.starts_with("SIP/2.0 200 ").then_some(took)))
    }

    /// The final response to a request, and how long it took.
    fn ask(
        &self,
        socket: &UdpSocket,
        target: SocketAddr,
        method: &str,
        more: &str,
        body: &str,
    ) -> anyhow::Result<Option<(String, Duration)>> {
        let request = self.print(method, more, body);
        let cseq = format!("{} {method}", self.cseq);
        let clock = MonotonicClock::start();
        let sent = clock.now();
        socket.send_to(request.as_bytes(), target)?;
        while clock.now() < sent + PATIENCE {
            let Some((message, _)) = receive(socket)? else {
                return Ok(None);
            };
            // What else comes is of requests before, or provisional.
            let is_ours = values(&message, "Call-ID").next() == Some(&self.id)
                && values(&message, "CSeq").next() == Some(&cseq);
            if is_ours && message.starts_with("SIP/2.0 ") && !message.starts_with("SIP/2.0 1") {
                return Ok(Some((message, clock.now().saturating_since(sent))));
            }
        }
        Ok(None)
    }

    fn print(&self, method: &str, more: &str, body: &str) -> String {
        let Self {
            local,
            number,
            id,
            to,
            uri,
            routes,
            cseq,
        } = self;
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK-probe-{number}-{cseq}-{method}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:probe@{local}>;tag=probe-{number}\r\nTo: {to}\r\nCall-ID: {id}\r\n\
             CSeq: {cseq} {method}\r\n{routes}{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_field_has_the_values_of_its_lines() {
        let message = "SIP/2.0 200 OK\r\nVia: a\r\nvia : b;x=y:z\r\n\r\nVia: body";
        assert_eq!(values(message, "Via").collect::<Vec<_>>(), ["a", "b;x=y:z"]);
    }
}
