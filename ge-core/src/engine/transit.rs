//! Others' sessions at a router between their two ends: rows of state `transit`, and the sealed
//! datagrams they let pass.

use super::Engine;
use super::incoming::Arrival;
use super::row::{Row, RowState, SealedPath, Transit};
use crate::addr::WireAddr;
use crate::dprp::{Committed, SessionParameters};
use crate::flow::HostPair;
use crate::icmp_error::{parse_error, quoted_parse};
use crate::id::SessionIndex;
use crate::limits::{DATA_PORT, REJECT_AFTER_TIME, TENTATIVE_LIFETIME};
use crate::shim::Shim;
use crate::timer::Timer;
use crate::wire::ip::IpView;
use crate::wire::protocol;
use crate::{DropReason, Mode, Now};
use core::net::IpAddr;

impl Engine {
    /// Both ends signed: their datagrams pass from now on.
    pub(super) fn commit(
        &mut self,
        committed: Committed,
        arrival: Arrival,
        now: Now,
    ) -> Result<(), DropReason> {
        let pair = arrival.pair;
        let to = |end: SessionParameters| SealedPath { to: end.wire, index: end.index };
        let mut paths = [to(committed.initiator_parameters), to(committed.responder_parameters)];
        if committed.translated {
            // Its datagrams go where its NAT is.
            paths[0].to = WireAddr(committed.pair.local.0);
            if self.pit.get(pair).and_then(Row::protected).is_some() {
                return Err(DropReason::AddressTaken);
            }
        }
        let before = match self.pit.get_mut(pair) {
            Some(Row { state: RowState::Transit(transit), .. }) => Some(transit.current),
            Some(_) | None => None,
        };
        if before.is_none() {
            // The other end of a session of ours must not take the flow for protected any longer.
            if let Some(index) = self.pit.get(pair).and_then(Row::protected).map(|own| own.current)
            {
                self.send_end(index, now);
            }
            self.forget_row(pair);
        }
        let until = now.mono + REJECT_AFTER_TIME + TENTATIVE_LIFETIME;
        let transit = Transit {
            ends: [committed.initiator, committed.responder],
            flow: committed.pair,
            path: committed.path,
            current: paths,
            previous: before.filter(|before| *before != paths),
            since: now.mono,
            until,
        };
        self.forget_older_paths(pair, &transit);
        if let Some(row) = self.pit.get_mut(pair) {
            row.state = RowState::Transit(Box::new(transit));
            row.last_used = now.mono;
        } else {
            let state = RowState::Transit(Box::new(transit));
            let row = Row::new(state, arrival.interface, now.mono);
            self.insert_row(pair, row.caused_by(committed.pair.local.0))?;
        }
        for path in paths {
            self.passing.sealed.insert(path, pair);
        }
        self.changed(pair);
        self.timers.set(until, Timer::RowAge(pair));
        Ok(())
    }

    /// Whether a question is about the way back of a flow that two others protect. The flow's
    /// direction decides who its ends are.
    pub(super) fn is_way_back(&self, arrival: Arrival) -> bool {
        match self.pit.get(arrival.pair).map(|row| &row.state) {
            Some(RowState::Transit(transit)) => transit.flow == arrival.flow().reversed(),
            Some(_) | None => false,
        }
    }

    /// Only the session in use and the one before it pass.
    fn forget_older_paths(&mut self, pair: HostPair, kept: &Transit) {
        let Some(Row { state: RowState::Transit(old), .. }) = self.pit.get(pair) else { return };
        let kept: Vec<SealedPath> = kept.paths().collect();
        let old: Vec<SealedPath> = old.paths().filter(|path| !kept.contains(path)).collect();
        for path in old {
            self.passing.sealed.remove(&path);
        }
    }

    /// A row of others' session goes: its datagrams no longer pass a closed router.
    pub(super) fn forget_transit(&mut self, transit: &Transit) {
        for path in transit.paths() {
            self.passing.sealed.remove(&path);
        }
    }

    /// Whether a packet is a sealed datagram between other agents, and if so whether it passes.
    pub(super) fn sealed_passes(
        &mut self,
        packet: &[u8],
        view: &IpView,
        leaving: bool,
        now: Now,
    ) -> Option<Result<(), DropReason>> {
        let (path, on_port) = match parse_error(packet, view) {
            // The path has something to say about a sealed datagram to who sent it.
            Some(error) => {
                let quoted = quoted_parse(error.quoted)?;
                let udp = error.quoted.get(quoted.header_len..)?;
                sealed_path(udp, quoted.protocol, quoted.destination)?
            }
            None => {
                let udp = packet.get(view.header_len..view.total_len)?;
                sealed_path(udp, view.protocol, view.destination)?
            }
        };
        let Some(&pair) = self.passing.sealed.get(&path) else {
            if !on_port {
                return None;
            }
            return Some(match self.mode() {
                Mode::Open => Ok(()),
                Mode::Closed => Err(DropReason::NoSession),
            });
        };
        if let Some(row) = self.pit.get_mut(pair) {
            if leaving {
                row.count_out(packet.len(), now.mono);
            } else {
                row.count_in(1, packet.len(), now.mono);
            }
        }
        Some(Ok(()))
    }
}

/// Where a datagram goes, if it is a sealed one, and whether it goes to the data port; those that only
/// come from there may be for somebody behind a NAT, or a program's. `udp` may be cut short behind the
/// shim.
fn sealed_path(udp: &[u8], ip_protocol: u8, destination: IpAddr) -> Option<(SealedPath, bool)> {
    let port = DATA_PORT.to_be_bytes();
    let on_port = udp.get(2..4)? == port;
    if ip_protocol != protocol::UDP || !on_port && udp.get(..2)? != port {
        return None;
    }
    let shim = udp.get(8..).and_then(Shim::parse);
    let index = shim.map_or(SessionIndex(0), |shim| shim.index);
    Some((SealedPath { to: WireAddr(destination), index }, on_port))
}
