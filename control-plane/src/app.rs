//! The life of the process: start, serve, stop.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use call::B2bua;
use media_types::{InterfaceName, NodeName};
use ops::clock::{MonotonicClock, wall_clock};
use ops::http::{Ops, Readiness};
use registrar::Registrar;
use sans_io::Random;
use sip_transport::{Listen, Transport};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{Config, Media, MediaNode};
use crate::draining::{Draining, Opened};
use crate::metrics::{self, Sources};
use crate::operators::Operators;
use crate::registration;
use crate::reload::{Keeper, Reloads};
use crate::routing::{self, Table};
use crate::shell::{Shell, Turn};
use crate::standing::Standing;
use crate::trunks::TrunkDesk;
use crate::users;

/// How long the start waits for names of next hops, and for a first media node. Without them it goes on: `/readyz` says
/// what is missing.
const START_PATIENCE: Duration = Duration::from_millis(300);

/// How long parties have to answer the BYEs of a stop, and nodes to give the last statistics.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How long scrapes and operators' requests under way have.
const LAST_SCRAPES: Duration = Duration::from_secs(1);

/// Files that are no SIP connection: listeners, media nodes, the store, scrapes.
const OTHER_FILES: u64 = 128;

/// The soft limit of open files that systems commonly have, for when it is not known.
const FILES_UNKNOWN: u64 = 1_024;

/// What call records have for a node when media goes from party to party.
const DIRECT: &str = "direct";

/// How much longer than the client's own deadline the B2BUA waits for it.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// Runs the control plane until a signal asks it to stop.
///
/// # Errors
/// When it cannot start, or when the records of ended calls could not be stored at the end.
pub fn run(config: Config, file: PathBuf) -> anyhow::Result<()> {
    let log = config.log.clone();
    ops::process::run(&log, serve(config, file))
}

