//! ICMP echo by ourselves, so that the lab needs no `ping` program and measures in nanoseconds.

use crate::host::Host;
use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, recv,
    sendto, socket,
};
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Sends echo requests from one machine and waits for the replies.
pub struct Pinger {
    socket: OwnedFd,
    to: IpAddr,
    id: u16,
    seq: u16,
    payload: Vec<u8>,
}

impl Pinger {
    /// From `host` to address `to`; every request carries `payload`.
    ///
    /// # Errors
    /// If a raw socket is refused.
    pub fn new(host: &Host, to: IpAddr, payload: &[u8]) -> Result<Self> {
        let (family, protocol) = match to {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let socket = host.enter(|| {
            socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
                .context("opening a raw ICMP socket")
        })?;
        // Two pingers in one process differ by descriptor, two processes by pid.
        let id = (std::process::id() as u16) ^ ((socket.as_raw_fd() as u16) << 8);
        Ok(Self { socket, to, id, seq: 0, payload: payload.to_vec() })
    }

    /// One request; the round-trip time, or `None` if nobody answered within `deadline` or the
    /// local machine refused to send.
    ///
    /// # Errors
    /// If the socket fails in another way.
    pub fn echo(&mut self, deadline: Duration) -> Result<Option<Duration>> {
        self.seq = self.seq.wrapping_add(1);
        let request = self.request();
        let start = Instant::now();
        let sent = match self.to {
            IpAddr::V4(to) => {
                let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                sendto(self.socket.as_raw_fd(), &request, &to, MsgFlags::empty())
            }
            IpAddr::V6(to) => {
                let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, 0));
                sendto(self.socket.as_raw_fd(), &request, &to, MsgFlags::empty())
            }
        };
        match sent {
            Ok(_) => self.reply(start, deadline),
            Err(nix::Error::EPERM | nix::Error::EACCES | nix::Error::EHOSTUNREACH) => Ok(None),
            Err(errno) => bail!("sending an echo request to {}: {errno}", self.to),
        }
    }

    fn request(&self) -> Vec<u8> {
        let kind = if self.to.is_ipv4() { 8 } else { 128 };
        let mut request = vec![kind, 0, 0, 0];
        request.extend(self.id.to_be_bytes());
        request.extend(self.seq.to_be_bytes());
        request.extend(&self.payload);
        if self.to.is_ipv4() {
            // For ICMPv6 the kernel fills it in, as the pseudo header needs the source address.
            let sum = checksum(&request).to_be_bytes();
            request[2..4].copy_from_slice(&sum);
        }
        request
    }

    fn reply(&self, start: Instant, deadline: Duration) -> Result<Option<Duration>> {
        let mut buffer = [0; 65_536];
        loop {
            let left = deadline.saturating_sub(start.elapsed());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            if left.is_zero() || poll(&mut ready, timeout)? == 0 {
                return Ok(None);
            }
            let length = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => length,
                Err(nix::Error::EAGAIN | nix::Error::EHOSTUNREACH | nix::Error::EACCES) => continue,
                Err(errno) => bail!("waiting for an echo reply: {errno}"),
            };
            let took = start.elapsed();
            if self.is_reply(&buffer[..length]) {
                return Ok(Some(took));
            }
        }
    }

    fn is_reply(&self, received: &[u8]) -> bool {
        // A raw IPv4 socket gives the IP header too, an IPv6 one does not.
        let (kind, message) = if self.to.is_ipv4() {
            let header = received.first().map_or(0, |byte| usize::from(byte & 0x0f) * 4);
            (0, received.get(header..).unwrap_or_default())
        } else {
            (129, received)
        };
        message.first() == Some(&kind)
            && message.get(4..6) == Some(&self.id.to_be_bytes()[..])
            && message.get(6..8) == Some(&self.seq.to_be_bytes()[..])
            && message.get(8..) == Some(&self.payload[..])
    }
}

/// One echo from `from` to `to`, with a payload of 56 bytes.
///
/// # Errors
/// As [`Pinger::new`] and [`Pinger::echo`].
pub fn ping(from: &Host, to: IpAddr, deadline: Duration) -> Result<Option<Duration>> {
    Pinger::new(from, to, &[0x2e; 56])?.echo(deadline)
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn checksum_of_rfc_1071_example() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff]), !0xff00);
    }
}
