use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _, SqliteConnection};

use crate::batch::Batch;
use crate::calls::{CLOSE_OPEN, UPSERT, bind_call};
use crate::entry::Entry;
use crate::insert::Insert;
use crate::{BindingChange, BindingRecord, Options, StoreError, UserRecord};

/// Rows that SQLite's thread reads ahead of ours: the start reads all contacts, and switching threads costs more than a row.
const ROWS_AHEAD: usize = 1_024;

/// How long a statement waits for another process that writes, such as an operator's `sqlite3`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const BINDING_COLUMNS: [&str; 12] = [
    "id",
    "username",
    "contact",
    "call_id",
    "cseq",
    "q_permille",
    "reg_id",
    "instance",
    "path",
    "transport",
    "remote",
    "expires_at_ms",
];

static PUT_BINDINGS: LazyLock<Insert> =
    LazyLock::new(|| Insert::new("binding", &BINDING_COLUMNS, |column| format!("excluded.{column}")));

const REMOVE_BINDING: &str = "DELETE FROM binding WHERE id = $1";

const EXPIRED_BINDINGS: &str = "DELETE FROM binding WHERE expires_at_ms <= $1";

const BINDINGS: &str = "\
SELECT id, username, contact, call_id, cseq, q_permille, reg_id, instance, path, transport, remote, expires_at_ms
FROM binding";

const PUT_USER: &str = "\
INSERT INTO subscriber (username, md5, sha256, sha512_256) VALUES ($1, $2, $3, $4)
ON CONFLICT (username) DO UPDATE SET md5 = excluded.md5, sha256 = excluded.sha256, sha512_256 = excluded.sha512_256";

const USERS: &str = "SELECT username, md5, sha256, sha512_256 FROM subscriber";

/// The database: SQLite, or PostgreSQL. One connection, for there is one writer; readers bring their own.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
}

#[derive(Debug)]
enum Connection {
    Sqlite(SqliteConnection),
    Postgres {
        options: Box<PgConnectOptions>,
        /// None after an error: the next statement connects again.
        connection: Option<PgConnection>,
    },
}

/// Runs a body with whichever connection there is. Both databases understand the same statements; only their types
/// differ, so the body is compiled twice. A PostgreSQL connection that had an error is not used again.
macro_rules! with_connection {
    ($database:expr, |$connection:ident| $body:expr) => {
        match &mut $database.connection {
            Connection::Sqlite($connection) => {
                let done: Result<_, sqlx::Error> = async { $body }.await;
                done
            }
            Connection::Postgres { options, connection } => {
                let mut open = match connection.take() {
                    Some(open) => open,
                    None => options.connect().await?,
                };
                let done: Result<_, sqlx::Error> = async {
                    let $connection = &mut open;
                    $body
                }
                .await;
                if done.is_ok() {
                    *connection = Some(open);
                }
                done
            }
        }
    };
}

/// Binds a row of [`PUT_BINDINGS`] to a query, for whichever database the place where it stands wants.
macro_rules! bind_binding {
    ($query:expr, $binding:expr) => {{
        let binding: &BindingRecord = $binding;
        $query
            .bind(binding.id)
            .bind(binding.username.clone())
            .bind(binding.contact.clone())
            .bind(binding.call_id.clone())
            .bind(i64::from(binding.cseq))
            .bind(i64::from(binding.q_permille))
            .bind(i64::from(binding.reg_id))
            .bind(binding.instance.clone())
            .bind(binding.path.clone())
            .bind(binding.transport.clone())
            .bind(binding.remote.clone())
            .bind(binding.expires_at_ms)
    }};
}

/// Whether the database refuses a row for what is in it, and will do so for ever: a class of SQLSTATE about data or
/// constraints, an index that cannot hold a value, and SQLite's words for these.
fn is_refusal(error: &sqlx::Error) -> bool {
    /// SQLite's primary result codes `TOOBIG`, `CONSTRAINT` and `MISMATCH`. An extended code has its primary in the low byte.
    const SQLITE: [u32; 3] = [18, 19, 20];
    let error = match error {
        sqlx::Error::Encode(_) => return true,
        sqlx::Error::Database(error) => error,
        _ => return false,
    };
    let Some(code) = error.code() else { return false };
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        return code
            .parse()
            .is_ok_and(|code: u32| SQLITE.contains(&(code & 0xff)));
    }
    code.starts_with("22") || code.starts_with("23") || code == "54000"
}

