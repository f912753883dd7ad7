//! The Internet checksum written the slow, obvious way, so that the crate's is checked by
//! something else than itself.

use std::net::IpAddr;

/// One's complement sum, word by word, carries folded at once.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let mut total = 0_u16;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        let (added, carry) = total.overflowing_add(word);
        total = added + u16::from(carry);
    }
    total
}

/// Pseudo-header and upper layer as bytes.
pub(crate) fn covered(from: IpAddr, to: IpAddr, protocol: u8, upper: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            bytes.extend([0, protocol]);
            bytes.extend((upper.len() as u16).to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            bytes.extend((upper.len() as u32).to_be_bytes());
            bytes.extend([0, 0, 0, protocol]);
        }
        _ => panic!("one version"),
    }
    bytes.extend(upper);
    bytes
}

/// True if the upper layer's checksum is complete and right.
pub(crate) fn is_right(from: IpAddr, to: IpAddr, protocol: u8, upper: &[u8]) -> bool {
    sum(&covered(from, to, protocol, upper)) == 0xFFFF
}

/// Completes a partial checksum as a receiving kernel does: sums the segment with the field as it
/// is, and stores the inverse there.
pub(crate) fn complete(upper: &mut [u8], field: usize) {
    let value = !sum(upper);
    upper[field..field + 2].copy_from_slice(&value.to_be_bytes());
}
