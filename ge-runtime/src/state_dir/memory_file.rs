//! The bytes of what an agent remembers of destinations. They are sealed as the cached membership
//! is (`sealed.rs`), under a key of their own.
//!
//! ```text
//! | 1 | ahead 8 | n 4 | n x ( remote 16 | local 16 | until 8 ) |
//!     | m 4 | m x ( length 1 | name | address 16 | until 8 ) |
//! ```
//! Numbers are big-endian; `until` is Unix time as the management server has it; `ahead` is how many
//! seconds its clock was ahead of this machine's. IPv4 addresses are written as mapped ones
//! (RFC 4291 2.5.5.2).

use ge_core::UnixTime;
use ge_core::flow::HostPair;
use ge_core::limits::STICKY_ENTRIES;
use mgmt_api::{DnsName, limits::POLICY_NAMES};
use std::net::{IpAddr, Ipv6Addr};

/// Addresses remembered of one name. Names of the largest services have dozens.
pub const ADDRESSES_PER_NAME: usize = 256;

const VERSION: u8 = 1;

/// What an agent remembers of destinations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Seconds the server's clock was ahead of this machine's.
    pub ahead: i64,
    /// Pairs of hosts once protected, and until when that counts.
    pub sticky: Vec<(HostPair, UnixTime)>,
    /// Addresses that names had, and until when they count.
    pub named: Vec<(DnsName, IpAddr, UnixTime)>,
}

/// Writes it.
#[must_use]
pub fn emit(remembered: &Remembered) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&remembered.ahead.to_be_bytes());
    out.extend_from_slice(&(remembered.sticky.len() as u32).to_be_bytes());
    for (pair, until) in &remembered.sticky {
        out.extend_from_slice(&address_bytes(pair.remote.0));
        out.extend_from_slice(&address_bytes(pair.local.0));
        out.extend_from_slice(&until.0.to_be_bytes());
    }
    out.extend_from_slice(&(remembered.named.len() as u32).to_be_bytes());
    for (name, address, until) in &remembered.named {
        out.push(name.as_str().len() as u8); // at most 253
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(&address_bytes(*address));
        out.extend_from_slice(&until.0.to_be_bytes());
    }
    out
}

/// Reads what [`emit`] wrote; `None` if it is anything else, or more than an agent remembers.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Remembered> {
    let mut rest = bytes.strip_prefix(&[VERSION])?;
    let ahead = i64::from_be_bytes(take(&mut rest)?);
    let count = u32::from_be_bytes(take(&mut rest)?) as usize;
    let mut sticky = Vec::with_capacity(count.min(STICKY_ENTRIES));
    for _ in 0..count.min(STICKY_ENTRIES + 1) {
        let (remote, local) = (address(&mut rest)?, address(&mut rest)?);
        sticky.push((HostPair::new(local, remote), UnixTime(u64::from_be_bytes(take(&mut rest)?))));
    }
    let named_count = u32::from_be_bytes(take(&mut rest)?) as usize;
    let most = POLICY_NAMES * ADDRESSES_PER_NAME;
    let mut named = Vec::new();
    for _ in 0..named_count.min(most + 1) {
        let [length] = take(&mut rest)?;
        let (text, behind) = rest.split_at_checked(usize::from(length))?;
        rest = behind;
        let text = core::str::from_utf8(text).ok()?;
        let name = text.parse().ok().filter(|name: &DnsName| name.as_str() == text)?;
        let address = address(&mut rest)?;
        named.push((name, address, UnixTime(u64::from_be_bytes(take(&mut rest)?))));
    }
    let fits = sticky.len() <= STICKY_ENTRIES && named.len() <= most && rest.is_empty();
    fits.then_some(Remembered { ahead, sticky, named })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*taken)
}

fn address(rest: &mut &[u8]) -> Option<IpAddr> {
    Some(Ipv6Addr::from(take::<16>(rest)?).to_canonical())
}

const fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered() -> Remembered {
        let pair = |local: &str, remote: &str| {
            HostPair::new(local.parse().unwrap(), remote.parse().unwrap())
        };
        Remembered {
            ahead: -7,
            sticky: vec![
                (pair("10.0.0.1", "10.0.0.2"), UnixTime(1_800_000_000)),
                (pair("fd00::1", "fd00::2"), UnixTime(u64::MAX)),
            ],
            named: vec![(
                "db.example.org".parse().unwrap(),
                "10.0.0.9".parse().unwrap(),
                UnixTime(1),
            )],
        }
    }

    #[test]
    fn reads_as_written_and_every_cut_is_found() {
        let bytes = emit(&remembered());
        assert_eq!(parse(&bytes), Some(remembered()));
        assert_eq!(parse(&emit(&Remembered::default())), Some(Remembered::default()));
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), None, "cut at {cut}");
        }
        assert_eq!(parse(&[bytes.as_slice(), &[0]].concat()), None, "longer");
    }

    #[test]
    fn more_than_an_agent_remembers_is_refused() {
        let mut much = remembered();
        much.sticky = vec![much.sticky[0]; STICKY_ENTRIES + 1];
        assert_eq!(parse(&emit(&much)), None);
    }
}
