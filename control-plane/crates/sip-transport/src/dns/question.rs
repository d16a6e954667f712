use std::net::{Ipv4Addr, Ipv6Addr};

/// What the DNS is asked. Names are as they are written, without a dot at the end unless they are complete.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Which services a domain has (RFC 3403).
    Naptr(String),
    /// Which hosts have a service (RFC 2782).
    Srv(String),
    /// The IPv4 addresses of a host.
    A(String),
    /// The IPv6 addresses of a host.
    Aaaa(String),
}

impl Question {
    /// The answer that there is nothing.
    pub fn nothing(&self) -> Answer {
        match self {
            Self::Naptr(_) => Answer::Naptr(Vec::new()),
            Self::Srv(_) => Answer::Srv(Vec::new()),
            Self::A(_) => Answer::A(Vec::new()),
            Self::Aaaa(_) => Answer::Aaaa(Vec::new()),
        }
    }
}

/// What the DNS answers. That there is nothing is an answer, with an empty list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Naptr`].
    Naptr(Vec<Naptr>),
    /// To [`Question::Srv`].
    Srv(Vec<Srv>),
    /// To [`Question::A`].
    A(Vec<Ipv4Addr>),
    /// To [`Question::Aaaa`].
    Aaaa(Vec<Ipv6Addr>),
}

impl Answer {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Naptr(records) => records.is_empty(),
            Self::Srv(records) => records.is_empty(),
            Self::A(records) => records.is_empty(),
            Self::Aaaa(records) => records.is_empty(),
        }
    }
}

/// A NAPTR record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lower ones first.
    pub order: u16,
    /// Among those of one order lower ones first.
    pub preference: u16,
    /// `S` when the replacement is the name of SRV records.
    pub flags: String,
    /// Such as `SIP+D2U`.
    pub services: String,
    /// Where to go on.
    pub replacement: String,
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower ones first.
    pub priority: u16,
    /// The share among those of one priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; `.` when the service is decidedly not there.
    pub target: String,
}
