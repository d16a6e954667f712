use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use dimpl::{Dtls, Output, ProtocolVersion};
use media_types::{DtlsRole, Fingerprint};
use sans_io::{Epoch, Timestamp};

use crate::fingerprint::is_of;
use crate::record;
use crate::{Endpoint, Event, Failure, Keys, Refusal, Versions};

/// Datagrams that wait to be sent: some flights. What comes on top is dropped and sent again by its timer.
const TRANSMITS_MAX: usize = 64;

/// One DTLS association with one party, from its first datagram to its keys.
///
/// # Calling contract
///
/// - [`set_remote`](Self::set_remote) says where the party is: the pair that ICE selected, or the address of its description.
///   Nothing is taken from elsewhere: some 31 forged fragments fill the queue of a handshake, which ends it.
/// - [`handle_datagram`](Self::handle_datagram) takes what the party sent, [`handle_timeout`](Self::handle_timeout) the time
///   when the timer of [`poll_timeout`](Self::poll_timeout) is due.
/// - After each of these, and after making one, send what [`poll_transmit`](Self::poll_transmit) gives until it is empty, and
///   take what [`poll_event`](Self::poll_event) gives.
/// - The fingerprints may come later than the party's first datagrams (RFC 8842 §5.5: an answer may be slower than media).
///   The handshake goes on without them; keys come when both are there.
/// - After [`Event::Connected`] it still answers flights that were lost on their way. After [`Event::Failed`] it does nothing.
///
/// `now` comes from one monotonic clock and never goes back. Datagrams that are no DTLS, or of another association, are
/// ignored.
#[derive(Debug)]
pub struct Association {
    dtls: Dtls,
    role: DtlsRole,
    /// Where the party is; `None` while nobody knows.
    remote: Option<SocketAddr>,
    epoch: Epoch,
    timeout: Duration,
    buffer: Vec<u8>,
    transmits: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    /// When the handshake's next timer is due.
    timer: Option<Timestamp>,
    /// When both must be there; `None` until the fingerprints are.
    deadline: Option<Timestamp>,
    /// Empty until the description has been read.
    fingerprints: Vec<Fingerprint>,
    certificate: Option<Vec<u8>>,
    /// The keys of a party that has not been verified yet.
    unverified: Option<Keys>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Handshake,
    Connected,
    Over,
}

impl Association {
    /// One that begins now if it is active.
    pub fn new(endpoint: &Endpoint, role: DtlsRole, epoch: Epoch, now: Timestamp) -> Self {
        let (settings, config, identity) = (endpoint.settings(), endpoint.config(), endpoint.identity());
        let start = epoch.instant(now);
        let mut dtls = match settings.versions {
            Versions::Any => Dtls::new_auto(config, identity.copy(), start),
            Versions::Only12 => Dtls::new_12(config, identity.copy(), start),
            Versions::Only13 => Dtls::new_13(config, identity.copy(), start),
        };
        dtls.set_active(role == DtlsRole::Active);
        let mut association = Self {
            dtls,
            role,
            remote: None,
            epoch,
            timeout: settings.timeout,
            buffer: vec![0; 2_048],
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            timer: None,
            deadline: None,
            fingerprints: Vec::new(),
            certificate: None,
            unverified: None,
            state: State::Handshake,
        };
        association.advance(now);
        association
    }

    /// Tells where the party is. Another place than before, as when ICE selects another pair, leaves the handshake as it is
    /// (RFC 8842 §6).
    pub fn set_remote(&mut self, remote: SocketAddr) {
        self.remote = Some(remote);
    }

    /// Where the party is, and what is sent goes to.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// Tells which certificates the description of the party names; one of them must be its own (RFC 8122 §5). From now
    /// on the handshake has its time. Without any it fails.
    pub fn set_fingerprints(&mut self, now: Timestamp, fingerprints: Vec<Fingerprint>) {
        if self.state != State::Handshake {
            return;
        }
        self.deadline = Some(now + self.timeout);
        self.fingerprints = fingerprints;
        match self.fingerprints.is_empty() {
            true => self.fail(Failure::Fingerprint),
            false => self.verify(),
        }
    }

