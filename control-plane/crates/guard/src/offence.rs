/// What speaks against a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Offence {
    /// Its message was malformed.
    Malformed,
    /// It was asked for credentials. A user agent answers, and its success clears the account; who tries names does not.
    Challenged,
    /// Its credentials were wrong.
    Credentials,
    /// It names itself a scanner.
    Scanner,
}

/// How sure it is that the source did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A datagram with that source address, which anybody can send.
    Datagram,
    /// A connection, or an answer to what we sent there.
    Proven,
}

impl Offence {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Malformed,
        Self::Challenged,
        Self::Credentials,
        Self::Scanner,
    ];

    /// Its points in thousandths. 100 points are a ban by default: a hundred malformed messages in a minute, ten wrong
    /// passwords, or four packets of a scanner. Of challenges it takes five thousand without one success among them: so
    /// many are under way when all phones behind one address register at once.
    pub const fn points_milli(self) -> u32 {
        match self {
            Self::Challenged => 20,
            Self::Malformed => 1_000,
            Self::Credentials => 10_000,
            Self::Scanner => 25_000,
        }
    }

    /// The label of its counter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Challenged => "challenged",
            Self::Credentials => "credentials",
            Self::Scanner => "scanner",
        }
    }
}
