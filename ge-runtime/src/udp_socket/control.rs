//! The control messages of one send, on the stack: a packet path allocates nothing per call.
//!
//! ```text
//! length, header and data | level 4 | type 4 | data, filled up to a multiple of a word | next …
//! ```
//! The length is a word; all in host byte order (`struct cmsghdr`, cmsg(3)).

use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 2 * size_of::<i32>();
/// Three messages of a header and at most 20 bytes (`struct in6_pktinfo`).
const ROOM: usize = 3 * (HEADER + 24);

/// Aligned as the kernel expects.
#[repr(align(8))]
struct Room([u8; ROOM]);

/// See the module.
pub(super) struct Control {
    room: Room,
    len: usize,
}

impl Control {
    pub(super) const fn new() -> Self {
        Self { room: Room([0; ROOM]), len: 0 }
    }

    /// Adds a message whose data are `parts`, one after the other: 20 bytes at most, and three
    /// messages.
    pub(super) fn push(&mut self, level: i32, kind: i32, parts: &[&[u8]]) {
        let length = HEADER + parts.iter().map(|part| part.len()).sum::<usize>();
        let (start, mut at) = (self.len, self.len);
        let head: [&[u8]; 3] = [&length.to_ne_bytes(), &level.to_ne_bytes(), &kind.to_ne_bytes()];
        for part in head.iter().chain(parts) {
            self.room.0[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.len = start + length.next_multiple_of(WORD);
    }

    /// `sendmsg` of `bytes` with these messages.
    ///
    /// # Errors
    /// As `sendmsg`.
    pub(super) fn send(&self, fd: &OwnedFd, bytes: &[u8], to: &SockaddrStorage) -> io::Result<()> {
        let mut part =
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: a `struct msghdr` is numbers and pointers, for all of which zero is a value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = to.as_ptr().cast_mut().cast();
        message.msg_namelen = to.len();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = self.room.0.as_ptr().cast_mut().cast();
        message.msg_controllen = self.len;
        // SAFETY: the kernel reads the message and what it points to, all of it live and of the
        // lengths given; it writes none of it and keeps nothing.
        let result = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, 0) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
