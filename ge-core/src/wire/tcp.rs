//! The TCP header (RFC 9293) as far as the network may touch it: segmentation, and the MSS option.
//!
//! ```text
//! | source 16 | destination 16 | sequence 32 | acknowledgement 32 |
//! | offset 4, reserved 4, flags 8 | window 16 | checksum 16 | urgent 16 | options 0..40 bytes |
//! ```

use super::checksum::update;
use super::ip::{Fragment, IpView};
use super::{protocol, read_u16, write_u16};

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;
/// Longest header: the data offset is four bits of 32-bit words.
pub const HEADER_MAX: usize = 60;

pub(crate) const SEQUENCE: usize = 4;
pub(crate) const FLAGS: usize = 13;
pub(crate) const CHECKSUM: usize = 16;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const CWR: u8 = 0x80;

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const OPTION_MD5: u8 = 19;
const OPTION_AO: u8 = 29;

/// Length of the header at the start of `segment`, options included, if it is all there.
pub(crate) fn header_len(segment: &[u8]) -> Option<usize> {
    let len = usize::from(*segment.get(12)? >> 4) * 4;
    (HEADER_LEN..=segment.len()).contains(&len).then_some(len)
}

/// True if the segment is signed by TCP-MD5 or TCP-AO: then it cannot be cut, because only the
/// ends can sign the pieces.
pub(crate) fn is_signed(header: &[u8]) -> bool {
    find_option(header, |kind| matches!(kind, OPTION_MD5 | OPTION_AO)).is_some()
}

/// Lowers the MSS option of a SYN or SYN/ACK to `max_mss`, so that neither end sends segments
/// that do not fit behind our headers. True if the packet was changed.
///
/// A complete checksum is updated (RFC 1624). A partial one (`partial_checksum`, the packet came
/// with `NEEDS_CSUM`) covers only the pseudo-header so far and stays.
pub fn clamp_mss(packet: &mut [u8], view: &IpView, max_mss: u16, partial_checksum: bool) -> bool {
    if view.protocol != protocol::TCP || view.fragment == Fragment::Later {
        return false;
    }
    let Some(segment) = packet.get_mut(view.header_len..view.total_len) else { return false };
    let Some(header) = header_len(segment).and_then(|len| segment.get_mut(..len)) else {
        return false;
    };
    if header[FLAGS] & SYN == 0 {
        return false;
    }
    let Some((at, 4)) = find_option(header, |kind| kind == OPTION_MSS) else { return false };
    let value = at + 2;
    let (Some(old), Some(sum)) = (read_u16(header, value), read_u16(header, CHECKSUM)) else {
        return false;
    };
    if old <= max_mss {
        return false;
    }
    write_u16(header, value, max_mss);
    if !partial_checksum {
        // At an odd offset the value straddles two words; seen from them its bytes are swapped.
        let (old, new) = if value.is_multiple_of(2) {
            (old, max_mss)
        } else {
            (old.swap_bytes(), max_mss.swap_bytes())
        };
        write_u16(header, CHECKSUM, update(sum, old, new));
    }
    true
}

/// Offset and length of the first option whose kind `wanted` accepts. A malformed list ends the
/// search.
fn find_option(header: &[u8], wanted: impl Fn(u8) -> bool) -> Option<(usize, usize)> {
    let mut at = HEADER_LEN;
    loop {
        match *header.get(at)? {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            kind => {
                let len = usize::from(*header.get(at + 1)?);
                if len < 2 || at + len > header.len() {
                    return None;
                }
                if wanted(kind) {
                    return Some((at, len));
                }
                at += len;
            }
        }
    }
}
