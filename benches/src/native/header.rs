//! Fields of a TCP header, read and written in place. The caller has checked that it is whole.

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;

pub(super) const SEQUENCE: usize = 4;
pub(super) const ACKNOWLEDGEMENT: usize = 8;
pub(super) const FLAGS: usize = 13;
pub(super) const WINDOW: usize = 14;
pub(super) const CHECKSUM: usize = 16;
const OPTIONS: usize = 20;
const SACK: u8 = 5;

pub(super) fn read_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn write_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

pub(super) fn write_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Length of the header at the start of `segment`, if it is whole.
pub(super) fn length(segment: &[u8]) -> Option<usize> {
    let length = usize::from(*segment.get(12)? >> 4) * 4;
    (OPTIONS..=segment.len()).contains(&length).then_some(length)
}

/// Changes every edge of the selective acknowledgements (RFC 2018).
pub(super) fn change_sack(header: &mut [u8], change: impl Fn(u32) -> u32) {
    let mut at = OPTIONS;
    while let Some([kind, length]) = header.get(at..at + 2).map(|option| [option[0], option[1]]) {
        let length = match kind {
            0 => return,
            1 => 1,
            _ => usize::from(length),
        };
        if length == 0 || at + length > header.len() {
            return;
        }
        if kind == SACK {
            for edge in (at + 2..at + length).step_by(4).filter(|edge| edge + 4 <= at + length) {
                let changed = change(read_u32(header, edge));
                write_u32(header, edge, changed);
            }
        }
        at += length;
    }
}
