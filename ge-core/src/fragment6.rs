//! IPv6 source fragmentation (RFC 8200 4.5).
//!
//! A path may have the IPv6 minimum of 1,280 bytes, and no error can ask a host for less; what
//! the host then sends does not fit once it is sealed. The agent runs on the sending host, so it
//! may do what that host may: fragment.

use crate::fragment::FragmentError;
use crate::wire::ip::IpView;
use crate::wire::ipv6::{HEADER_LEN, PAYLOAD_LENGTH};
use crate::wire::write_u16;

/// Next-header number of the fragment header.
const FRAGMENT: u8 = 44;
const FRAGMENT_HEADER_LEN: usize = 8;
const NEXT_HEADER: usize = 6;
const MORE: u16 = 1;

/// Cuts a plain IPv6 packet (no extension headers) into fragments of at most `limit` bytes and
/// hands them to `sink` in order. `identification` must differ between packets of one host pair.
///
/// # Errors
/// [`FragmentError`]; then `sink` was not called.
pub fn fragment_ipv6(
    packet: &[u8],
    view: &IpView,
    limit: usize,
    identification: u32,
    sink: &mut impl FnMut(&[u8]),
) -> Result<(), FragmentError> {
    if !view.plain_header || !view.source.is_ipv6() {
        return Err(FragmentError::DontFragment);
    }
    let (header, payload) = packet
        .get(..view.total_len)
        .and_then(|packet| packet.split_at_checked(HEADER_LEN))
        .ok_or(FragmentError::Malformed)?;
    let step = limit.saturating_sub(HEADER_LEN + FRAGMENT_HEADER_LEN) / 8 * 8;
    if step == 0 {
        return Err(FragmentError::NoRoom);
    }
    let last = payload.len().div_ceil(step).saturating_sub(1);
    let mut buffer = Vec::with_capacity(limit);
    for (index, chunk) in payload.chunks(step).enumerate() {
        buffer.clear();
        buffer.extend_from_slice(header);
        // Fits: the payload of one packet is at most 65,535 bytes.
        write_u16(&mut buffer, PAYLOAD_LENGTH, (FRAGMENT_HEADER_LEN + chunk.len()) as u16);
        let next_header = std::mem::replace(&mut buffer[NEXT_HEADER], FRAGMENT);
        let more = if index < last { MORE } else { 0 };
        let offset = (index * step) as u16 | more; // in units of 8 bytes, shifted left by 3
        buffer.extend_from_slice(&[next_header, 0]);
        buffer.extend_from_slice(&offset.to_be_bytes());
        buffer.extend_from_slice(&identification.to_be_bytes());
        buffer.extend_from_slice(chunk);
        sink(&buffer);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ip::{self, Fragment};

    fn packet(payload_len: usize) -> Vec<u8> {
        let mut header = [0; ip::HEADER_MAX];
        let (from, to) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let len = ip::emit_header(&mut header, from, to, 17, payload_len, 0, 64);
        let mut packet = header[..len].to_vec();
        packet.extend((0..payload_len).map(|n| n as u8));
        packet
    }

    #[test]
    fn fragments_join_to_the_original() {
        let whole = packet(1240);
        let view = ip::parse(&whole).unwrap();
        let mut joined = Vec::new();
        let mut kinds = Vec::new();
        fragment_ipv6(&whole, &view, 1248, 7, &mut |fragment| {
            assert!(fragment.len() <= 1248);
            let offset = u16::from_be_bytes([fragment[42], fragment[43]]) & !MORE;
            assert_eq!(usize::from(offset), joined.len());
            joined.extend_from_slice(&fragment[48..]);
            kinds.push(ip::parse(fragment).unwrap().fragment);
        })
        .unwrap();
        assert_eq!(joined, whole[40..]);
        assert_eq!(kinds, [Fragment::First, Fragment::Later]);
    }

    #[test]
    fn refuses_what_is_not_plain_ipv6() {
        let whole = packet(1240);
        let view = ip::parse(&whole).unwrap();
        let result = fragment_ipv6(&whole, &view, 50, 7, &mut |_| panic!("nothing fits"));
        assert_eq!(result, Err(FragmentError::NoRoom));
    }
}
