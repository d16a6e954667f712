use media_types::{DtlsRole, DtlsSpec, Fingerprint, IceCredentials, IceMode, IceSpec};
use sans_io::Random;
use sdp::{HandshakeFault, PartyIce, Setup};

/// How a line gets its keys from a handshake with its party (RFC 5763), and its addresses by ICE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Handshake {
    role: DtlsRole,
    /// Of the party.
    fingerprints: Vec<Fingerprint>,
    tls_id: String,
    /// Our `a=tls-id`: another one with each association.
    own_tls_id: Option<String>,
    /// The party's name for the line.
    mid: Option<String>,
    is_bundled: bool,
    ice: Option<IceSpec>,
}

/// What our description says of such a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invitation {
    pub(super) setup: Setup,
    /// Of the association that it is for; `None` in an answer to a party without one (RFC 8842 §5.3).
    pub(super) tls_id: Option<String>,
    /// Ours.
    pub(super) ice: Option<IceCredentials>,
    /// The node answers checks and makes none.
    pub(super) is_ice_lite: bool,
    pub(super) mid: Option<String>,
    pub(super) is_bundled: bool,
}

impl Invitation {
    /// To a party that has none yet. With ICE: one that does not do it answers without.
    pub(super) fn new(index: usize, random: &mut Random) -> Self {
        Self {
            setup: Setup::ActPass,
            tls_id: Some(tls_id(random)),
            ice: Some(IceCredentials::random(random)),
            // An answerer that is lite too is met by the node's own checks all the same.
            is_ice_lite: true,
            mid: Some(index.to_string()),
            is_bundled: false,
        }
    }

    /// As the media plane wants it until the answer is here: the party, which has the choice, mostly begins (RFC 5763 §5), and who it
    /// must be is not known.
    pub(super) fn dtls(&self) -> DtlsSpec {
        DtlsSpec {
            role: DtlsRole::Passive,
            fingerprints: Vec::new(),
            tls_id: String::new(),
        }
    }

    /// Likewise.
    pub(super) fn ice(&self) -> Option<IceSpec> {
        self.ice.clone().map(|local| IceSpec {
            mode: IceMode::Lite,
            local,
            remote: None,
            candidates: Vec::new(),
        })
    }
}

impl Handshake {
    /// What an offered line becomes, where `current` is in force.
    ///
    /// We wait for the party unless it wants to wait itself: with ICE lite nothing can be sent before it has found us, and
    /// behind a NAT it is found by what it sends. Who begins stays as long as the party leaves it open (RFC 8842 §5.3).
    pub(super) fn answering(theirs: sdp::Handshake, current: Option<&Self>, random: &mut Random) -> Self {
        let role = match theirs.setup {
            Some(Setup::Passive) => DtlsRole::Active,
            Some(Setup::ActPass) => current.map_or(DtlsRole::Passive, |current| current.role),
            Some(Setup::Active) | None => DtlsRole::Passive,
        };
        // Another party's certificate, role or name begins another association, which takes another name of ours (RFC 8842 §5.3).
        let is_same = |current: &&Self| {
            (current.role, &current.fingerprints, &current.tls_id)
                == (role, &theirs.fingerprints, &theirs.tls_id)
        };
        let own_tls_id = (!theirs.tls_id.is_empty()).then(|| {
            let kept = current
                .filter(is_same)
                .and_then(|current| current.own_tls_id.clone());
            kept.unwrap_or_else(|| tls_id(random))
        });
        let ours = |ice: &PartyIce| {
            let before = current.and_then(|current| current.ice.as_ref());
            // Another name of the party's is a restart, which takes another name of ours (RFC 8839 §4.4.3).
            let kept = before.filter(|before| before.remote.as_ref() == Some(&ice.credentials));
            kept.map(|before| before.local.clone())
        };
        let ice = theirs.ice.map(|ice| {
            let local = ours(&ice).unwrap_or_else(|| IceCredentials::random(random));
            spec(local, ice)
        });
        Self {
            role,
            fingerprints: theirs.fingerprints,
            tls_id: theirs.tls_id,
            own_tls_id,
            mid: theirs.mid,
            is_bundled: theirs.is_bundled,
            ice,
        }
    }

    /// What the answer to `ours` makes of it.
    pub(super) fn accepted(ours: &Invitation, theirs: sdp::Handshake) -> Result<Self, HandshakeFault> {
        let role = match theirs.setup {
            Some(Setup::Active) => DtlsRole::Passive,
            Some(Setup::Passive) => DtlsRole::Active,
            Some(Setup::ActPass) | None => return Err(HandshakeFault::Setup),
        };
        let local = ours.ice.clone();
        Ok(Self {
            role,
            fingerprints: theirs.fingerprints,
            tls_id: theirs.tls_id,
            own_tls_id: ours.tls_id.clone(),
            mid: ours.mid.clone(),
            is_bundled: ours.is_bundled,
            ice: local.zip(theirs.ice).map(|(local, ice)| spec(local, ice)),
        })
    }

    /// What our answer says.
    pub(super) fn restated(&self) -> Invitation {
        Invitation {
            setup: match self.role {
                DtlsRole::Active => Setup::Active,
                DtlsRole::Passive => Setup::Passive,
            },
            tls_id: self.own_tls_id.clone(),
            ice: self.ice.as_ref().map(|ice| ice.local.clone()),
            is_ice_lite: self.ice.as_ref().is_none_or(|ice| ice.mode == IceMode::Lite),
            mid: self.mid.clone(),
            is_bundled: self.is_bundled,
        }
    }

    /// What an offer of ours says that changes nothing (RFC 8842 §5.2).
    pub(super) fn offered_again(&self) -> Invitation {
        Invitation {
            setup: Setup::ActPass,
            ..self.restated()
        }
    }

    /// As the media plane wants it.
    pub(super) fn dtls(&self) -> DtlsSpec {
        DtlsSpec {
            role: self.role,
            fingerprints: self.fingerprints.clone(),
            tls_id: self.tls_id.clone(),
        }
    }

    pub(super) const fn ice(&self) -> Option<&IceSpec> {
        self.ice.as_ref()
    }
}

/// A new name of an association: 120 bits and more (RFC 8842 §5.2).
fn tls_id(random: &mut Random) -> String {
    let (high, low) = (random.next_u64(), random.next_u64());
    format!("{high:016x}{low:016x}")
}

fn spec(local: IceCredentials, theirs: PartyIce) -> IceSpec {
    IceSpec {
        // One side has to make the checks (RFC 8445 §6.1.1).
        mode: match theirs.is_lite {
            true => IceMode::Controlling,
            false => IceMode::Lite,
        },
        local,
        remote: Some(theirs.credentials),
        candidates: theirs.candidates,
    }
}
