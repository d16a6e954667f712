/// A transport of RTP over UDP by its name in a media line (RFC 3551, RFC 4585, RFC 3711, RFC 5124, RFC 5764).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// `SAVP` and `SAVPF`: nothing in clear.
    pub is_secure: bool,
    /// `AVPF` and `SAVPF`: early feedback.
    pub has_feedback: bool,
    /// `UDP/TLS/…`: its keys come from a handshake (RFC 5764 §8).
    pub is_dtls: bool,
}

impl Profile {
    /// The profile of a name, in whatever case; `None` for other transports.
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            (false, false),
            (true, false),
            // Those of DTLS are secure.
            (true, true),
        ];
        all.into_iter()
            .flat_map(|(is_secure, is_dtls)| {
                [false, true].map(|has_feedback| Self {
                    is_secure,
                    has_feedback,
                    is_dtls,
                })
            })
            .find(|profile| profile.name().eq_ignore_ascii_case(name))
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match (self.is_secure, self.has_feedback, self.is_dtls) {
            (_, false, true) => "UDP/TLS/RTP/SAVP",
            (_, true, true) => "UDP/TLS/RTP/SAVPF",
            (false, false, false) => "RTP/AVP",
            (false, true, false) => "RTP/AVPF",
            (true, false, false) => "RTP/SAVP",
            (true, true, false) => "RTP/SAVPF",
        }
    }
}
