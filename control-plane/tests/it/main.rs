//! The real `ringpath-control`, with a real `ringpath-dataplane` where media is needed, on the loopback.

mod admin;
mod attacks;
mod calls;
mod configuration;
mod dns;
mod life;
mod link;
mod noise;
mod operators;
mod phone;
mod plane;
mod records;
mod registrar;
mod tls;
mod torture;
mod trunks;
