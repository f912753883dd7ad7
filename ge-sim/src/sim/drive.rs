//! Into the engines: what stacks send and what links bring, as a runtime hands it over.

use super::{Fate, Passing, Sim};
use crate::adversary::Origin;
use crate::check::{Emission, LinkUse, fingerprint};
use crate::node::{Agent, INTERFACE, Offload};
use crate::packet::{Class, NodeId, UDP_LEN, class, frame, ip_packet, message, readable_parcel};
use crate::queue::Event;
use crate::sabotage::Sabotage;
use crate::threads::{Arrival, Captured};
use ge_core::Mode;
use ge_core::addr::WireAddr;
use ge_core::batch::SealedBatch;
use ge_core::coalesce::Gather;
use ge_core::flow::{Direction, HostPair};
use ge_core::io::{
    DatagramMeta, DatagramRun, ETHERNET_LEN, Frame, Incoming, Outgoing, PACKET_AT, Received,
    VNET_LEN,
};
use ge_core::limits::DATA_PORT;
use ge_core::segment::Segmenter;
use ge_core::wire::dprp::{Kind, MAGIC, peek};
use ge_core::wire::ip::{self, IpView};
use ge_core::wire::protocol;
use ge_core::wire::udp::parse_udp;
use ge_core::wire::vnet::{VnetHeader, complete_checksum};
use std::net::IpAddr;

impl Sim {
    /// A frame is about to leave the machine: of its own stack, or to be handed on.
    pub(super) fn leave(&mut self, id: NodeId, bytes: Vec<u8>, origin: Origin) {
        let Ok(view) = ip::parse(&bytes[PACKET_AT..]) else { return };
        let Some(next) = self.next_hop(id, view.destination) else { return };
        let node = self.node(id);
        let hooked = node.is_hooked(next);
        match &node.agent {
            Agent::Running(_) if hooked => self.agent_sends(id, bytes, &view, origin),
            Agent::Dead if hooked => {}
            _ => {
                for packet in wire_packets(&bytes) {
                    self.transmit(id, packet, origin);
                }
            }
        }
    }

    /// Gives a frame that leaves to the agent as the kernel would.
    fn agent_sends(&mut self, id: NodeId, bytes: Vec<u8>, view: &IpView, origin: Origin) {
        let pair = HostPair::new(view.source, view.destination);
        let micros = self.now;
        let packet = &bytes[PACKET_AT..];
        let of_others = is_negotiation(packet, view) || is_sealed(packet, view);
        if let Some(parcel) = readable_parcel(packet, view) {
            self.check.parcel_shown(id, parcel);
        }
        match self.node(id).offloaded(pair, micros).filter(|_| !of_others) {
            Some(Offload::Bypass) => return self.put_back(id, &bytes, LinkUse::Offloaded, origin),
            Some(Offload::Discard) => return,
            None => {}
        }
        let captured = Captured { bytes, outgoing: true, origin };
        self.captured(id, captured, view);
    }

    /// The engine decides about a frame that leaves.
    pub(super) fn decide_outgoing(&mut self, id: NodeId, captured: Captured) {
        let Captured { mut bytes, origin, .. } = captured;
        let Ok(view) = ip::parse(&bytes[PACKET_AT..]) else { return };
        let pair = HostPair::new(view.source, view.destination);
        let asked_before = self.row_is_pending(id, pair);
        let micros = self.now;
        let node = self.node_mut(id);
        let now = node.now(micros);
        let Some(engine) = node.engine_mut() else { return };
        let mut batch = SealedBatch::default();
        let mut captured = Frame { direction: Direction::Outgoing(INTERFACE), bytes: &mut bytes };
        let done = engine.outgoing(&mut captured, &mut batch, now);
        let held = self.row_is_pending(id, pair);
        if held && !asked_before {
            self.check.asks(id, pair);
        }
        for run in batch.take_runs() {
            self.send_run(id, &run);
        }
        let broken = match self.sabotage {
            Some(Sabotage::Leak) => true,
            Some(Sabotage::ReleaseEarly) => held && self.node(id).mode() == Mode::Open,
            _ => false,
        };
        let packet = &bytes[PACKET_AT..];
        let sealed = is_sealed(packet, &view) && !is_negotiation(packet, &view);
        if done == Outgoing::PutBack && sealed {
            self.sealed_passes(id, &view);
        }
        if done == Outgoing::PutBack || broken {
            self.put_back(id, &bytes, LinkUse::Passed, origin);
        }
        self.after(id);
    }

