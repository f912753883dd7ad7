//! What the stacks of machines do with what they are handed.

use super::Sim;
use crate::adversary::Origin;
use crate::check::{Invariant, Opening};
use crate::node::Node;
use crate::packet::{
    APP_PORT, NodeId, UDP_LEN, frame, ip_packet, read_parcel, read_segment, shows_plaintext,
};
use crate::queue::Event;
use crate::sabotage::Sabotage;
use ge_core::flow::HostPair;
use ge_core::icmp_error::{ErrorKind, parse_error, quoted_parse};
use ge_core::io::{FlowSnapshot, VNET_LEN};
use ge_core::limits::{MIN_PMTU_V4, MIN_PMTU_V6, OLD_KEYS_GRACE};
use ge_core::wire::icmp::{emit_echo, parse_echo};
use ge_core::wire::ip::{self, IpView};
use ge_core::wire::protocol;

/// A program may be told less than the floor of its IP version by so much: what a seal takes.
const SEAL_ROOM: u16 = 100;

impl Sim {
    /// The agent lets a packet in as it came: plaintext, or at a router also what others sealed and
    /// say to each other.
    pub(super) fn deliver_plaintext(
        &mut self,
        id: NodeId,
        packet: Vec<u8>,
        view: &IpView,
        origin: Origin,
    ) {
        let node = self.node(id);
        if !node.is_router() || shows_plaintext(&packet) {
            let pair = HostPair::new(view.destination, view.source);
            let row = self.row_of(id, pair);
            let (mode, node_is_router) = (node.mode(), node.is_router());
            self.check.plaintext_accepted(id, pair, mode, row.map(|row| row.verdict));
            if node_is_router && origin == Origin::Genuine {
                self.check.invited(id, pair);
            }
        }
        self.accept(id, packet, origin);
    }

    pub(super) fn row_of(&self, id: NodeId, pair: HostPair) -> Option<FlowSnapshot> {
        let node = self.node(id);
        node.engine().and_then(|engine| engine.flow_snapshot(pair, node.now(self.now)))
    }

    /// A packet came out of a session.
    pub(super) fn deliver_opened(&mut self, id: NodeId, vnet: [u8; VNET_LEN], mut packet: Vec<u8>) {
        if self.sabotage == Some(Sabotage::DeliverChanged)
            && let Some(last) = packet.last_mut()
        {
            *last ^= 1;
        }
        let Ok(view) = ip::parse(&packet) else {
            return self
                .check
                .fail(Invariant::I4SentOnce, format!("{id:?} was handed no IP packet"));
        };
        let Some(opening) = self.opening(id, &view) else {
            let detail = format!("{id:?} was handed a packet from {}", view.source);
            return self.check.fail(Invariant::I4SentOnce, detail);
        };
        let times = if self.sabotage == Some(Sabotage::DeliverTwice) { 2 } else { 1 };
        for _ in 0..times {
            if let Some(whole) = self.reassembly.add(id, &packet, &view, self.now)
                && let Ok(view) = ip::parse(&whole)
            {
                self.opened_once(&opening, &whole, &view);
            }
            if opening.ends.1 != id {
                self.hand_inwards(id, vnet, &packet);
            }
        }
    }

    /// Who sealed a packet, as the row says, and for whom.
    fn opening(&self, id: NodeId, view: &IpView) -> Option<Opening> {
        let row = self.row_of(id, HostPair::new(view.destination, view.source));
        // Whoever is behind a NAT, or is made to look so, comes by another address than its own.
        let own = row.as_ref().and_then(|row| row.peer.as_ref()?.own_address);
        let source = own.unwrap_or(view.source);
        let ends = (self.node_by_addr(source)?, self.node_by_addr(view.destination)?);
        // Who asked and has not heard the CDN opens what comes, and does not show from whom.
        let unnamed = row.as_ref().is_some_and(|row| row.verdict == "pending");
        let peer = row.and_then(|row| row.peer);
        let agent = match &peer {
            Some(peer) => self.mgmt.node(peer.agent),
            None if unnamed => None,
            None => Some(ends.0),
        };
        // A flow that an agent nearer to its end took over may still come under the keys of the one
        // before, to whom the link in clear may have brought a packet twice.
        let taken_over = peer.is_some_and(|peer| peer.key_age < OLD_KEYS_GRACE)
            && self.nodes.iter().any(Node::is_router);
        let own = agent == Some(ends.0) && self.node(ends.0).identity.is_some();
        let whole_way = own && !taken_over;
        Some(Opening { at: id, agent, ends, whole_way })
    }

    fn opened_once(&mut self, opening: &Opening, packet: &[u8], view: &IpView) {
        let upper = &packet[view.header_len..view.total_len];
        if let Some((from, to, offset, bytes)) = read_segment(packet, view) {
            self.check.segment_opened(opening, (from, to), offset, bytes);
        } else if is_app(upper, view) {
            match read_parcel(&upper[UDP_LEN..]) {
                Ok(parcel) => self.check.parcel_opened(opening, parcel),
                Err(why) => self.check.forged_opened(opening, why),
            }
        } else if opening.ends.1 == opening.at {
            self.stack_receives(opening.at, packet, view);
        }
    }

    /// What a stack does with what arrives: count, answer a ping, learn about a path.
    pub(super) fn stack_receives(&mut self, id: NodeId, packet: &[u8], view: &IpView) {
        let upper = &packet[view.header_len..view.total_len];
        if is_app(upper, view) {
            if let Ok(parcel) = read_parcel(&upper[UDP_LEN..]) {
                self.check.parcel_arrived(parcel);
            }
        } else if let Some(echo) = parse_echo(packet, view) {
            if echo.request && !self.node(id).ignores_ping {
                let (from, to) = (view.destination, view.source);
                let icmp = emit_echo(false, echo.id, echo.seq, echo.payload, from, to);
                let reply = ip_packet(from, to, view.protocol, view.tos, &icmp);
                self.queue.add(self.now, Event::Stack(id, frame(&reply)));
            }
        } else if let Some(error) = parse_error(packet, view)
            && let ErrorKind::TooBig { mtu } = error.kind
            && let Some(quoted) = quoted_parse(error.quoted)
        {
            let floor = if quoted.destination.is_ipv4() { MIN_PMTU_V4 } else { MIN_PMTU_V6 };
            let known = &mut self.node_mut(id).path_mtu;
            known.insert(quoted.destination, mtu.max(floor - SEAL_ROOM));
        }
    }
}

fn is_app(upper: &[u8], view: &IpView) -> bool {
    view.protocol == protocol::UDP && upper.get(2..4) == Some(&APP_PORT.to_be_bytes()[..])
}
