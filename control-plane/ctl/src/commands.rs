use std::io::{self, Write as _};
use std::time::UNIX_EPOCH;

use clap::CommandFactory as _;
use proto::admin_v1::{
    Ban, BanNetworkRequest, Binding, Call, CallParty, DescribeRequest, DescribeResponse, DrainRequest,
    GetActiveCallsRequest, GetActiveCallsResponse, GetBansRequest, GetRegistrationsRequest, GetTrunksRequest,
    HangupCallRequest, LiftBanRequest, ServerState, TransferCallRequest, Trunk,
};
use serde_json::{Value, json};
use tonic::Streaming;

use crate::arguments::{Arguments, Command, Party};
use crate::connection::{Client, connect};
use crate::error::Error;
use crate::roster::Roster;
use crate::table::{printable, table};
use crate::{calls, json, top};

/// Carries a command out.
///
/// # Errors
/// When it cannot be.
pub async fn run(arguments: Arguments) -> Result<(), Error> {
    if let Command::Completion { shell } = arguments.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "ringpathctl", &mut script);
        return Ok(io::stdout().write_all(&script)?);
    }
    let mut client = connect(&arguments.server).await?;
    match arguments.command {
        Command::Calls { watch: true, output } => watch(&mut client, output.json).await,
        Command::Calls { output, .. } => {
            let roster = list(&mut client, String::new()).await?;
            match output.json {
                true => print_json(&roster.calls().into_iter().map(json::call).collect()),
                false => print(&calls::list(&roster.calls(), now_unix_ms())),
            }
        }
        Command::Call { id, output } => {
            let roster = list(&mut client, id).await?;
            roster
                .calls()
                .into_iter()
                .try_for_each(|call| show(call, output.json))
        }
        Command::Hangup {
            id,
            cause,
            text,
            output,
        } => {
            let request = HangupCallRequest {
                call_id: id,
                q850: cause.into(),
                text,
            };
            let ended = client.hangup_call(request).await?.into_inner().call;
            ended.iter().try_for_each(|call| show(call, output.json))
        }
        Command::Transfer {
            id,
            target,
            leaves,
            output,
        } => {
            let leaves = match leaves {
                Party::Caller => CallParty::Caller,
                Party::Callee => CallParty::Callee,
            };
            let request = TransferCallRequest {
                call_id: id,
                leaves: leaves.into(),
                target,
            };
            let call = client.transfer_call(request).await?.into_inner().call;
            call.iter().try_for_each(|call| show(call, output.json))
        }
        Command::Registrations { user, output } => {
            registrations(&mut client, user.unwrap_or_default(), output.json).await
        }
        Command::Drain {
            cancel,
            no_wait,
            output,
        } => drain(&mut client, !cancel, !no_wait, output.json).await,
        Command::Trunks { output } => trunks(&mut client, output.json).await,
        Command::Bans { output } => bans(&mut client, output.json).await,
        Command::Ban {
            network,
            lasts_s,
            output,
        } => {
            let request = BanNetworkRequest { network, lasts_s };
            let ban = client.ban_network(request).await?.into_inner().ban;
            match output.json {
                true => ban.iter().try_for_each(|ban| print_json(&json::ban(ban))),
                false => print(&ban_table(ban.as_slice())),
            }
        }
        Command::Unban { network } => {
            client.lift_ban(LiftBanRequest { network }).await?;
            Ok(())
        }
        Command::Status { output } => {
            let told = client.describe(DescribeRequest {}).await?.into_inner();
            match output.json {
                true => print_json(&json::standing(&told)),
                false => print(&standing(&told)),
            }
        }
        Command::Top => top::run(client).await,
        // Done above, without a control plane.
        Command::Completion { .. } => Ok(()),
    }
}

/// Asks for calls: all, or the one of that name.
pub async fn calls(
    client: &mut Client,
    watch: bool,
    call_id: String,
) -> Result<Streaming<GetActiveCallsResponse>, Error> {
    let request = GetActiveCallsRequest { watch, call_id };
    Ok(client.get_active_calls(request).await?.into_inner())
}

async fn list(client: &mut Client, call_id: String) -> Result<Roster, Error> {
    let mut roster = Roster::default();
    let mut messages = calls(client, false, call_id).await?;
    while let Some(message) = messages.message().await? {
        roster.apply(message);
    }
    if !roster.is_complete() {
        return Err(tonic::Status::unavailable("the list broke off").into());
    }
    Ok(roster)
}

