//! Lines whose keys come from a DTLS handshake (RFC 5763, RFC 8842) and whose addresses may be found by ICE (RFC 8839): what
//! a party's description says of it, and what ours does.

use media_types::{Fingerprint, FingerprintError, IceCredentials};

use crate::MediaLine;
use crate::sdes::Profile;

/// Fingerprints of a line that are read.
const FINGERPRINTS_MAX: usize = 8;
/// Candidates of a line that are read, and bytes of one.
const CANDIDATES_MAX: usize = 32;
const CANDIDATE_LEN_MAX: usize = 512;
/// The longest `a=tls-id` (RFC 8842 §5.2).
const TLS_ID_LEN_MAX: usize = 255;

/// Who begins a handshake, by `a=setup` (RFC 4145 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setup {
    /// Whoever says so.
    Active,
    /// The other side.
    Passive,
    /// Either: the answer decides.
    ActPass,
}

impl Setup {
    /// Its value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Active, Self::Passive, Self::ActPass]
            .into_iter()
            .find(|setup| setup.name().eq_ignore_ascii_case(name.trim()))
    }
}

/// What a party's description says of a line with a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Of the certificates that it may show; at least one.
    pub fingerprints: Vec<Fingerprint>,
    /// Who begins; `None` when it does not say.
    pub setup: Option<Setup>,
    /// `a=tls-id`; empty without one.
    pub tls_id: String,
    /// ICE, if the party does it.
    pub ice: Option<PartyIce>,
    /// `a=mid` (RFC 5888).
    pub mid: Option<String>,
    /// The line is in a bundle (RFC 9143).
    pub is_bundled: bool,
}

/// A party's ICE on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartyIce {
    /// What checks to it are made with.
    pub credentials: IceCredentials,
    /// Its candidates for RTP over UDP, each as `candidate:…`.
    pub candidates: Vec<String>,
    /// It answers checks and makes none.
    pub is_lite: bool,
}

/// What our description says of a line with a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OurHandshake {
    /// Of the certificate that we show.
    pub fingerprint: Fingerprint,
    /// Who begins.
    pub setup: Setup,
    /// `a=tls-id`: of the association, as long as it is the same (RFC 8842 §5.2). An answer to a party without one has none.
    pub tls_id: Option<String>,
    /// With ICE: what checks to us are made with.
    pub ice: Option<IceCredentials>,
    /// We answer checks and make none (RFC 8445 §2.5).
    pub is_ice_lite: bool,
    /// The party's `a=mid`, or one of ours in an offer.
    pub mid: Option<String>,
    /// Say that the line is a bundle: in an answer, when it is in one of the offer.
    pub is_bundled: bool,
}

/// Why a line with a handshake is of no use. Its sender is at fault, or somebody on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HandshakeFault {
    /// Our rules do not want DTLS with the party.
    #[error("DTLS is forbidden")]
    Forbidden,
    /// The transport is not the one that was offered.
    #[error("the answer has another transport than the offer")]
    Transport,
    /// There is no fingerprint, or somebody took it out.
    #[error("there is no fingerprint")]
    NoFingerprint,
    /// None that can be used.
    #[error("no fingerprint can be used: {0}")]
    Fingerprint(FingerprintError),
    /// It does not say who begins, or, in an answer, that we may choose.
    #[error("it is not said who begins the handshake")]
    Setup,
    /// RTP and RTCP are not on one port.
    #[error("RTP and RTCP are not on one port")]
    NoMux,
    /// `a=ice-ufrag` without a good `a=ice-pwd`, or the other way.
    #[error("the credentials of ICE cannot be used")]
    IceCredentials,
}

impl HandshakeFault {
    /// A label for a counter, a record or a log line.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Forbidden => "dtls_forbidden",
            Self::Transport => "dtls_transport",
            Self::NoFingerprint => "dtls_no_fingerprint",
            Self::Fingerprint(FingerprintError::HashFunction) => "dtls_hash_function",
            Self::Fingerprint(FingerprintError::Bytes) => "dtls_malformed_fingerprint",
            Self::Setup => "dtls_setup",
            Self::NoMux => "dtls_no_mux",
            Self::IceCredentials => "ice_credentials",
        }
    }
}

