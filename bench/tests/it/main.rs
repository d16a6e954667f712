//! The kit against itself, and both planes against SIPp and the kit's endpoints. One module a behaviour.

mod baresip;
mod bench;
mod failover;
mod ffmpeg;
mod flood;
mod handshakes;
mod media;
mod pjsua;
mod plain_phone;
mod proxy;
mod relay;
mod scenarios;
mod setup;
mod sip_load;
mod speech;
mod srtp;
mod talk;
mod webrtc;
