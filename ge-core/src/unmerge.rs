//! What a super-packet looks like piece by piece, for a kernel that does not take it as it is.
//!
//! The packet was to be cut by the kernel; here it is cut as the kernel would have, in order, and
//! each piece gets the vnet header it needs by itself. Rare, so that copies do not matter.

use crate::io::{ETHERNET_LEN, PACKET_AT, VNET_LEN};
use crate::segment::{SegmentError, Segmenter};
use crate::wire::Malformed;
use crate::wire::ip;
use crate::wire::transport::Transport;
use crate::wire::vnet::{VnetHeader, complete_checksum};

/// Hands the pieces of `packet` to `sink`, each with its vnet header; offsets count from the IP
/// header. What `vnet` does not ask to be cut is one piece. The number of pieces.
///
/// # Errors
/// `Malformed` if the packet does not fit its headers or `vnet`; nothing was handed on then.
pub fn unmerge(
    vnet: &VnetHeader,
    packet: &[u8],
    sink: &mut impl FnMut(&VnetHeader, &mut [u8]),
) -> Result<usize, SegmentError> {
    let view = ip::parse(packet)?;
    let mut segmenter = Segmenter::new(vnet, packet, &view, usize::MAX)?;
    let transport = Transport::of(view.protocol).filter(|_| segmenter.partial_checksum());
    let partial = transport.and_then(|transport| transport.checksum_place(view.header_len));
    let piece = VnetHeader { partial, ..VnetHeader::default() };
    let mut bytes = Vec::with_capacity(view.header_len + segmenter.segment_len());
    while segmenter.next_packet(&mut bytes) {
        sink(&piece, &mut bytes);
        bytes.clear();
    }
    Ok(segmenter.count())
}

/// The same for a captured frame (vnet header, Ethernet header, packet): what goes on a wire whose
/// device neither cuts nor sums. Each frame begins with its Ethernet header.
///
/// # Errors
/// As [`unmerge`].
pub fn unmerge_frame(frame: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<usize, SegmentError> {
    let packet = frame.get(PACKET_AT..).ok_or(Malformed::TooShort)?;
    let ethernet = &frame[VNET_LEN..PACKET_AT];
    let vnet = VnetHeader::parse(frame)?.shifted(-(ETHERNET_LEN as i16))?;
    let mut whole = Vec::new();
    unmerge(&vnet, packet, &mut |piece, bytes| {
        // The place lies in the packet: `Segmenter` found it there.
        if complete_checksum(piece, bytes).is_ok() {
            whole.clear();
            whole.extend_from_slice(ethernet);
            whole.extend_from_slice(bytes);
            sink(&whole);
        }
    })
}
