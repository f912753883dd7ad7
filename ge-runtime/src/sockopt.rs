//! Socket options that `nix` does not know.

use ge_core::Lane;
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

/// Sets the buffers for sending and for receiving, in bytes; past the system's limit where that is allowed. Inside a user
/// namespace it is not, and the limit (`net.core.rmem_max`, `wmem_max`) is what there is.
///
/// # Errors
/// As `setsockopt`.
pub(crate) fn set_buffers(fd: &impl AsFd, send: usize, receive: usize) -> io::Result<()> {
    setsockopt(fd, sockopt::SndBufForce, &send)
        .or_else(|_| setsockopt(fd, sockopt::SndBuf, &send))?;
    setsockopt(fd, sockopt::RcvBufForce, &receive)
        .or_else(|_| setsockopt(fd, sockopt::RcvBuf, &receive))?;
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

/// Has the kernel hand datagrams to the sockets of a `SO_REUSEPORT` group by what they begin with:
/// to the socket that `lane % workers` says, the lane being bits 1 to 3 of the first byte.
///
/// # Errors
/// As `setsockopt`.
pub(crate) fn steer_by_lane(fd: &impl AsFd, workers: u8) -> io::Result<()> {
    let step = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut steps = [
        // The program sees the UDP payload.
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0),
        step(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 1),
        step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, u32::from(Lane::COUNT) - 1),
        step(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, u32::from(workers.max(1))),
        step(libc::BPF_RET | libc::BPF_A, 0),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Sizes of a socket's buffers, as the kernel counts them, and what it dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMemory {
    /// Receive buffer in bytes.
    pub receive: u32,
    /// Send buffer in bytes.
    pub send: u32,
    /// Datagrams dropped on arrival since the socket was opened, because the buffer was full or a
    /// checksum wrong.
    pub dropped: u32,
}

/// Asks by `SO_MEMINFO` (Linux 4.12), whose words are those of `SK_MEMINFO_*`.
///
/// # Errors
/// As `getsockopt`.
pub(crate) fn socket_memory(fd: &impl AsFd) -> io::Result<SocketMemory> {
    /// `SO_MEMINFO`.
    const MEMORY: i32 = 55;
    /// `SK_MEMINFO_RCVBUF`, `SK_MEMINFO_SNDBUF`, `SK_MEMINFO_DROPS`.
    const PLACES: [usize; 3] = [1, 3, 8];
    let mut words = [0_u32; 9];
    let mut length = libc::socklen_t::try_from(size_of_val(&words))
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: the kernel writes at most `length` bytes at `words`, a live array of that size, and
    // the length it wrote at `length`. It keeps neither.
    let result = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            MEMORY,
            words.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        let [receive, send, dropped] = PLACES.map(|place| words[place]);
        Ok(SocketMemory { receive, send, dropped })
    } else {
        Err(io::Error::last_os_error())
    }
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
