//! TCP sealed as the product does it: each segment, header and all, in a datagram.

use ge_core::addr::WireAddr;
use ge_core::batch::{Heading, SealedBatch};
use ge_core::coalesce::{Coalescer, Gather};
use ge_core::id::Interface;
use ge_core::io::{ETHERNET_LEN, PACKET_AT, Received};
use ge_core::limits::DATA_PORT;
use ge_core::segment::Segmenter;
use ge_core::shim::{Kind, SHIM_LEN, TAG_LEN};
use ge_core::traffic::{OVERHEAD, Opener, Sealer};
use ge_core::wire::ip::{self, IpView};
use ge_core::wire::protocol::TCP;
use ge_core::wire::tcp::{self, clamp_mss};
use ge_core::wire::vnet::VnetHeader;

/// Room for a TCP segment on a link of 1,500 bytes.
const LIMIT: usize = 1500 - 20 - 8 - OVERHEAD - 1;

/// Datagrams on their way out, and segments on their way in.
#[derive(Default)]
pub(super) struct UdpShaped {
    pub(super) batch: SealedBatch,
    coalescer: Coalescer,
}

impl UdpShaped {
    /// Seals a captured frame of TCP into the batch.
    pub(super) fn outgoing(
        &mut self,
        frame: &mut [u8],
        view: &IpView,
        interface: u32,
        sealer: &mut Sealer,
    ) -> Option<()> {
        let shift = -i16::try_from(ETHERNET_LEN).ok()?;
        let vnet = VnetHeader::parse(frame).ok()?.shifted(shift).ok()?;
        let packet = &mut frame[PACKET_AT..];
        let mss = u16::try_from(LIMIT - tcp::HEADER_LEN).ok()?;
        clamp_mss(packet, view, mss, vnet.partial.is_some());
        let mut segmenter = Segmenter::new(&vnet, packet, view, LIMIT).ok()?;
        let heading = Heading {
            from: WireAddr(view.source),
            to: (WireAddr(view.destination), DATA_PORT),
            interface: Interface(interface),
            tos: view.tos,
        };
        let partial = segmenter.partial_checksum();
        while let Some(next) = segmenter.next_len() {
            let run = self.batch.run_for(heading, SHIM_LEN + next + 1 + TAG_LEN);
            let start = run.bytes.len();
            run.bytes.extend_from_slice(&[0; SHIM_LEN]);
            segmenter.next_transport(&mut run.bytes);
            run.bytes.push(TCP);
            run.bytes.extend_from_slice(&[0; TAG_LEN]);
            sealer.seal(Kind::Transport, partial, &mut run.bytes[start..]).ok()?;
        }
        Some(())
    }

    /// Opens the datagrams of one buffer and hands what they were to `deliver`, merged.
    pub(super) fn incoming(
        &mut self,
        buffer: &mut [u8],
        received: &Received,
        opener: &mut Opener,
        mut deliver: impl FnMut(Gather<'_>),
    ) {
        let meta = &received.meta;
        for range in received.datagrams() {
            let start = range.start;
            if let Ok(opened) = opener.open(&mut buffer[range]) {
                let upper = start + opened.plaintext.start..start + opened.plaintext.end - 1;
                let mut header = [0; ip::HEADER_MAX];
                let (from, to) = (meta.from.0, meta.to.0);
                let len = ip::emit_header(&mut header, from, to, TCP, upper.len(), meta.tos, 64);
                let partial = opened.partial_checksum;
                self.coalescer.push(buffer, &header[..len], upper, partial, &mut deliver);
            }
        }
        self.coalescer.flush(buffer, &mut deliver);
    }
}