/// Prints what there is and what changes, until the control plane stops.
async fn watch(client: &mut Client, as_json: bool) -> Result<(), Error> {
    let mut messages = calls(client, true, String::new()).await?;
    while let Some(message) = messages.message().await? {
        let lines = match as_json {
            true => json_lines(&message),
            false => text_lines(&message, now_unix_ms()),
        };
        print(&lines)?;
    }
    Err(tonic::Status::unavailable("the control plane stopped").into())
}

fn json_lines(message: &GetActiveCallsResponse) -> String {
    let mut events = Vec::new();
    if message.restart {
        events.push(json!({ "event": "restart", "missed": message.missed }));
    }
    let of = |event: &str, call: &Call| json!({ "event": event, "call": json::call(call) });
    events.extend(message.gone.iter().map(|call| of("gone", call)));
    events.extend(message.calls.iter().map(|call| of("call", call)));
    events.iter().map(|event| format!("{event}\n")).collect()
}

fn text_lines(message: &GetActiveCallsResponse, now_unix_ms: u64) -> String {
    let mut lines = String::new();
    if message.missed > 0 {
        lines.push_str(&format!(
            "-- {} messages missed; the list again --\n",
            message.missed
        ));
    }
    for call in &message.gone {
        let end = call.end.as_ref().map(calls::end_text).unwrap_or_default();
        lines.push_str(&format!("{}  gone  {end}\n", printable(&call.call_id)));
    }
    for call in &message.calls {
        lines.push_str(&calls::row(call, now_unix_ms).join("  "));
        lines.push('\n');
    }
    lines
}

async fn drain(client: &mut Client, drain: bool, follow: bool, as_json: bool) -> Result<(), Error> {
    let mut progress = client.drain(DrainRequest { drain, follow }).await?.into_inner();
    let mut refusing = String::new();
    while let Some(told) = progress.message().await? {
        refusing.clone_from(&told.refusing);
        match as_json {
            true => print(&format!("{}\n", json::drain(&told)))?,
            false if drain => print(&format!("draining: {} calls left\n", told.calls_left))?,
            false => print("new calls are taken again\n")?,
        }
    }
    if drain && refusing.is_empty() {
        return Err(tonic::Status::aborted("somebody took calls again").into());
    }
    Ok(())
}

/// Prints contacts page by page: as a table, or as JSON with an object a line.
async fn registrations(client: &mut Client, user: String, as_json: bool) -> Result<(), Error> {
    let mut request = GetRegistrationsRequest {
        user,
        page_size: 1_000,
        page: String::new(),
    };
    let mut rows = Vec::new();
    loop {
        let told = client.get_registrations(request.clone()).await?.into_inner();
        match as_json {
            true => {
                let lines = told.bindings.iter().map(json::binding);
                print(&lines.map(|line| format!("{line}\n")).collect::<String>())?;
            }
            false => rows.extend(told.bindings.iter().map(|it| contact(it, now_unix_ms()))),
        }
        if told.next_page.is_empty() {
            break;
        }
        request.page = told.next_page;
    }
    match as_json {
        true => Ok(()),
        false => print(&table(&["USER", "CONTACT", "FROM", "EXPIRES", "Q"], &rows)),
    }
}

/// A contact as a row of the table.
fn contact(binding: &Binding, now_unix_ms: u64) -> Vec<String> {
    let left_s = binding.expires_unix_ms.saturating_sub(now_unix_ms) / 1_000;
    let q = f64::from(binding.q_permille) / 1_000.0;
    vec![
        printable(&binding.user),
        printable(&binding.contact),
        format!(
            "{} {}",
            printable(&binding.transport),
            printable(&binding.address)
        ),
        calls::duration(left_s),
        q.to_string(),
    ]
}

async fn trunks(client: &mut Client, as_json: bool) -> Result<(), Error> {
    let told = client.get_trunks(GetTrunksRequest {}).await?.into_inner();
    if as_json {
        return print_json(&told.trunks.iter().map(json::trunk).collect());
    }
    let rows: Vec<Vec<String>> = told.trunks.iter().map(trunk_row).collect();
    let columns = [
        "PREFIX",
        "HOST",
        "TRANSPORT",
        "ADDRESS",
        "TRUNK",
        "STATE",
        "REGISTERED",
        "CALLS",
    ];
    print(&table(&columns, &rows))?;
    match told.total.saturating_sub(told.trunks.len() as u64) {
        0 => Ok(()),
        left => print(&format!("and {left} more\n")),
    }
}

