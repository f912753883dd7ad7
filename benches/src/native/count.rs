//! What goes by, counted where it is handed to the kernel and where what came is opened.

use super::header;
use super::wire_frame::{TCP_AT, WireFrame};
use ge_core::io::PACKET_AT;
use ge_core::traffic::Opener;
use ge_core::wire::ip::IpView;
use ge_core::wire::vnet::VnetHeader;
use std::ops::Range;

/// What went by.
#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    /// Frames handed to the kernel.
    pub(super) frames_out: u64,
    /// Sealed segments in them.
    pub(super) segments_out: u64,
    /// Frames the kernel handed over.
    pub(super) frames_in: u64,
    /// Segments in them.
    pub(super) segments_in: u64,
    /// Frames that were not what the other agent sent.
    pub(super) refused: u64,
}

impl Count {
    /// Hands on a frame, if there is one.
    pub(super) fn flush(&mut self, frame: &mut WireFrame, send: &mut impl FnMut(&[u8])) {
        if let Some((bytes, segments)) = frame.finish() {
            self.frames_out += 1;
            self.segments_out += segments;
            send(bytes);
        }
    }

    /// Opens each segment of a captured frame of TCP where it lies; `take` gets the frame and where in
    /// it the plaintext is. Gives the place of the whole payload. `None` if there is none, it is not
    /// what the other agent sent, or `take` refuses: nothing unsealed is believed, no reset, no
    /// acknowledgement, no SYN.
    pub(super) fn open(
        &mut self,
        frame: &mut [u8],
        view: &IpView,
        opener: &mut Opener,
        mut take: impl FnMut(&[u8], Range<usize>) -> Option<()>,
    ) -> Option<Range<usize>> {
        let given = VnetHeader::parse(frame).ok()?;
        let end = PACKET_AT + view.total_len;
        let payload_at = TCP_AT + header::length(frame.get(TCP_AT..end)?)?;
        let stride = given.gso.map_or(end - payload_at, |gso| usize::from(gso.size)).max(1);
        let mut segments = 0;
        for start in (payload_at..end).step_by(stride) {
            let opened = opener.open(&mut frame[start..end.min(start + stride)]).ok()?.plaintext;
            take(frame, start + opened.start..start + opened.end)?;
            segments += 1;
        }
        if segments == 0 {
            return None;
        }
        self.frames_in += 1;
        self.segments_in += segments;
        Some(payload_at..end)
    }
}
