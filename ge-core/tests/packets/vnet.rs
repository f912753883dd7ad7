//! The vnet header: literal bytes, shifting, offsets that lie.

use crate::build::{self, v4};
use crate::reference;
use ge_core::wire::Malformed;
use ge_core::wire::vnet::{Gso, GsoKind, PartialChecksum, VnetHeader, complete_checksum};

/// As `linux/virtio_net.h` lays it out on a little-endian machine.
#[cfg(target_endian = "little")]
#[test]
fn reads_and_writes_a_literal_header() {
    let bytes = [1, 0x81, 66, 0, 0xA8, 0x05, 34, 0, 16, 0];
    let expected = VnetHeader {
        partial: Some(PartialChecksum { start: 34, offset: 16 }),
        data_valid: false,
        gso: Some(Gso { kind: GsoKind::TcpV4, size: 1448, ecn: true }),
        hdr_len: 66,
    };
    assert_eq!(VnetHeader::parse(&bytes), Ok(expected));
    assert_eq!(expected.emit(), bytes);
    assert_eq!(
        VnetHeader::parse(&[2, 0, 0, 0, 9, 9, 9, 9, 9, 9]).unwrap().emit(),
        [2, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn types_truth_table() {
    let cases = [
        (0, Ok(None)),
        (1, Ok(Some(GsoKind::TcpV4))),
        (2, Err(Malformed::Offload)),
        (3, Ok(Some(GsoKind::UdpFragments))),
        (4, Ok(Some(GsoKind::TcpV6))),
        (5, Ok(Some(GsoKind::UdpDatagrams))),
        (6, Err(Malformed::Offload)),
        (0x80, Err(Malformed::Offload)),
        (0x84, Ok(Some(GsoKind::TcpV6))),
    ];
    for (value, expected) in cases {
        let got = VnetHeader::parse(&[0, value, 0, 0, 1, 1, 0, 0, 0, 0]);
        assert_eq!(got.map(|vnet| vnet.gso.map(|gso| gso.kind)), expected, "{value:#x}");
    }
    assert_eq!(VnetHeader::parse(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed::Offload));
    assert_eq!(VnetHeader::parse(&[0; 9]), Err(Malformed::TooShort));
}

#[test]
fn shifts_with_the_ethernet_header() {
    let at = |start, hdr_len| VnetHeader {
        partial: Some(PartialChecksum { start, offset: 16 }),
        hdr_len,
        ..VnetHeader::default()
    };
    assert_eq!(at(34, 66).shifted(-14), Ok(at(20, 52)));
    assert_eq!(at(20, 52).shifted(14), Ok(at(34, 66)));
    // The hint is only a hint; the checksum offset is not.
    assert_eq!(at(34, 0).shifted(-14), Ok(at(20, 0)));
    assert_eq!(at(13, 66).shifted(-14), Err(Malformed::Offload));
    assert_eq!(VnetHeader::default().shifted(-14), Ok(VnetHeader::default()));
}

#[test]
fn completes_a_partial_checksum() {
    let built = build::tcp_gso(v4(), build::ACK, &[], &build::payload(100), 1448);
    let mut packet = built.bytes.clone();
    complete_checksum(&built.vnet, &mut packet).unwrap();
    assert!(reference::is_right(v4().0, v4().1, 6, &packet[20..]));
    assert_eq!(packet, build::tcp(v4(), build::ACK, &[], &build::payload(100)).bytes);

    let mut untouched = packet.clone();
    complete_checksum(&VnetHeader::default(), &mut untouched).unwrap();
    assert_eq!(untouched, packet);
}

#[test]
fn a_computed_zero_is_written_as_all_ones() {
    let vnet =
        VnetHeader { partial: Some(PartialChecksum { start: 0, offset: 6 }), ..Default::default() };
    let mut datagram = [0xFF, 0xFF, 0, 0, 0, 0, 0, 0];
    complete_checksum(&vnet, &mut datagram).unwrap();
    assert_eq!(datagram[6..], [0xFF, 0xFF]);
}

#[test]
fn a_checksum_outside_the_packet_is_refused() {
    for (start, offset) in [(8, 0), (0, 7), (u16::MAX, u16::MAX), (7, 0)] {
        let partial = Some(PartialChecksum { start, offset });
        let vnet = VnetHeader { partial, ..Default::default() };
        assert_eq!(complete_checksum(&vnet, &mut [0; 8]), Err(Malformed::Offload));
    }
}