    fn row_is_pending(&self, id: NodeId, pair: HostPair) -> bool {
        self.row_of(id, pair).is_some_and(|row| row.verdict == "pending")
    }

    pub(super) fn put_back(&mut self, id: NodeId, bytes: &[u8], by: LinkUse, origin: Origin) {
        for packet in wire_packets(bytes) {
            self.emit(id, packet, by, origin);
        }
    }

    pub(super) fn send_run(&mut self, id: NodeId, run: &DatagramRun) {
        let (Some(from), Some((to, port))) = (run.from, run.to) else { return };
        for datagram in run.bytes.chunks(run.segment.max(1)) {
            let packet =
                crate::packet::udp_packet((from.0, DATA_PORT), (to.0, port), run.tos, datagram);
            if self.sabotage == Some(Sabotage::ReuseNonce) {
                self.emit(id, packet.clone(), LinkUse::Engine, Origin::Genuine);
            }
            self.emit(id, packet, LinkUse::Engine, Origin::Genuine);
        }
    }

    /// An agent's machine puts a packet on its link.
    pub(super) fn emit(&mut self, id: NodeId, packet: Vec<u8>, by: LinkUse, origin: Origin) {
        let Ok(view) = ip::parse(&packet) else { return };
        let node = self.node(id);
        let (instance, mode, router) = (node.instance, node.mode(), node.is_router());
        let row = self.row_of(id, HostPair::new(view.source, view.destination));
        // Two others agreed for the packet's source, which may have had plaintext under way.
        let agreed = row.is_some_and(|row| row.verdict == "transit");
        let asks = !agreed && self.stands_for(id, view.source);
        let emission = Emission { node: id, instance, mode, router, asks, packet: &packet, by };
        self.check.emitted(&emission);
        if by == LinkUse::Engine
            && let (Class::Sealed(_), Some(peer)) =
                (class(&packet), self.node_by_addr(view.destination))
        {
            self.check.sealed_for(id, peer);
        }
        self.transmit(id, packet, origin);
    }

    /// The link takes a packet.
    pub(super) fn transmit(&mut self, id: NodeId, packet: Vec<u8>, origin: Origin) {
        let Some(packet) = self.past_nat(id, packet) else { return };
        let Ok(view) = ip::parse(&packet) else { return };
        let Some(to) = self.next_hop(id, view.destination) else { return };
        if let Some(parcel) = readable_parcel(&packet, &view) {
            self.check.parcel_readable((id, to), parcel);
        }
        self.adversary.watch(&packet);
        let class = class(&packet);
        let passing = Passing { from: id, to, class, packet: &packet };
        let fate = self.tamper.as_mut().map_or(Fate::Carry, |tamper| tamper(&passing));
        self.note(|| format!("{id:?} > {to:?}  {} {} B {fate:?}", name(class), packet.len()));
        let (copies, late) = match fate {
            Fate::Carry => (1, 0),
            Fate::Lose => (0, 0),
            Fate::Twice => (2, 0),
            Fate::Late(late) => (1, late),
        };
        for _ in 0..copies {
            self.meet((id, to), &packet, origin, late);
        }
    }

    /// A link carries a packet. `late`: so many microseconds later than it would.
    pub(super) fn carry(
        &mut self,
        (id, to): (NodeId, NodeId),
        packet: &[u8],
        origin: Origin,
        late: u64,
    ) {
        let transit = self.net.carry(id, to, packet, &mut self.rng);
        for (delay, changed, corrupted) in transit.copies {
            // Once is enough: a second flip of the same bit would make it whole again.
            let again = corrupted && origin == Origin::Corrupted;
            let packet = if again { packet.to_vec() } else { changed };
            let origin = match origin {
                Origin::Genuine | Origin::Replayed | Origin::Insider if corrupted => {
                    Origin::Corrupted
                }
                origin => origin,
            };
            let at = self.now + delay + late;
            self.queue.add(at, Event::Arrive { at: to, from: id, packet, origin });
        }
        if let Some((delay, packet)) = transit.error {
            let arrive = Event::Arrive { at: id, from: to, packet, origin: Origin::Genuine };
            self.queue.add(self.now + delay, arrive);
        }
    }

