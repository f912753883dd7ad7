//! What a thread waits for: a list that is made once and used for every wait.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Descriptors that may become readable. Whoever watches one keeps it open until the list is cleared:
/// a number that was closed may be another descriptor's by then.
#[derive(Default)]
pub(crate) struct PollList(Vec<libc::pollfd>);

impl PollList {
    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a descriptor; its place is the number of those before it.
    pub(crate) fn watch(&mut self, fd: &impl AsFd) {
        let fd = fd.as_fd().as_raw_fd();
        self.0.push(libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    }

    /// A place that is never ready.
    pub(crate) fn leave_out(&mut self) {
        // poll(2) passes over negative numbers.
        self.0.push(libc::pollfd { fd: -1, events: 0, revents: 0 });
    }

    /// Waits until one is readable, or was closed or broken; or until `most` is over, rounded up to
    /// what the kernel's clock can tell. A signal ends the wait too.
    ///
    /// # Errors
    /// As `ppoll`.
    pub(crate) fn wait(&mut self, most: Option<Duration>) -> io::Result<()> {
        let time = most.map(|most| libc::timespec {
            tv_sec: libc::time_t::try_from(most.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(most.subsec_nanos()),
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let count = self.0.len() as libc::nfds_t;
        // SAFETY: the list is `count` live entries, which the kernel reads and writes during the call
        // only; the time is null or a live value; without a mask no signal set is read.
        let ready = unsafe { libc::ppoll(self.0.as_mut_ptr(), count, time, std::ptr::null()) };
        if ready >= 0 {
            return Ok(());
        }
        self.0.iter_mut().for_each(|entry| entry.revents = 0);
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        }
    }

    /// Whether the one at this place was ready when the last wait ended.
    #[must_use]
    pub(crate) fn is_ready(&self, place: usize) -> bool {
        self.0.get(place).is_some_and(|entry| entry.revents != 0)
    }

    /// Whether any was.
    #[must_use]
    pub(crate) fn is_any_ready(&self) -> bool {
        self.is_any_ready_from(0)
    }

    /// Whether any at this place or behind it was.
    #[must_use]
    pub(crate) fn is_any_ready_from(&self, place: usize) -> bool {
        self.0.iter().skip(place).any(|entry| entry.revents != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn tells_which_is_readable_and_which_is_not() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let (_quiet_near, quiet) = UnixStream::pair().unwrap();
        let mut list = PollList::default();
        list.watch(&far);
        list.leave_out();
        list.watch(&quiet);
        list.wait(Some(Duration::ZERO)).unwrap();
        assert_eq!([0, 1, 2, 3].map(|at| list.is_ready(at)), [false; 4]);
        near.write_all(b"x").unwrap();
        list.wait(None).unwrap();
        assert_eq!([0, 1, 2, 3].map(|at| list.is_ready(at)), [true, false, false, false]);
        list.clear();
        list.watch(&quiet);
        list.wait(Some(Duration::from_millis(1))).unwrap();
        assert!(!list.is_ready(0));
    }
}
