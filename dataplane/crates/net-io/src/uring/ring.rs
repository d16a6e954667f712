//! The ring itself: set-up, submission, waiting and completions, without knowing what the requests mean.

use std::io;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue};

use super::setup::SetupError;
use super::token::Token;

/// One io_uring, used by the thread that built it.
pub(super) struct Ring {
    ring: IoUring,
    /// Whether the kernel can wait for a number of completions for a while, and for one after that (6.12).
    gathers: bool,
    counters: RingCounters,
}

/// What the ring counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RingCounters {
    /// `io_uring_enter` calls.
    pub(super) enters: u64,
    /// Times that the kernel had more completions than the completion queue had room for; it keeps them.
    pub(super) completion_overflows: u64,
    /// Times that the submission queue was full and had to be submitted at once.
    pub(super) submissions_full: u64,
}

/// The end of a gathering wait that shall have none. Waking once an hour costs nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// How to wait in the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Completions to wait for, at least; 0 submits only.
    pub(super) completions: usize,
    /// Longest wait; `None` waits for ever.
    pub(super) timeout: Option<Duration>,
    /// Within this time all `completions` are waited for, after it the first is enough. Ignored by kernels before
    /// 6.12.
    pub(super) gather: Duration,
}

impl Waiting {
    pub(super) const NOT: Self = Self {
        completions: 0,
        timeout: None,
        gather: Duration::ZERO,
    };
}

/// A request that the kernel has completed, or a part of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    /// `None` if no request of ours has this.
    pub(super) token: Option<Token>,
    /// What the system call of that name would return: an errno if negative.
    pub(super) result: i32,
    /// The provided buffer that was used, by its id.
    pub(super) buffer: Option<u16>,
    /// Whether the request goes on.
    pub(super) more: bool,
}

impl Ring {
    /// Sets up a ring for this thread.
    ///
    /// * `SINGLE_ISSUER`: only this thread submits, so the kernel needs no lock.
    /// * `DEFER_TASKRUN`: completions are worked off inside of our own `io_uring_enter` and nowhere else, so that a
    ///   packet never interrupts us and a wait sees whole batches. (`COOP_TASKRUN` is the weaker form of the same and
    ///   adds nothing to it.)
    /// * `TASKRUN_FLAG`: a bit in shared memory says whether there is such work, so that a poll without a wait costs
    ///   no system call when there is none.
    /// * `SUBMIT_ALL`: one bad request does not keep those behind it from being submitted.
    pub(super) fn new(submission_entries: u32, completion_entries: u32) -> Result<Self, SetupError> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(completion_entries)
            .build(submission_entries)
            .map_err(SetupError::at("io_uring_setup"))?;
        let parameters = ring.params();
        if !parameters.is_feature_nodrop() || !parameters.is_feature_ext_arg() {
            return Err(SetupError::at("io_uring features")(io::Error::from_raw_os_error(
                libc::ENOSYS,
            )));
        }
        let gathers = parameters.is_feature_min_timeout();
        Ok(Self {
            ring,
            gathers,
            counters: RingCounters::default(),
        })
    }

    pub(super) fn counters(&self) -> RingCounters {
        self.counters
    }

    /// Registration calls, which are not on the packet path.
    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// Queues a request. When the submission queue is full it is submitted first, and if the kernel takes nothing even
    /// then, the request is refused: false.
    ///
    /// # Safety
    ///
    /// What the request points to stays valid, and is written by nobody (read by nobody, where the kernel
    /// writes), until its last completion.
    pub(super) unsafe fn push(&mut self, request: &Entry) -> bool {
        // SAFETY: validity of what the request points to: the caller's promise, passed on.
        if unsafe { self.ring.submission().push(request) }.is_ok() {
            return true;
        }
        self.counters.submissions_full += 1;
        if self.enter(Waiting::NOT).is_err() {
            return false;
        }
        // SAFETY: validity of what the request points to: the caller's promise, passed on.
        unsafe { self.ring.submission().push(request) }.is_ok()
    }

    /// Submits what is queued and waits, in one system call; in none if there is nothing to submit, to wait for or to
    /// work off. An expired timeout and a signal are no error.
    ///
    /// # Errors
    ///
    /// The ring is broken.
    pub(super) fn enter(&mut self, waiting: Waiting) -> io::Result<()> {
        let submission = self.ring.submission();
        let overflow = submission.cq_overflow();
        let idle = submission.is_empty() && !submission.taskrun() && !overflow;
        drop(submission);
        self.counters.completion_overflows += u64::from(overflow);
        if idle && waiting.completions == 0 {
            return Ok(());
        }
        let gathering = self.gathers && !waiting.gather.is_zero();
        // The kernel goes on waiting after the minimum wait only if there is another end to wait for.
        let timeout = waiting.timeout.or(gathering.then_some(LONGEST_WAIT));
        let timespec = timeout.map(Timespec::from);
        let mut arguments = SubmitArgs::new();
        if gathering {
            arguments = arguments.min_wait_usec(waiting.gather.as_micros() as u32);
        }
        if let Some(timespec) = &timespec {
            arguments = arguments.timespec(timespec);
        }
        self.counters.enters += 1;
        let Err(error) = self
            .ring
            .submitter()
            .submit_with_args(waiting.completions, &arguments)
        else {
            return Ok(());
        };
        match error.raw_os_error() {
            // Time is up; a signal came; completions have to be taken first; no memory for the requests at this
            // moment, which stay queued. Each is met by taking completions and coming again.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        }
    }

    /// Whether the kernel can gather completions (see [`Waiting::gather`]).
    pub(super) fn gathers(&self) -> bool {
        self.gathers
    }

    /// Does as a kernel before 6.12.
    #[cfg(test)]
    pub(super) fn forget_gathering(&mut self) {
        self.gathers = false;
    }

    /// The next completion.
    pub(super) fn complete(&mut self) -> Option<Completion> {
        let entry = self.ring.completion().next()?;
        Some(Completion {
            token: Token::decode(entry.user_data()),
            result: entry.result(),
            buffer: cqueue::buffer_select(entry.flags()),
            more: cqueue::more(entry.flags()),
        })
    }
}
