use proto::admin_v1 as wire;
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait for the SIP thread; one more is answered `UNAVAILABLE`.
const COMMANDS_MAX: usize = 64;

/// Changes that may wait for the server's thread; then the SIP thread keeps them, one for each call.
const CHANGES_MAX: usize = 4;

/// Where an answer goes. That nobody waits for it any more is no fault.
pub type Reply<T> = oneshot::Sender<T>;

/// What operators want of the thread that owns the calls.
#[derive(Debug)]
pub enum Command {
    /// Tell changes of calls from now on, beginning with a list of all; or tell none any more.
    Watch(bool),
    /// Tell how things stand.
    Describe(Reply<wire::DescribeResponse>),
    /// End a call.
    HangUp(HangUp),
    /// Connect one party of a call with somebody else.
    Transfer(Transfer),
    /// Tell contacts of users.
    Registrations {
        /// What is wanted: a page size that was checked.
        wanted: wire::GetRegistrationsRequest,
        /// For the answer; `None` if the page is none of ours.
        reply: Reply<Option<wire::GetRegistrationsResponse>>,
    },
    /// Tell the routing table, at most so many next hops of it.
    Trunks {
        /// The most that are told.
        max: usize,
        /// For the answer.
        reply: Reply<wire::GetTrunksResponse>,
    },
    /// Tell the networks that are banned, at most so many.
    Bans {
        /// The most that are told.
        max: usize,
        /// For the answer.
        reply: Reply<wire::GetBansResponse>,
    },
    /// Ban a network.
    Ban {
        /// Which, and for how long: a time that was checked.
        wanted: wire::BanNetworkRequest,
        /// For the ban, or why the network is none.
        reply: Reply<Result<wire::Ban, &'static str>>,
    },
    /// Lift the ban of a network.
    LiftBan {
        /// Which.
        network: String,
        /// Whether there was one, or why the network is none.
        reply: Reply<Result<bool, &'static str>>,
    },
    /// Take no new calls, or take them again; then tell how things stand.
    Drain {
        /// Whether new calls are refused.
        drain: bool,
        /// For the answer.
        reply: Reply<wire::DescribeResponse>,
    },
}

/// A call that shall end.
#[derive(Debug)]
pub struct HangUp {
    /// Its name.
    pub call_id: String,
    /// Cause of ITU-T Q.850, 1 to 127.
    pub q850: u8,
    /// For people; printable ASCII.
    pub text: String,
    /// For the call as it is then; `None` if there is none of that name.
    pub reply: Reply<Option<wire::Call>>,
}

/// A call that shall be transferred.
#[derive(Debug)]
pub struct Transfer {
    /// Its name.
    pub call_id: String,
    /// The party that leaves; never unspecified.
    pub leaves: wire::CallParty,
    /// A URI.
    pub target: String,
    /// For the call as it is then.
    pub reply: Reply<Result<wire::Call, NotTransferred>>,
}

/// Why a call is not transferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTransferred {
    /// There is none of that name.
    UnknownCall,
    /// The target is no URI that can be called.
    BadTarget(String),
    /// Not now, not once more, or not there.
    Refused(String),
}

/// Calls that are new, have changed or are gone. A call is in one of both lists, and in each at most once.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The list begins anew.
    pub restart: bool,
    /// As they are now.
    pub changed: Vec<wire::Call>,
    /// As they were at the end.
    pub gone: Vec<wire::Call>,
    /// Every call has been told since the restart.
    pub complete: bool,
}

/// The side of the thread that owns the calls. Nothing here waits but [`receive`](Self::receive).
#[derive(Debug)]
pub struct Desk {
    commands: mpsc::Receiver<Command>,
    changes: mpsc::Sender<Changes>,
}

impl Desk {
    /// The next command; never completes when the server is gone. Can be dropped at any time.
    pub async fn receive(&mut self) -> Command {
        match self.commands.recv().await {
            Some(command) => command,
            None => std::future::pending().await,
        }
    }

    /// Tells `changes`, made only when there is room for them. Gives whether there was.
    pub fn tell(&self, changes: impl FnOnce() -> Option<Changes>) -> bool {
        let Ok(place) = self.changes.try_reserve() else {
            return false;
        };
        if let Some(changes) = changes() {
            place.send(changes);
        }
        true
    }
}

/// The server's side.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) line: Line,
    pub(crate) changes: mpsc::Receiver<Changes>,
}

/// Where the server leaves commands.
#[derive(Clone, Debug)]
pub(crate) struct Line(mpsc::Sender<Command>);

impl Line {
    /// Leaves a command, unless too many wait already.
    pub(crate) fn leave(&self, command: Command) -> Result<(), tonic::Status> {
        self.0.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                tonic::Status::unavailable("too many commands wait for the SIP thread")
            }
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })
    }

    /// Leaves a command, when there is room.
    pub(crate) async fn leave_in_time(&self, command: Command) -> Result<(), tonic::Status> {
        self.0.send(command).await.map_err(|_| stopping())
    }

    /// Leaves the command that `command` makes, and waits for its answer.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, tonic::Status> {
        let (reply, answer) = oneshot::channel();
        self.leave(command(reply))?;
        answer.await.map_err(|_| stopping())
    }
}

fn stopping() -> tonic::Status {
    tonic::Status::unavailable("the control plane is stopping")
}

/// Both sides.
pub(crate) fn desk() -> (Desk, Counter) {
    let (leave, commands) = mpsc::channel(COMMANDS_MAX);
    let (tell, changes) = mpsc::channel(CHANGES_MAX);
    let desk = Desk {
        commands,
        changes: tell,
    };
    let line = Line(leave);
    (desk, Counter { line, changes })
}
