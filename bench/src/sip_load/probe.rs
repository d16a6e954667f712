//! Set-up time, measured by a caller and a callee of our own: SIPp's clock counts in milliseconds.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use hdrhistogram::Histogram;
use ops::clock::MonotonicClock;

use crate::relay::bed;
use crate::wait;

/// How long the caller waits for an answer, and how often the callee looks whether it is to end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two calls.
const REST: Duration = Duration::from_millis(3);
/// A call to a number of this prefix goes to the probe's callee.
pub const PREFIX: &str = "2";

/// Set-up times from INVITE sent to 200 received, in microseconds.
#[derive(Debug)]
pub struct Times {
    /// Through the server.
    pub through: Histogram<u64>,
    /// To the callee without a server, in turns with them.
    pub direct: Histogram<u64>,
    /// Calls that were not answered, or did not end, in time.
    pub failed: u64,
}

impl Times {
    /// What the server adds at a quantile, in milliseconds: the difference of both sides' quantiles.
    pub fn added_ms(&self, quantile: f64) -> f64 {
        let at = |times: &Histogram<u64>| times.value_at_quantile(quantile) as f64;
        (at(&self.through) - at(&self.direct)) / 1_000.0
    }
}

/// A caller and a callee that make calls until they are told to stop, in two threads on one core.
#[derive(Debug)]
pub struct Probe {
    /// The caller's and the callee's: who answers ends after who calls.
    stop: [Arc<AtomicBool>; 2],
    caller: JoinHandle<anyhow::Result<Times>>,
    callee: JoinHandle<anyhow::Result<()>>,
}

impl Probe {
    /// Starts both at their addresses, for calls through `server` and, in turns with them, straight to the callee.
    pub fn start([caller, callee]: [SocketAddr; 2], server: SocketAddr, core: usize) -> anyhow::Result<Self> {
        let stop = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let sockets = [bind(caller)?, bind(callee)?];
        let [calling, answering] = sockets;
        let [caller_told, callee_told] = stop.clone();
        let callee_thread = std::thread::Builder::new()
            .name("probe-callee".into())
            .spawn(move || answer(&answering, core, &callee_told))?;
        let caller_thread = std::thread::Builder::new()
            .name("probe-caller".into())
            .spawn(move || make_calls(&calling, [server, callee], core, &caller_told))?;
        Ok(Self {
            stop,
            caller: caller_thread,
            callee: callee_thread,
        })
    }

    /// Ends both.
    pub fn finish(self) -> anyhow::Result<Times> {
        self.stop[0].store(true, Ordering::Relaxed);
        let times = self
            .caller
            .join()
            .map_err(|_| anyhow!("the probe's caller panicked"))?;
        self.stop[1].store(true, Ordering::Relaxed);
        self.callee
            .join()
            .map_err(|_| anyhow!("the probe's callee panicked"))??;
        times
    }
}

