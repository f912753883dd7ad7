//! What was opened becomes an inner packet again.

use super::Ends;
use crate::DropReason;
use crate::coalesce::{Coalescer, Gather};
use crate::io::DatagramMeta;
use crate::shim::Kind;
use crate::traffic::Opened;
use crate::translate::{Place, translate, translate_upper};
use crate::wire::ip::{self, combine_ecn, emit_header};
use core::ops::Range;

/// Hop limit of a rebuilt inner packet: it ends here, so only its being large enough matters.
const REBUILT_HOP_LIMIT: u8 = 64;

/// Longest IP header without extension headers: IPv4 with all its options.
const HEADER_MAX: usize = 60;

/// Hands the inner packet of an opened datagram to `sink`, by the coalescer. `plaintext` is where it
/// lies in `buffer`. A control message is none.
pub(crate) fn deliver(
    ends: &Ends,
    coalescer: &mut Coalescer,
    buffer: &mut [u8],
    plaintext: Range<usize>,
    opened: &Opened,
    meta: &DatagramMeta,
    sink: &mut impl FnMut(Gather<'_>),
) -> Result<(), DropReason> {
    match opened.kind {
        Kind::Transport => rebuild(ends, coalescer, buffer, plaintext, opened, meta, sink),
        Kind::Tunnel => unwrap_tunnel(ends, coalescer, buffer, plaintext, opened, meta, sink),
        Kind::Control => Err(DropReason::Malformed),
    }
}

/// `transport`: the IP header is rebuilt from what both ends agreed on, never from the wire.
fn rebuild(
    ends: &Ends,
    coalescer: &mut Coalescer,
    buffer: &mut [u8],
    plaintext: Range<usize>,
    opened: &Opened,
    meta: &DatagramMeta,
    sink: &mut impl FnMut(Gather<'_>),
) -> Result<(), DropReason> {
    let Some(&protocol) = buffer[plaintext.clone()].last() else {
        return Err(DropReason::TooShort);
    };
    let l4 = plaintext.start..plaintext.end - 1;
    let partial = opened.partial_checksum;
    if let Some(own) = ends.translated {
        let upper = &mut buffer[l4.clone()];
        translate_upper(upper, protocol, (own, ends.pair.remote.0), partial);
    }
    let mut header = [0; 40];
    let len = emit_header(
        &mut header,
        ends.pair.remote.0,
        ends.pair.local.0,
        protocol,
        l4.len(),
        meta.tos,
        REBUILT_HOP_LIMIT,
    );
    coalescer.push(buffer, &header[..len], l4, partial, sink);
    Ok(())
}

/// `tunnel`: the inner packet must be between exactly the two hosts of the session.
fn unwrap_tunnel(
    ends: &Ends,
    coalescer: &mut Coalescer,
    buffer: &mut [u8],
    plaintext: Range<usize>,
    opened: &Opened,
    meta: &DatagramMeta,
    sink: &mut impl FnMut(Gather<'_>),
) -> Result<(), DropReason> {
    let start = plaintext.start;
    let packet = &mut buffer[plaintext];
    let view = ip::parse(packet).map_err(|_| DropReason::Malformed)?;
    let own = ends.translated.unwrap_or(ends.pair.remote.0);
    if view.source != own || view.destination != ends.pair.local.0 {
        return Err(DropReason::WrongInner);
    }
    if own != ends.pair.remote.0 {
        let change = (own, ends.pair.remote.0);
        translate(packet, &view, Place::Source, change, opened.partial_checksum);
    }
    let tos = combine_ecn(view.tos, meta.tos).ok_or(DropReason::Malformed)?;
    if tos != view.tos {
        ip::set_tos(packet, tos);
    }
    // A copy, because the coalescer reads the rest of the buffer at the same time.
    let header = &packet[..view.header_len];
    let (mut usual, longer);
    let header: &[u8] = if header.len() <= HEADER_MAX {
        usual = [0; HEADER_MAX];
        usual[..header.len()].copy_from_slice(header);
        &usual[..header.len()]
    } else {
        longer = header.to_vec();
        &longer
    };
    let l4 = start + view.header_len..start + view.total_len;
    coalescer.push(buffer, header, l4, opened.partial_checksum, sink);
    Ok(())
}
