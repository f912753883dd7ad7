//! What to do when a socket's send queue is full.
//!
//! Who waits keeps the frames behind in the TUN's queue; who drops has the program's stack send
//! again. But the thread that waits also receives. So: one short wait, one more attempt, and while that does
//! not help no further wait, until something was sent again.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// The wait, in milliseconds: the shortest that `poll` knows. At 1 Gbit/s two full runs leave in
/// it; what arrives meanwhile fills a hundredth of a data socket's buffer.
const WAIT_MS: u16 = 1;

/// Whether waiting still makes sense. One per socket.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// The last wait did not help.
    spent: AtomicBool,
}

impl Patience {
    /// Sends; where the queue is full waits once and tries again.
    ///
    /// # Errors
    /// As `send`.
    pub(crate) fn send(
        &self,
        fd: &impl AsFd,
        mut send: impl FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        let result = match send() {
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    && !self.spent.swap(true, Ordering::Relaxed) =>
            {
                let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
                // However it ends, the next attempt says how things are. The kernel reports half
                // of the queue empty, but takes the next bytes as soon as it is not full.
                let _ = poll(&mut fds, PollTimeout::from(WAIT_MS));
                send()
            }
            result => result,
        };
        if result.is_ok() && self.spent.load(Ordering::Relaxed) {
            self.spent.store(false, Ordering::Relaxed);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    /// Answers of a kernel, the last first, and how often it was asked.
    fn attempts(patience: &Patience, answers: &[i32]) -> (usize, bool) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut asked = 0;
        let result = patience.send(&socket, || {
            asked += 1;
            match answers[asked - 1] {
                0 => Ok(()),
                number => Err(io::Error::from_raw_os_error(number)),
            }
        });
        (asked, result.is_ok())
    }

    #[test]
    fn one_wait_until_something_is_sent_again() {
        let patience = Patience::default();
        assert_eq!(attempts(&patience, &[0]), (1, true));
        assert_eq!(attempts(&patience, &[libc::EAGAIN, 0]), (2, true));
        assert_eq!(attempts(&patience, &[libc::EAGAIN, libc::EAGAIN]), (2, false));
        assert_eq!(attempts(&patience, &[libc::EAGAIN]), (1, false), "it waited again");
        assert_eq!(attempts(&patience, &[0]), (1, true));
        assert_eq!(attempts(&patience, &[libc::EAGAIN, 0]), (2, true));
        assert_eq!(attempts(&patience, &[libc::ENOBUFS]), (1, false), "no wait for that");
    }
}
