use std::sync::Arc;

use media_types::LineSpec;
use sdp::sdes::Protection;

use super::handshake::{Handshake, Invitation};
use super::side::Both;

/// One media line of a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// What the media node is told, but for the security.
    pub(super) spec: LineSpec,
    /// What protects it.
    pub(super) security: Security,
    /// Its transport is one with early feedback.
    pub(super) has_feedback: bool,
}

/// The lines of both legs. Shared, because the node and the parties mostly agree.
pub(super) type Lines = Arc<Both<Vec<Line>>>;

/// What protects a line towards its party.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) enum Security {
    /// Nothing.
    #[default]
    Clear,
    /// SRTP for certain; its keys come with the answer, and nothing passes until then.
    Pending,
    /// The same by a handshake, which the party may begin before its answer is here: it is met with what we offered.
    Invited(Box<Invitation>),
    /// SRTP with these keys.
    Protected(Box<Protection>),
    /// SRTP with the keys of this handshake; nothing passes before it is done.
    Handshake(Box<Handshake>),
}

impl Security {
    /// The keys, if there are any.
    pub(super) fn protection(&self) -> Option<&Protection> {
        match self {
            Self::Protected(protection) => Some(protection),
            Self::Clear | Self::Pending | Self::Invited(_) | Self::Handshake(_) => None,
        }
    }

    /// Its handshake, if it has one.
    pub(super) fn handshake(&self) -> Option<&Handshake> {
        match self {
            Self::Handshake(handshake) => Some(handshake),
            Self::Clear | Self::Pending | Self::Invited(_) | Self::Protected(_) => None,
        }
    }
}

impl Line {
    /// Whether something may pass in clear.
    pub(super) fn is_open(&self) -> bool {
        self.spec.enabled && self.security == Security::Clear
    }

    /// Whether the party is looked for by ICE, or may be.
    pub(super) fn has_ice(&self) -> bool {
        match &self.security {
            Security::Handshake(handshake) => handshake.ice().is_some(),
            Security::Invited(invitation) => invitation.ice().is_some(),
            Security::Clear | Security::Pending | Security::Protected(_) => false,
        }
    }

    /// What the media node is told of the line.
    pub(super) fn to_node(&self) -> LineSpec {
        if let Security::Invited(invitation) = &self.security {
            return LineSpec {
                rtcp_mux: true,
                remote: None,
                remote_rtcp: None,
                dtls: Some(Box::new(invitation.dtls())),
                ice: invitation.ice().map(Box::new),
                srtp: None,
                ..self.spec.clone()
            };
        }
        let handshake = self.security.handshake();
        // Where ICE finds the party, its description's addresses are of no use.
        let is_found = handshake.is_some_and(|handshake| handshake.ice().is_some());
        LineSpec {
            remote: self.spec.remote.filter(|_| !is_found),
            remote_rtcp: self.spec.remote_rtcp.filter(|_| !is_found),
            dtls: handshake.map(|it| Box::new(it.dtls())),
            ice: handshake.and_then(Handshake::ice).cloned().map(Box::new),
            srtp: match &self.security {
                Security::Clear | Security::Invited(_) | Security::Handshake(_) => None,
                Security::Pending => Some(media_types::SrtpSpec::default()),
                Security::Protected(protection) => Some(protection.spec()),
            },
            ..self.spec.clone()
        }
    }
}
