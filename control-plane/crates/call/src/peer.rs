/// What a redirection (3xx) of a next hop leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Redirect {
    /// Nowhere: the caller gets 480, and the next hop's turn is over.
    #[default]
    Refuse,
    /// To those of its contacts whose users begin with one of [`Peer::redirect_to`]: users of ours at their contacts, others by
    /// the routing table.
    Follow,
    /// To the caller, with us as the host of every contact, so that its new call comes by here.
    Pass,
}

/// What is agreed with those behind a next hop. The default trusts nobody.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Peer {
    /// What its redirections lead to.
    pub redirect: Redirect,
    /// What the users of contacts that are followed begin with; others are not called: a redirection is no licence to
    /// call what costs money (RFC 3261 §26.4).
    pub redirect_to: Vec<String>,
    /// They are of our trust domain (RFC 3325 §2.3): they are told who calls even when the caller hides it, and keep it to
    /// themselves.
    pub trusted: bool,
    /// How they are told who has sent a call on.
    pub history: History,
    /// Whom `From` names when the caller is a user that has proved who it is.
    pub from: Named,
}

/// Whom `From` names towards a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Named {
    /// Whom the caller names.
    #[default]
    Caller,
    /// The user by its account, if the caller is one that has proved who it is: it cannot show a number that is not its own.
    Account,
}

/// How a next hop is told who has sent a call on before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum History {
    /// As it came; what happened here as Diversion, unless the call came with History-Info.
    #[default]
    Pass,
    /// By History-Info (RFC 7044).
    HistoryInfo,
    /// By Diversion (RFC 5806).
    Diversion,
    /// Not at all.
    Off,
}
