use thiserror::Error;

/// Why an association gave no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Failure {
    /// The handshake was not complete in time.
    #[error("the handshake was not complete in time")]
    Timeout,
    /// The certificate is none of those that the description named.
    #[error("the certificate has none of the signalled fingerprints")]
    Fingerprint,
    /// No certificate, or one that cannot be used: RSA, say, of which `dimpl` knows nothing.
    #[error("the certificate cannot be used")]
    Certificate,
    /// The two have no SRTP protection profile in common (RFC 5764 §4.1.2).
    #[error("no SRTP protection profile in common")]
    Profile,
    /// A message of the handshake broke the protocol, or its cryptography.
    #[error("the handshake broke the protocol")]
    Protocol,
    /// More fragments or flights waited than a handshake has.
    #[error("more of the handshake waited than there can be")]
    Queue,
    /// The party refused it, in a record that only it could make.
    #[error("the party refused the handshake")]
    Alert,
    /// The party closed before the handshake was complete.
    #[error("closed before the handshake was complete")]
    Closed,
}

impl Failure {
    /// Every failure.
    pub const ALL: [Self; 8] = [
        Self::Timeout,
        Self::Fingerprint,
        Self::Certificate,
        Self::Profile,
        Self::Protocol,
        Self::Queue,
        Self::Alert,
        Self::Closed,
    ];

    /// The label of the counter, and of the call's query.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Timeout => "dtls_timeout",
            Self::Fingerprint => "dtls_fingerprint",
            Self::Certificate => "dtls_certificate",
            Self::Profile => "dtls_profile",
            Self::Protocol => "dtls_protocol",
            Self::Queue => "dtls_queue",
            Self::Alert => "dtls_refused",
            Self::Closed => "dtls_closed",
        }
    }
}

impl From<dimpl::Error> for Failure {
    fn from(error: dimpl::Error) -> Self {
        match error {
            dimpl::Error::Timeout(_) => Self::Timeout,
            dimpl::Error::CertificateError(_) => Self::Certificate,
            dimpl::Error::ConnectionClosed => Self::Closed,
            // Alerts in clear are not taken.
            dimpl::Error::SecurityError(dimpl::SecurityError::FatalAlert { .. }) => Self::Alert,
            dimpl::Error::ReceiveQueueFull
            | dimpl::Error::TransmitQueueFull
            | dimpl::Error::TransmitHistoryFull
            | dimpl::Error::TooManyClientHelloFragments => Self::Queue,
            _ => Self::Protocol,
        }
    }
}
