//! rtpengine's NG control protocol over UDP, as far as a relayed call needs it: `ping`, `offer`, `answer`.
//!
//! A datagram is a cookie, a space and a bencoded dictionary; the answer carries the same cookie. Documented in
//! `docs/ng_control_protocol.md` of rtpengine.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::relay::bencode::Value;
use crate::relay::secured_caller::CallerKeys;

/// After which a request is sent again; the server answers a repeated cookie from its memory.
const RESEND_AFTER: Duration = Duration::from_millis(500);
const SENDS_MAX: usize = 6;

/// A client of one server. Calls block, three seconds at most.
#[derive(Debug)]
pub struct NgClient {
    socket: UdpSocket,
    cookie: u64,
}

impl NgClient {
    /// A client at `local` of the server at `server`. Nothing is sent yet.
    pub fn new(local: Ipv4Addr, server: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((local, 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(RESEND_AFTER))?;
        Ok(Self { socket, cookie: 0 })
    }

    /// Whether the server answers a single `ping`.
    pub fn ping(&mut self) -> bool {
        let request = Value::dictionary([("command", Value::text("ping"))]);
        self.request(&request, 1)
            .is_ok_and(|answer| answer.text_of("result") == Some("pong"))
    }

    /// Sets up a call between two parties that receive PCMA where `parties` says, caller first. Gives the address that
    /// each has to send to.
    pub fn set_up(&mut self, call: &str, parties: [SocketAddr; 2]) -> anyhow::Result<[SocketAddr; 2]> {
        let offer = self.describe("offer", call, &description(parties[0], "RTP/AVP", ""), None)?;
        let answer = self.describe("answer", call, &description(parties[1], "RTP/AVP", ""), None)?;
        // What is sent to the callee names where the callee sends, and the other way round.
        Ok([media_of(&answer)?, media_of(&offer)?])
    }

    /// The same with a caller that has SRTP and a callee that has none. The keys are the caller's and the server's.
    pub fn set_up_secured(
        &mut self,
        call: &str,
        parties: [SocketAddr; 2],
        keys: CallerKeys,
    ) -> anyhow::Result<([SocketAddr; 2], CallerKeys)> {
        let secured = description(parties[0], "RTP/SAVP", &format!("{}\r\n", keys.offered()));
        let offer = self.describe("offer", call, &secured, Some("RTP/AVP"))?;
        ensure!(
            offer.contains(" RTP/AVP "),
            "the callee is offered no RTP in clear: {offer}"
        );
        let answer = self.describe("answer", call, &description(parties[1], "RTP/AVP", ""), None)?;
        let keys = keys.with_relays(crypto_of(&answer)?);
        Ok(([media_of(&answer)?, media_of(&offer)?], keys))
    }

    fn describe(
        &mut self,
        command: &str,
        call: &str,
        sdp: &str,
        transport: Option<&str>,
    ) -> anyhow::Result<String> {
        let mut members = vec![
            ("command", Value::text(command)),
            ("call-id", Value::text(call)),
            ("from-tag", Value::text("caller")),
            ("to-tag", Value::text("callee")),
            ("ICE", Value::text("remove")),
            (
                "replace",
                Value::List(vec![Value::text("origin"), Value::text("session-connection")]),
            ),
            ("sdp", Value::text(sdp)),
        ];
        members.extend(transport.map(|transport| ("transport-protocol", Value::text(transport))));
        let request = Value::dictionary(members);
        let answer = self
            .request(&request, SENDS_MAX)
            .with_context(|| format!("{command} of {call}"))?;
        match (answer.text_of("result"), answer.text_of("sdp")) {
            (Some("ok"), Some(sdp)) => Ok(sdp.to_owned()),
            _ => bail!("{command} of {call} was refused: {answer:?}"),
        }
    }

    fn request(&mut self, request: &Value, sends_max: usize) -> anyhow::Result<Value> {
        self.cookie += 1;
        let cookie = format!("{:08x} ", self.cookie);
        let mut datagram = cookie.clone().into_bytes();
        request.encode(&mut datagram);
        let mut buffer = vec![0u8; 65_536];
        for _ in 0..sends_max {
            match self.socket.send(&datagram) {
                Ok(_) => {}
                // The server does not listen yet.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error.into()),
            }
            loop {
                match self.socket.recv(&mut buffer) {
                    Ok(length) => {
                        if let Some(answer) = buffer[..length].strip_prefix(cookie.as_bytes()) {
                            return Ok(Value::decode(answer)?);
                        }
                    }
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
                        ) =>
                    {
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        bail!("no answer over the NG protocol")
    }
}

/// `security` is further lines, each with its end.
fn description(party: SocketAddr, profile: &str, security: &str) -> String {
    let (ip, port) = (party.ip(), party.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} {profile} 8\r\n\
         a=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na=sendrecv\r\n{security}"
    )
}

/// The key that an answer has for the caller's one offer of a key.
fn crypto_of(sdp: &str) -> anyhow::Result<&str> {
    sdp.lines()
        .find_map(|line| line.strip_prefix("a=crypto:"))
        .map(str::trim)
        .with_context(|| format!("an answer without a key: {sdp}"))
}

/// Where the first media line of a description wants RTP.
fn media_of(sdp: &str) -> anyhow::Result<SocketAddr> {
    let ip = sdp
        .lines()
        .find_map(|line| line.strip_prefix("c=IN IP4 "))
        .context("a description has a connection line")?;
    let port = sdp
        .lines()
        .find_map(|line| line.strip_prefix("m=audio "))
        .and_then(|line| line.split(' ').next())
        .context("a description has a media line")?;
    Ok(SocketAddr::new(ip.trim().parse()?, port.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_says_where_media_goes() {
        let party = "198.18.0.1:6000".parse().unwrap();
        assert_eq!(media_of(&description(party, "RTP/AVP", "")).unwrap(), party);
        assert!(media_of("v=0\r\n").is_err());
    }
}
