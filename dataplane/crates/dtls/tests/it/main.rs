//! Associations with each other over a bad network, with forgers, and with OpenSSL.

mod forged;
mod handshake;
mod openssl;
mod pair;