async fn bans(client: &mut Client, as_json: bool) -> Result<(), Error> {
    let told = client.get_bans(GetBansRequest {}).await?.into_inner();
    if as_json {
        return print_json(&told.bans.iter().map(json::ban).collect());
    }
    print(&ban_table(&told.bans))?;
    match told.total.saturating_sub(told.bans.len() as u64) {
        0 => Ok(()),
        left => print(&format!("and {left} more\n")),
    }
}

fn ban_table(bans: &[Ban]) -> String {
    let now_unix_ms = now_unix_ms();
    let row = |ban: &Ban| {
        let left_s = ban.until_unix_ms.saturating_sub(now_unix_ms) / 1_000;
        vec![
            printable(&ban.network),
            calls::duration(left_s),
            printable(&ban.reason),
        ]
    };
    let rows: Vec<Vec<String>> = bans.iter().map(row).collect();
    table(&["NETWORK", "LEFT", "REASON"], &rows)
}

/// A next hop; `-` for what it has not.
fn trunk_row(trunk: &Trunk) -> Vec<String> {
    let or = |text: &str, other: &str| match text {
        "" => other.to_owned(),
        text => printable(text),
    };
    let prefix = if trunk.unrouted { "-" } else { "(all)" };
    let state = match trunk.state() {
        ServerState::Unspecified => "-",
        ServerState::Up => "up",
        ServerState::Down => "down",
    };
    let registered = match &trunk.registration {
        None => "-".to_owned(),
        Some(registration) if registration.until_unix_ms > 0 => "yes".to_owned(),
        Some(registration) => format!("no: {}", or(&registration.failure, "not yet")),
    };
    let calls = match (trunk.trunk.is_empty(), trunk.calls_max) {
        (true, _) => "-".to_owned(),
        (false, 0) => trunk.calls.to_string(),
        (false, max) => format!("{} of {max}", trunk.calls),
    };
    vec![
        or(&trunk.prefix, prefix),
        printable(&trunk.host),
        or(&trunk.transport, "-"),
        or(&trunk.address, "-"),
        or(&trunk.trunk, "-"),
        state.to_owned(),
        registered,
        calls,
    ]
}

/// How the control plane stands, a line a fact.
fn standing(told: &DescribeResponse) -> String {
    let new_calls = match told.refusing.as_str() {
        "" => "taken".to_owned(),
        reason => format!("refused: {}", printable(reason)),
    };
    let rows = [
        ("up", calls::duration(told.uptime_s)),
        ("new calls", new_calls),
        ("calls", format!("{} of {}", told.calls, told.calls_max)),
        ("media nodes up", told.media_nodes_up.to_string()),
        ("dialogs", told.dialogs.to_string()),
        ("transactions", told.transactions.to_string()),
        ("attempted", told.calls_attempted.to_string()),
        ("answered", told.calls_answered.to_string()),
        ("ended", told.calls_ended.to_string()),
        ("refused at the limit", told.calls_refused_at_limit.to_string()),
    ];
    let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
    table(&["version", &printable(&told.version)], &rows)
}

fn show(call: &Call, as_json: bool) -> Result<(), Error> {
    match as_json {
        true => print_json(&json::call(call)),
        false => print(&calls::detail(call, now_unix_ms())),
    }
}

fn print_json(value: &Value) -> Result<(), Error> {
    print(&format!("{value:#}\n"))
}

fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Milliseconds since 1970.
pub fn now_unix_ms() -> u64 {
    let since = ops::clock::wall_clock()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::tests::{NOW, answered, ringing};

    #[test]
    fn changes_are_a_line_each() {
        let message = GetActiveCallsResponse {
            restart: true,
            missed: 3,
            calls: vec![ringing()],
            gone: vec![answered()],
            complete: true,
        };
        assert_eq!(
            text_lines(&message, NOW),
            "-- 3 messages missed; the list again --\n01hx5zkq  gone  \n01hx600?[2J  ringing  0:05  -  -      \n"
        );
        let lines = json_lines(&message);
        let events: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let names: Vec<&str> = events
            .iter()
            .filter_map(|event| event["event"].as_str())
            .collect();
        assert_eq!(names, ["restart", "gone", "call"]);
        assert_eq!(events[2]["call"]["call_id"], "01hx600\u{1b}[2J");
    }

    #[test]
    fn how_it_stands_in_full() {
        let told = DescribeResponse {
            version: "0.1.0".into(),
            uptime_s: 3_723,
            calls: 12,
            calls_max: 5_000,
            refusing: "drained by an operator".into(),
            draining: true,
            media_nodes_up: 2,
            ..DescribeResponse::default()
        };
        assert_eq!(standing(&told), include_str!("../tests/status.txt"));
    }
}