impl MediaLine<'_> {
    /// Whether its keys come from a handshake, by its transport.
    pub fn has_handshake(&self) -> bool {
        Profile::named(self.protocol()).is_some_and(|profile| profile.is_dtls)
    }

    /// What it says of its handshake. What the line does not say itself it has from the session (RFC 8122 §5, RFC 8839 §4.4).
    pub fn handshake(&self) -> Result<Handshake, HandshakeFault> {
        let values = self.inherited_values("fingerprint");
        let mut fingerprints = Vec::new();
        let mut fault = HandshakeFault::NoFingerprint;
        for value in values.into_iter().take(FINGERPRINTS_MAX) {
            match value.parse() {
                Ok(fingerprint) => fingerprints.push(fingerprint),
                // One of several hash functions may well be unknown.
                Err(error) => fault = HandshakeFault::Fingerprint(error),
            }
        }
        if fingerprints.is_empty() {
            return Err(fault);
        }
        if !self.has_rtcp_mux() {
            return Err(HandshakeFault::NoMux);
        }
        let first = |name: &str| self.inherited_values(name).first().copied();
        let is_text =
            |text: &&str| text.len() <= TLS_ID_LEN_MAX && text.bytes().all(|b| b.is_ascii_graphic());
        Ok(Handshake {
            fingerprints,
            setup: match first("setup") {
                Some(name) => Some(Setup::named(name).ok_or(HandshakeFault::Setup)?),
                None => None,
            },
            tls_id: first("tls-id").filter(is_text).unwrap_or_default().to_owned(),
            ice: self.ice()?,
            mid: self.mid().map(str::to_owned),
            is_bundled: self.is_bundled(),
        })
    }

    fn ice(&self) -> Result<Option<PartyIce>, HandshakeFault> {
        let first = |name: &str| self.inherited_values(name).first().copied();
        let (ufrag, password) = match (first("ice-ufrag"), first("ice-pwd")) {
            (None, None) => return Ok(None),
            (Some(ufrag), Some(password)) => (ufrag, password),
            _ => return Err(HandshakeFault::IceCredentials),
        };
        // Of the one component, over UDP: others could not be used, and shall take nobody's place.
        let is_ours = |candidate: &&str| {
            let mut fields = candidate.split_ascii_whitespace().skip(1);
            let (component, transport) = (fields.next(), fields.next());
            component == Some("1") && transport.is_some_and(|it| it.eq_ignore_ascii_case("udp"))
        };
        let is_good = |candidate: &&str| {
            let is_text = candidate.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            !candidate.is_empty() && candidate.len() <= CANDIDATE_LEN_MAX && is_text
        };
        Ok(Some(PartyIce {
            credentials: IceCredentials::new(ufrag.trim(), password.trim())
                .map_err(|_| HandshakeFault::IceCredentials)?,
            candidates: self
                .values("candidate")
                .filter(is_good)
                .filter(is_ours)
                .take(CANDIDATES_MAX)
                .map(|value| format!("candidate:{value}"))
                .collect(),
            is_lite: self.is_ice_lite(),
        }))
    }

    /// Its identification (RFC 5888 §4).
    fn mid(&self) -> Option<&str> {
        let is_token =
            |mid: &&str| !mid.is_empty() && mid.len() <= 64 && mid.bytes().all(|b| b.is_ascii_graphic());
        self.values("mid").next().filter(is_token)
    }
}

/// Puts what ours says of a line into it. The session's part is [`dress_session`]'s.
pub(crate) fn dress(media: &mut sdp_types::Media, ours: &OurHandshake, rtp: std::net::SocketAddr) {
    let mut push = |name: &str, value: String| {
        media
            .attributes
            .push(sdp_types::Attribute::with_value(name, value.as_str()));
    };
    push("fingerprint", ours.fingerprint.to_string());
    push("setup", ours.setup.name().to_owned());
    if let Some(tls_id) = &ours.tls_id {
        push("tls-id", tls_id.clone());
    }
    if let Some(mid) = &ours.mid {
        push("mid", mid.clone());
    }
    let Some(ice) = &ours.ice else { return };
    push("ice-ufrag", ice.ufrag().to_owned());
    push("ice-pwd", ice.password().to_owned());
    // The party need not have all of its own before it speaks (RFC 8838 §3).
    push("ice-options", "trickle".to_owned());
    // The one candidate, of the highest priority (RFC 8445 §5.1.2.1).
    let priority = (126 << 24) | (65_535 << 8) | 255;
    let candidate = format!("1 1 udp {priority} {} {} typ host", rtp.ip(), rtp.port());
    push("candidate", candidate);
    media
        .attributes
        .push(sdp_types::Attribute::new("end-of-candidates"));
}

/// Puts what the whole description says for its lines with handshakes into the session: that we do ICE lite if we do, and a bundle of the
/// first of them alone (RFC 9143 §7.3.3), since each line has its own port.
pub(crate) fn dress_session(session: &mut sdp_types::Session, lines: &[&OurHandshake]) {
    let mut with_ice = lines.iter().filter(|line| line.ice.is_some()).peekable();
    // For all lines or none: a full agent's checks are right towards either kind (RFC 8445 §6.1.1).
    if with_ice.peek().is_some() && with_ice.all(|line| line.is_ice_lite) {
        session.attributes.push(sdp_types::Attribute::new("ice-lite"));
    }
    let bundled = lines.iter().find(|line| line.is_bundled);
    if let Some(mid) = bundled.and_then(|line| line.mid.as_ref()) {
        session.attributes.push(sdp_types::Attribute::with_value(
            "group",
            format!("BUNDLE {mid}").as_str(),
        ));
    }
}