    /// A packet as it is behind the NAT, if it has to pass one. `None`: it does not pass.
    fn past_nat(&mut self, id: NodeId, packet: Vec<u8>) -> Option<Vec<u8>> {
        let now = self.now;
        let Some(nat) = &mut self.nat else { return Some(packet) };
        if id == nat.inside {
            return nat.outwards(packet, now);
        }
        match ip::parse(&packet).is_ok_and(|view| view.destination == nat.address) {
            true => nat.inwards(packet, now),
            false => Some(packet),
        }
    }

    /// A packet arrives at a machine from a neighbour.
    pub(super) fn arrive(&mut self, id: NodeId, from: NodeId, packet: Vec<u8>, origin: Origin) {
        let Ok(view) = ip::parse(&packet) else { return };
        let node = self.node(id);
        let hooked = node.is_hooked(from);
        if hooked && node.identity.is_some() && view.source == node.addr {
            return; // the first of the hook's rules (spec 8)
        }
        match &node.agent {
            Agent::Running(_) if hooked => match origin {
                Origin::Genuine | Origin::Replayed | Origin::Insider => {
                    self.agent_receives(id, packet, &view, origin);
                }
                Origin::Corrupted | Origin::Forged => {
                    self.agent_receives_forged(id, packet, &view, origin);
                }
            },
            Agent::Dead if hooked => {}
            _ => self.accept(id, packet, origin),
        }
    }

    fn agent_receives_forged(
        &mut self,
        id: NodeId,
        packet: Vec<u8>,
        view: &IpView,
        origin: Origin,
    ) {
        let what = format!("{origin:?} {} from {}", name(class(&packet)), view.source);
        let invited = self.acts_on_strangers(id, &packet, view);
        let quoted = packet[..8].to_vec();
        let act = |sim: &mut Self| {
            let sent = sim.agent_receives(id, packet, view, origin);
            sent + sim.believe_or_answer(id, view, &quoted)
        };
        if invited {
            act(self);
        } else {
            self.unmoved(id, &what, act);
        }
    }

    /// An open router acts on a stranger's first packet: that is what it is there for.
    pub(super) fn acts_on_strangers(&self, id: NodeId, packet: &[u8], view: &IpView) -> bool {
        let own = self.node(id).addr == view.destination;
        self.node(id).is_router() && !own && !matches!(class(packet), Class::Message(..))
    }

    /// Nobody vouches for what `act` gives to an agent: it must leave the tables as they are.
    pub(super) fn unmoved(&mut self, id: NodeId, what: &str, act: impl FnOnce(&mut Self) -> usize) {
        let micros = self.now;
        let look = |sim: &Self| {
            let node = sim.node(id);
            node.engine().map(|engine| fingerprint(engine, node.now(micros)))
        };
        let before = look(self);
        let sent = act(self);
        if let (Some(before), Some(after)) = (before, look(self)) {
            self.check.unauthenticated(id, what, (&before, &after), sent);
        }
    }

    /// What an agent that is broken on purpose does about a stranger's packet.
    fn believe_or_answer(&mut self, id: NodeId, view: &IpView, quoted: &[u8]) -> usize {
        match self.sabotage {
            Some(Sabotage::Believe) => {
                let pair = HostPair::new(view.destination, view.source);
                let micros = self.now;
                let node = self.node_mut(id);
                let now = node.now(micros);
                if let Some(engine) = node.engine_mut() {
                    engine.probe(pair, INTERFACE, now);
                }
                0
            }
            Some(Sabotage::Answer) => {
                let answer = ip_packet(view.destination, view.source, protocol::UDP, 0, quoted);
                self.emit(id, answer, LinkUse::Engine, Origin::Genuine);
                1
            }
            _ => 0,
        }
    }

