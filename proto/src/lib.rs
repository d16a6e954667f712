//! The gRPC contracts between the planes and towards operators: generated code, and the conversion of the first to and
//! from the plain types of `media-types`. Nothing left of this crate knows protobuf; nothing in it decides.
#![forbid(unsafe_code)]

pub mod convert;

/// Generated from `media/v1/media.proto`.
pub mod media_v1 {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("ringpath.media.v1");

    impl std::fmt::Debug for SrtpKey {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("SrtpKey")
                .field("suite", &self.suite)
                .field("mki", &self.mki)
                .finish_non_exhaustive()
        }
    }
}

/// Generated from `admin/v1/admin.proto`.
pub mod admin_v1 {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("ringpath.admin.v1");
}

/// The encoded file descriptor set, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
