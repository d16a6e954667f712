use std::sync::Arc;

use proto::admin_v1 as wire;
use tokio::sync::{broadcast, mpsc};
use tonic::Status;

use crate::counters::Counters;
use crate::feeder::{Feed, Seat, View};
use crate::mirror::Told;

/// Calls in one message of a list. A call has less than 2 kB, so that a message stays far below the 4 MiB that clients
/// take.
const CALLS_PER_MESSAGE: usize = 200;

/// Messages on their way to a client; when it does not read them the watcher waits here.
pub const MESSAGES_MAX: usize = 2;

/// What a client gets.
pub type Answer = Result<wire::GetActiveCallsResponse, Status>;

/// One list or watch of calls.
#[derive(Debug)]
pub struct Watcher {
    pub feed: Feed,
    pub counters: Arc<Counters>,
    /// The name of the only call that is wanted.
    pub only: Option<String>,
    /// Whether to go on after the list.
    pub watch: bool,
    /// Kept for as long as it tells.
    pub seat: Seat,
}

/// Why nothing more is told.
enum Over {
    /// The client has all it wanted, or is gone.
    Done,
    /// The client was too slow: so many messages are lost for it.
    Behind(u64),
}

impl Watcher {
    /// Tells until the client has what it wants, goes, or the control plane stops.
    pub async fn run(self, answers: mpsc::Sender<Answer>) {
        let _seated = &self.seat;
        let mut missed = 0;
        while let Some(view) = self.feed.view(self.only.as_deref()) {
            // A client that goes while nothing changes must not keep its place.
            let over = tokio::select! {
                over = self.tell(view, missed, &answers) => over,
                () = answers.closed() => return,
            };
            match over {
                Over::Done => return,
                Over::Behind(messages) => {
                    self.counters.count_missed(messages);
                    missed = messages;
                }
            }
        }
    }

    /// Tells the list, then what changes.
    async fn tell(&self, view: View, missed: u64, answers: &mpsc::Sender<Answer>) -> Over {
        let View {
            calls,
            mut complete,
            mut told,
        } = view;
        let mut found = !calls.is_empty();
        // The list of one call is complete when it is there.
        complete |= self.only.is_some() && found;
        let mut pieces = calls.chunks(CALLS_PER_MESSAGE).peekable();
        let mut first = true;
        while first || pieces.peek().is_some() {
            let calls = pieces.next().unwrap_or_default().iter();
            let message = wire::GetActiveCallsResponse {
                restart: first,
                missed: if first { missed } else { 0 },
                calls: calls.map(|call| wire::Call::clone(call)).collect(),
                gone: vec![],
                complete: complete && pieces.peek().is_none(),
            };
            first = false;
            let is_absent = message.complete && self.only.is_some() && !found;
            if is_absent || answers.send(Ok(message)).await.is_err() {
                break;
            }
        }
        drop(calls);
        loop {
            if complete {
                if self.only.is_some() && !found {
                    // A client that went does not mind.
                    let _ = answers.send(Err(Status::not_found("no such call"))).await;
                    return Over::Done;
                }
                if !self.watch {
                    return Over::Done;
                }
            }
            let news = match told.recv().await {
                Ok(news) => news,
                Err(broadcast::error::RecvError::Lagged(messages)) => return Over::Behind(messages),
                Err(broadcast::error::RecvError::Closed) => return Over::Done,
            };
            if news.restart && self.only.is_some() {
                // What was told of the call counts no more, and it may be gone unseen.
                return Over::Behind(0);
            }
            complete = news.complete;
            let Some((message, is_over)) = self.message(news, &mut found) else {
                continue;
            };
            if answers.send(Ok(message)).await.is_err() || is_over {
                return Over::Done;
            }
        }
    }

    /// The message for `news`, and whether it is the last; `None` when nothing in it concerns this client.
    fn message(&self, news: Told, found: &mut bool) -> Option<(wire::GetActiveCallsResponse, bool)> {
        let is_wanted = |call: &&Arc<wire::Call>| self.only.as_ref().is_none_or(|only| call.call_id == *only);
        let copy = |calls: &[Arc<wire::Call>]| -> Vec<wire::Call> {
            calls
                .iter()
                .filter(is_wanted)
                .map(|call| wire::Call::clone(call))
                .collect()
        };
        let (calls, gone) = (copy(&news.changed), copy(&news.gone));
        let concerns = !calls.is_empty() || !gone.is_empty();
        *found |= concerns;
        if self.only.is_some() && !concerns {
            return None;
        }
        let is_over = self.only.is_some() && (!gone.is_empty() || !self.watch);
        let message = wire::GetActiveCallsResponse {
            restart: news.restart,
            missed: 0,
            calls,
            gone,
            complete: news.complete || self.only.is_some(),
        };
        Some((message, is_over))
    }
}
