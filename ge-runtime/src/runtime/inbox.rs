//! What one thread of the data path hands to another: a queue, and a descriptor that becomes readable.
//!
//! Off the packet path: a thread that has nothing to hand over touches nothing of this but one flag
//! that nobody writes.

use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    /// Something may be in the queue.
    waiting: AtomicBool,
    wake: EventFd,
}

struct Queue<T> {
    items: VecDeque<T>,
    /// Bytes of packets among them.
    bytes: usize,
}

/// The receiving end.
pub(super) struct Inbox<T> {
    shared: Arc<Shared<T>>,
    /// The memory of the queue before, to swap with.
    taken: VecDeque<T>,
}

/// A sending end. A clone sends to the same.
pub(super) struct Outbox<T>(Arc<Shared<T>>);

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A queue between two threads.
pub(super) fn inbox<T>() -> io::Result<(Outbox<T>, Inbox<T>)> {
    let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
    let wake = EventFd::from_value_and_flags(0, flags)?;
    let queue = Mutex::new(Queue { items: VecDeque::new(), bytes: 0 });
    let shared = Arc::new(Shared { queue, waiting: AtomicBool::new(false), wake });
    Ok((Outbox(Arc::clone(&shared)), Inbox { shared, taken: VecDeque::new() }))
}

impl<T> Outbox<T> {
    /// Hands something over that must arrive.
    pub(super) fn push(&self, item: T) {
        self.push_within(item, 0, usize::MAX);
    }

    /// Hands a packet of `bytes` over, unless so many wait that these would be more than `most`.
    pub(super) fn push_within(&self, item: T, bytes: usize, most: usize) -> bool {
        {
            // A holder that panicked left the queue whole: it pushes or takes, no more.
            let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.bytes.saturating_add(bytes) > most {
                return false;
            }
            queue.bytes += bytes;
            queue.items.push_back(item);
        }
        if !self.0.waiting.swap(true, Ordering::AcqRel) {
            // The write fails only where the descriptor is readable already, which is all it is for.
            let _ = self.0.wake.write(1);
        }
        true
    }
}

impl<T> Inbox<T> {
    /// Takes what was handed over, oldest first. `woken`: the descriptor is readable.
    pub(super) fn take(&mut self, woken: bool) -> impl Iterator<Item = T> + '_ {
        if woken {
            let _ = self.shared.wake.read(); // EAGAIN: it was not
        }
        if self.shared.waiting.load(Ordering::Relaxed) {
            self.shared.waiting.swap(false, Ordering::AcqRel);
            let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.bytes = 0;
            std::mem::swap(&mut queue.items, &mut self.taken);
        }
        self.taken.drain(..)
    }
}

impl<T> AsFd for Inbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn readable<T>(inbox: &Inbox<T>) -> bool {
        let mut fds = [PollFd::new(inbox.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn what_is_pushed_is_taken_in_order_and_once() {
        let (outbox, mut inbox) = inbox().unwrap();
        assert!(!readable(&inbox));
        (0..3).for_each(|n| outbox.push(n));
        assert!(readable(&inbox));
        assert_eq!(inbox.take(true).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(!readable(&inbox));
        assert_eq!(inbox.take(true).count(), 0);
        outbox.push(3);
        assert!(readable(&inbox));
        assert_eq!(inbox.take(true).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn packets_beyond_the_limit_are_refused_until_the_queue_is_taken() {
        let (outbox, mut inbox) = inbox().unwrap();
        assert!(outbox.push_within("a", 60, 100));
        assert!(!outbox.push_within("b", 60, 100));
        outbox.push("must arrive");
        assert_eq!(inbox.take(true).collect::<Vec<_>>(), ["a", "must arrive"]);
        assert!(outbox.push_within("b", 60, 100));
    }

    /// Nothing stays behind a flag that was taken back too early.
    #[test]
    fn nothing_is_left_lying_while_two_threads_work() {
        const MANY: u32 = 200_000;
        let (outbox, mut inbox) = inbox().unwrap();
        let pusher = std::thread::spawn(move || (0..MANY).for_each(|n| outbox.push(n)));
        let mut next = 0;
        while next < MANY {
            let mut fds = [PollFd::new(inbox.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap();
            assert_eq!(ready, 1, "{next} of {MANY}, and nobody woke");
            for n in inbox.take(true) {
                assert_eq!(n, next);
                next += 1;
            }
        }
        pusher.join().unwrap();
    }
}
