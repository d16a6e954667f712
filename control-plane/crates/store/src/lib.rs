//! What outlives the process: call detail records, the contacts of users, and the users. A journal that a record reaches
//! before the SIP answer that promises it goes out, and a database (SQLite, or PostgreSQL) that the journal is drained
//! into.
//!
//! [`open`] replays what an earlier process left, closes its unfinished calls, reads users and contacts, and gives two
//! halves:
//!
//! - [`Journal`]: `append` is one `write(2)` for any number of records, made by the signalling thread. From its return on the record survives
//!   the death of this process, however it comes. It does not wait for a disk: after a *power* failure the records of
//!   the last moments, those that the drain had not committed, can be missing.
//! - [`Drain`]: a task that moves records into the database in batches (WAL, one transaction a batch, upsert by call
//!   or contact)
//!   and gives journal space back only after the commit.
//!
//! Absent from this crate: SIP, media, clocks. Times are arguments.
#![forbid(unsafe_code)]

mod batch;
mod binding;
mod calls;
mod counters;
mod database;
mod drain;
mod entry;
mod error;
mod frame;
mod insert;
mod journal;
mod open;
mod record;
mod segment;
mod user;

pub use binding::{BindingChange, BindingRecord};
pub use counters::{Counters, Snapshot};
pub use database::Database;
pub use drain::Drain;
pub use entry::Entry;
pub use error::{AppendError, StoreError};
pub use frame::RECORD_BYTES_MAX;
pub use journal::Journal;
pub use open::{Options, Recovery, Store, open};
pub use record::{CallRecord, LegQuality, Party, ReleasedBy};
pub use user::UserRecord;
