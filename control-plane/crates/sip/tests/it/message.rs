//! Whole messages: torture, damage, limits, injection, what is printed and read again.

mod allocation;
mod answers;
mod compact;
mod injection;
mod limits;
mod mutation;
mod peers;
mod properties;
mod torture;
mod torture_cases;
