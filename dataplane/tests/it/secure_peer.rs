use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dtls::{Association, Endpoint, Event, Identity};
use ice::Agent;
use media_types::{DtlsRole, Fingerprint, IceCredentials, IceMode, SrtpKey};
use ops::clock::MonotonicClock;
use proto::convert;
use proto::media_v1 as wire;
use sans_io::{Epoch, Random, Timestamp};
use srtp::{MasterKey, Receiver, Sender};
use tokio::net::UdpSocket;

use crate::node::{line, own_address, socket_address};
use crate::process::PATIENCE;

/// A party with DTLS, and ICE if it is asked for: what a browser is to the node.
pub struct SecurePeer {
    pub socket: UdpSocket,
    pub identity: Arc<Identity>,
    pub ssrc: u32,
    agent: Option<Agent>,
    /// What its description says, and the node's.
    credentials: Option<[IceCredentials; 2]>,
    association: Option<Association>,
    role: DtlsRole,
    node_has: Option<Fingerprint>,
    node: Option<SocketAddr>,
    sender: Option<Sender>,
    receiver: Option<Receiver>,
    pub failure: Option<dtls::Failure>,
    heard: Vec<Vec<u8>>,
}

/// One clock for all, as the machine has.
fn clock() -> MonotonicClock {
    static CLOCK: OnceLock<MonotonicClock> = OnceLock::new();
    *CLOCK.get_or_init(MonotonicClock::start)
}

fn epoch() -> Epoch {
    Epoch::new(clock().instant(Timestamp::ZERO))
}

fn master(key: &SrtpKey) -> MasterKey {
    MasterKey::new(key.suite(), key.key_and_salt()).expect("a key")
}

impl SecurePeer {
    /// In the role that is the other one of the node's.
    pub async fn new(role: DtlsRole) -> Self {
        let socket = UdpSocket::bind((own_address(), 0)).await.expect("binds");
        let port = socket.local_addr().expect("bound").port();
        Self {
            socket,
            identity: Arc::new(Identity::generate().expect("an identity")),
            ssrc: u32::from(port) << 8 | 0xd,
            agent: None,
            credentials: None,
            association: None,
            role,
            node_has: None,
            node: None,
            sender: None,
            receiver: None,
            failure: None,
            heard: Vec::new(),
        }
    }

