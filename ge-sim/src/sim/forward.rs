//! What kernels do with packets that are not for them.

use super::Sim;
use super::drive::wire_packets;
use crate::adversary::Origin;
use crate::packet::{NodeId, frame};
use ge_core::Mode;
use ge_core::io::{ETHERNET_LEN, VNET_LEN};
use ge_core::wire::checksum::checksum;
use ge_core::wire::ip::{self, IpView};
use ge_core::wire::vnet::VnetHeader;
use std::net::IpAddr;

/// Offset of the hop limit and of the IPv4 header checksum.
const TTL_V4: usize = 8;
const CHECKSUM_V4: usize = 10;
const HOP_LIMIT_V6: usize = 7;

impl Sim {
    /// The neighbour who gets what is for `to`. Machines without a route to it reach it directly.
    pub(super) fn next_hop(&self, at: NodeId, to: IpAddr) -> Option<NodeId> {
        self.node(at).routes.get(&to).copied().or_else(|| self.node_by_addr(to))
    }

    /// Whether the agent of a machine stands for an address.
    pub(super) fn stands_for(&self, id: NodeId, addr: IpAddr) -> bool {
        self.node(id).addr == addr
            || self.mgmt.admission(id).is_some_and(|admission| admission.stands_for(addr))
    }

    /// An agent lets what others sealed pass: a closed one must know their session.
    pub(super) fn sealed_passes(&mut self, id: NodeId, view: &IpView) {
        let node = self.node(id);
        if node.mode() == Mode::Closed {
            let to = self.node_by_addr(view.destination);
            self.check.sealed_passed(id, to);
        }
    }

    /// A machine's kernel has a packet that nobody objects to.
    pub(super) fn accept(&mut self, id: NodeId, mut packet: Vec<u8>, origin: Origin) {
        let Ok(view) = ip::parse(&packet) else { return };
        let node = self.node(id);
        if view.destination == node.addr {
            if let Some(whole) = self.reassembly.add(id, &packet, &view, self.now)
                && let Ok(view) = ip::parse(&whole)
            {
                self.stack_receives(id, &whole, &view);
            }
        } else if node.is_router() && lower_hop_limit(&mut packet, &view) {
            self.leave(id, frame(&packet), origin);
        }
    }

    /// A packet as the engine gathered it, perhaps a super-packet, goes on to a machine inside.
    pub(super) fn hand_inwards(&mut self, id: NodeId, vnet: [u8; VNET_LEN], packet: &[u8]) {
        let Ok(vnet) = VnetHeader::parse(&vnet) else { return };
        let Ok(vnet) = vnet.shifted(ETHERNET_LEN as i16) else { return };
        let mut bytes = frame(packet);
        bytes[..VNET_LEN].copy_from_slice(&vnet.emit());
        for packet in wire_packets(&bytes) {
            self.accept(id, packet, Origin::Genuine);
        }
    }
}

/// False if the packet has been on its way for too long.
fn lower_hop_limit(packet: &mut [u8], view: &IpView) -> bool {
    let at = if view.source.is_ipv4() { TTL_V4 } else { HOP_LIMIT_V6 };
    packet[at] = packet[at].saturating_sub(1);
    if view.source.is_ipv4() {
        packet[CHECKSUM_V4..CHECKSUM_V4 + 2].fill(0);
        let sum = checksum(&packet[..view.header_len]);
        packet[CHECKSUM_V4..CHECKSUM_V4 + 2].copy_from_slice(&sum.to_be_bytes());
    }
    packet[at] > 0
}
