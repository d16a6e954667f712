use std::mem::size_of;
use std::num::NonZeroU32;

use crate::Error;

/// `NETDEV_XDP_ACT_BASIC` and `NETDEV_XDP_ACT_NDO_XMIT` of linux/netdev.h.
const BASIC: u64 = 1;
const TRANSMITS: u64 = 4;

/// What the driver of an interface says of XDP (Linux 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features(u64);

impl Features {
    /// Of the interface with this number in the calling thread's network namespace.
    pub fn of(ifindex: NonZeroU32) -> Result<Self, Error> {
        let mut options = libbpf_sys::bpf_xdp_query_opts {
            sz: size_of::<libbpf_sys::bpf_xdp_query_opts>() as libbpf_sys::size_t,
            ..Default::default()
        };
        // SAFETY: `options` is a live local whose `sz` is its size; libbpf writes no further than that.
        let result = unsafe { libbpf_sys::bpf_xdp_query(ifindex.get() as i32, 0, &raw mut options) };
        if result < 0 {
            let source = std::io::Error::from_raw_os_error(-result);
            return Err(Error::kernel("asking about an interface", source));
        }
        Ok(Self(options.feature_flags))
    }

    /// Whether it runs XDP programs itself. Also false where the kernel does not tell.
    pub const fn runs_programs(self) -> bool {
        self.0 & BASIC != 0
    }

    /// Whether frames that XDP programs redirect to it leave. A veth says so while its peer end has an XDP program or its
    /// generic receive offload is on; else what it sends natively is lost in silence, frames sent back included.
    pub const fn transmits(self) -> bool {
        self.0 & TRANSMITS != 0
    }
}
