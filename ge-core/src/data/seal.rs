//! Sealing a packet of a protected flow: what fits the path goes out as `transport` (or `tunnel`
//! where the IP header is not plain), what does not is cut, or its sender is told.
//!
//! ```text
//! transport  | flow's IP header | UDP | shim 8 | sealed{ L4 header + data, protocol 1 } | tag 16 |
//! tunnel     | agents' IP header | UDP | shim 8 | sealed{ whole inner packet } | tag 16 |
//! ```
//! DESIGN.md section 4. Nothing of variable length surrounds the data, so that all segments of a
//! super-packet are equally long and leave in one system call.

use super::Ends;
use crate::DropReason;
use crate::batch::{Heading, SealedBatch};
use crate::fragment::{complete_checksum, fragment_ipv4};
use crate::fragment6::fragment_ipv6;
use crate::io::{ETHERNET_LEN, PACKET_AT, VNET_LEN};
use crate::segment::{SegmentError, Segmenter};
use crate::shim::{Kind, SHIM_LEN, TAG_LEN};
use crate::traffic::Sealer;
use crate::translate::{Place, translate};
use crate::wire::ip::IpView;
use crate::wire::protocol;
use crate::wire::tcp::{self, clamp_mss};
use crate::wire::udp::UDP_LEN;
use crate::wire::vnet::VnetHeader;
use core::net::IpAddr;

/// Inner protocol number at the end of a `transport` plaintext.
const PROTOCOL_LEN: usize = 1;

/// Why a packet could not be sealed.
pub(crate) enum Unsealed {
    Dropped(DropReason),
    /// Larger than this inner packet size, and not ours to cut.
    TooBig(u16),
}

/// Bytes of IP header the outer packet has.
const fn outer_header_len(addr: IpAddr) -> usize {
    match addr {
        IpAddr::V4(_) => 20,
        IpAddr::V6(_) => 40,
    }
}

/// Seals the packet of a captured frame into `batch`, as the peer sees the flow: a peer behind a NAT
/// knows itself by another address. Gives the number of datagrams.
pub(crate) fn seal_frame(
    sealer: &mut Sealer,
    ends: &Ends,
    heading: Heading,
    mtu: usize,
    bytes: &mut [u8],
    view: &IpView,
    batch: &mut SealedBatch,
) -> Result<u64, Unsealed> {
    let Some(own) = ends.translated else {
        return seal_packet(sealer, ends, heading, mtu, bytes, view, batch);
    };
    let partial = VnetHeader::parse(&bytes[..VNET_LEN])
        .map_err(|_| Unsealed::Dropped(DropReason::Malformed))?
        .partial
        .is_some();
    let seen = view.destination;
    let theirs = IpView { destination: own, ..*view };
    translate(&mut bytes[PACKET_AT..], view, Place::Destination, (seen, own), partial);
    let sealed = seal_packet(sealer, ends, heading, mtu, bytes, &theirs, batch);
    // What is said to the local stack about the packet is said in its own terms.
    translate(&mut bytes[PACKET_AT..], &theirs, Place::Destination, (own, seen), partial);
    sealed
}

fn seal_packet(
    sealer: &mut Sealer,
    ends: &Ends,
    heading: Heading,
    mtu: usize,
    bytes: &mut [u8],
    view: &IpView,
    batch: &mut SealedBatch,
) -> Result<u64, Unsealed> {
    let vnet = VnetHeader::parse(&bytes[..VNET_LEN])
        .and_then(|vnet| vnet.shifted(-(ETHERNET_LEN as i16)))
        .map_err(|_| Unsealed::Dropped(DropReason::Malformed))?;
    let packet = &mut bytes[PACKET_AT..];
    let outer = outer_header_len(heading.to.0.0) + UDP_LEN + SHIM_LEN + TAG_LEN;
    let room = mtu.saturating_sub(outer);
    // The flow's own header serves as the outer one where the addresses are the same.
    let own_header = ends.wire_is_flow() && view.plain_header;
    let limit = room.saturating_sub(if own_header { PROTOCOL_LEN } else { view.header_len });
    if view.plain_header && view.protocol == protocol::TCP {
        let max_mss = limit.saturating_sub(tcp::HEADER_LEN).clamp(1, usize::from(u16::MAX)) as u16;
        clamp_mss(packet, view, max_mss, vnet.partial.is_some());
    }
    if own_header {
        match Segmenter::new(&vnet, packet, view, limit) {
            Ok(segmenter) => {
                let segmenter = segmenter.vouch(&vnet, view);
                return seal_segments(sealer, heading, segmenter, view.protocol, batch);
            }
            Err(SegmentError::TooBig) => {}
            Err(SegmentError::Malformed(_)) => {
                return Err(Unsealed::Dropped(DropReason::Malformed));
            }
        }
    }
    seal_tunnel(sealer, heading, room, &vnet, packet, view, batch)
}