impl Database {
    /// Opens the database, makes it when there is none (SQLite), and brings its schema up to date.
    ///
    /// SQLite: WAL, so that a reader does not hold up the drain, and a disk flush a transaction (`synchronous = FULL`):
    /// what the journal forgets must be on the disk.
    ///
    /// # Errors
    /// When it cannot be opened, or its schema is that of a later version.
    pub async fn open(options: &Options) -> Result<Self, StoreError> {
        let connection = match &options.postgresql {
            Some(url) => Self::postgres(url).await?,
            None => Connection::Sqlite(Self::sqlite(&options.path).await?),
        };
        Ok(Self { connection })
    }

    async fn sqlite(path: &Path) -> Result<SqliteConnection, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .row_buffer_size(ROWS_AHEAD);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        sqlx::migrate!("./migrations").run(&mut connection).await?;
        Ok(connection)
    }

    async fn postgres(url: &str) -> Result<Connection, StoreError> {
        let options: PgConnectOptions = url.parse()?;
        let mut connection = PgConnection::connect_with(&options).await?;
        sqlx::migrate!("./postgresql").run(&mut connection).await?;
        Ok(Connection::Postgres {
            options: Box::new(options),
            connection: Some(connection),
        })
    }

    /// Merges `entries` into the tables, in order. All or none, but for entries that the database refuses for what is in them:
    /// those are left out. Returns how many.
    pub(crate) async fn store(&mut self, entries: &[Entry]) -> Result<u64, StoreError> {
        match self.store_batch(&Batch::of(entries)).await {
            Err(StoreError::Database(error)) if is_refusal(&error) => self.store_each(entries).await,
            done => done.map(|()| 0),
        }
    }

    /// By statements of many rows: switching to the thread of the database and back costs more than a row does.
    async fn store_batch(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let postgresql = matches!(self.connection, Connection::Postgres { .. });
        with_connection!(self, |connection| {
            let mut transaction = connection.begin().await?;
            let mut left = batch.calls.as_slice();
            while !left.is_empty() {
                let (statement, rows) = UPSERT.of(left.len(), postgresql);
                let (taken, rest) = left.split_at(rows);
                let mut query = sqlx::query(statement);
                for record in taken {
                    query = bind_call!(query, record);
                }
                query.execute(&mut *transaction).await?;
                left = rest;
            }
            let mut left = batch.put.as_slice();
            while !left.is_empty() {
                let (statement, rows) = PUT_BINDINGS.of(left.len(), postgresql);
                let (taken, rest) = left.split_at(rows);
                let mut query = sqlx::query(statement);
                for binding in taken {
                    query = bind_binding!(query, binding);
                }
                query.execute(&mut *transaction).await?;
                left = rest;
            }
            for id in &batch.removed {
                let query = sqlx::query(REMOVE_BINDING).bind(*id);
                query.execute(&mut *transaction).await?;
            }
            transaction.commit().await
        })?;
        Ok(())
    }

    /// Entry by entry, and without those that the database refuses.
    async fn store_each(&mut self, entries: &[Entry]) -> Result<u64, StoreError> {
        let postgresql = matches!(self.connection, Connection::Postgres { .. });
        let refused = with_connection!(self, |connection| {
            let mut refused = 0;
            let mut transaction = connection.begin().await?;
            for entry in entries {
                // A savepoint: in PostgreSQL a refusal ends the transaction otherwise.
                let mut one = transaction.begin().await?;
                let query = match entry {
                    Entry::Call(record) => bind_call!(sqlx::query(UPSERT.of(1, postgresql).0), record),
                    Entry::Binding {
                        binding: BindingChange::Put(binding),
                    } => bind_binding!(sqlx::query(PUT_BINDINGS.of(1, postgresql).0), binding),
                    Entry::Binding {
                        binding: BindingChange::Remove(id),
                    } => sqlx::query(REMOVE_BINDING).bind(*id),
                };
                match query.execute(&mut *one).await {
                    Ok(_) => one.commit().await?,
                    Err(error) if is_refusal(&error) => {
                        one.rollback().await?;
                        refused += 1;
                        // The entry itself, so that the log has it if nothing else does.
                        tracing::error!(%error, ?entry, "refused by the database and left out");
                    }
                    Err(error) => return Err(error),
                }
            }
            transaction.commit().await?;
            Ok(refused)
        })?;
        Ok(refused)
    }

    /// Gives every call without an end the end `at_ms` and `cause`. Returns how many there were.
    ///
    /// # Errors
    /// What the database said.
    pub async fn close_open(&mut self, at_ms: i64, cause: &'static str) -> Result<u64, StoreError> {
        let closed = with_connection!(self, |connection| {
            let done = sqlx::query(CLOSE_OPEN)
                .bind(at_ms)
                .bind(cause)
                .execute(connection)
                .await?;
            Ok(done.rows_affected())
        })?;
        Ok(closed)
    }

    /// The contacts that have not run out at `now_ms`; the others are deleted.
    ///
    /// # Errors
    /// What the database said.
    pub async fn bindings(&mut self, now_ms: i64) -> Result<Vec<BindingRecord>, StoreError> {
        macro_rules! read {
            ($rows:expr) => {
                $rows
                    .iter()
                    .map(|row| {
                        // By the order of the columns, as in the statement: no name is looked up.
                        let number = |column: usize| row.try_get::<i64, _>(column);
                        let text = |column: usize| row.try_get::<String, _>(column);
                        Ok(BindingRecord {
                            id: number(0)?,
                            username: text(1)?,
                            contact: text(2)?,
                            call_id: text(3)?,
                            cseq: u32::try_from(number(4)?).unwrap_or(u32::MAX),
                            q_permille: u16::try_from(number(5)?).unwrap_or(0),
                            reg_id: u32::try_from(number(6)?).unwrap_or(0),
                            instance: text(7)?,
                            path: text(8)?,
                            transport: text(9)?,
                            remote: text(10)?,
                            expires_at_ms: number(11)?,
                        })
                    })
                    .collect::<Result<Vec<_>, sqlx::Error>>()
            };
        }
        let bindings = with_connection!(self, |connection| {
            sqlx::query(EXPIRED_BINDINGS)
                .bind(now_ms)
                .execute(&mut *connection)
                .await?;
            read!(sqlx::query(BINDINGS).fetch_all(&mut *connection).await?)
        })?;
        Ok(bindings)
    }

    /// All users that may register.
    ///
    /// # Errors
    /// What the database said.
    pub async fn users(&mut self) -> Result<Vec<UserRecord>, StoreError> {
        macro_rules! read {
            ($rows:expr) => {
                $rows
                    .iter()
                    .map(|row| {
                        let hash = |name: &str| row.try_get::<Option<String>, _>(name);
                        Ok(UserRecord {
                            username: row.try_get("username")?,
                            md5: hash("md5")?,
                            sha256: hash("sha256")?,
                            sha512_256: hash("sha512_256")?,
                        })
                    })
                    .collect::<Result<Vec<_>, sqlx::Error>>()
            };
        }
        let users = with_connection!(self, |connection| {
            read!(sqlx::query(USERS).fetch_all(&mut *connection).await?)
        })?;
        Ok(users)
    }

    /// Adds users, in place of those of the same name, all or none.
    ///
    /// # Errors
    /// What the database said.
    pub async fn put_users(&mut self, users: &[UserRecord]) -> Result<(), StoreError> {
        with_connection!(self, |connection| {
            let mut transaction = connection.begin().await?;
            for user in users {
                sqlx::query(PUT_USER)
                    .bind(user.username.clone())
                    .bind(user.md5.clone())
                    .bind(user.sha256.clone())
                    .bind(user.sha512_256.clone())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        })?;
        Ok(())
    }

    /// Checkpoints (SQLite) and closes the connection.
    ///
    /// # Errors
    /// What the database said.
    pub async fn close(self) -> Result<(), StoreError> {
        match self.connection {
            Connection::Sqlite(connection) => connection.close().await?,
            Connection::Postgres { connection, .. } => {
                if let Some(connection) = connection {
                    connection.close().await?;
                }
            }
        }
        Ok(())
    }
}
