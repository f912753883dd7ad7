//! What a data socket brings in one go: many receives in one buffer, so that what belongs together is
//! merged over several of them. A sender that is not in a hurry sends few datagrams at a time, and
//! each receive has only those.
//!
//! Only what is there is taken; nothing is waited for.

use crate::ledger::{Losses, Place};
use crate::udp_socket::{RECEIVE_LEN, UdpSocket};
use ge_core::coalesce::PIECES_MAX;
use ge_core::io::Received;
use std::io;

/// Four of the longest receives. With what is made of them they stay in the L2 cache.
const ROOM: usize = 4 * RECEIVE_LEN;

/// Datagrams in one go after which whoever is to read them gets the processor first: the usual
/// buffer of a program's socket (`net.core.rmem_default`) holds fewer than three hundred small ones.
const YIELD_AFTER: usize = 32;

/// Filled and handed on, again and again.
#[derive(Default)]
pub(super) struct Arrivals {
    buffer: Vec<u8>,
    received: Vec<Received>,
    /// Their number, and that of the errors among them.
    datagrams: usize,
}

impl Arrivals {
    /// Takes what waits: until nothing does, or there is no room for the longest receive, or there
    /// are as many datagrams as one merged packet has. False if nothing waits any more.
    pub(super) fn fill(&mut self, socket: &UdpSocket, losses: &Losses) -> bool {
        self.received.clear();
        self.buffer.resize(ROOM, 0); // the first time
        self.datagrams = 0;
        let mut end = 0;
        while end + RECEIVE_LEN <= ROOM && self.datagrams < PIECES_MAX {
            match socket.recv(&mut self.buffer[end..]) {
                Ok(mut received) => {
                    received.at = end..end + received.at.len();
                    end = received.at.end;
                    self.datagrams += received.count().max(1);
                    self.received.push(received);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    losses.add(Place::Receive, 1, &error);
                    self.datagrams += 1; // so that errors without end do not keep us
                }
            }
        }
        true
    }

    /// Hands on what came in by one interface after the other, in order; then gives way to whoever is
    /// to read it.
    pub(super) fn each(&mut self, mut take: impl FnMut(&mut [u8], &[Received])) {
        let Self { buffer, received, datagrams } = self;
        for some in received.chunk_by(|one, next| one.meta.interface == next.meta.interface) {
            take(buffer, some);
        }
        if *datagrams > YIELD_AFTER {
            std::thread::yield_now();
        }
    }
}
