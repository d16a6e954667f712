/// A transport of RTP over UDP by its name in a media line (RFC 3551, RFC 4585, RFC 3711, RFC 5124).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// `SAVP` and `SAVPF`: nothing in clear.
    pub is_secure: bool,
    /// `AVPF` and `SAVPF`: early feedback.
    pub has_feedback: bool,
}

impl Profile {
    /// The profile of a name, in whatever case; `None` for other transports, those of DTLS among them.
    pub fn named(name: &str) -> Option<Self> {
        let all = [(false, false), (false, true), (true, false), (true, true)];
        all.into_iter()
            .map(|(is_secure, has_feedback)| Self {
                is_secure,
                has_feedback,
            })
            .find(|profile| profile.name().eq_ignore_ascii_case(name))
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match (self.is_secure, self.has_feedback) {
            (false, false) => "RTP/AVP",
            (false, true) => "RTP/AVPF",
            (true, false) => "RTP/SAVP",
            (true, true) => "RTP/SAVPF",
        }
    }
}
