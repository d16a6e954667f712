use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use proto::admin_v1 as wire;
use proto::admin_v1::control_plane_server::ControlPlane;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::counters::Counters;
use crate::desk::Line;
use crate::feeder::Feed;
use crate::watcher::{MESSAGES_MAX, Watcher};
use crate::{Command, HangUp, NotTransferred, Operation, Transfer};

/// The longest name of a call, and the longest text for parties and call record, in bytes.
const CALL_ID_BYTES_MAX: usize = 128;
const TEXT_BYTES_MAX: usize = 64;

/// The longest target of a transfer, and the longest name of a user, in bytes.
const TARGET_BYTES_MAX: usize = 256;

/// Contacts in a page, when nothing is said and at most.
const PAGE_SIZE: u32 = 100;
const PAGE_SIZE_MAX: u32 = 1_000;

/// What a hang-up without its own says.
const Q850_NORMAL_CLEARING: u8 = 16;
const TEXT_DEFAULT: &str = "Hung up by an operator";

/// The most next hops, and bans, in an answer.
const TRUNKS_MAX: usize = 10_000;
const BANS_MAX: usize = 10_000;

/// The longest ban.
const BAN_S_MAX: u64 = 365 * 86_400;

/// How often a drain that is followed tells what is left.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// `ringpath.admin.v1.ControlPlane`: turns requests into commands for the thread that owns the calls, and counts them.
#[derive(Debug)]
pub struct Service {
    line: Line,
    feed: Feed,
    counters: Arc<Counters>,
    places: Arc<Semaphore>,
    request_timeout: Duration,
}