    /// Gives a packet to the agent as the kernel would. Returns how many packets the agent sent
    /// because of it.
    fn agent_receives(
        &mut self,
        id: NodeId,
        packet: Vec<u8>,
        view: &IpView,
        origin: Origin,
    ) -> usize {
        self.message_arrives(id, &packet, view);
        let pair = HostPair::new(view.destination, view.source);
        let for_data_port = is_sealed(&packet, view);
        if for_data_port && view.destination == self.node(id).addr {
            // The kernel looks at a checksum before the socket does. Sealed data is let through with a
            // wrong one all the same: its tag must do.
            if is_negotiation(&packet, view) && parse_udp(&packet, view).is_none() {
                return 0;
            }
            return self.receive(id, packet, view, origin);
        }
        let negotiation = is_negotiation(&packet, view);
        let sealed = for_data_port && !negotiation;
        if let Some(parcel) = readable_parcel(&packet, view) {
            self.check.parcel_shown(id, parcel);
        }
        let micros = self.now;
        let verdict = self.node(id).offloaded(pair, micros);
        match verdict.filter(|_| !sealed && !negotiation) {
            Some(Offload::Bypass) => {
                self.deliver_plaintext(id, packet, view, origin);
                return 0;
            }
            Some(Offload::Discard) => return 0,
            None => {}
        }
        let captured = Captured { bytes: frame(&packet), outgoing: false, origin };
        self.captured(id, captured, view)
    }

    /// The engine decides about a frame that arrived. Returns how many packets it sent because of it.
    pub(super) fn decide_incoming(&mut self, id: NodeId, captured: Captured) -> usize {
        let Captured { mut bytes, origin, .. } = captured;
        let packet = bytes[PACKET_AT..].to_vec();
        let Ok(view) = ip::parse(&packet) else { return 0 };
        let pair = HostPair::new(view.destination, view.source);
        let sealed = is_sealed(&packet, &view) && !is_negotiation(&packet, &view);
        let asked_before = self.row_is_pending(id, pair);
        let captured = Frame { direction: Direction::Incoming(INTERFACE), bytes: &mut bytes };
        let micros = self.now;
        let node = self.node_mut(id);
        let now = node.now(micros);
        let Some(engine) = node.engine_mut() else { return 0 };
        let done = engine.incoming(&captured, now);
        if self.row_is_pending(id, pair) && !asked_before {
            self.check.asks(id, pair); // a router asks before an inner agent's packets come
        }
        if done == Incoming::Deliver && sealed {
            self.sealed_passes(id, &view);
        }
        if done == Incoming::Deliver || self.sabotage == Some(Sabotage::AcceptPlaintext) {
            self.deliver_plaintext(id, packet, &view, origin);
        }
        self.after(id)
    }

    /// For the books, if it is a message.
    fn message_arrives(&mut self, id: NodeId, packet: &[u8], view: &IpView) {
        let Some((_, text)) = message(packet, view) else { return };
        let Some(header) = peek(text) else { return };
        let pair = HostPair::new(view.destination, view.source);
        self.check.asked_by(id, pair, packet.len());
        if header.kind == Kind::NoMatch {
            self.check.refused(id, header.sid_i, pair);
        }
    }

    /// Sealed datagrams: those that arrive together are given together, as the kernel does.
    fn receive(&mut self, id: NodeId, packet: Vec<u8>, view: &IpView, origin: Origin) -> usize {
        let from = view.source;
        let mut bytes = packet[view.header_len + UDP_LEN..view.total_len].to_vec();
        let segment = bytes.len();
        while origin == Origin::Genuine && bytes.len().is_multiple_of(segment) {
            let Some(next) = self.next_with(id, from, segment) else { break };
            bytes.extend_from_slice(&next);
        }
        let meta = DatagramMeta {
            from: WireAddr(from),
            from_port: ip::ports(&packet, view).local,
            to: WireAddr(view.destination),
            tos: view.tos,
            interface: INTERFACE,
        };
        self.arrived(id, Arrival { bytes, segment, meta, origin })
    }

