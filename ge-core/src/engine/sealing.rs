//! A frame of a protected flow, as the engine seals it: in its own lane, with all the book-keeping.

use super::Engine;
use super::sessions::Session;
use crate::batch::SealedBatch;
use crate::data::{Unsealed, seal_frame};
use crate::flow::{Direction, HostPair};
use crate::icmp_error::packet_too_big;
use crate::id::Interface;
use crate::io::{Frame, Outgoing, Output, PACKET_AT};
use crate::pit::RowId;
use crate::wire::ip::IpView;
use crate::{DropReason, Now};

impl Engine {
    /// Seals one captured frame of a protected pair, whose row is at `row`, into `batch`.
    pub(super) fn protect(
        &mut self,
        frame: &mut Frame<'_>,
        view: &IpView,
        (pair, row): (HostPair, RowId),
        batch: &mut SealedBatch,
        now: Now,
    ) -> Outgoing {
        let Direction::Outgoing(interface) = frame.direction else { return Outgoing::Consumed };
        let link_mtu = self.link_mtu(interface);
        let Some(row) = self.pit.at_mut(row) else { return Outgoing::Consumed };
        row.count_out(frame.bytes.len() - PACKET_AT, now.mono);
        row.interface = interface;
        let current = row.protected().map(|protected| protected.current);
        let session = current.and_then(|index| Some((index, self.sessions.get_mut(index)?)));
        let Some((index, session)) = session else {
            // A row whose session is gone would swallow the flow for good: ask anew.
            self.forget_row(pair);
            return self.first_packet(frame, view, pair, now);
        };
        let ends = session.ends();
        let heading = ends.heading(interface, view.tos);
        let mtu = usize::from(session.path_mtu(link_mtu, now.mono));
        let bytes = frame.bytes.len() - PACKET_AT;
        let Session { sealer, .. } = session;
        match seal_frame(sealer, &ends, heading, mtu, frame.bytes, view, batch) {
            Ok(datagrams) => {
                session.sent(&frame.bytes[PACKET_AT..], now.mono);
                if session.is_left_alone(now.mono) {
                    self.keep_looking(index, now);
                }
                self.counters.sealed.0 += datagrams;
                self.counters.sealed.1 += bytes as u64;
                Outgoing::Sealed
            }
            Err(Unsealed::TooBig(inner_mtu)) => {
                self.dropped_out(DropReason::TooBig);
                let packet = &frame.bytes[PACKET_AT..];
                if let Some(error) = packet_too_big(packet, view, inner_mtu, view.destination) {
                    self.emit(Output::Deliver(error));
                }
                Outgoing::Consumed
            }
            Err(Unsealed::Dropped(reason)) => {
                self.dropped_out(reason);
                Outgoing::Consumed
            }
        }
    }

    fn link_mtu(&self, interface: Interface) -> u16 {
        /// Ethernet's, for an interface that vanished between capture and decision.
        const FALLBACK: u16 = 1500;
        self.interfaces
            .iter()
            .find(|info| info.interface == interface)
            .map_or(FALLBACK, |info| info.mtu)
    }
}