fn seal_segments(
    sealer: &mut Sealer,
    heading: Heading,
    mut segmenter: Segmenter<'_>,
    inner_protocol: u8,
    batch: &mut SealedBatch,
) -> Result<u64, Unsealed> {
    let partial = segmenter.partial_checksum();
    let mut datagrams = 0;
    while let Some(next) = segmenter.next_len() {
        let len = SHIM_LEN + next + PROTOCOL_LEN + TAG_LEN;
        let run = batch.run_for(heading, len);
        let start = run.bytes.len();
        run.bytes.extend_from_slice(&[0; SHIM_LEN]);
        segmenter.next_transport(&mut run.bytes);
        run.bytes.push(inner_protocol);
        run.bytes.extend_from_slice(&[0; TAG_LEN]);
        seal_slot(sealer, Kind::Transport, partial, &mut run.bytes, start)?;
        datagrams += 1;
    }
    Ok(datagrams)
}

/// The whole inner packet, for headers that are not plain; cut into IP fragments if it must be.
fn seal_tunnel(
    sealer: &mut Sealer,
    heading: Heading,
    room: usize,
    vnet: &VnetHeader,
    packet: &mut [u8],
    view: &IpView,
    batch: &mut SealedBatch,
) -> Result<u64, Unsealed> {
    let packet = &mut packet[..view.total_len];
    // One that fits goes the same way, with a checksum that lets the other end merge it.
    if vnet.gso.is_some() || (view.plain_header && packet.len() <= room) {
        let limit = room.saturating_sub(view.header_len);
        return match Segmenter::new(vnet, packet, view, limit) {
            Ok(segmenter) => {
                let segmenter = segmenter.vouch(vnet, view);
                seal_tunnel_segments(sealer, heading, segmenter, view, batch)
            }
            Err(SegmentError::TooBig) => Err(Unsealed::TooBig(inner_mtu(room))),
            Err(SegmentError::Malformed(_)) => Err(Unsealed::Dropped(DropReason::Malformed)),
        };
    }
    complete_checksum(vnet, packet).map_err(|_| Unsealed::Dropped(DropReason::Malformed))?;
    let packet = &*packet;
    if packet.len() <= room {
        seal_whole(sealer, heading, packet, batch)?;
        return Ok(1);
    }
    let identification = sealer.identification();
    let mut result = Ok(0);
    let mut seal = |fragment: &[u8]| {
        if let Ok(count) = result {
            result = seal_whole(sealer, heading, fragment, batch).map(|()| count + 1);
        }
    };
    let cut = match view.source {
        IpAddr::V4(_) if !view.dont_fragment => fragment_ipv4(packet, view, room, &mut seal),
        // No path may ask an IPv6 host for less than 1,280 bytes, so what fits there but not
        // through the seal is fragmented here: this is the source.
        IpAddr::V6(_) if packet.len() <= usize::from(crate::limits::MIN_PMTU_V6) => {
            fragment_ipv6(packet, view, room, identification, &mut seal)
        }
        IpAddr::V4(_) | IpAddr::V6(_) => return Err(Unsealed::TooBig(inner_mtu(room))),
    };
    cut.map_err(|_| Unsealed::Dropped(DropReason::TooBig))?;
    result
}

/// Every segment with the whole header.
fn seal_tunnel_segments(
    sealer: &mut Sealer,
    heading: Heading,
    mut segmenter: Segmenter<'_>,
    view: &IpView,
    batch: &mut SealedBatch,
) -> Result<u64, Unsealed> {
    let partial = segmenter.partial_checksum();
    let mut datagrams = 0;
    while let Some(next) = segmenter.next_len() {
        let run = batch.run_for(heading, SHIM_LEN + view.header_len + next + TAG_LEN);
        let start = run.bytes.len();
        run.bytes.extend_from_slice(&[0; SHIM_LEN]);
        segmenter.next_packet(&mut run.bytes);
        run.bytes.extend_from_slice(&[0; TAG_LEN]);
        seal_slot(sealer, Kind::Tunnel, partial, &mut run.bytes, start)?;
        datagrams += 1;
    }
    Ok(datagrams)
}

/// The inner packet size to report: what fits in both formats.
fn inner_mtu(room: usize) -> u16 {
    u16::try_from(room.saturating_sub(PROTOCOL_LEN)).unwrap_or(u16::MAX)
}

fn seal_whole(
    sealer: &mut Sealer,
    heading: Heading,
    packet: &[u8],
    batch: &mut SealedBatch,
) -> Result<(), Unsealed> {
    let run = batch.run_for(heading, SHIM_LEN + packet.len() + TAG_LEN);
    let start = run.bytes.len();
    run.bytes.extend_from_slice(&[0; SHIM_LEN]);
    run.bytes.extend_from_slice(packet);
    run.bytes.extend_from_slice(&[0; TAG_LEN]);
    seal_slot(sealer, Kind::Tunnel, false, &mut run.bytes, start)
}

/// Seals the slot that starts at `start`; takes it out again if the key may not be used.
fn seal_slot(
    sealer: &mut Sealer,
    kind: Kind,
    partial: bool,
    bytes: &mut Vec<u8>,
    start: usize,
) -> Result<(), Unsealed> {
    sealer.seal(kind, partial, &mut bytes[start..]).map_err(|_exhausted| {
        bytes.truncate(start);
        Unsealed::Dropped(DropReason::KeyExhausted)
    })
}
