//! IPv4 fragmentation (RFC 791 3.2), for packets that allow it and are too large for their path.
//!
//! A packet that is a fragment already is cut further. Options without the "copied" bit stay in
//! the first fragment only.

use crate::wire::ip::IpView;
use crate::wire::ipv4::{
    self, DONT_FRAGMENT, FLAGS, HEADER_LEN, HEADER_MAX, MORE_FRAGMENTS, OFFSET_MASK, TOTAL_LENGTH,
};
use crate::wire::{read_u16, write_u16};

pub use crate::wire::vnet::complete_checksum;

/// Why a packet cannot be fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// DF is set, or it is IPv6, where only the sender fragments.
    #[error("the packet must not be fragmented")]
    DontFragment,
    /// `view` is not of this packet.
    #[error("the view does not fit the packet")]
    Malformed,
    /// Header and eight bytes do not fit the limit, or the offset would exceed its field.
    #[error("no room for a fragment")]
    NoRoom,
}

/// Cuts `packet` into fragments of at most `limit` bytes (whole IP packet) and hands them to
/// `sink` in order. A packet that fits is handed on as it is. A partial upper-layer checksum must
/// have been completed before ([`complete_checksum`]).
///
/// # Errors
/// [`FragmentError`]; then `sink` was not called.
pub fn fragment_ipv4(
    packet: &[u8],
    view: &IpView,
    limit: usize,
    sink: &mut impl FnMut(&[u8]),
) -> Result<(), FragmentError> {
    let (packet, header) = packet
        .get(..view.total_len)
        .and_then(|packet| Some((packet, packet.get(..view.header_len)?)))
        .ok_or(FragmentError::Malformed)?;
    if packet.len() <= limit {
        sink(packet);
        return Ok(());
    }
    if view.dont_fragment || !view.source.is_ipv4() {
        return Err(FragmentError::DontFragment);
    }
    let flags = read_u16(header, FLAGS).ok_or(FragmentError::Malformed)?;
    let payload = packet.get(view.header_len..).ok_or(FragmentError::Malformed)?;
    let step = limit.saturating_sub(header.len()) / 8 * 8;
    let start = usize::from(flags & OFFSET_MASK);
    if step == 0 || start + payload.len() / 8 > usize::from(OFFSET_MASK) {
        return Err(FragmentError::NoRoom);
    }

    let later_header = header_of_later(header);
    let mut buffer = Vec::with_capacity(limit);
    let last = payload.len().div_ceil(step) - 1;
    for (index, chunk) in payload.chunks(step).enumerate() {
        let header = if index == 0 { header } else { &later_header };
        buffer.clear();
        buffer.extend_from_slice(header);
        buffer.extend_from_slice(chunk);
        let more = if index < last { MORE_FRAGMENTS } else { flags & MORE_FRAGMENTS };
        stamp(&mut buffer, header.len(), start + index * step / 8, more);
        sink(&buffer);
    }
    Ok(())
}

/// Writes total length, flags with offset (in units of eight bytes), and the header checksum.
fn stamp(fragment: &mut [u8], header_len: usize, offset: usize, more: u16) {
    // Fits: the whole packet's length and last offset were checked to.
    let (total_len, offset) = (fragment.len() as u16, offset as u16);
    let header = &mut fragment[..header_len];
    write_u16(header, TOTAL_LENGTH, total_len);
    write_u16(header, FLAGS, (offset & OFFSET_MASK) | (more & !DONT_FRAGMENT));
    ipv4::refresh_checksum(header);
}

/// The header with only those options that are copied into every fragment.
fn header_of_later(header: &[u8]) -> Vec<u8> {
    const COPIED: u8 = 0x80;
    const END: u8 = 0;
    const NOP: u8 = 1;
    let (fixed, mut options) = header.split_at(HEADER_LEN);
    let mut later = Vec::with_capacity(HEADER_MAX);
    later.extend_from_slice(fixed);
    while let [kind, rest @ ..] = options {
        let len = match *kind {
            END => break,
            NOP => 1,
            _ => usize::from(rest.first().copied().unwrap_or(0)),
        };
        let Some((option, rest)) = options.split_at_checked(len.max(1)) else { break };
        if *kind & COPIED != 0 && len >= 2 {
            later.extend_from_slice(option);
        }
        options = rest;
    }
    later.resize(later.len().next_multiple_of(4), END);
    // At most 60 bytes, so that the quotient fits four bits.
    later[0] = 0x40 | (later.len() / 4) as u8;
    later
}
