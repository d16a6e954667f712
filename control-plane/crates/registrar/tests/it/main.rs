//! The registrar from outside: REGISTERs as they come, by the section of the RFC, and a seeded model.

mod calls;
mod flows;
mod identities;
mod memory;
mod model;
mod registering;
mod world;
