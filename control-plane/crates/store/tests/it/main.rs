//! The store from outside: what survives, in SQLite and in PostgreSQL.

mod contacts;
mod postgres;
mod recovery;