async fn serve(config: Config, file: PathBuf) -> anyhow::Result<()> {
    let signal = ops::signal::terminated()?;
    let reload = ops::signal::hung_up()?;
    let connections_max = connections_max(&config);
    let clock = MonotonicClock::start();
    let mut random = Random::from_seed(ops::random::seed().context("no randomness")?);

    let (draining, records) = open_store(&config).await?;
    let journal = records.journal;

    let transport = open_transport(&config, connections_max)?;
    let mut table = Table::new(
        &config.sip,
        &config.trunks,
        &config.routes,
        transport.bound(),
        config.dns.resolver().context("dns")?,
    );
    if table.has_names()
        && tokio::time::timeout(START_PATIENCE, table.look_up())
            .await
            .is_err()
    {
        tracing::warn!("next hops are still being looked up");
    }
    let (tell_plan, plan) = watch::channel(table.plan());
    let call_config = call_config(&config, &transport)?;
    let registrar = config.registrar.as_ref().map(|registrar| {
        let hosts = own_hosts(&call_config.transactions.listeners);
        let registrar = registrar.config(hosts, config.limits.retry_after_s);
        let mut registrar = Registrar::new(registrar, random.fork());
        registrar.set_users(registration::users(&records.users));
        let bindings = records.bindings.into_iter();
        registrar.restore(bindings.filter_map(|binding| registration::restored(binding, &clock)));
        tracing::info!(
            users = registrar.user_count(),
            bindings = registrar.binding_count(),
            "registrar"
        );
        registrar
    });
    let users = match &config.registrar {
        Some(of_users) => {
            let interval = Duration::from_secs(of_users.users_refresh_s);
            Some(users::follow(config.store.options(), records.users, interval)?)
        }
        None => None,
    };
    let b2bua = B2bua::new(call_config, random.fork());

    let nodes = config
        .media_nodes
        .iter()
        .map(MediaNode::client)
        .collect::<Result<Vec<_>, _>>();
    let nodes = nodes.map_err(|(key, reason)| anyhow!("media_node: {key} {reason}"))?;
    let (client, reports) = media_client::start(config.media.client(random.next_u64()), &nodes)?;
    let healthy = client.healthy();
    let direct = (!config.media.anchored)
        .then(|| NodeName::new(DIRECT))
        .transpose()?;

    let admin = config.admin.as_ref().map(api::start).transpose()?;
    let (admin, desk) = admin.unzip();

    let standing = Standing::default();
    let reloads = Arc::<Reloads>::default();
    let registry = metrics::registry(Sources {
        reloads: reloads.clone(),
        standing: standing.clone(),
        transport: transport.view(),
        media: client.view(),
        journal: journal.clone(),
        lookups: table.lookups(),
        admin: admin.as_ref().map(api::Server::counters).unwrap_or_default(),
    });
    let (readiness, watched) = watch::channel(Readiness::NotReady("starting".into()));
    let ops_listener = TcpListener::bind(config.ops.listen)
        .await
        .with_context(|| format!("ops.listen {}", config.ops.listen))?;
    let ops_address = ops_listener.local_addr()?;
    let (stop_ops, ops_stopped) = oneshot::channel::<()>();
    let ops_server = tokio::spawn(ops::http::serve(
        ops_listener,
        Ops {
            registry,
            readiness: watched,
            connections_max: config.ops.connections_max,
        },
        async {
            let _ = ops_stopped.await;
        },
    ));
    let (tell_reread, reread) = mpsc::channel(1);
    let keeper = Keeper {
        table,
        file,
        config: config.clone(),
        reread,
        transport: transport.view(),
        reloads,
        tell: tell_plan,
    };
    let (soonest, latest) = (config.dns.ttl_min_s, config.dns.refresh_s);
    let refreshing = tokio::spawn(keeper.run(Duration::from_secs(soonest), Duration::from_secs(latest)));

    for bound in transport.bound() {
        ops::process::say(&format!(
            "listening sip {} {}",
            bound.transport.via_name().to_ascii_lowercase(),
            bound.local
        ));
    }
    ops::process::say(&format!("listening ops http {ops_address}"));
    if let Some(admin) = &admin {
        ops::process::say(&format!("listening admin grpc {}", admin.address()));
    }
    let mut first_node = healthy.clone();
    if config.media.anchored {
        // Without a node the control plane serves all the same, and says so at /readyz.
        let _ = tokio::time::timeout(START_PATIENCE, first_node.wait_for(|&up| up > 0)).await;
    }
    ops::process::say("ready");
    tracing::info!(media_nodes = nodes.len(), routes = config.routes.len(), "ready");

    let mut shell = Shell {
        b2bua,
        transport,
        client,
        reports,
        direct,
        healthy,
        journal,
        registrar,
        users,
        trunks: TrunkDesk::new(random.fork()),
        plan,
        user_peer: config.registrar.as_ref().and_then(|it| it.peer()),
        user_transfer: config
            .registrar
            .as_ref()
            .map_or(call::TransferPolicy::Refuse, |it| it.transfer.into()),
        user_srtp: config
            .registrar
            .as_ref()
            .map_or_else(call::Srtp::default, |it| it.srtp.into()),
        standing,
        readiness,
        reload,
        reread: tell_reread,
        operators: Operators::new(desk, clock.now()),
        clock,
        retry_after: Duration::from_secs(config.media.retry_after_s),
        stopping: false,
        trusts_next_hops: config
            .registrar
            .as_ref()
            .is_some_and(|of_users| of_users.trusts_next_hops()),
        next_hops: BTreeSet::new(),
        prepared: None,
        turn: Turn::default(),
    };
    shell.take_plan();
    shell
        .run(
            async {
                // Not within the macro, which looks at nothing when the level is off.
                let signal = signal.await;
                tracing::info!(signal, "stopping");
            },
            |_| false,
        )
        .await;
    stop(&mut shell, config.shutdown.grace()).await?;

    refreshing.abort();
    // The transport goes first, so that nothing is begun any more; then the records are complete.
    drop(shell);
    if let Some(admin) = admin
        && let Err(error) = admin.stop(LAST_SCRAPES).await
    {
        tracing::warn!(%error, "the admin API");
    }
    let _ = stop_ops.send(());
    if tokio::time::timeout(LAST_SCRAPES, ops_server).await.is_err() {
        tracing::debug!("scrapes cut off");
    }
    draining.finish().await?;
    tracing::info!("stopped");
    Ok(())
}

