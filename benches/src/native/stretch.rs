//! Sequence numbers of a TCP stream whose segments grow by a shim and a tag each.
//!
//! The stream is cut into blocks of a fixed length; on the wire each block is longer by what
//! sealing adds. Position *p* of the stream is *p + 24 * floor(p / block)* on the wire, so that a
//! retransmission finds its place without a memory of what was sent:
//!
//! ```text
//! stream   |    block 0     |    block 1     |    block 2 ...
//! wire     | shim block 0 tag | shim block 1 tag | shim block 2 ...
//! ```
//! Segments of whole blocks follow one another without a gap: that is what the kernel makes of a
//! super-packet, and what it asks for before it merges. A segment of a part of a block begins where
//! the part belongs and overlaps what follows by 24 bytes.

use ge_core::traffic::OVERHEAD;

/// One direction of a stream. Positions count from the byte behind the SYN.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    /// Number of position zero, the same on the wire.
    first: u32,
    /// Bytes of the stream in one block.
    block: u64,
    /// By how much a block is longer on the wire; zero: the wire bears the stream's own numbers.
    growth: u64,
    /// The position seen last: tells which 4 GiB a number belongs to.
    near: u64,
}

impl Stretch {
    /// `first` is the number behind the SYN's.
    pub(super) fn new(first: u32, block: u16, own_numbers: bool) -> Self {
        let growth = if own_numbers { 0 } else { OVERHEAD as u64 };
        Self { first, block: u64::from(block.max(1)), growth, near: 0 }
    }

    /// Position of a number of the stream.
    pub(super) fn position(&self, number: u32) -> u64 {
        nearest(self.near, number.wrapping_sub(self.first))
    }

    /// Number of a position of the stream.
    pub(super) fn number(&self, position: u64) -> u32 {
        self.first.wrapping_add(low(position))
    }

    /// Number of a position on the wire.
    pub(super) fn wire_number(&self, position: u64) -> u32 {
        self.first.wrapping_add(low(self.on_wire(position)))
    }

    /// Position of a number on the wire. `None` inside what sealing adds, where no segment begins
    /// and nothing is acknowledged.
    pub(super) fn find(&self, number: u32) -> Option<u64> {
        let wire = nearest(self.on_wire(self.near), number.wrapping_sub(self.first));
        let stride = self.block + self.growth;
        let (blocks, rest) = (wire / stride, wire % stride);
        (rest < self.block).then_some(blocks * self.block + rest)
    }

    /// Bytes from a position to the end of its block.
    pub(super) fn left_in_block(&self, position: u64) -> usize {
        // At most a block, which fits 16 bits.
        (self.block - position % self.block) as usize
    }

    /// Whether a block begins here: what ends there and what begins there meet on the wire.
    pub(super) fn begins_block(&self, position: u64) -> bool {
        position.is_multiple_of(self.block)
    }

    /// From here on numbers are near this position.
    pub(super) fn seen(&mut self, position: u64) {
        self.near = position;
    }

    /// The window to announce for these so many units of the stream: it must cover what sealing
    /// adds, or what the sender may send lies outside of it.
    pub(super) fn wire_window(&self, window: u16) -> u16 {
        self.widened(u64::from(window)).try_into().unwrap_or(u16::MAX)
    }

    /// The largest window that is announced as this one.
    pub(super) fn window(&self, announced: u16) -> u16 {
        let announced = u64::from(announced);
        let mut window = announced * self.block / (self.block + self.growth);
        while self.widened(window) > announced {
            window -= 1;
        }
        while self.widened(window + 1) <= announced {
            window += 1;
        }
        window.try_into().unwrap_or(u16::MAX)
    }

    fn widened(&self, window: u64) -> u64 {
        window + (window * self.growth).div_ceil(self.block)
    }

    fn on_wire(&self, position: u64) -> u64 {
        position + self.growth * (position / self.block)
    }
}

/// The number with these low 32 bits that is nearest to `near`, and not below zero.
fn nearest(near: u64, bits: u32) -> u64 {
    let ahead = i64::from(bits.wrapping_sub(low(near)).cast_signed());
    near.checked_add_signed(ahead).unwrap_or_else(|| u64::from(bits))
}

/// Low 32 bits, which is what travels.
const fn low(number: u64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use super::Stretch;

    const BLOCK: u16 = 1424;

    #[test]
    fn every_position_is_found_again_beyond_four_gigabytes() {
        let mut stretch = Stretch::new(0xffff_ff00, BLOCK, false);
        let mut position = 0;
        while position < 9 << 30 {
            for at in [position, position + 1, position + 1423] {
                assert_eq!(stretch.position(stretch.number(at)), at);
                assert_eq!(stretch.find(stretch.wire_number(at)), Some(at));
            }
            stretch.seen(position);
            position += 1424 * 1_000_003;
        }
    }

    #[test]
    fn whole_blocks_follow_without_a_gap_and_nothing_begins_between() {
        let stretch = Stretch::new(7, BLOCK, false);
        for block in 0..100_u64 {
            let start = stretch.wire_number(block * 1424);
            assert_eq!(stretch.wire_number((block + 1) * 1424), start + 1424 + 24);
            for inside in 1424..1448 {
                assert_eq!(stretch.find(start + inside), None, "{block} {inside}");
            }
        }
    }

    #[test]
    fn windows_are_found_again_and_cover_what_is_added() {
        let stretch = Stretch::new(0, BLOCK, false);
        for window in 0..64_000_u16 {
            let announced = stretch.wire_window(window);
            assert_eq!(stretch.window(announced), window);
            let blocks = u64::from(window) / 1424;
            assert!(u64::from(announced) >= u64::from(window) + 24 * blocks);
        }
        assert_eq!(stretch.wire_window(u16::MAX), u16::MAX);
    }

    #[test]
    fn own_numbers_stay() {
        let stretch = Stretch::new(5, BLOCK, true);
        for position in [0, 1, 1424, 100_000] {
            assert_eq!(stretch.wire_number(position), stretch.number(position));
            assert_eq!(stretch.find(stretch.number(position)), Some(position));
        }
        assert_eq!((stretch.wire_window(1000), stretch.window(1000)), (1000, 1000));
    }
}
