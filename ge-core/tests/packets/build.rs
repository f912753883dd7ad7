//! Packets as a kernel would hand them over.

use crate::reference;
use ge_core::icmp_error::packet_too_big;
use ge_core::wire::icmp::emit_echo;
use ge_core::wire::ip::{self, IpView};
use ge_core::wire::vnet::{Gso, GsoKind, PartialChecksum, VnetHeader};
use std::net::IpAddr;

pub(crate) const ACK: u8 = 0x10;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const FIN: u8 = 0x01;
pub(crate) const URG: u8 = 0x20;
pub(crate) const CWR: u8 = 0x80;

/// NOP, NOP, timestamps: what almost every data segment carries.
pub(crate) const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9];

/// A packet with its vnet header.
#[derive(Clone)]
pub(crate) struct Built {
    pub(crate) vnet: VnetHeader,
    pub(crate) bytes: Vec<u8>,
}

impl Built {
    pub(crate) fn view(&self) -> IpView {
        ip::parse(&self.bytes).expect("built well")
    }
}

pub(crate) fn v4() -> (IpAddr, IpAddr) {
    ([192, 0, 2, 1].into(), [198, 51, 100, 7].into())
}

pub(crate) fn v6() -> (IpAddr, IpAddr) {
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(), [0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7].into())
}

/// A plain IP packet around `upper`.
pub(crate) fn ip_packet((from, to): (IpAddr, IpAddr), protocol: u8, upper: &[u8]) -> Vec<u8> {
    let mut header = [0; ip::HEADER_MAX];
    let len = ip::emit_header(&mut header, from, to, protocol, upper.len(), 0, 64);
    assert_ne!(len, 0, "addresses of one version, length in range");
    let mut packet = header[..len].to_vec();
    packet.extend(upper);
    packet
}

/// A TCP segment with checksum field zero.
pub(crate) fn tcp_segment(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    assert!(options.len().is_multiple_of(4));
    let mut segment = vec![0x30, 0x39, 0x01, 0xBB];
    segment.extend(0xFFFF_F000_u32.to_be_bytes());
    segment.extend(77_u32.to_be_bytes());
    segment.extend([((20 + options.len()) / 4 * 16) as u8, flags, 0x02, 0x00, 0, 0, 0, 0]);
    segment.extend(options);
    segment.extend(payload);
    segment
}

/// A TCP packet with a complete checksum and an empty vnet header.
pub(crate) fn tcp(pair: (IpAddr, IpAddr), flags: u8, options: &[u8], payload: &[u8]) -> Built {
    let mut segment = tcp_segment(flags, options, payload);
    let value = !reference::sum(&reference::covered(pair.0, pair.1, 6, &segment));
    segment[16..18].copy_from_slice(&value.to_be_bytes());
    Built { vnet: VnetHeader::default(), bytes: ip_packet(pair, 6, &segment) }
}

/// A TCP super-packet with a partial checksum.
pub(crate) fn tcp_gso(
    pair: (IpAddr, IpAddr),
    flags: u8,
    options: &[u8],
    payload: &[u8],
    size: u16,
) -> Built {
    let mut segment = tcp_segment(flags, options, payload);
    let pseudo = reference::sum(&reference::covered(pair.0, pair.1, 6, &segment)[..pseudo(pair)]);
    // The length is in the pseudo-header, so that cutting the bytes after it changes nothing.
    segment[16..18].copy_from_slice(&pseudo.to_be_bytes());
    let kind = if pair.0.is_ipv4() { GsoKind::TcpV4 } else { GsoKind::TcpV6 };
    let bytes = ip_packet(pair, 6, &segment);
    let start = (bytes.len() - segment.len()) as u16;
    let gso = (payload.len() > usize::from(size)).then_some(Gso { kind, size, ecn: false });
    let partial = Some(PartialChecksum { start, offset: 16 });
    Built { vnet: VnetHeader { partial, gso, ..VnetHeader::default() }, bytes }
}

/// A UDP super-packet with a partial checksum.
pub(crate) fn udp_gso(pair: (IpAddr, IpAddr), payload: &[u8], size: u16) -> Built {
    let mut datagram = vec![0x30, 0x39, 0x01, 0xBB];
    datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let pseudo = reference::sum(&reference::covered(pair.0, pair.1, 17, &datagram)[..pseudo(pair)]);
    datagram[6..8].copy_from_slice(&pseudo.to_be_bytes());
    let bytes = ip_packet(pair, 17, &datagram);
    let start = (bytes.len() - datagram.len()) as u16;
    let gso = Some(Gso { kind: GsoKind::UdpDatagrams, size, ecn: false });
    let partial = Some(PartialChecksum { start, offset: 6 });
    Built { vnet: VnetHeader { partial, gso, ..VnetHeader::default() }, bytes }
}

/// One packet of each kind the code knows.
pub(crate) fn specimens() -> Vec<Built> {
    let plain = |bytes| Built { vnet: VnetHeader::default(), bytes };
    let about = |pair: (IpAddr, IpAddr)| {
        let offending = tcp(pair, ACK, &[], &payload(60));
        let error = packet_too_big(&offending.bytes, &offending.view(), 1300, pair.1);
        plain(error.expect("about an ordinary packet"))
    };
    let echo = |pair: (IpAddr, IpAddr), protocol, request| {
        plain(ip_packet(pair, protocol, &emit_echo(request, 1, 2, b"message", pair.0, pair.1)))
    };
    let mss = [2, 4, 5, 0xB4, 1, 3, 3, 7];
    let mut extended = vec![60, 0, 5, 2, 0, 0, 1, 0, 44, 0, 1, 4, 0, 0, 0, 0];
    extended.extend([6, 0, 0, 1, 0, 0, 0, 9]);
    extended.extend(&tcp(v6(), ACK, &[], &payload(40)).bytes[40..]);
    vec![
        tcp(v4(), SYN, &mss, &[]),
        tcp(v6(), SYN | ACK, &mss, &[]),
        tcp_gso(v4(), ACK | PSH, &TIMESTAMPS, &payload(300), 100),
        tcp_gso(v6(), ACK, &TIMESTAMPS, &payload(300), 100),
        udp_gso(v4(), &payload(300), 100),
        udp_gso(v6(), &payload(300), 100),
        echo(v4(), 1, true),
        echo(v6(), 58, false),
        about(v4()),
        about(v6()),
        plain(ip_packet(v6(), 0, &extended)),
    ]
}

/// Bytes that tell where they came from.
pub(crate) fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

/// Length of the pseudo-header.
const fn pseudo(pair: (IpAddr, IpAddr)) -> usize {
    if pair.0.is_ipv4() { 12 } else { 40 }
}
