//! One ICMP echo, as any program of this host would send it.
//!
//! The socket carries no mark, so the packet goes through the hook like everybody's and meets the
//! flow's verdict: what `ges ping` measures is what programs get. The kernel's ping socket is used
//! where it is allowed (`net.ipv4.ping_group_range`), a raw socket otherwise. An answer is told
//! from other traffic by 16 random bytes.
//!
//! ```text
//! | type 1 | code 1 | checksum 2 | identifier 2 | sequence 2 | token 16 |
//! ```
//! (RFC 792, RFC 4443 4.1)

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto,
    setsockopt, socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long an answer may take: past the retry ladder, so that an echo that had to wait for a
/// negotiation still counts.
pub const PATIENCE: Duration = Duration::from_secs(3);

const ECHO_LEN: usize = 8 + TOKEN_LEN;
/// Random bytes that tell an echo of ours from others.
pub const TOKEN_LEN: usize = 16;
const REQUEST_V4: u8 = 8;
const REPLY_V4: u8 = 0;
const REQUEST_V6: u8 = 128;
const REPLY_V6: u8 = 129;

/// Sends one echo request and waits for its reply; `None` if none came within [`PATIENCE`].
/// Blocks.
pub fn round_trip(address: IpAddr, sequence: u16) -> io::Result<Option<Duration>> {
    let mut token = [0; TOKEN_LEN];
    getrandom::fill(&mut token).map_err(io::Error::other)?;
    let socket = open(address)?;
    let request = request(address.is_ipv6(), sequence, &token);
    let to = SockaddrStorage::from(SocketAddr::new(address, 0));
    let sent = Instant::now();
    sendto(socket.as_raw_fd(), &request, &to, MsgFlags::empty())?;
    loop {
        let left = PATIENCE.saturating_sub(sent.elapsed());
        if left < Duration::from_micros(1) {
            return Ok(None);
        }
        let wait = TimeVal::microseconds(i64::try_from(left.as_micros()).unwrap_or(i64::MAX));
        setsockopt(&socket, ReceiveTimeout, &wait)?;
        let mut buffer = [0; 256];
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(len) => {
                let received = buffer.get(..len).unwrap_or_default();
                if is_reply(address.is_ipv6(), received, sequence, &token) {
                    return Ok(Some(sent.elapsed()));
                }
            }
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => {}
            // An ICMP error about our request: there will be no reply.
            Err(Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::ECONNREFUSED) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn open(address: IpAddr) -> io::Result<OwnedFd> {
    let (family, protocol) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let ping = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol);
    let opened = match ping {
        Err(Errno::EACCES | Errno::EPERM | Errno::EPROTONOSUPPORT) => {
            socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
        }
        other => other,
    };
    Ok(opened?)
}

fn request(v6: bool, sequence: u16, token: &[u8; TOKEN_LEN]) -> [u8; ECHO_LEN] {
    let [seq_high, seq_low] = sequence.to_be_bytes();
    let [id_high, id_low, ..] = *token;
    let mut bytes = [0; ECHO_LEN];
    let (header, payload) = bytes.split_at_mut(8);
    let kind = if v6 { REQUEST_V6 } else { REQUEST_V4 };
    header.copy_from_slice(&[kind, 0, 0, 0, id_high, id_low, seq_high, seq_low]);
    payload.copy_from_slice(token);
    if !v6 {
        // ICMPv6 covers addresses we do not choose; the kernel fills that one in.
        let sum = checksum(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

/// True if `received` is the reply to our request. A raw IPv4 socket puts the IP header before it.
#[must_use]
pub fn is_reply(v6: bool, received: &[u8], sequence: u16, token: &[u8; TOKEN_LEN]) -> bool {
    let icmp = match received.first() {
        // Version 4 in the high half: no ICMP type that we wait for looks like it.
        Some(first) if !v6 && first >> 4 == 4 => {
            received.get(usize::from(first & 0x0f) * 4..).unwrap_or_default()
        }
        _ => received,
    };
    let [kind, 0, _, _, _, _, seq_high, seq_low, payload @ ..] = icmp else { return false };
    let wanted = if v6 { REPLY_V6 } else { REPLY_V4 };
    *kind == wanted && [*seq_high, *seq_low] == sequence.to_be_bytes() && payload == token
}

/// The Internet checksum of RFC 1071 over an even number of bytes.
fn checksum(bytes: &[u8; ECHO_LEN]) -> u16 {
    let sum: u32 = bytes
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).expect("invariant: folded twice, at most 0xffff")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: [u8; TOKEN_LEN] = *b"\xff\xffabcdefghijklmn";

    fn reply(v6: bool) -> Vec<u8> {
        let mut bytes = request(v6, 7, &TOKEN).to_vec();
        bytes[0] = if v6 { REPLY_V6 } else { REPLY_V4 };
        bytes
    }

    #[test]
    fn checksum_verifies() {
        let mut bytes = request(false, 7, &TOKEN);
        assert_eq!(checksum(&bytes), 0);
        bytes[12] ^= 1;
        assert_ne!(checksum(&bytes), 0);
    }

    #[test]
    fn only_our_reply_counts() {
        let with_ip_header = [&[0x45; 20][..], &reply(false)].concat();
        let with_options = [&[0x46; 24][..], &reply(false)].concat();
        let mut other_token = reply(false);
        *other_token.last_mut().unwrap() ^= 1;
        let cases: [(&str, bool, &[u8], bool); 8] = [
            ("v4", false, &reply(false), true),
            ("v6", true, &reply(true), true),
            ("v4 raw", false, &with_ip_header, true),
            ("v4 raw with options", false, &with_options, true),
            ("our own request", false, &request(false, 7, &TOKEN), false),
            ("another program's", false, &other_token, false),
            ("too short", false, &[0x45; 10], false),
            ("empty", true, &[], false),
        ];
        for (name, v6, bytes, ours) in cases {
            assert_eq!(is_reply(v6, bytes, 7, &TOKEN), ours, "{name}");
        }
        assert!(!is_reply(false, &reply(false), 8, &TOKEN), "another sequence number");
    }
}
