use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use crate::{Error, link, object};

/// What a classifier of TC answers with (linux/bpf.h, linux/pkt_cls.h).
const TC_NEXT: u32 = u32::MAX;
const TC_DROP: u32 = 2;
const TC_REDIRECT: u32 = 7;

/// What a program decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `XDP_ABORTED`: a bug of the program.
    Aborted,
    /// The packet is gone.
    Drop,
    /// The packet goes up.
    Pass,
    /// The packet leaves by the interface that it came by. Classifiers of TC say `Redirect` for it.
    SendBack,
    /// The packet leaves by another interface.
    Redirect,
}

/// One program-run (`BPF_PROG_TEST_RUN`).
#[derive(Clone, Debug)]
pub struct Run {
    /// What the program decided, the last time.
    pub action: Action,
    /// The packet as the program left it.
    pub packet: Vec<u8>,
    /// Mean time of a run.
    pub mean: Duration,
}

/// A program for measurements by program-run: each run gives the RTP packet the number and time of its lap, and goes on
/// with the program that is measured, so that a packet that goes through a ring of flows is new to each.
#[derive(Debug)]
pub struct Laps {
    program: Program,
    _next: libbpf_rs::MapHandle,
}

impl Laps {
    /// Loads it before `of`. A lap has `packets`.
    pub fn load(of: &Program, packets: u32) -> Result<Self, Error> {
        let (program, next) = object::load_laps(of, packets)?;
        Ok(Self { program, _next: next })
    }

    /// The program to run.
    pub const fn program(&self) -> &Program {
        &self.program
    }
}

/// A loaded program. Stays loaded while this, an attachment or a pin holds it.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    is_tc: bool,
}

impl Program {
    /// Loads the program that passes everything: for the peer end of a veth, which takes frames that are sent back or
    /// redirected natively only while it has an XDP program itself.
    pub fn load_pass() -> Result<Self, Error> {
        object::load_pass()
    }

    /// Loads the yardstick of measurements: it sends every IPv4 datagram to a port from 10,000 on back to where it came
    /// from, rewriting what the relay rewrites, and does nothing else.
    pub fn load_echo() -> Result<Self, Error> {
        object::load_echo()
    }

    /// Takes a descriptor of its own.
    #[cfg(bpf_built)]
    pub(crate) fn own(program: &impl AsFd) -> Result<Self, Error> {
        let fd = program
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| Error::kernel("copying a program's descriptor", source))?;
        Ok(Self { fd, is_tc: false })
    }

    /// The same of a classifier of TC.
    #[cfg(bpf_built)]
    pub(crate) fn own_tc(program: &impl AsFd) -> Result<Self, Error> {
        Ok(Self {
            is_tc: true,
            ..Self::own(program)?
        })
    }

    /// Opens a pinned program.
    pub(crate) fn open_pin(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            fd: link::open_pin(path)?,
            is_tc: false,
        })
    }

    pub(crate) fn pin(&self, path: &Path) -> Result<(), Error> {
        link::pin(self.fd.as_fd(), path)
    }

    /// Instructions that the verifier looked at, every path counted anew; the limit is a million.
    pub fn instructions_verified(&self) -> Result<u32, Error> {
        Ok(self.info()?.verified_insns)
    }

    /// Instructions of the program after the verifier's rewriting.
    pub fn instructions(&self) -> Result<u32, Error> {
        Ok(self.info()?.xlated_prog_len / 8)
    }

    /// Its number, by which another process may open it.
    pub(crate) fn id(&self) -> Result<u32, Error> {
        Ok(self.info()?.id)
    }

    fn info(&self) -> Result<libbpf_sys::bpf_prog_info, Error> {
        let mut info = libbpf_sys::bpf_prog_info::default();
        let mut len = size_of::<libbpf_sys::bpf_prog_info>() as u32;
        // SAFETY: the descriptor is owned by `self`; `info` and `len` are live locals, and `len` is the size of `info`,
        // all of whose pointers are null, so that the kernel writes nowhere else.
        let result =
            unsafe { libbpf_sys::bpf_prog_get_info_by_fd(self.fd.as_raw_fd(), &raw mut info, &raw mut len) };
        if result < 0 {
            return Err(Error::kernel(
                "asking about a program",
                io::Error::last_os_error(),
            ));
        }
        Ok(info)
    }

    /// Runs the program `repeat` times on `packet` (14 bytes at least), in the caller's network namespace, as if it had
    /// come by the loopback interface there. Each run but the first gets what the one before left in the buffer.
    pub fn run(&self, packet: &[u8], repeat: u32) -> Result<Run, Error> {
        // Room for the longer headers of the other IP version and two tags.
        let mut out = vec![0u8; packet.len() + 64];
        let mut options = libbpf_sys::bpf_test_run_opts {
            sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
            data_in: packet.as_ptr().cast(),
            data_size_in: packet.len() as u32,
            data_out: out.as_mut_ptr().cast(),
            data_size_out: out.len() as u32,
            repeat: i32::try_from(repeat).unwrap_or(i32::MAX),
            ..Default::default()
        };
        // SAFETY: the descriptor is owned by `self`; `options` is a live local whose `sz` is its size, and its buffers
        // are live for the call and as long as they say.
        let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(self.fd.as_raw_fd(), &raw mut options) };
        if result < 0 {
            return Err(Error::kernel("running a program", io::Error::last_os_error()));
        }
        out.truncate(options.data_size_out as usize);
        Ok(Run {
            action: match options.retval {
                TC_NEXT if self.is_tc => Action::Pass,
                TC_DROP if self.is_tc => Action::Drop,
                TC_REDIRECT if self.is_tc => Action::Redirect,
                _ if self.is_tc => Action::Aborted,
                libbpf_sys::XDP_DROP => Action::Drop,
                libbpf_sys::XDP_PASS => Action::Pass,
                libbpf_sys::XDP_TX => Action::SendBack,
                libbpf_sys::XDP_REDIRECT => Action::Redirect,
                _ => Action::Aborted,
            },
            packet: out,
            mean: Duration::from_nanos(options.duration.into()),
        })
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
