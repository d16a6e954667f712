//! The same with a PostgreSQL server of the test's own: Debian's package, a free port, stopped by its handle.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use store::{BindingChange, CallRecord, open};

use crate::contacts::{NOW_MS, options, survives};

/// How long the server may take to answer for the first time.
const START: Duration = Duration::from_secs(20);

struct Server {
    process: Child,
    programs: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
}

/// The newest `/usr/lib/postgresql/<version>/bin`.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop()
}

/// User and group of the package, under which the server has to run when we are root: it refuses to be root.
fn owner() -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.starts_with("postgres:"))?;
    let mut fields = line.split(':').skip(2).map(|field| field.parse().ok());
    Some((fields.next()??, fields.next()??))
}

/// A program of the package, which ends with the test that started it, however that ends.
fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if let Some((user, group)) = owner() {
        command.args([
            format!("--reuid={user}"),
            format!("--regid={group}"),
            "--clear-groups".into(),
        ]);
    }
    command.arg("--pdeathsig=KILL").arg(program);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Server {
    /// Starts one; `None`, said aloud, when it is not installed.
    async fn start(test: &str) -> Option<Self> {
        let Some(programs) = programs().filter(|_| owner().is_some()) else {
            println!("SKIP {test}: PostgreSQL is not installed");
            assert!(
                std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
                "a skip fails under STRICT=1"
            );
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        if let Some((user, group)) = owner() {
            // Who may not change owners is not root, and then initdb makes files of its own anyway.
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let made = command(&programs.join("initdb"))
            .args(["--auth=trust", "--username=ringpath", "--no-sync", "--pgdata"])
            .arg(&data)
            .status()
            .unwrap();
        assert!(made.success(), "initdb");
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Self::run(&programs, &data, port);
        let server = Self {
            process,
            programs,
            folder,
            port,
        };
        server.ready().await;
        Some(server)
    }

    fn run(programs: &Path, data: &Path, port: u16) -> Child {
        command(&programs.join("postgres"))
            .arg("-D")
            .arg(data)
            .args(["-F", "-h", "127.0.0.1", "-k", "", "-p", &port.to_string()])
            .spawn()
            .unwrap()
    }

    fn url(&self) -> String {
        format!("postgresql://ringpath@127.0.0.1:{}/postgres", self.port)
    }

    async fn ready(&self) {
        let connected = async {
            loop {
                match PgConnection::connect(&self.url()).await {
                    Ok(connection) => return connection.close().await.unwrap(),
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(START, connected)
            .await
            .expect("the server answers in time");
    }

    /// Kills it and starts it again on the same data.
    async fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        // Its file would make the next one believe that it still runs.
        let data = self.folder.path().join("data");
        let _ = std::fs::remove_file(data.join("postmaster.pid"));
        self.process = Self::run(&self.programs, &data, self.port);
        self.ready().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn contacts_and_users_survive_in_postgresql() {
    let Some(mut server) = Server::start("contacts_and_users_survive_in_postgresql").await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let options = options(&folder, Some(server.url()));
    survives(&options).await;

    // A database that goes away for a while costs nothing that was promised.
    let store = open(&options, NOW_MS + 2_000).await.unwrap();
    let kept = store.bindings.clone();
    server.restart().await;
    store
        .journal
        .append_binding(&BindingChange::Remove(kept[0].id))
        .unwrap();
    let journal = store.journal.clone();
    let stored = async {
        while journal.counters().snapshot().stored == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let drained = store.drain.run(stored);
    tokio::time::timeout(START, drained)
        .await
        .expect("it connects again")
        .unwrap();
    assert!(
        journal.counters().snapshot().database_errors >= 1,
        "the first try met a dead connection"
    );
    drop(store.journal);
    drop(journal);
    let store = open(&options, NOW_MS + 2_000).await.unwrap();
    assert_eq!((store.bindings.len(), store.users.len()), (0, 2));
}

/// Every record of a call that a batch has is one row of its statement, and text that PostgreSQL cannot hold (a NUL) is left
/// out alone.
#[tokio::test]
async fn calls_are_stored_by_the_batch_in_postgresql() {
    let Some(server) = Server::start("calls_are_stored_by_the_batch_in_postgresql").await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let options = options(&folder, Some(server.url()));
    let store = open(&options, NOW_MS).await.unwrap();
    let record = |call: usize, cause: Option<&str>| CallRecord {
        call_id: format!("c{call}"),
        ended_at_ms: cause.map(|_| NOW_MS),
        cause: cause.map(Into::into),
        status: Some(200),
        ..CallRecord::default()
    };
    for call in 0..150 {
        store.journal.append(&record(call, None)).unwrap();
        store.journal.append(&record(call, Some("normal"))).unwrap();
    }
    let journal = store.journal.clone();
    store.drain.run(async {}).await.unwrap();
    assert_eq!(journal.counters().snapshot().stored, 300);
    assert_eq!(
        journal.counters().snapshot().database_errors,
        0,
        "no statement has a call twice"
    );
    drop((store.journal, journal));

    let store = open(&options, NOW_MS).await.unwrap();
    for call in 150..160 {
        let cause = if call == 155 { "a\0b" } else { "normal" };
        store.journal.append(&record(call, Some(cause))).unwrap();
    }
    let journal = store.journal.clone();
    store.drain.run(async {}).await.unwrap();
    let counted = journal.counters().snapshot();
    assert_eq!((counted.stored, counted.refused), (9, 1));
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM cdr WHERE ended_at_ms IS NOT NULL AND cause = 'normal'")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(rows, 159);
}
