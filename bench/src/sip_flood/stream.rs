//! So many requests a second without credentials, from addresses that nobody knows.

use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::anyhow;
use clap::ValueEnum;
use ops::clock::MonotonicClock;
use serde::Serialize;

use crate::host::Host;
use crate::relay::bed;
use crate::sip_load::dialog::description;
use crate::wait;

/// Between two looks at what is due: a flood comes steadily, not in heaps of a timer.
const REST: Duration = Duration::from_micros(100);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A registration: 401
    Register,
    /// A call: 407
    Invite,
    /// A question: 200
    Options,
}

impl Kind {
    /// As in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Invite => "invite",
            Self::Options => "options",
        }
    }
}

/// A flood in a thread of its own.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<(u64, f64)>>,
}

impl Stream {
    /// Starts it: `rate` requests a second, of all hosts in turns.
    pub fn start(
        kind: Kind,
        mut hosts: Vec<Host>,
        server: SocketAddr,
        rate: u32,
        core: usize,
    ) -> anyhow::Result<Self> {
        let sockets = hosts
            .iter_mut()
            .map(|host| Ok(UdpSocket::bind(host.address()?)?))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::Builder::new().name("flood".into()).spawn(move || {
            bed::pin(None, core)?;
            let sent = send(kind, &sockets, server, rate, &told);
            // They are ours until here.
            drop(hosts);
            sent
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends it: how many were sent, and how many a second.
    pub fn finish(self) -> anyhow::Result<(u64, f64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the flood panicked"))?
    }
}

fn send(
    kind: Kind,
    sockets: &[UdpSocket],
    server: SocketAddr,
    rate: u32,
    stop: &AtomicBool,
) -> anyhow::Result<(u64, f64)> {
    let clock = MonotonicClock::start();
    let begun = clock.now();
    let locals = sockets
        .iter()
        .map(UdpSocket::local_addr)
        .collect::<Result<Vec<_>, _>>()?;
    let mut text = String::new();
    let mut sent = 0;
    loop {
        let passed = clock.now().saturating_since(begun).as_secs_f64();
        if stop.load(Ordering::Relaxed) {
            return Ok((sent, sent as f64 / passed));
        }
        let due = (passed * f64::from(rate)) as u64;
        while sent < due {
            let source = sent as usize % sockets.len();
            text.clear();
            print(kind, locals[source], server, sent, &mut text)?;
            sockets[source].send_to(text.as_bytes(), server)?;
            sent += 1;
        }
        wait::pass(REST);
    }
}

fn print(
    kind: Kind,
    local: SocketAddr,
    server: SocketAddr,
    number: u64,
    text: &mut String,
) -> std::fmt::Result {
    let (method, uri, more, body) = match kind {
        Kind::Register => (
            "REGISTER",
            format!("sip:{server}"),
            "Expires: 3600\r\n",
            String::new(),
        ),
        Kind::Invite => (
            "INVITE",
            format!("sip:2000@{server}"),
            "Content-Type: application/sdp\r\n",
            description(local),
        ),
        Kind::Options => ("OPTIONS", format!("sip:{server}"), "", String::new()),
    };
    write!(
        text,
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK-flood-{number};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:u{number}@{server}>;tag=flood-{number}\r\nTo: <sip:u{number}@{server}>\r\nCall-ID: flood-{number}@{local}\r\n\
         CSeq: 1 {method}\r\nContact: <sip:u{number}@{local}>\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
