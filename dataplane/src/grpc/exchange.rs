use prost::Message as _;
use proto::convert;
use proto::media_v1 as wire;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
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
    /// No message of answers is larger.
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
        // Of the last message, what is not begun, and since when it waits.
        let mut waiting = Vec::new().into_iter();
        let mut received = Instant::now();
        let mut is_over = false;
        loop {
            while under_way.len() < self.requests_max
                && let Some(request) = waiting.next()
            {
                let commands = self.commands.clone();
                under_way.spawn(async move { commands.command(request, received).await });
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
                    Ok(Some(message)) => {
                        received = Instant::now();
                        waiting = message.requests.into_iter();
                    }
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
        let first = bounded(first, self.message_bytes_max);
        let mut bytes = first.encoded_len() + FRAMING;
        let mut message = wire::ExchangeResponse { answers: vec![first] };
        // A task that failed is one that panicked, and then the process has ended.
        while let Some(Ok(next)) = under_way.try_join_next() {
            let next = bounded(next, self.message_bytes_max);
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

/// An answer that no message can hold would end the stream, and all others with it: it fails alone.
fn bounded(answer: wire::CallAnswer, message_bytes_max: usize) -> wire::CallAnswer {
    if answer.encoded_len() + FRAMING <= message_bytes_max {
        return answer;
    }
    let text = "the answer is larger than grpc.message_bytes_max; the command was carried out";
    let failure = convert::status_to_failure(&Status::out_of_range(text));
    wire::CallAnswer {
        request_id: answer.request_id,
        result: Some(wire::call_answer::Result::Failure(failure)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_no_message_can_hold_fails_alone() {
        let answer = |name: &str| wire::CallAnswer {
            request_id: 7,
            result: Some(wire::call_answer::Result::Call(wire::Call {
                call_id: name.to_owned(),
                ..Default::default()
            })),
        };
        let small = answer("a call");
        assert_eq!(bounded(small.clone(), 200), small);
        let failed = bounded(answer(&"a".repeat(300)), 200);
        assert_eq!(failed.request_id, 7);
        assert!(failed.encoded_len() + FRAMING <= 200);
        let Some(wire::call_answer::Result::Failure(failure)) = failed.result else {
            panic!("{failed:?}");
        };
        assert_eq!(failure.code, tonic::Code::OutOfRange as u32);
    }
}
