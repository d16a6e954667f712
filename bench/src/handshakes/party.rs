//! A party that shakes hands with a media node once.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, bail};
use dtls::{Association, Endpoint, Event};
use media_types::{DtlsRole, Fingerprint};
use ops::clock::MonotonicClock;
use proto::convert;
use proto::media_v1 as pb;
use sans_io::Epoch;

use crate::call_request;

/// After which a handshake has failed. Two of its datagrams may be lost by then.
const WITHIN: Duration = Duration::from_secs(3);

/// Its socket and its side of the handshake.
#[derive(Debug)]
pub struct Party<'a> {
    socket: UdpSocket,
    endpoint: &'a Endpoint,
    role: DtlsRole,
}

impl<'a> Party<'a> {
    /// With a port of its own at `local`.
    pub fn new(local: Ipv4Addr, endpoint: &'a Endpoint, role: DtlsRole) -> anyhow::Result<Self> {
        Ok(Self {
            socket: UdpSocket::bind((local, 0))?,
            endpoint,
            role,
        })
    }

    /// The call that a node is asked for: this party with DTLS, and a callee in clear.
    pub fn request(&self, call: &str, callee: SocketAddr) -> anyhow::Result<pb::CreateCallRequest> {
        let mut request = call_request::plain(call, [self.socket.local_addr()?, callee]);
        let nodes_role = match self.role {
            DtlsRole::Active => pb::DtlsRole::Passive,
            DtlsRole::Passive => pb::DtlsRole::Active,
        };
        let line = request.legs.first_mut().and_then(|leg| leg.lines.first_mut());
        let line = line.context("a call has a line")?;
        line.rtcp_mux = true;
        line.dtls = Some(pb::Dtls {
            role: nodes_role.into(),
            fingerprints: vec![convert::fingerprint_to_wire(
                self.endpoint.identity().fingerprint(),
            )],
            tls_id: String::new(),
        });
        Ok(request)
    }

    /// Shakes hands with the node's line at `face`, whose certificate has this fingerprint.
    pub fn shake_hands(&self, face: SocketAddr, fingerprint: &Fingerprint) -> anyhow::Result<()> {
        let clock = MonotonicClock::start();
        let epoch = Epoch::new(clock.instant(sans_io::Timestamp::ZERO));
        let begun = clock.now();
        let mut association = Association::new(self.endpoint, self.role, epoch, begun);
        association.set_remote(face);
        association.set_fingerprints(begun, vec![fingerprint.clone()]);
        let mut datagram = [0; 2_048];
        loop {
            while let Some(datagram) = association.poll_transmit() {
                self.socket.send_to(&datagram, face)?;
            }
            match association.poll_event() {
                Some(Event::Connected(_)) => return Ok(()),
                Some(Event::Failed(failure)) => bail!("the handshake failed: {failure:?}"),
                Some(Event::Closed) => bail!("the node closed it"),
                None => {}
            }
            let now = clock.now();
            if now >= begun + WITHIN {
                bail!("no handshake within {WITHIN:?}");
            }
            let due = association.poll_timeout().unwrap_or(begun + WITHIN);
            let wait = due.min(begun + WITHIN).saturating_since(now);
            if wait.is_zero() {
                association.handle_timeout(now);
                continue;
            }
            self.socket.set_read_timeout(Some(wait))?;
            match self.socket.recv_from(&mut datagram) {
                Ok((len, source)) => {
                    // Of other kinds, such as media, nothing is expected here.
                    let _ = association.handle_datagram(clock.now(), source, &datagram[..len]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
