//! Intruders on the links.

use super::Sim;
use crate::adversary::{Insider, Intruder, Origin, Sending, Watched};
use crate::packet::NodeId;
use ge_core::wire::ip;

impl Sim {
    /// Somebody comes to be on the path. Returns its number.
    pub fn intrude(&mut self, intruder: Intruder) -> usize {
        self.intruders.push(intruder);
        self.intruders.len() - 1
    }

    /// An intruder, to see what it has done.
    #[must_use]
    pub fn intruder(&self, number: usize) -> &Intruder {
        &self.intruders[number]
    }

    /// All intruders are gone.
    pub fn expel(&mut self) {
        self.intruders.clear();
    }

    /// The keys of an agent, as they are at this moment, for somebody else.
    #[must_use]
    pub fn keys_of(&self, node: NodeId) -> Option<Insider> {
        let membership = self.mgmt.membership(node, self.unix())?;
        Some(Insider::new(self.node(node).identity.clone()?, membership))
    }

    /// A packet on a link meets the first intruder there who does something about it.
    pub(super) fn meet(
        &mut self,
        link: (NodeId, NodeId),
        packet: &[u8],
        origin: Origin,
        late: u64,
    ) {
        if self.intruders.is_empty() {
            return self.carry(link, packet, origin, late);
        }
        let addresses: Vec<_> = self.nodes.iter().map(|node| node.addr).collect();
        let unix = self.unix();
        let Self { intruders, rng, .. } = self;
        let watched = Watched { link, packet, origin, addresses: &addresses, unix };
        let met = intruders.iter_mut().find_map(|intruder| intruder.meet(&watched, rng));
        let Some(sendings) = met else { return self.carry(link, packet, origin, late) };
        for sending in sendings {
            self.slip_in(link, &sending, late);
        }
    }

    /// A packet of an intruder goes on, or back, or where its new destination lies.
    fn slip_in(&mut self, (from, to): (NodeId, NodeId), sending: &Sending, late: u64) {
        let link = if sending.back { (to, from) } else { (from, to) };
        let elsewhere = ip::parse(&sending.packet).ok().map(|view| view.destination);
        // A neighbour gets what is for itself or what it would hand on, whoever it is from.
        let next = elsewhere.and_then(|addr| self.next_hop(from, addr));
        let link = match next {
            Some(next) if !sending.back && next != to && next != from => (from, next),
            _ => link,
        };
        self.note(|| {
            let class = crate::packet::class(&sending.packet);
            format!("intruder {:?} > {:?}  {:?} {class:?}", link.0, link.1, sending.origin)
        });
        self.carry(link, &sending.packet, sending.origin, late + sending.late);
    }
}