/// Lets calls end for `grace` or until a second signal, then ends those that are left.
async fn stop(shell: &mut Shell, grace: Duration) -> anyhow::Result<()> {
    shell.stopping = true;
    // Trunks first: they send no more calls then.
    shell.leave_trunks();
    let no_calls = |shell: &Shell| shell.b2bua.call_count() == 0;
    let is_over = |shell: &Shell| no_calls(shell) && shell.trunks.is_gone();
    let second = ops::signal::terminated()?;
    let until = async {
        tokio::select! {
            () = tokio::time::sleep(grace) => {}
            signal = second => tracing::info!(signal, "the grace ends"),
        }
    };
    shell.run(until, is_over).await;
    let left = shell.b2bua.call_count();
    if left > 0 {
        tracing::warn!(calls = left, "calls are hung up");
        shell.end_all();
    }
    shell.run(tokio::time::sleep(LAST_ANSWERS), is_over).await;
    if !shell.trunks.is_gone() {
        tracing::warn!("not every trunk has answered that we leave");
    }
    shell.transport.flush(LAST_ANSWERS).await;
    Ok(())
}

/// Connections that there may be: as configured, or as many as the limit of open files leaves. What is told at the
/// limit then is that of connections, and media nodes, scrapes and the store have files left.
fn connections_max(config: &Config) -> usize {
    let wanted = config.sip.tcp.connections_max;
    let files = ops::process::raise_file_limit().unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit of open files stays as it is");
        FILES_UNKNOWN
    });
    let left = usize::try_from(files.saturating_sub(OTHER_FILES))
        .unwrap_or(usize::MAX)
        .max(1);
    if left < wanted {
        tracing::warn!(
            files,
            connections_max = left,
            "the limit of open files leaves fewer connections"
        );
    }
    wanted.min(left)
}

async fn open_store(config: &Config) -> anyhow::Result<(Draining, Opened)> {
    let options = config.store.options();
    let now = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let (draining, opened) = Draining::open(options, now_ms).await.context("store.path")?;
    let store::Recovery {
        records,
        torn_bytes,
        unreadable,
        refused,
        calls_closed,
    } = opened.recovery;
    if opened.recovery != store::Recovery::default() {
        tracing::warn!(
            records,
            torn_bytes,
            unreadable,
            refused,
            calls_closed,
            "recovered from a hard stop"
        );
    }
    Ok((draining, opened))
}

fn open_transport(config: &Config, connections_max: usize) -> anyhow::Result<Transport> {
    let peers = routing::tls_peers(&config.trunks, &config.routes);
    let (sip, tcp, limits) = (&config.sip, &config.sip.tcp, &config.limits);
    let started = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    let listen = |listen: &crate::config::Listen| Listen {
        transport: listen.transport,
        address: listen.address,
    };
    let config = sip_transport::Config {
        listen: sip.listen.iter().map(listen).collect(),
        message: sip.message_limits(),
        receive_buffer_bytes: sip.socket_buffer_bytes,
        new_requests_max: limits.new_request_queue,
        urgent_max: limits.urgent_queue,
        retry_after_s: limits.retry_after_s,
        refusals_per_s_max: limits.refusals_per_s_max,
        queue_delay_target: Duration::from_millis(limits.queue_delay_target_ms),
        overload_told: config.guard.overload_told,
        overload_epoch_s: started.as_secs(),
        emergency_numbers: limits.emergency_numbers(),
        scanners: config.guard.scanners.clone(),
        guard: config.guard.config(
            config
                .registrar
                .as_ref()
                .map_or(&[], |registrar| &registrar.trusted),
        ),
        large_requests_over_tcp: sip.large_requests_over_tcp,
        connections_max,
        connections_per_source_max: tcp.connections_per_source_max,
        idle_timeout: Duration::from_millis(tcp.idle_timeout_ms),
        message_timeout: Duration::from_millis(tcp.message_timeout_ms),
        write_timeout: Duration::from_millis(tcp.write_timeout_ms),
        write_queue_max: tcp.write_queue,
        tls: sip.tls.as_ref().map(|tls| tls.transport(peers)),
        websocket: sip.ws.transport(),
        ..sip_transport::Config::default()
    };
    Transport::bind(config).map_err(|error| anyhow!("sip.listen {error}"))
}

