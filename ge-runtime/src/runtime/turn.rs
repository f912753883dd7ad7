//! What one TUN may bring before the other descriptors get their turn.

use crate::tun::TunQueue;
use std::io;

/// A quarter of its queue, and more than the datagrams of one turn make the local stack send. With
/// fewer, what many connections answer is dropped in that queue while we read what they are sent.
const FRAMES_PER_TURN: usize = 1024;
/// The same in bytes: sixty-four super-packets, some milliseconds of sealing.
pub(super) const BYTES_PER_TURN: usize = 4 << 20;

/// What it has brought.
#[derive(Default)]
pub(super) struct Turn {
    frames: usize,
    bytes: usize,
}

impl Turn {
    /// Frames so far.
    pub(super) const fn frames(&self) -> usize {
        self.frames
    }

    /// Reads the next frame into `buffer`; its length. `None` if none waits, or the turn is over.
    ///
    /// # Errors
    /// The TUN was taken away.
    pub(super) fn read(
        &mut self,
        queue: &TunQueue,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        if self.frames >= FRAMES_PER_TURN || self.bytes >= BYTES_PER_TURN {
            return Ok(None);
        }
        match queue.read(buffer) {
            Ok(length) => {
                self.frames += 1;
                self.bytes += length;
                Ok(Some(length))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}
