//! Network namespaces and the veth pair between them, which other packages' tests use as well.

pub use netns::*;
