//! What programs send: frames as the kernel hands them over, checksums left to whoever is next.

use ge_core::io::ETHERNET_LEN;
use ge_core::wire::checksum::{fold, pseudo_header};
use ge_core::wire::ip::{HEADER_MAX, emit_header};
use ge_core::wire::protocol;
use ge_core::wire::vnet::{Gso, GsoKind, PartialChecksum, VnetHeader};
use std::net::IpAddr;

/// Packets on the wire of one batch.
pub(super) const PACKETS: usize = 45;
/// Bytes after the IP header.
const SMALL: usize = 64;
const FULL: usize = 1400;
const TCP_LEN: usize = 20;
const UDP_LEN: usize = 8;

/// One kind of batch.
#[derive(Clone, Copy)]
pub(super) enum Load {
    /// Small datagrams, each a frame of its own.
    Small,
    /// One TCP super-packet.
    SuperPacket,
}

impl Load {
    pub(super) const ALL: [Self; 2] = [Self::Small, Self::SuperPacket];

    pub(super) fn name(self) -> String {
        match self {
            Self::Small => format!("{SMALL} B"),
            Self::SuperPacket => format!("{FULL} B, {PACKETS} at a time"),
        }
    }

    /// The frames of one batch.
    pub(super) fn frames(self, from: IpAddr, to: IpAddr) -> Vec<Vec<u8>> {
        match self {
            Self::Small => vec![small(from, to); PACKETS],
            Self::SuperPacket => vec![super_packet(from, to)],
        }
    }
}

fn small(from: IpAddr, to: IpAddr) -> Vec<u8> {
    let length = SMALL as u16;
    let mut datagram = [&[0, 9, 0, 9][..], &length.to_be_bytes(), &[0; 2]].concat();
    datagram.resize(SMALL, 7);
    frame((from, to), protocol::UDP, datagram, (UDP_LEN, 6), None)
}

fn super_packet(from: IpAddr, to: IpAddr) -> Vec<u8> {
    /// Length of the header in words, and ACK.
    const LENGTH_AND_FLAGS: [u8; 2] = [5 << 4, 0x10];
    let mut stream = vec![0; TCP_LEN];
    stream[12..14].copy_from_slice(&LENGTH_AND_FLAGS);
    let size = FULL - TCP_LEN;
    stream.resize(TCP_LEN + PACKETS * size, 7);
    let gso = Gso { kind: GsoKind::TcpV4, size: size as u16, ecn: false };
    frame((from, to), protocol::TCP, stream, (TCP_LEN, 16), Some(gso))
}

/// Around an upper layer whose header is so long and has its checksum there.
fn frame(
    (from, to): (IpAddr, IpAddr),
    protocol: u8,
    mut upper: Vec<u8>,
    (header_len, checksum): (usize, usize),
    gso: Option<Gso>,
) -> Vec<u8> {
    let sum = fold(pseudo_header(from, to, protocol, upper.len()));
    upper[checksum..][..2].copy_from_slice(&sum.to_be_bytes());
    let mut header = [0; HEADER_MAX];
    let ip_len = emit_header(&mut header, from, to, protocol, upper.len(), 0, 64);
    let start = (ETHERNET_LEN + ip_len) as u16;
    let partial = Some(PartialChecksum { start, offset: checksum as u16 });
    let hdr_len = start + header_len as u16;
    let vnet = VnetHeader { gso, hdr_len, partial, ..VnetHeader::default() }.emit();

    [&vnet[..], &[0; ETHERNET_LEN], &header[..ip_len], &upper].concat()
}