fn bind(local: SocketAddr) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(local).with_context(|| format!("the probe at {local}"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// The next datagram as text; `None` when none came in time.
fn receive(socket: &UdpSocket) -> anyhow::Result<Option<(String, SocketAddr)>> {
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
fn values<'a>(message: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    message
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .filter(move |(field, _)| field.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

fn answer(socket: &UdpSocket, core: usize, stop: &AtomicBool) -> anyhow::Result<()> {
    bed::pin(None, core)?;
    let local = socket.local_addr()?;
    while !stop.load(Ordering::Relaxed) {
        let Some((request, from)) = receive(socket)? else {
            continue;
        };
        let is_invite = request.starts_with("INVITE ");
        if !is_invite && !request.starts_with("BYE ") {
            continue;
        }
        let mut response = "SIP/2.0 200 OK\r\n".to_owned();
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in values(&request, name) {
                let tag = if name == "To" && is_invite {
                    ";tag=probe-callee"
                } else {
                    ""
                };
                write!(response, "{name}: {value}{tag}\r\n")?;
            }
        }
        if is_invite {
            let body = description(local);
            write!(
                response,
                "Contact: <sip:{local}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
        } else {
            response += "Content-Length: 0\r\n\r\n";
        }
        socket.send_to(response.as_bytes(), from)?;
    }
    Ok(())
}

fn description(local: SocketAddr) -> String {
    let ip = local.ip();
    format!(
        "v=0\r\no=probe 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 30000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
    )
}

fn make_calls(
    socket: &UdpSocket,
    [server, callee]: [SocketAddr; 2],
    core: usize,
    stop: &AtomicBool,
) -> anyhow::Result<Times> {
    bed::pin(None, core)?;
    let mut times = Times {
        through: Histogram::new(3)?,
        direct: Histogram::new(3)?,
        failed: 0,
    };
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        for (target, histogram) in [(server, &mut times.through), (callee, &mut times.direct)] {
            number += 1;
            match call(socket, target, number)? {
                Some(took) => histogram.saturating_record(took.as_micros() as u64),
                None => times.failed += 1,
            }
            wait::pass(REST);
        }
    }
    Ok(times)
}

/// One call. `None` when it was not answered, or did not end, in time.
fn call(socket: &UdpSocket, target: SocketAddr, number: u64) -> anyhow::Result<Option<Duration>> {
    let local = socket.local_addr()?;
    let id = format!("probe-{number}@{local}");
    let common = |method: &str, cseq: u32, to: &str| {
        format!(
            "Via: SIP/2.0/UDP {local};branch=z9hG4bK-probe-{number}-{method}\r\nMax-Forwards: 70\r\n\
             From: <sip:probe@{local}>;tag=probe-{number}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\n"
        )
    };
    let to = format!("<sip:{PREFIX}000@{target}>");
    let body = description(local);
    let invite = format!(
        "INVITE sip:{PREFIX}000@{target} SIP/2.0\r\n{}Contact: <sip:probe@{local}>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        common("INVITE", 1, &to),
        body.len()
    );
    let clock = MonotonicClock::start();
    let sent = clock.now();
    socket.send_to(invite.as_bytes(), target)?;
    let Some(answer) = final_response(socket, &id, "1 INVITE")? else {
        return Ok(None);
    };
    let took = clock.now().saturating_since(sent);
    if !answer.starts_with("SIP/2.0 200 ") {
        return Ok(None);
    }
    let to = values(&answer, "To").next().context("a 200 without To")?;
    let contact = values(&answer, "Contact")
        .next()
        .context("a 200 without Contact")?;
    let Some((uri, _)) = contact.split_once('<').and_then(|(_, rest)| rest.split_once('>')) else {
        bail!("a Contact without brackets: {contact}");
    };
    let routes: Vec<&str> = values(&answer, "Record-Route").collect();
    let routes: String = routes
        .iter()
        .rev()
        .map(|route| format!("Route: {route}\r\n"))
        .collect();
    let within = |method: &str, cseq: u32| {
        format!(
            "{method} {uri} SIP/2.0\r\n{}{routes}Content-Length: 0\r\n\r\n",
            common(method, cseq, to)
        )
    };
    socket.send_to(within("ACK", 1).as_bytes(), target)?;
    socket.send_to(within("BYE", 2).as_bytes(), target)?;
    Ok(final_response(socket, &id, "2 BYE")?.map(|_| took))
}

/// The final response to a request of ours; what else comes is of calls before, or provisional.
fn final_response(socket: &UdpSocket, id: &str, cseq: &str) -> anyhow::Result<Option<String>> {
    let clock = MonotonicClock::start();
    let deadline = clock.now() + PATIENCE;
    while clock.now() < deadline {
        let Some((message, _)) = receive(socket)? else {
            return Ok(None);
        };
        let is_ours =
            values(&message, "Call-ID").next() == Some(id) && values(&message, "CSeq").next() == Some(cseq);
        if is_ours && message.starts_with("SIP/2.0 ") && !message.starts_with("SIP/2.0 1") {
            return Ok(Some(message));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use crate::relay::privilege::allowed_cores;

    #[test]
    fn calls_straight_to_the_callee_take_some_time_and_add_nothing() {
        let mut host = Host::reserve().unwrap();
        let [caller, callee] = [host.address().unwrap(), host.address().unwrap()];
        let probe = Probe::start([caller, callee], callee, allowed_cores().unwrap()[0]).unwrap();
        wait::pass(Duration::from_millis(300));
        let times = probe.finish().unwrap();
        assert_eq!(times.failed, 0);
        assert!(times.through.len() > 2 && times.through.min() > 0, "{times:?}");
        assert_eq!(times.through.len(), times.direct.len());
    }

    #[test]
    fn a_header_field_has_the_values_of_its_lines() {
        let message = "SIP/2.0 200 OK\r\nVia: a\r\nvia : b;x=y:z\r\n\r\nVia: body";
        assert_eq!(values(message, "Via").collect::<Vec<_>>(), ["a", "b;x=y:z"]);
    }
}
