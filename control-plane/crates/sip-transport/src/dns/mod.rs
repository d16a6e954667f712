//! Where a SIP URI leads to (RFC 3263): the decisions as a machine without sockets and clock, what it has learned with a
//! limit and lifetimes, and the resolver that asks.

mod cache;
mod question;
mod resolution;
mod resolver;

pub use cache::{Cache, Lifetimes};
pub use question::{Answer, Naptr, Question, Srv};
pub use resolution::{Goal, Resolution, Step, Target};
pub use resolver::{ResolveError, Resolver};