fn call_config(config: &Config, transport: &Transport) -> anyhow::Result<call::Config> {
    let (limits, media) = (&config.limits, &config.media);
    let listeners = transport
        .bound()
        .iter()
        .enumerate()
        .map(|(place, bound)| config.sip.listener(place, bound.transport, bound.local))
        .collect();
    let interface = |name: &Option<String>| name.as_deref().map(InterfaceName::new).transpose();
    Ok(call::Config {
        transactions: sip::transaction::Config {
            timers: config.sip.timers(),
            transactions_max: limits.transactions_max,
            retry_after_s: limits.retry_after_s,
            ..sip::transaction::Config::new(listeners)
        },
        routes: call::Routes::default(),
        trusted: config.sip.trusted(),
        has_registrar: config.registrar.is_some(),
        calls_max: limits.calls_max,
        calls_per_account_max: config
            .registrar
            .as_ref()
            .map_or(0, |registrar| registrar.calls_max),
        emergency_calls_reserved: limits.emergency_calls_reserved(),
        emergency_numbers: limits.emergency_numbers(),
        refusal_records_per_s_max: limits.refusal_records_per_s_max,
        max_forwards: limits.max_forwards,
        retry_after_s: limits.retry_after_s,
        request_retries_max: limits.request_retries_max,
        next_hop_timeout: Duration::from_millis(limits.next_hop_timeout_ms),
        rest_max: Duration::from_secs(limits.rest_max_s),
        redirects_max: limits.redirects_max,
        branches_max: limits.branches_max,
        max_breadth: limits.max_breadth,
        branch_ring_timeout: Duration::from_millis(limits.branch_ring_timeout_ms),
        ring_timeout: Duration::from_millis(limits.ring_timeout_ms),
        reinvite_timeout: Duration::from_millis(limits.reinvite_timeout_ms),
        caller_transfer: config.sip.caller_transfer.into(),
        caller_srtp: config.sip.caller_srtp.into(),
        srtp_suites: config.media.suites(),
        transfers_per_call_max: limits.transfers_per_call_max,
        transferor_bye_timeout: Duration::from_millis(limits.transferor_bye_timeout_ms),
        duration_max: Duration::from_secs(limits.call_duration_max_s),
        session: sip::dialog::SessionPolicy {
            interval_s: limits.session_expires_s,
            min_s: limits.min_se_s,
        },
        media_answer_timeout: Duration::from_millis(media.deadline_ms) + ANSWER_MARGIN,
        media_timeout_action: timeout_action(media),
        media_timeout: Duration::from_millis(media.timeout_ms),
        media_lease: Duration::from_millis(media.lease_ms),
        caller_interface: interface(&media.caller_interface)?,
        callee_interface: interface(&media.callee_interface)?,
        caller_latching: media.caller_latching.into(),
        callee_latching: media.callee_latching.into(),
        sdp_limits: sdp::Limits {
            bytes_max: config.sip.body_bytes_max,
            ..sdp::Limits::default()
        },
        header_extensions: config.media.header_extensions.clone().map(Into::into),
    })
}

/// What we are called at our listeners, beside the domain of our users.
fn own_hosts(listeners: &[sip::transaction::Listener]) -> Vec<String> {
    let mut hosts = Vec::new();
    for listener in listeners {
        let uri = format!("sip:{}", listener.sent_by);
        let named = sip::message::Uri::parse(&uri)
            .ok()
            .and_then(|uri| Some(uri.host()?.to_string()));
        let local = sip::message::Host::from(listener.local.ip()).to_string();
        hosts.extend(named.into_iter().chain([local]));
    }
    hosts.sort();
    hosts.dedup();
    hosts
}

fn timeout_action(media: &Media) -> call::MediaTimeout {
    match media.timeout_action {
        crate::config::TimeoutAction::EndCall => call::MediaTimeout::EndCall,
        crate::config::TimeoutAction::Ignore => call::MediaTimeout::Ignore,
    }
}