type Outcome<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    pub(crate) fn new(line: Line, feed: Feed, counters: Arc<Counters>, config: &crate::Config) -> Self {
        Self {
            line,
            feed,
            counters,
            places: Arc::new(Semaphore::new(config.watchers_max)),
            request_timeout: Duration::from_millis(config.request_timeout_ms),
        }
    }

    async fn counted<T>(
        &self,
        operation: Operation,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Outcome<T> {
        let outcome = match tokio::time::timeout(self.request_timeout, answer).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Status::deadline_exceeded(
                "admin.request_timeout_ms has passed; the command may be carried out",
            )),
        };
        self.counters.count_request(operation, outcome.is_ok());
        outcome.map(Response::new)
    }

    fn calls(
        &self,
        request: wire::GetActiveCallsRequest,
    ) -> Result<ReceiverStream<crate::watcher::Answer>, Status> {
        let only = match request.call_id {
            id if id.is_empty() => None,
            id => Some(checked_call_id(id)?),
        };
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted("admin.watchers_max: too many lists and watches are under way")
        })?;
        let watcher = Watcher {
            feed: self.feed.clone(),
            counters: self.counters.clone(),
            only,
            watch: request.watch,
            seat: self.feed.sit_down(place),
        };
        let (answers, stream) = mpsc::channel(MESSAGES_MAX);
        tokio::spawn(watcher.run(answers));
        Ok(ReceiverStream::new(stream))
    }

    async fn hang_up(&self, request: wire::HangupCallRequest) -> Result<wire::HangupCallResponse, Status> {
        let call_id = checked_call_id(request.call_id)?;
        let q850 = match u8::try_from(request.q850) {
            Ok(0) => Q850_NORMAL_CLEARING,
            Ok(q850) if q850 <= 127 => q850,
            _ => {
                let reason = format!("q850: must be 0 to 127, is {}", request.q850);
                return Err(Status::invalid_argument(reason));
            }
        };
        let is_printable = request.text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if request.text.len() > TEXT_BYTES_MAX || !is_printable {
            return Err(Status::invalid_argument(format!(
                "text: must be at most {TEXT_BYTES_MAX} printable ASCII characters"
            )));
        }
        let text = match request.text {
            text if text.is_empty() => TEXT_DEFAULT.to_owned(),
            text => text,
        };
        tracing::info!(call = call_id, q850, text, "an operator hangs up");
        let ended = self.line.ask(|reply| {
            Command::HangUp(HangUp {
                call_id,
                q850,
                text,
                reply,
            })
        });
        let call = ended.await?.ok_or_else(|| Status::not_found("no such call"))?;
        Ok(wire::HangupCallResponse { call: Some(call) })
    }

    async fn transfer(
        &self,
        request: wire::TransferCallRequest,
    ) -> Result<wire::TransferCallResponse, Status> {
        let leaves = request.leaves();
        let call_id = checked_call_id(request.call_id)?;
        if leaves == wire::CallParty::Unspecified {
            return Err(Status::invalid_argument(
                "leaves: must be the caller or the callee",
            ));
        }
        let target = request.target;
        let is_text = target.bytes().all(|byte| byte.is_ascii_graphic());
        if target.is_empty() || target.len() > TARGET_BYTES_MAX || !is_text {
            return Err(Status::invalid_argument(format!(
                "target: must be 1 to {TARGET_BYTES_MAX} printable ASCII characters without spaces"
            )));
        }
        tracing::info!(
            call = call_id,
            leaves = leaves.as_str_name(),
            target,
            "an operator transfers"
        );
        let begun = self.line.ask(|reply| {
            Command::Transfer(Transfer {
                call_id,
                leaves,
                target,
                reply,
            })
        });
        let call = begun.await?.map_err(|reason| match reason {
            NotTransferred::UnknownCall => Status::not_found("no such call"),
            NotTransferred::BadTarget(reason) => Status::invalid_argument(format!("target: {reason}")),
            NotTransferred::Refused(reason) => Status::failed_precondition(reason),
        })?;
        Ok(wire::TransferCallResponse { call: Some(call) })
    }

    async fn ban(&self, wanted: wire::BanNetworkRequest) -> Result<wire::BanNetworkResponse, Status> {
        if !(1..=BAN_S_MAX).contains(&wanted.lasts_s) {
            return Err(Status::invalid_argument(format!(
                "lasts_s: must be 1 to {BAN_S_MAX}, is {}",
                wanted.lasts_s
            )));
        }
        let banned = self.line.ask(|reply| Command::Ban { wanted, reply });
        let ban = banned.await?.map_err(not_a_network)?;
        tracing::info!(network = ban.network, "an operator bans");
        Ok(wire::BanNetworkResponse { ban: Some(ban) })
    }

    async fn lift_ban(&self, request: wire::LiftBanRequest) -> Result<wire::LiftBanResponse, Status> {
        let network = request.network;
        let lifted = self.line.ask(|reply| Command::LiftBan { network, reply });
        match lifted.await?.map_err(not_a_network)? {
            true => Ok(wire::LiftBanResponse {}),
            false => Err(Status::not_found("no such ban")),
        }
    }

    async fn registrations(
        &self,
        mut wanted: wire::GetRegistrationsRequest,
    ) -> Result<wire::GetRegistrationsResponse, Status> {
        if wanted.page_size > PAGE_SIZE_MAX {
            return Err(Status::invalid_argument(format!(
                "page_size: must be at most {PAGE_SIZE_MAX}, is {}",
                wanted.page_size
            )));
        }
        if wanted.page_size == 0 {
            wanted.page_size = PAGE_SIZE;
        }
        if wanted.user.len() > TARGET_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "user: must have at most {TARGET_BYTES_MAX} bytes"
            )));
        }
        let told = self.line.ask(|reply| Command::Registrations { wanted, reply });
        told.await?
            .ok_or_else(|| Status::invalid_argument("page: is none of next_page"))
    }

    async fn drain(&self, request: wire::DrainRequest) -> Result<ReceiverStream<Drained>, Status> {
        let wire::DrainRequest { drain, follow } = request;
        tracing::info!(drain, follow, "an operator drains");
        let state = self.line.ask(|reply| Command::Drain { drain, reply }).await?;
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(follow_drain(self.line.clone(), state, follow && drain, answers));
        Ok(ReceiverStream::new(stream))
    }
}

type Drained = Result<wire::DrainResponse, Status>;

