//! One TCP connection as both sides of an agent see it: the stack's numbers, and those on the wire.

use super::header::{
    ACK, ACKNOWLEDGEMENT, FLAGS, SEQUENCE, SYN, WINDOW, change_sack, read_u16, read_u32, write_u16,
    write_u32,
};
use super::stretch::Stretch;

/// What the two directions have of a connection.
pub(super) struct Flow {
    sent: Stretch,
    received: Stretch,
    shape: Shape,
}

/// How numbers look on the wire.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Bytes of the stream in one block.
    pub(super) block: u16,
    /// The stream's own numbers instead of stretched ones.
    pub(super) own_numbers: bool,
    /// The announced window grows by what sealing adds.
    pub(super) wide_windows: bool,
}

impl Flow {
    pub(super) fn new(shape: Shape) -> Self {
        let stretch = || Stretch::new(0, shape.block, shape.own_numbers);
        Self { sent: stretch(), received: stretch(), shape }
    }

    /// Makes the header of a packet that leaves look as on the wire, but for the sequence number,
    /// whose position is returned: a super-packet may leave in several pieces.
    pub(super) fn outgoing(&mut self, header: &mut [u8]) -> u64 {
        let (flags, sequence) = (header[FLAGS], read_u32(header, SEQUENCE));
        if flags & SYN != 0 {
            let first = sequence.wrapping_add(1);
            self.sent = Stretch::new(first, self.shape.block, self.shape.own_numbers);
            return 0;
        }
        if flags & ACK != 0 {
            let received = &mut self.received;
            let position = received.position(read_u32(header, ACKNOWLEDGEMENT));
            received.seen(position);
            write_u32(header, ACKNOWLEDGEMENT, received.wire_number(position));
            change_sack(header, |edge| received.wire_number(received.position(edge)));
        }
        if self.shape.wide_windows {
            let window = self.received.wire_window(read_u16(header, WINDOW));
            write_u16(header, WINDOW, window);
        }
        self.sent.position(sequence)
    }

    /// Makes the header of a packet that came look as its sender's stack wrote it, and returns
    /// the position of its first byte. `None` if a number is nowhere in the stream.
    pub(super) fn incoming(&mut self, header: &mut [u8]) -> Option<u64> {
        let (flags, sequence) = (header[FLAGS], read_u32(header, SEQUENCE));
        if flags & SYN != 0 {
            let first = sequence.wrapping_add(1);
            self.received = Stretch::new(first, self.shape.block, self.shape.own_numbers);
            return Some(0);
        }
        if flags & ACK != 0 {
            let sent = &self.sent;
            let position = sent.find(read_u32(header, ACKNOWLEDGEMENT))?;
            write_u32(header, ACKNOWLEDGEMENT, sent.number(position));
            change_sack(header, |edge| sent.find(edge).map_or(edge, |at| sent.number(at)));
        }
        if self.shape.wide_windows {
            let window = self.sent.window(read_u16(header, WINDOW));
            write_u16(header, WINDOW, window);
        }
        let position = self.received.find(sequence)?;
        write_u32(header, SEQUENCE, self.received.number(position));
        Some(position)
    }

    pub(super) fn sent(&mut self) -> &mut Stretch {
        &mut self.sent
    }

    pub(super) fn received(&mut self) -> &mut Stretch {
        &mut self.received
    }
}