    /// A datagram that came from `source`, whole. It is looked at in place and not kept.
    pub fn handle_datagram(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Refusal> {
        if self.remote != Some(source) {
            return Err(Refusal::Source);
        }
        record::check(datagram)?;
        if self.state == State::Over {
            return Ok(());
        }
        self.advance(now);
        if self.state == State::Over {
            return Ok(());
        }
        match self.dtls.handle_packet(datagram) {
            Ok(()) => self.drain(),
            // It answers no ClientHello of ours, and has changed nothing.
            Err(dimpl::Error::UnexpectedMessage(
                dimpl::UnexpectedMessageError::UnrecognizedAutoServerResponse,
            )) => return Err(Refusal::Stray),
            Err(error) => self.fail(error.into()),
        }
        Ok(())
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) named.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.state == State::Over {
            return;
        }
        match self.deadline {
            Some(deadline) if deadline <= now && self.state == State::Handshake => {
                self.fail(Failure::Timeout)
            }
            _ => self.advance(now),
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` while nothing waits.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let deadline = self.deadline.filter(|_| self.state == State::Handshake);
        let timer = self.timer.filter(|_| self.state != State::Over);
        [deadline, timer].into_iter().flatten().min()
    }

    /// The next datagram for the party.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether the handshake itself is done, though the party may not be known yet to be who it must be.
    pub fn is_complete(&self) -> bool {
        self.state == State::Connected || self.unverified.is_some()
    }

    /// Whether its keys are out.
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// The version that both agreed on, such as `DTLS 1.2`; `None` before they have.
    pub fn version(&self) -> Option<&'static str> {
        match self.dtls.protocol_version()? {
            ProtocolVersion::DTLS1_2 => Some("DTLS 1.2"),
            ProtocolVersion::DTLS1_3 => Some("DTLS 1.3"),
            _ => None,
        }
    }

    fn advance(&mut self, now: Timestamp) {
        match self.dtls.handle_timeout(self.epoch.instant(now)) {
            Ok(()) => self.drain(),
            Err(error) => self.fail(error.into()),
        }
    }

    /// Takes everything out of the handshake until it waits for time.
    fn drain(&mut self) {
        let mut keys = None;
        let mut is_closed = false;
        loop {
            match self.dtls.poll_output(&mut self.buffer) {
                Output::Packet(packet) if self.transmits.len() < TRANSMITS_MAX => {
                    self.transmits.push_back(packet.to_vec());
                }
                Output::BufferTooSmall { needed } => self.buffer.resize(needed, 0),
                Output::PeerCert(certificate) => self.certificate = Some(certificate.to_vec()),
                Output::KeyingMaterial(exported, profile) => {
                    keys = Some(Keys::from_export(profile, &exported, self.role));
                }
                Output::CloseNotify => is_closed = true,
                Output::Timeout(at) => {
                    self.timer = Some(self.epoch.timestamp(at));
                    break;
                }
                // That it is connected shows by its keys; nobody speaks over it, so what is said is let go.
                _ => {}
            }
        }
        match keys {
            Some(Ok(keys)) if self.state == State::Handshake => {
                self.unverified = Some(keys);
                self.verify();
            }
            Some(Err(failure)) => self.fail(failure),
            _ => {}
        }
        if is_closed {
            match self.state {
                State::Connected => self.events.push_back(Event::Closed),
                _ => self.fail(Failure::Closed),
            }
        }
    }

    /// Gives the keys out if the party has shown one of the certificates that its description names.
    fn verify(&mut self) {
        if self.unverified.is_none() || self.fingerprints.is_empty() {
            return;
        }
        let Some(certificate) = &self.certificate else {
            return self.fail(Failure::Certificate);
        };
        if !self
            .fingerprints
            .iter()
            .any(|fingerprint| is_of(fingerprint, certificate))
        {
            return self.fail(Failure::Fingerprint);
        }
        if let Some(keys) = self.unverified.take() {
            self.state = State::Connected;
            self.events.push_back(Event::Connected(keys));
        }
    }

    fn fail(&mut self, failure: Failure) {
        if self.state == State::Over {
            return;
        }
        // An association that was up and breaks leaves its keys good: they are the call's.
        let was_connected = self.state == State::Connected;
        self.state = State::Over;
        self.unverified = None;
        self.transmits.clear();
        if !was_connected {
            self.events.push_back(Event::Failed(failure));
        }
    }
}
