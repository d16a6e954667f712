//! The gRPC contract between the planes: generated code, and its conversion to and from the plain types of
//! `media-types`. Nothing left of this crate knows protobuf; nothing in it decides.
#![forbid(unsafe_code)]

pub mod convert;

/// Generated from `media/v1/media.proto`.
pub mod media_v1 {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("ringpath.media.v1");
}

/// The encoded file descriptor set, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
