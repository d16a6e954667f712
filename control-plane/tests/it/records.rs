//! No record of a call that had ended is lost, whatever happens to the process.

use std::fs;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, Row as _, SqliteConnection};

use crate::phone::Phone;
use crate::plane::{Control, Node, Plane, control_binary, wait};

/// What the tests look at of a record.
#[derive(Debug)]
pub struct Row {
    pub call_id: String,
    pub node: Option<String>,
    pub status: Option<i64>,
    pub cause: Option<String>,
    pub released_by: Option<String>,
    pub codec: Option<String>,
    pub caller_user: Option<String>,
    pub caller_packets: Option<i64>,
    pub ended: bool,
}

/// All records, in the order in which calls began.
pub fn rows(database: &Path) -> Vec<Row> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(database);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let rows = sqlx::query("SELECT * FROM cdr ORDER BY started_at_ms")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        rows.iter()
            .map(|row| Row {
                call_id: row.get("call_id"),
                node: row.get("node"),
                status: row.get("status"),
                cause: row.get("cause"),
                released_by: row.get("released_by"),
                codec: row.get("codec"),
                caller_user: row.get("caller_user"),
                caller_packets: row.get("caller_packets"),
                ended: row.get::<Option<i64>, _>("ended_at_ms").is_some(),
            })
            .collect()
    })
}

/// The field `nice` of proc_pid_stat(5), which is a thread's under `task`, beside the thread's name.
fn niceness(task: &Path) -> (String, i32) {
    let stat = fs::read_to_string(task.join("stat")).unwrap();
    let (name, fields) = stat.split_once('(').unwrap().1.rsplit_once(") ").unwrap();
    (
        name.to_owned(),
        fields.split(' ').nth(16).unwrap().parse().unwrap(),
    )
}

#[test]
fn the_threads_of_the_store_stand_back_behind_that_of_sip() {
    let plane = Control::alone().run();
    let tasks = fs::read_dir(format!("/proc/{}/task", plane.id())).unwrap();
    let threads: Vec<_> = tasks.map(|task| niceness(&task.unwrap().path())).collect();
    let own = threads.iter().find(|(name, _)| name.starts_with("ringpath"));
    let own = own.expect("the main thread").1;
    for of_store in ["store", "sqlx-sqlite"] {
        let found = threads.iter().find(|(name, _)| name.starts_with(of_store));
        let (_, niceness) = found.unwrap_or_else(|| panic!("no thread {of_store} in {threads:?}"));
        assert_eq!(*niceness, (own + 10).min(19), "{threads:?}");
    }
    plane.stop();
}

#[test]
fn the_record_of_a_call_that_ended_survives_kill_9() {
    let Some(node) = Node::start("the_record_of_a_call_that_ended_survives_kill_9") else {
        return;
    };
    let (caller, callee) = (Phone::new("caller"), Phone::new("callee"));
    let control = Control::new(&node.address(), callee.address());
    for round in 0..5 {
        let mut plane = control.start();
        plane.wait_for_readiness(200);
        let call = caller.call(
            plane.address("sip udp"),
            "1000",
            &callee,
            &format!("killed{round}"),
        );
        // The 200 to the BYE has come when this returns; at once the process is gone.
        call.hang_up(&callee);
        plane.kill();
    }
    let plane = control.start();
    let rows = rows(&control.database());
    assert_eq!(rows.len(), 5, "{rows:?}");
    for row in &rows {
        assert_eq!(
            (
                row.status,
                row.released_by.as_deref(),
                row.codec.as_deref(),
                row.caller_user.as_deref()
            ),
            (Some(200), Some("caller"), Some("PCMU/8000"), Some("caller")),
            "{row:?}"
        );
        assert!(row.ended);
    }
    plane.stop();
}

#[test]
fn a_call_that_a_kill_cut_off_is_closed_at_the_next_start() {
    let Some(node) = Node::start("a_call_that_a_kill_cut_off_is_closed_at_the_next_start") else {
        return;
    };
    let (caller, callee) = (Phone::new("caller"), Phone::new("callee"));
    let control = Control::new(&node.address(), callee.address());
    let mut plane = control.start();
    plane.wait_for_readiness(200);
    let _call = caller.call(plane.address("sip udp"), "1000", &callee, "cut-off");
    plane.kill();
    let plane = control.start();
    let rows = rows(&control.database());
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (
            rows[0].cause.as_deref(),
            rows[0].released_by.as_deref(),
            rows[0].ended
        ),
        (Some("control plane restarted"), Some("system"), true)
    );
    assert!(plane.log().contains("recovered from a hard stop"));
    plane.stop();
}

/// Runs SQL on a connection of the test's own.
struct Database {
    runtime: tokio::runtime::Runtime,
    connection: SqliteConnection,
}

impl Database {
    fn open(path: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let options = SqliteConnectOptions::new().filename(path);
        let connection = runtime
            .block_on(SqliteConnection::connect_with(&options))
            .unwrap();
        Self { runtime, connection }
    }

    fn run(&mut self, sql: &'static str) {
        self.runtime
            .block_on(sqlx::query(sql).execute(&mut self.connection))
            .unwrap();
    }
}

#[test]
fn a_database_that_is_away_fills_the_journal_and_then_stops_new_calls_until_it_is_back() {
    let control = Control::alone();
    let text = control
        .text()
        .replace("[[media_node]]", "journal_bytes_max = 1048576\n[[media_node]]");
    let plane = Plane::start(&control_binary(), control.folder.path(), &text, &[]);
    let mut database = Database::open(&control.database());
    database.run("BEGIN EXCLUSIVE");
    // Each call fails for want of a media node, and has its record.
    let phone = Phone::new("filler");
    let mut calls = 0;
    while !plane.get("/readyz").1.contains("journal") {
        for _ in 0..100 {
            phone.send(
                phone.invite("1000", &format!("filler{calls}")).bytes(),
                plane.address("sip udp"),
            );
            assert_eq!(phone.final_of("INVITE").status(), Some(503));
            calls += 1;
        }
        assert!(
            calls < 20_000,
            "{}",
            plane.metric("ringpath_control_cdr_journal_bytes", "")
        );
    }
    let attempted = plane.metric("ringpath_control_calls_total", "attempted");
    // Those that met the limit of calls on the way began none, and have their record, too.
    let recorded = plane.metric("ringpath_control_call_events_total", "refusal_recorded");
    phone.send(phone.invite("1000", "refused").bytes(), plane.address("sip udp"));
    assert_eq!(phone.final_of("INVITE").status(), Some(503));
    assert_eq!(
        plane.metric("ringpath_control_calls_total", "attempted"),
        attempted,
        "no call was begun"
    );
    assert!(plane.metric("ringpath_control_cdr_store_lag_records", "") > 1_000.0);
    assert_eq!(
        plane.metric("ringpath_control_cdr_journal_failures_total", ""),
        0.0
    );

    database.run("ROLLBACK");
    wait("the journal is empty again", || {
        plane.metric("ringpath_control_cdr_store_lag_records", "") == 0.0
    });
    // Without a message or any other event: the plane sees by itself that it has room again.
    wait("the journal is no reason any more", || {
        plane.get("/readyz").1 == "no media node takes calls\n"
    });
    plane.stop();
    let kept = rows(&control.database()).len();
    assert_eq!(kept as f64, attempted + recorded);
}
