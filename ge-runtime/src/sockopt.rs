//! Socket options that `nix` does not know.

use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Sets an option whose value is one `int`.
///
/// # Errors
/// As `setsockopt`.
pub(crate) fn set_int(fd: &impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    set(fd, level, name, &value)
}

/// Sets both buffers, in bytes; past the system's limit where that is allowed. Inside a user
/// namespace it is not, and the limit (`net.core.rmem_max`, `wmem_max`) is what there is.
///
/// # Errors
/// As `setsockopt`.
pub(crate) fn set_buffers(fd: &impl AsFd, bytes: usize) -> io::Result<()> {
    setsockopt(fd, sockopt::SndBufForce, &bytes)
        .or_else(|_| setsockopt(fd, sockopt::SndBuf, &bytes))?;
    setsockopt(fd, sockopt::RcvBufForce, &bytes)
        .or_else(|_| setsockopt(fd, sockopt::RcvBuf, &bytes))?;
    Ok(())
}

/// Takes a socket off the receiving side: a filter that keeps nothing of any packet. Sockets that
/// only send would else fill their queue, and the kernel copy for it, with what nobody reads.
///
/// # Errors
/// As `setsockopt`.
pub(crate) fn receive_nothing(fd: &impl AsFd) -> io::Result<()> {
    let mut keep_nothing =
        libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut keep_nothing };
    set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

fn set<T>(fd: &impl AsFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: the kernel reads `length` bytes at `value`, which is a live reference to as many,
    // and what `value` points to, if anything, outlives the call. It keeps neither.
    let result = unsafe {
        libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, (&raw const *value).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
