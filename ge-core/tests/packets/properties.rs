//! What holds for any bytes at all. The noise loops here and the fuzz targets check the same.
//!
//! Each function takes bytes as a stranger might send them and panics if a property is broken.

use ge_core::coalesce::{Coalescer, Gather};
use ge_core::fragment::fragment_ipv4;
use ge_core::icmp_error::{
    ERROR_MAX_V6, ErrorKind, administratively_prohibited, build_error_for, packet_too_big,
    parse_error, quoted_parse,
};
use ge_core::io::VNET_LEN;
use ge_core::segment::Segmenter;
use ge_core::wire::icmp::{is_link_control, parse_echo};
use ge_core::wire::ip::{self, HEADER_MAX, IpView, parse, parse_truncated, ports, set_tos};
use ge_core::wire::tcp::clamp_mss;
use ge_core::wire::vnet::{VnetHeader, complete_checksum};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const REPORTERS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Lengths are within the bytes, a plain header is rebuilt with the same meaning, and the readers
/// and small writers behind the parser stay within bounds.
pub(crate) fn ip_parse(packet: &[u8]) {
    if let Ok(view) = parse_truncated(packet) {
        assert!(view.header_len <= packet.len() && view.header_len <= view.total_len);
    }
    let Ok(view) = parse(packet) else { return };
    assert!(view.total_len <= packet.len());
    let _ = ports(packet, &view);
    let _ = is_link_control(packet, &view);
    let _ = parse_echo(packet, &view);

    let mut changed = packet.to_vec();
    clamp_mss(&mut changed, &view, 536, false);
    set_tos(&mut changed, 3);
    assert_eq!(parse(&changed), Ok(IpView { tos: 3, ..view }), "only the TOS byte changed");
    if view.plain_header {
        rebuilt(packet, &view);
    }
}

fn rebuilt(packet: &[u8], view: &IpView) {
    let payload = &packet[view.header_len..view.total_len];
    let (source, destination) = (view.source, view.destination);
    let mut header = [0; HEADER_MAX];
    let len = ip::emit_header(
        &mut header,
        source,
        destination,
        view.protocol,
        payload.len(),
        view.tos,
        view.hop_limit,
    );
    let again = [&header[..len], payload].concat();
    assert_eq!(parse(&again), Ok(IpView { dont_fragment: true, ..*view }), "same meaning");
}

/// Errors are read only from whole messages; errors that are made are small, well formed, and
/// never about another error.
pub(crate) fn icmp_error(packet: &[u8]) {
    let _ = quoted_parse(packet);
    for reporter in REPORTERS {
        if let Some(error) = build_error_for(ErrorKind::TooBig { mtu: 1300 }, reporter, packet) {
            well_formed(&error);
        }
    }
    let Ok(view) = parse(packet) else { return };
    if let Some(error) = parse_error(packet, &view) {
        let _ = quoted_parse(error.quoted);
        let answer = packet_too_big(packet, &view, 1300, view.destination);
        assert_eq!(answer, None, "no error about an error");
    }
    for from in REPORTERS {
        let made = [
            packet_too_big(packet, &view, 1300, from),
            administratively_prohibited(packet, &view, from),
        ];
        made.iter().flatten().for_each(|error| well_formed(error));
    }
}

fn well_formed(error: &[u8]) {
    assert!(error.len() <= ERROR_MAX_V6, "small");
    let read = parse(error).ok().and_then(|view| parse_error(error, &view).map(|_| view));
    assert!(read.is_some_and(|view| view.total_len == error.len()), "our own reader accepts it");
}

/// `| vnet header 10 | packet |`: a header that is read is written the same, and completing a
/// checksum changes two bytes at most.
pub(crate) fn vnet_hdr(data: &[u8]) {
    let Ok(vnet) = VnetHeader::parse(data) else { return };
    assert_eq!(VnetHeader::parse(&vnet.emit()), Ok(vnet), "what is written reads the same");
    if let Ok(shifted) = vnet.shifted(-14)
        && vnet.hdr_len >= 14
    {
        assert_eq!(shifted.shifted(14), Ok(vnet), "there and back");
    }
    let packet = &data[VNET_LEN..];
    let mut completed = packet.to_vec();
    if complete_checksum(&vnet, &mut completed).is_err() {
        assert_eq!(completed, packet, "refused and untouched");
    }
    let changed = completed.iter().zip(packet).filter(|(new, old)| new != old).count();
    assert!(changed <= 2, "only the checksum");
}

/// Segments fit the limit, are as many and as long as announced, and parse; coalescing hands on
/// every byte once; fragments fit.
pub(crate) fn segment(vnet: &VnetHeader, packet: &[u8], limit: usize) {
    let Ok(view) = parse(packet) else { return };
    let _ = fragment_ipv4(packet, &view, limit, &mut |piece| {
        assert!(piece.len() <= limit && parse(piece).is_ok());
    });
    let Ok(mut segmenter) = Segmenter::new(vnet, packet, &view, limit) else { return };
    let partial = segmenter.partial_checksum();
    let (mut buffer, mut places) = (Vec::new(), Vec::new());
    while let Some(len) = segmenter.next_len() {
        let start = buffer.len();
        assert!(segmenter.next_packet(&mut buffer));
        let segment = parse(&buffer[start..]).expect("a segment is a packet");
        assert_eq!(segment.total_len - segment.header_len, len, "as announced");
        assert!(len <= limit.min(segmenter.segment_len()));
        places.push((start, start + segment.header_len, buffer.len()));
    }
    assert_eq!(places.len(), segmenter.count());

    let mut joined = Vec::new();
    let mut sink = |gather: Gather<'_>| {
        let vnet = VnetHeader::parse(&gather.vnet).expect("our own header");
        let before = joined.len();
        joined.extend_from_slice(gather.header);
        gather.payload.iter().for_each(|range| joined.extend(&gather.buffer[range.clone()]));
        let gathered = parse(&joined[before..]).expect("a gathered packet is a packet");
        assert_eq!(gathered.total_len, gather.packet_len());
        assert!(vnet.gso.is_none() || gather.payload.len() > 1);
    };
    let mut coalescer = Coalescer::new();
    for &(start, upper, end) in &places {
        coalescer.push(&buffer, &buffer[start..upper], upper..end, partial, &mut sink);
    }
    coalescer.flush(&buffer, &mut sink);
    assert!(joined.len() >= view.total_len && joined.len() <= buffer.len());
}