/// Tells how many calls are left, until there are none, somebody takes calls again, or the client goes.
async fn follow_drain(
    line: Line,
    mut state: wire::DescribeResponse,
    follow: bool,
    answers: mpsc::Sender<Drained>,
) {
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        let (calls_left, is_draining) = (state.calls, state.draining);
        let answer = wire::DrainResponse {
            calls_left,
            refusing: state.refusing,
        };
        if answers.send(Ok(answer)).await.is_err() || !follow || calls_left == 0 || !is_draining {
            return;
        }
        tokio::select! {
            _ = tick.tick() => {}
            () = answers.closed() => return,
        }
        state = match line.ask(Command::Describe).await {
            Ok(state) => state,
            // A client that went does not mind.
            Err(status) => return drop(answers.send(Err(status)).await),
        };
    }
}

fn checked_call_id(id: String) -> Result<String, Status> {
    let is_name =
        !id.is_empty() && id.len() <= CALL_ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic());
    match is_name {
        true => Ok(id),
        false => Err(Status::invalid_argument(format!(
            "call_id: must be 1 to {CALL_ID_BYTES_MAX} printable ASCII characters without spaces"
        ))),
    }
}

#[tonic::async_trait]
impl ControlPlane for Service {
    type GetActiveCallsStream = Answers<wire::GetActiveCallsResponse>;
    type DrainStream = Answers<wire::DrainResponse>;

    async fn describe(&self, _request: Request<wire::DescribeRequest>) -> Outcome<wire::DescribeResponse> {
        self.counted(Operation::Describe, self.line.ask(Command::Describe))
            .await
    }

    async fn get_active_calls(
        &self,
        request: Request<wire::GetActiveCallsRequest>,
    ) -> Outcome<Self::GetActiveCallsStream> {
        self.counted(Operation::GetActiveCalls, async {
            Ok(Box::pin(self.calls(request.into_inner())?) as _)
        })
        .await
    }

    async fn hangup_call(
        &self,
        request: Request<wire::HangupCallRequest>,
    ) -> Outcome<wire::HangupCallResponse> {
        self.counted(Operation::HangupCall, self.hang_up(request.into_inner()))
            .await
    }

    async fn transfer_call(
        &self,
        request: Request<wire::TransferCallRequest>,
    ) -> Outcome<wire::TransferCallResponse> {
        self.counted(Operation::TransferCall, self.transfer(request.into_inner()))
            .await
    }

    async fn get_registrations(
        &self,
        request: Request<wire::GetRegistrationsRequest>,
    ) -> Outcome<wire::GetRegistrationsResponse> {
        let told = self.registrations(request.into_inner());
        self.counted(Operation::GetRegistrations, told).await
    }

    async fn get_trunks(
        &self,
        _request: Request<wire::GetTrunksRequest>,
    ) -> Outcome<wire::GetTrunksResponse> {
        let trunks = self.line.ask(|reply| Command::Trunks {
            max: TRUNKS_MAX,
            reply,
        });
        self.counted(Operation::GetTrunks, trunks).await
    }

    async fn get_bans(&self, _request: Request<wire::GetBansRequest>) -> Outcome<wire::GetBansResponse> {
        let bans = self.line.ask(|reply| Command::Bans { max: BANS_MAX, reply });
        self.counted(Operation::GetBans, bans).await
    }

    async fn ban_network(
        &self,
        request: Request<wire::BanNetworkRequest>,
    ) -> Outcome<wire::BanNetworkResponse> {
        let ban = self.ban(request.into_inner());
        self.counted(Operation::BanNetwork, ban).await
    }

    async fn lift_ban(&self, request: Request<wire::LiftBanRequest>) -> Outcome<wire::LiftBanResponse> {
        let lifted = Self::lift_ban(self, request.into_inner());
        self.counted(Operation::LiftBan, lifted).await
    }

    async fn drain(&self, request: Request<wire::DrainRequest>) -> Outcome<Self::DrainStream> {
        self.counted(Operation::Drain, async {
            Ok(Box::pin(self.drain(request.into_inner()).await?) as _)
        })
        .await
    }
}

fn not_a_network(reason: &str) -> Status {
    Status::invalid_argument(format!("network: {reason}"))
}
