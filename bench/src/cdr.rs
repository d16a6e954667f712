//! Call detail records, as the control plane's SQLite file has them.

use std::path::Path;

use anyhow::Context as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Row as _};

/// The columns of one call that the kit looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cdr {
    /// The call's correlation id.
    pub call_id: String,
    /// The media node.
    pub node: Option<String>,
    /// The final status of the caller's INVITE.
    pub status: Option<i64>,
    /// Why it ended.
    pub cause: Option<String>,
    /// Who ended it.
    pub released_by: Option<String>,
    /// The codec agreed.
    pub codec: Option<String>,
    /// Whether it was answered.
    pub answered: bool,
    /// Whether it has ended.
    pub ended: bool,
    /// From and To.
    pub uris: [Option<String>; 2],
    /// RTP packets that the node received from caller and callee.
    pub packets: [Option<i64>; 2],
    /// Packets that it missed from caller and callee.
    pub lost: [Option<i64>; 2],
    /// MOS × 100 of caller's and callee's stream.
    pub mos_x100: [Option<i64>; 2],
}

/// All records, in the order of the calls' beginnings. No file yet is no record.
pub fn read(store: &Path) -> anyhow::Result<Vec<Cdr>> {
    if !store.exists() {
        return Ok(Vec::new());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime
        .block_on(async {
            let options = SqliteConnectOptions::new().filename(store).read_only(true);
            let mut connection = options.connect().await?;
            rows(&mut connection).await
        })
        .with_context(|| format!("{}", store.display()))
}

async fn rows(connection: &mut SqliteConnection) -> Result<Vec<Cdr>, sqlx::Error> {
    let rows = sqlx::query("SELECT * FROM cdr ORDER BY started_at_ms, call_id")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let number = |column: &str| row.try_get::<Option<i64>, _>(column);
            Ok(Cdr {
                call_id: row.try_get("call_id")?,
                node: row.try_get("node")?,
                status: number("status")?,
                cause: row.try_get("cause")?,
                released_by: row.try_get("released_by")?,
                codec: row.try_get("codec")?,
                answered: number("answered_at_ms")?.is_some(),
                ended: number("ended_at_ms")?.is_some(),
                uris: [row.try_get("caller_user")?, row.try_get("callee_user")?],
                packets: [number("caller_packets")?, number("callee_packets")?],
                lost: [number("caller_lost")?, number("callee_lost")?],
                mos_x100: [number("caller_mos_x100")?, number("callee_mos_x100")?],
            })
        })
        .collect()
}
