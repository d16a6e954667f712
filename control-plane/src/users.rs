//! Users in the database: read again while the process runs, and imported from a file.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use registrar::Users;
use sip::digest::{Algorithm, Ha1};
use store::{Database, UserRecord};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::registration;

/// Users imported in one transaction.
const BATCH: usize = 10_000;

/// Reads the users again every `interval`, on a thread of its own, and gives them when they are not `known` any more. It
/// ends with the receiver.
///
/// # Errors
/// When the system gives no thread.
pub fn follow(
    options: store::Options,
    known: Vec<UserRecord>,
    interval: Duration,
) -> io::Result<mpsc::Receiver<Users>> {
    let (tell, users) = mpsc::channel(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("users".into())
        .spawn(move || runtime.block_on(read_again(&options, known, interval, &tell)))?;
    Ok(users)
}

async fn read_again(
    options: &store::Options,
    mut known: Vec<UserRecord>,
    interval: Duration,
    tell: &mpsc::Sender<Users>,
) {
    known.sort_by(|a, b| a.username.cmp(&b.username));
    loop {
        tokio::select! {
            () = tell.closed() => return,
            () = tokio::time::sleep(interval) => {}
        }
        match read(options).await {
            Ok(users) if users != known => {
                tracing::info!(users = users.len(), "users changed");
                if tell.send(registration::users(&users)).await.is_err() {
                    return;
                }
                known = users;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "users could not be read; they stay as they were"),
        }
    }
}

async fn read(options: &store::Options) -> Result<Vec<UserRecord>, store::StoreError> {
    let mut database = Database::open(options).await?;
    let mut users = database.users().await?;
    users.sort_by(|a, b| a.username.cmp(&b.username));
    database.close().await?;
    Ok(users)
}

/// Puts the users of a file into the database, in place of those of the same name: a line each, `name;password`. Empty
/// lines, and those that begin with `#`, are let be. Gives their number.
///
/// # Errors
/// The first line that is not so, or what the database said; then none is imported.
pub fn import(config: &Config, path: &Path) -> anyhow::Result<usize> {
    let registrar = config.registrar.as_ref();
    let registrar = registrar.context("the configuration has no [registrar], so there is no realm")?;
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut users = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, password)) = line.split_once(';').filter(|(name, _)| is_name(name)) else {
            bail!("{}:{}: is not name;password", path.display(), number + 1);
        };
        let hash = |algorithm: Algorithm| {
            let names = &registrar.algorithms;
            let is_used = names.iter().any(|name| Algorithm::of(name) == Some(algorithm));
            is_used.then(|| Ha1::new(algorithm, name, registrar.realm(), password).to_hex())
        };
        users.push(UserRecord {
            username: name.to_owned(),
            md5: hash(Algorithm::Md5),
            sha256: hash(Algorithm::Sha256),
            sha512_256: hash(Algorithm::Sha512_256),
        });
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut database = Database::open(&config.store.options()).await?;
        for batch in users.chunks(BATCH) {
            database.put_users(batch).await?;
        }
        database.close().await
    })?;
    Ok(users.len())
}

/// What can be the user part of an address-of-record, as people write it.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 128 && !name.chars().any(|c| c.is_control() || c == ' ')
}
