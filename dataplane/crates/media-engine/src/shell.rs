use crate::{Flows, Ports};

/// What an engine needs of its surroundings between batches: ports, and a table of flows. Anything that is both.
pub trait Shell: Ports + Flows {}

impl<T: Ports + Flows> Shell for T {}
