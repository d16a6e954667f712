//! The engine seen from outside: ports that are table entries, packets that are byte strings, a clock that is a
//! number.

mod bench;
mod relay;
