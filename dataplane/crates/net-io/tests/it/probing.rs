//! The choice of a back-end.

use net_io::probe::{Backend, Requested, choose};

use crate::back_end::skip;

/// Makes `io_uring_setup` fail for the calling thread, as the default seccomp profile of container runtimes does.
fn refuse_io_uring() -> std::io::Result<()> {
    const ALLOW: u32 = 0x7fff_0000;
    const FAIL: u32 = 0x0005_0000;
    let statement = |code: u32, jt, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf: 0,
        k,
    };
    let mut filter = [
        // The number of the system call is the first word of what the filter sees.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            1,
            libc::SYS_io_uring_setup as u32,
        ),
        statement(libc::BPF_RET | libc::BPF_K, 0, ALLOW),
        statement(libc::BPF_RET | libc::BPF_K, 0, FAIL | libc::EPERM as u32),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: takes no pointers.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: `program` points to `filter`, of the length said; the kernel copies both before it returns.
    if unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    } != 0
    {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

#[test]
fn where_io_uring_is_refused_auto_falls_back_and_says_why() {
    // A filter is for ever, but only for the thread that asked.
    let thread = std::thread::spawn(|| {
        refuse_io_uring().map(|()| {
            (
                choose(Requested::Auto),
                choose(Requested::Uring),
                choose(Requested::Socket),
            )
        })
    });
    let (auto, uring, socket) = match thread.join().unwrap() {
        Ok(outcomes) => outcomes,
        Err(error) => return skip("where_io_uring_is_refused_auto_falls_back", &error.to_string()),
    };
    let reason = "io_uring_setup: EPERM (refused by seccomp or sysctl kernel.io_uring_disabled)";
    assert_eq!(auto.unwrap(), (Backend::Socket, reason.to_owned()));
    assert_eq!(
        uring.unwrap_err().to_string(),
        format!("back-end uring does not work here: {reason}")
    );
    assert_eq!(socket.unwrap(), (Backend::Socket, "asked for".to_owned()));
}

#[test]
fn where_io_uring_works_it_is_chosen() {
    match choose(Requested::Uring) {
        Err(error) => {
            assert_eq!(choose(Requested::Auto).unwrap().0, Backend::Socket);
            skip("where_io_uring_works_it_is_chosen", &error.to_string());
        }
        Ok((backend, reason)) => {
            assert_eq!(
                (backend, reason.as_str()),
                (Backend::Uring, "asked for; io_uring relays packets here")
            );
            assert_eq!(choose(Requested::Auto).unwrap().0, Backend::Uring);
        }
    }
}