    /// The engine opens datagrams. Returns how many packets it sent because of them.
    pub(super) fn open(&mut self, id: NodeId, arrival: Arrival) -> usize {
        let Arrival { mut bytes, segment, meta, .. } = arrival;
        let micros = self.now;
        let node = self.node_mut(id);
        let now = node.now(micros);
        let Some(engine) = node.engine_mut() else { return 0 };
        let mut opened = Vec::new();
        let received = Received::alone(&bytes, segment, meta);
        engine
            .datagrams(&mut bytes, &[received], now, &mut |gather| opened.push(gathered(&gather)));
        for (vnet, packet) in opened {
            self.deliver_by(id, 0, vnet, packet);
        }
        self.after(id)
    }

    /// Takes the next event if it is one more datagram like those in hand.
    fn next_with(&mut self, id: NodeId, from: IpAddr, segment: usize) -> Option<Vec<u8>> {
        let (at, Event::Arrive { at: to, packet, origin, .. }) = self.queue.peek()? else {
            return None;
        };
        let view = ip::parse(packet).ok()?;
        let payload = packet.get(view.header_len + UDP_LEN..view.total_len)?;
        let fits = at == self.now
            && *to == id
            && *origin == Origin::Genuine
            && view.source == from
            && view.destination == self.node(id).addr
            && is_sealed(packet, &view)
            && payload.len() <= segment;
        let payload = fits.then(|| payload.to_vec())?;
        if let Some((_, Event::Arrive { packet, .. })) = self.queue.pop(at) {
            self.message_arrives(id, &packet, &view);
        }
        Some(payload)
    }
}

/// What came out of a session, as it is written to the TUN.
pub(super) fn gathered(gather: &Gather<'_>) -> ([u8; VNET_LEN], Vec<u8>) {
    let mut packet = gather.header.to_vec();
    for piece in gather.payload {
        packet.extend_from_slice(&gather.buffer[piece.clone()]);
    }
    (gather.vnet, packet)
}

/// A datagram on the data port, which the hook leaves to the socket.
fn is_sealed(packet: &[u8], view: &IpView) -> bool {
    let port = packet.get(view.header_len + 2..view.header_len + 4);
    view.protocol == protocol::UDP
        && port == Some(&DATA_PORT.to_be_bytes()[..])
        && view.total_len > view.header_len + UDP_LEN
}

/// What the hook gives to the agent whatever its sets say: an echo, or a datagram from or to the
/// data port, that begins with the magic.
fn is_negotiation(packet: &[u8], view: &IpView) -> bool {
    let upper = packet.get(view.header_len..).unwrap_or_default();
    let carries = match view.protocol {
        protocol::ICMP | protocol::ICMPV6 => true,
        protocol::UDP => upper
            .get(..4)
            .is_some_and(|ports| ports.chunks(2).any(|port| port == DATA_PORT.to_be_bytes())),
        _ => false,
    };
    carries && upper.get(UDP_LEN..).is_some_and(|payload| payload.starts_with(&MAGIC))
}

/// A frame as its machine's network card puts it on the link.
pub(super) fn wire_packets(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let Ok(vnet) = VnetHeader::parse(&bytes[..VNET_LEN]) else { return packets };
    let Ok(vnet) = vnet.shifted(-(ETHERNET_LEN as i16)) else { return packets };
    let mut packet = bytes[PACKET_AT..].to_vec();
    if vnet.gso.is_none() {
        if complete_checksum(&vnet, &mut packet).is_ok() {
            packets.push(packet);
        }
        return packets;
    }
    let Ok(view) = ip::parse(&packet) else { return packets };
    if let Ok(mut segmenter) = Segmenter::new(&vnet, &packet, &view, usize::from(u16::MAX)) {
        let mut segment = Vec::new();
        while segmenter.next_packet(&mut segment) {
            packets.push(std::mem::take(&mut segment));
        }
    }
    packets
}

fn name(class: Class) -> String {
    match class {
        Class::Message(kind, _) => format!("{kind:?}"),
        Class::Sealed(shim) => {
            format!("{:?} index {:06x} counter {}", shim.kind, shim.index.0, shim.counter_low)
        }
        Class::IcmpError => "ICMP error".to_owned(),
        Class::Clear => "clear".to_owned(),
    }
}
