//! Sockets of ordinary programs, and frames that no ordinary program sends.

use crate::namespace::{MAC_A, MAC_B, Namespace};
use ge_runtime::packet_socket::PacketSocket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

/// How long something that should come may take, at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Sees every frame of a host's `eth0`, before the hook in and after the hook out.
pub(crate) struct Sniffer(OwnedFd);

impl Sniffer {
    pub(crate) fn open(host: &Namespace) -> Self {
        host.run(|| {
            let flags = SockFlag::SOCK_NONBLOCK;
            let fd = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
            Self(fd.unwrap())
        })
    }

    /// Frames since the last call whose Ethernet source is this one.
    pub(crate) fn frames_from(&self, mac: [u8; 6]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut buf = [0; 2048];
        while let Ok(len) = recv(self.0.as_raw_fd(), &mut buf, MsgFlags::empty()) {
            if len >= 14 && buf[6..12] == mac {
                frames.push(buf[..len].to_vec());
            }
        }
        frames
    }

    /// The frames up to one that ends so, which must come: what a host sent before it is among them.
    pub(crate) fn until(&self, end: &[u8]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut buf = [0; 2048];
        loop {
            match recv(self.0.as_raw_fd(), &mut buf, MsgFlags::empty()) {
                Ok(len) if buf[..len].ends_with(end) => return frames,
                Ok(len) => frames.push(buf[..len].to_vec()),
                Err(_) => assert!(self.has_more(), "the last frame did not come"),
            }
        }
    }

    fn has_more(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::try_from(PATIENCE).unwrap()).unwrap() == 1
    }

    /// The next frames whose Ethernet source is this one and which are `wanted`: at least `count`,
    /// which must come.
    pub(crate) fn await_from(
        &self,
        mac: [u8; 6],
        count: usize,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        loop {
            frames.extend(self.frames_from(mac).into_iter().filter(|frame| wanted(frame)));
            if frames.len() >= count {
                return frames;
            }
            assert!(self.has_more(), "{} of {count} frames came", frames.len());
        }
    }

    /// Of the frames since the last call, those that carry IP to one machine and are no neighbour discovery.
    pub(crate) fn unicast_ip_from(&self, mac: [u8; 6]) -> usize {
        let unicast = |frame: &[u8]| frame[0] & 1 == 0;
        let v4 = |frame: &[u8]| frame[12..14] == [8, 0];
        let v6 = |frame: &[u8]| {
            frame[12..14] == [0x86, 0xdd] && !(frame[20] == 58 && (130..=143).contains(&frame[54]))
        };
        let frames = self.frames_from(mac);
        frames.iter().filter(|frame| unicast(frame) && (v4(frame) || v6(frame))).count()
    }
}

/// Sends a frame by a host's `eth0`, exactly these bytes.
pub(crate) fn inject(host: &Namespace, frame: &[u8]) {
    let with_vnet = [&[0; 10], frame].concat();
    host.run(move || {
        let ifindex = nix::net::if_::if_nametoindex("eth0").unwrap();
        PacketSocket::open(ifindex, 0, &std::sync::Arc::default())
            .unwrap()
            .put_back(&with_vnet)
            .unwrap();
    });
}

/// A UDP datagram over IPv4 from b to a, as a frame; fields can be changed before it is sent.
#[derive(Clone, Copy)]
pub(crate) struct UdpFrame {
    pub(crate) mac_from: [u8; 6],
    pub(crate) mac_to: [u8; 6],
    pub(crate) from: [u8; 4],
    pub(crate) to: [u8; 4],
    pub(crate) ports: (u16, u16),
}

impl UdpFrame {
    pub(crate) const fn b_to_a(ports: (u16, u16)) -> Self {
        Self { mac_from: MAC_B, mac_to: MAC_A, from: [10, 9, 0, 2], to: [10, 9, 0, 1], ports }
    }

    pub(crate) const fn a_to_b(ports: (u16, u16)) -> Self {
        Self { mac_from: MAC_A, mac_to: MAC_B, from: [10, 9, 0, 1], to: [10, 9, 0, 2], ports }
    }

    /// The frame, with a VLAN tag between the addresses and the EtherType if wanted.
    pub(crate) fn bytes(&self, tag: &[u8], payload: &[u8]) -> Vec<u8> {
        let length = |over: usize| u16::try_from(over + payload.len()).unwrap().to_be_bytes();
        let mut ip = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0].to_vec();
        ip[2..4].copy_from_slice(&length(28));
        ip.extend_from_slice(&self.from);
        ip.extend_from_slice(&self.to);
        let words = ip.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum: u32 = words.sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        let mut frame = [&self.mac_to[..], &self.mac_from, tag, &[8, 0], &ip].concat();
        for field in [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes(), length(8), [0; 2]] {
            frame.extend_from_slice(&field);
        }
        frame.extend_from_slice(payload);
        frame
    }
}

/// A UDP socket of an ordinary program.
pub(crate) struct Program(pub(crate) UdpSocket);

impl Program {
    pub(crate) fn bind(host: &Namespace, address: &'static str) -> Self {
        host.run(move || {
            let socket = UdpSocket::bind(address).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            Self(socket)
        })
    }

    /// Also receives what is sent to an IPv4 group on `eth0`.
    pub(crate) fn join(&self, host: &Namespace, group: [u8; 4], local: [u8; 4]) {
        let socket = self.0.try_clone().unwrap();
        let (group, local) = (Ipv4Addr::from(group), Ipv4Addr::from(local));
        host.run(move || socket.join_multicast_v4(&group, &local).unwrap());
    }

    /// The next datagram, which must come.
    pub(crate) fn next(&self) -> Vec<u8> {
        let mut buf = [0; 2048];
        let len = self.0.recv(&mut buf).expect("the datagram did not come");
        buf[..len].to_vec()
    }

    /// Whether nothing is waiting.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let empty = self.0.recv(&mut [0; 2048]).is_err();
        self.0.set_nonblocking(false).unwrap();
        empty
    }
}
