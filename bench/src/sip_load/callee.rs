//! Who answers the calls of a [`Dialog`](crate::sip_load::dialog::Dialog).

use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::anyhow;

use crate::relay::bed;
use crate::sip_load::dialog::{bind, description, receive, values};

/// A thread that says 200 to every request but ACK.
#[derive(Debug)]
pub struct Callee {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Callee {
    /// Starts it at `local`, on a core.
    pub fn start(local: SocketAddr, core: usize) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let socket = bind(local)?;
        let thread = std::thread::Builder::new()
            .name("callee".into())
            .spawn(move || answer(&socket, core, &told))?;
        Ok(Self { stop, thread })
    }

    /// Ends it.
    pub fn finish(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the callee panicked"))?
    }
}

fn answer(socket: &UdpSocket, core: usize, stop: &AtomicBool) -> anyhow::Result<()> {
    bed::pin(None, core)?;
    let local = socket.local_addr()?;
    while !stop.load(Ordering::Relaxed) {
        let Some((request, from)) = receive(socket)? else {
            continue;
        };
        if request.starts_with("ACK ") || request.starts_with("SIP/2.0 ") {
            continue;
        }
        let is_invite = request.starts_with("INVITE ");
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