    /// With ICE: a full agent that nominates.
    pub async fn with_ice(role: DtlsRole) -> Self {
        let mut peer = Self::new(role).await;
        let seed = u64::from(peer.ssrc);
        let mut random = Random::from_number(seed);
        let [own, node] = [(); 2].map(|()| IceCredentials::random(&mut random));
        let settings = ice::Settings {
            mode: IceMode::Controlling,
            ..ice::Settings::default()
        };
        let local = peer.address();
        peer.agent = Some(Agent::new(
            settings,
            own.clone(),
            &[local],
            epoch(),
            clock().now(),
        ));
        peer.credentials = Some([own, node]);
        peer
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    /// The node's line that faces it.
    pub fn line(&self) -> wire::MediaLine {
        let role = match self.role {
            DtlsRole::Active => wire::DtlsRole::Passive,
            DtlsRole::Passive => wire::DtlsRole::Active,
        };
        let credentials = |it: &IceCredentials| wire::IceCredentials {
            ufrag: it.ufrag().into(),
            password: it.password().into(),
        };
        let ice = self.credentials.as_ref().map(|[own, node]| wire::Ice {
            mode: wire::IceMode::Lite.into(),
            local: Some(credentials(node)),
            remote: Some(credentials(own)),
            candidates: vec![],
        });
        // A browser's description has no address of use.
        let remote = ice.is_none().then(|| self.address());
        wire::MediaLine {
            rtcp_mux: true,
            dtls: Some(wire::Dtls {
                role: role.into(),
                fingerprints: vec![convert::fingerprint_to_wire(self.identity.fingerprint())],
                tls_id: String::new(),
            }),
            ice,
            ..line(remote)
        }
    }

    /// Begins with the node, which is at `node` and shows a certificate of this fingerprint.
    pub fn begin(&mut self, node: SocketAddr, fingerprint: &Fingerprint) {
        self.node = Some(node);
        self.node_has = Some(fingerprint.clone());
        let now = clock().now();
        match (&mut self.agent, &self.credentials) {
            (Some(agent), Some([_, theirs])) => {
                agent.set_remote_credentials(now, theirs.clone());
                let candidate = format!(
                    "candidate:1 1 udp 2130706431 {} {} typ host",
                    node.ip(),
                    node.port()
                );
                agent.add_remote_candidate(now, &candidate).expect("a candidate");
            }
            _ => self.shake_hands(),
        }
    }

    fn shake_hands(&mut self) {
        let now = clock().now();
        let settings = dtls::Settings::default();
        let endpoint = Endpoint::new(settings, self.identity.clone()).expect("an endpoint");
        let mut association = Association::new(&endpoint, self.role, epoch(), now);
        association.set_remote(self.node.expect("it has begun"));
        association.set_fingerprints(now, vec![self.node_has.clone().expect("it has begun")]);
        self.association = Some(association);
    }

    pub fn is_secured(&self) -> bool {
        self.sender.is_some()
    }

    /// Lives until `is_done`, or for as long as tests wait.
    pub async fn until(&mut self, is_done: impl Fn(&Self) -> bool) -> bool {
        let end = clock().now() + PATIENCE;
        loop {
            self.send().await;
            if is_done(self) {
                return true;
            }
            let now = clock().now();
            if now >= end {
                return false;
            }
            let search = self.agent.as_mut().and_then(Agent::poll_timeout);
            let handshake = self.association.as_ref().and_then(Association::poll_timeout);
            let due = [search, handshake, Some(end)].into_iter().flatten().min();
            let wait = due
                .unwrap_or(end)
                .saturating_since(now)
                .max(Duration::from_millis(1));
            let mut bytes = [0; 2_048];
            match tokio::time::timeout(wait, self.socket.recv_from(&mut bytes)).await {
                Ok(received) => {
                    let (len, from) = received.expect("receives");
                    self.take(from, &bytes[..len]);
                }
                Err(_) => {
                    let now = clock().now();
                    if let Some(agent) = &mut self.agent {
                        agent.handle_timeout(now);
                    }
                    if let Some(association) = &mut self.association {
                        association.handle_timeout(now);
                    }
                }
            }
        }
    }

    fn take(&mut self, from: SocketAddr, datagram: &[u8]) {
        let now = clock().now();
        match datagram.first() {
            Some(0..=3) => {
                let local = self.address();
                if let Some(agent) = &mut self.agent {
                    // An answer that comes late is refused, which is right.
                    let _ = agent.handle_datagram(now, local, from, datagram);
                }
            }
            Some(20..=63) => {
                if let Some(association) = &mut self.association {
                    association
                        .handle_datagram(now, from, datagram)
                        .expect("the node's");
                }
            }
            _ => {
                let receiver = self.receiver.as_mut().expect("media comes when there are keys");
                let mut packet = datagram.to_vec();
                let len = receiver
                    .unprotect_rtp(&mut packet)
                    .expect("protected by the node");
                packet.truncate(len);
                self.heard.push(packet);
            }
        }
    }

    async fn send(&mut self) {
        let mut selected = false;
        if let Some(agent) = &mut self.agent {
            while let Some(event) = agent.poll_event() {
                selected |= matches!(event, ice::Event::Selected { .. });
            }
            while let Some(transmit) = agent.poll_transmit() {
                self.socket
                    .send_to(&transmit.datagram, transmit.remote)
                    .await
                    .expect("sent");
            }
        }
        if selected && self.association.is_none() {
            self.shake_hands();
        }
        let Some(association) = &mut self.association else {
            return;
        };
        while let Some(event) = association.poll_event() {
            match event {
                Event::Connected(keys) => {
                    self.sender = Some(Sender::new(&master(&keys.send), 4).expect("a sender"));
                    self.receiver = Some(Receiver::new(&master(&keys.receive), 4).expect("a receiver"));
                }
                Event::Failed(failure) => self.failure = Some(failure),
                Event::Closed => {}
            }
        }
        let node = self.node.expect("it has begun");
        while let Some(datagram) = association.poll_transmit() {
            self.socket.send_to(&datagram, node).await.expect("sent");
        }
    }

    /// Protects a packet and sends it.
    pub async fn say(&mut self, packet: &[u8]) {
        let mut buffer = [packet, &[0; 32]].concat();
        let sender = self.sender.as_mut().expect("secured");
        let len = sender.protect_rtp(&mut buffer, packet.len()).expect("protected");
        let node = self.node.expect("it has begun");
        self.socket.send_to(&buffer[..len], node).await.expect("sent");
    }

    /// The next packet of media, unprotected.
    pub async fn hear(&mut self) -> Option<Vec<u8>> {
        self.until(|peer| !peer.heard.is_empty()).await;
        (!self.heard.is_empty()).then(|| self.heard.remove(0))
    }

    /// The pair of addresses that it uses with ICE.
    pub fn selected(&self) -> Option<SocketAddr> {
        Some(self.agent.as_ref()?.selected()?.1)
    }
}

/// The fingerprint that a node tells.
pub fn fingerprint_of(told: &wire::DescribeResponse) -> Fingerprint {
    let fingerprint = told.fingerprint.as_ref().expect("the node knows DTLS");
    convert::fingerprint_from_wire(fingerprint).expect("a fingerprint")
}

/// The address that a line's party sends to.
pub fn facing(call: &wire::Call, leg: usize) -> SocketAddr {
    socket_address(call.legs[leg].lines[0].local_rtp.as_ref().expect("enabled"))
}
