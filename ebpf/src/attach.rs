use std::fmt;
use std::num::NonZeroU32;
use std::os::fd::AsFd;

use crate::link::Link;
use crate::{Error, Program};

/// How a program runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before there is a socket buffer.
    Native,
    /// In the stack, for drivers that have no XDP: correct, and about as dear as the stack.
    Generic,
    /// As a classifier at the ingress of traffic control (tcx, Linux 6.6), where XDP runs in neither way. A program of its
    /// own: [`crate::Relay::attach`] has it.
    Tc,
}

impl Mode {
    /// Best first.
    pub const ALL: &'static [Self] = &[Self::Native, Self::Generic, Self::Tc];

    /// Its name in configuration, logs and pins.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tc => "tc",
        }
    }

    const fn kind_and_flags(self) -> (libbpf_sys::bpf_attach_type, u32) {
        match self {
            Self::Native => (libbpf_sys::BPF_XDP, libbpf_sys::XDP_FLAGS_DRV_MODE),
            Self::Generic => (libbpf_sys::BPF_XDP, libbpf_sys::XDP_FLAGS_SKB_MODE),
            Self::Tc => (libbpf_sys::BPF_TCX_INGRESS, 0),
        }
    }
}

/// A program on an interface. Detached when this is dropped, unless it is pinned.
#[derive(Debug)]
pub struct Attachment {
    pub(crate) link: Link,
    pub(crate) ifindex: NonZeroU32,
    pub(crate) mode: Mode,
    pub(crate) reason: String,
}

/// No mode worked, and what the kernel said to each.
#[derive(Debug)]
pub struct AttachError {
    /// The interface, as it was named.
    pub interface: String,
    /// By mode, in the order in which they were tried; empty when the interface is not there.
    pub refusals: Vec<(Mode, Error)>,
}

impl Attachment {
    /// Attaches `program` to `interface` in the first of `modes` that works. The interface is looked up in the calling
    /// thread's network namespace.
    pub fn new(program: &Program, interface: &str, modes: &[Mode]) -> Result<Self, AttachError> {
        Self::with(|_mode| Ok(program), interface, modes)
    }

    /// The same with a program for each mode.
    pub(crate) fn with<'program>(
        program: impl Fn(Mode) -> Result<&'program Program, Error>,
        interface: &str,
        modes: &[Mode],
    ) -> Result<Self, AttachError> {
        let mut refusals = Vec::new();
        let index = nix::net::if_::if_nametoindex(interface).ok();
        let Some(ifindex) = index.and_then(NonZeroU32::new) else {
            return Err(AttachError {
                interface: interface.to_owned(),
                refusals,
            });
        };
        for &mode in modes {
            let (kind, flags) = mode.kind_and_flags();
            let link = program(mode)
                .and_then(|program| Link::create(program.as_fd(), ifindex.get() as i32, kind, flags));
            match link {
                Ok(link) => {
                    return Ok(Self {
                        link,
                        ifindex,
                        mode,
                        reason: reason(mode, &refusals),
                    });
                }
                Err(error) => refusals.push((mode, error)),
            }
        }
        Err(AttachError {
            interface: interface.to_owned(),
            refusals,
        })
    }

    /// How it runs.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Why it runs that way, for logs and status.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The interface's number.
    pub const fn ifindex(&self) -> NonZeroU32 {
        self.ifindex
    }

    /// Puts another program in the place of this one; no packet falls between the two.
    pub fn update(&self, program: &Program) -> Result<(), Error> {
        self.link.update(program)
    }

    /// Detaches the program now, pinned or not.
    pub fn detach(self) -> Result<(), Error> {
        self.link.detach()
    }
}

fn reason(mode: Mode, refusals: &[(Mode, Error)]) -> String {
    let mut text = match mode {
        Mode::Native => "the driver takes XDP programs".to_owned(),
        Mode::Generic => "XDP runs in the stack".to_owned(),
        Mode::Tc => "a classifier of TC runs in the stack".to_owned(),
    };
    for (mode, error) in refusals {
        text.push_str(&format!("; {}: {error}", mode.name()));
    }
    text
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no program on {}", self.interface)?;
        if self.refusals.is_empty() {
            return write!(f, ": there is no such interface");
        }
        for (mode, error) in &self.refusals {
            write!(f, "; {}: {error}", mode.name())?;
        }
        Ok(())
    }
}

impl std::error::Error for AttachError {}
