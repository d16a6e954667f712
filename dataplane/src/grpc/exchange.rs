use prost::Message as _;
use proto::media_v1 as wire;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::{Status, Streaming};

use super::commands::Commands;

/// Requests that one message may carry.
pub const MESSAGE_REQUESTS_MAX: usize = 256;
/// What tag and length of an answer take in its message, at most, in bytes.
const FRAMING: usize = 8;

/// One stream of requests and one of answers.
pub struct Exchange {
    /// What carries them out.
    pub commands: Commands,
    /// True when the node stops.
    pub closing: watch::Receiver<bool>,
    /// Requests under way at most: with so many no more are read, and HTTP/2 makes the caller wait.
    pub requests_max: usize,
    /// No message of answers is larger, unless a single answer is.
    pub message_bytes_max: usize,
    /// To the caller.
    pub answers: mpsc::Sender<Result<wire::ExchangeResponse, Status>>,
}

impl Exchange {
    /// Until the caller ends its stream and has its answers, goes, or the node stops. Requests of a caller that went are
    /// carried out all the same when a worker has them.
    pub async fn run(self, mut requests: Streaming<wire::ExchangeRequest>) {
        let mut closing = self.closing.clone();
        let mut under_way = JoinSet::new();
        // Of the last message, what is not begun.
        let mut waiting = Vec::new().into_iter();
        let mut is_over = false;
        loop {
            while under_way.len() < self.requests_max
                && let Some(request) = waiting.next()
            {
                let commands = self.commands.clone();
                under_way.spawn(async move { commands.command(request).await });
            }
            let reads = !is_over && waiting.len() == 0 && under_way.len() < self.requests_max;
            if is_over && under_way.is_empty() && waiting.len() == 0 {
                return;
            }
            tokio::select! {
                // Answers first: they make room.
                biased;
                Some(answer) = under_way.join_next() => {
                    let Ok(first) = answer else { return };
                    if self.answer(first, &mut under_way).await.is_err() {
                        return;
                    }
                }
                message = requests.message(), if reads => match message {
                    Ok(Some(message)) if message.requests.len() > MESSAGE_REQUESTS_MAX => {
                        let text = format!("requests: at most {MESSAGE_REQUESTS_MAX} in one message");
                        // The caller may have gone.
                        return drop(self.answers.send(Err(Status::invalid_argument(text))).await);
                    }
                    Ok(Some(message)) => waiting = message.requests.into_iter(),
                    Ok(None) => is_over = true,
                    // The connection, or a message that is too large or makes no sense.
                    Err(status) => return drop(self.answers.send(Err(status)).await),
                },
                () = self.answers.closed() => return,
                // What was not begun is asked again of another node, or of the next process.
                true = async { closing.wait_for(|closing| *closing).await.is_ok() }, if !is_over => {
                    waiting = Vec::new().into_iter();
                    is_over = true;
                }
            }
        }
    }

    /// Sends `first` with all other answers that are there.
    async fn answer(
        &self,
        first: wire::CallAnswer,
        under_way: &mut JoinSet<wire::CallAnswer>,
    ) -> Result<(), mpsc::error::SendError<Result<wire::ExchangeResponse, Status>>> {
        let mut bytes = first.encoded_len() + FRAMING;
        let mut message = wire::ExchangeResponse { answers: vec![first] };
        // A task that failed is one that panicked, and then the process has ended.
        while let Some(Ok(next)) = under_way.try_join_next() {
            let size = next.encoded_len() + FRAMING;
            if bytes + size > self.message_bytes_max {
                self.answers.send(Ok(std::mem::take(&mut message))).await?;
                bytes = 0;
            }
            bytes += size;
            message.answers.push(next);
        }
        self.answers.send(Ok(message)).await
    }
}
