//! Trunks against simulated registrars, over a network that loses, repeats and reorders.

mod health;
mod registering;
mod world;
