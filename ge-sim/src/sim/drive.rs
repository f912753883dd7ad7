//! Between the engines and the world: what a runtime does, and where the checker looks on.

use super::{Fate, Passing, Sim};
use crate::adversary::Origin;
use crate::check::{Emission, Invariant, LinkUse, fingerprint};
use crate::node::{Agent, INTERFACE, Offload};
use crate::packet::{
    APP_PORT, Class, NodeId, PACKET_AT, UDP_LEN, class, frame, ip_packet, read_parcel, read_segment,
};
use crate::queue::Event;
use crate::sabotage::Sabotage;
use ge_core::Mode;
use ge_core::addr::WireAddr;
use ge_core::batch::SealedBatch;
use ge_core::flow::{Direction, HostPair};
use ge_core::icmp_error::{ErrorKind, parse_error, quoted_parse};
use ge_core::io::{
    DatagramMeta, DatagramRun, ETHERNET_LEN, Event as Told, Frame, Incoming, NegotiationResult,
    Outgoing, Output, VNET_LEN,
};
use ge_core::limits::{DATA_PORT, MIN_PMTU_V4, MIN_PMTU_V6, PIT_ROWS_HOST};
use ge_core::segment::Segmenter;
use ge_core::wire::dprp::{Kind, MAGIC};
use ge_core::wire::icmp::{ECHO_LEN, emit_echo, parse_echo};
use ge_core::wire::ip::{self, IpView};
use ge_core::wire::protocol;
use ge_core::wire::vnet::{VnetHeader, complete_checksum};
use std::net::IpAddr;

/// A session under an ended epoch is looked at twice a second, and wall time has whole seconds.
const EPOCH_END_FELT: u64 = 2;

impl Sim {
    /// A frame of the local stack is about to leave the machine.
    pub(super) fn stack_sends(&mut self, id: NodeId, mut bytes: Vec<u8>) {
        let Ok(view) = ip::parse(&bytes[PACKET_AT..]) else { return };
        let pair = HostPair::new(view.source, view.destination);
        let micros = self.now;
        let node = self.node(id);
        match &node.agent {
            Agent::Dead => return,
            Agent::None => {
                for packet in wire_packets(&bytes) {
                    self.transmit(id, packet);
                }
                return;
            }
            Agent::Running(_) => {}
        }
        match node.offloaded(pair, micros) {
            Some(Offload::Bypass) => return self.put_back(id, &bytes, LinkUse::Offloaded),
            Some(Offload::Discard) => return,
            None => {}
        }
        let node = self.node_mut(id);
        let now = node.now(micros);
        let Some(engine) = node.engine_mut() else { return };
        let new = engine.flow_snapshot(pair, now).is_none();
        let mut batch = SealedBatch::default();
        let mut captured = Frame { direction: Direction::Outgoing(INTERFACE), bytes: &mut bytes };
        let done = engine.outgoing(&mut captured, &mut batch, now);
        if new {
            self.check.asks(id, view.destination);
        }
        for run in batch.take_runs() {
            self.send_run(id, &run);
        }
        let held = self.row_is_pending(id, pair);
        let broken = match self.sabotage {
            Some(Sabotage::Leak) => true,
            Some(Sabotage::ReleaseEarly) => held && self.node(id).mode() == Mode::Open,
            _ => false,
        };
        if done == Outgoing::PutBack || broken {
            self.put_back(id, &bytes, LinkUse::Passed);
        }
        self.after(id);
    }

    fn row_is_pending(&self, id: NodeId, pair: HostPair) -> bool {
        let node = self.node(id);
        let row = node.engine().and_then(|engine| engine.flow_snapshot(pair, node.now(self.now)));
        row.is_some_and(|row| row.verdict == "pending")
    }

    fn put_back(&mut self, id: NodeId, bytes: &[u8], by: LinkUse) {
        for packet in wire_packets(bytes) {
            self.emit(id, packet, by);
        }
    }

    fn send_run(&mut self, id: NodeId, run: &DatagramRun) {
        let (Some(from), Some((to, port))) = (run.from, run.to) else { return };
        for datagram in run.bytes.chunks(run.segment.max(1)) {
            let packet =
                crate::packet::udp_packet((from.0, DATA_PORT), (to.0, port), run.tos, datagram);
            if self.sabotage == Some(Sabotage::ReuseNonce) {
                self.emit(id, packet.clone(), LinkUse::Engine);
            }
            self.emit(id, packet, LinkUse::Engine);
        }
    }

    /// An agent's machine puts a packet on its link.
    fn emit(&mut self, id: NodeId, packet: Vec<u8>, by: LinkUse) {
        let node = self.node(id);
        let (instance, mode) = (node.instance, node.mode());
        self.check.emitted(&Emission { node: id, instance, mode, packet: &packet, by });
        self.transmit(id, packet);
    }

    /// The link takes a packet.
    fn transmit(&mut self, id: NodeId, packet: Vec<u8>) {
        let Ok(view) = ip::parse(&packet) else { return };
        let Some(to) = self.node_by_addr(view.destination) else { return };
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
            let transit = self.net.carry(id, to, &packet, &mut self.rng);
            for (delay, packet, corrupted) in transit.copies {
                let origin = if corrupted { Origin::Corrupted } else { Origin::Genuine };
                let at = self.now + delay + late;
                self.queue.add(at, Event::Arrive { at: to, packet, origin });
            }
            if let Some((delay, error)) = transit.error {
                let origin = Origin::Genuine;
                self.queue.add(self.now + delay, Event::Arrive { at: id, packet: error, origin });
            }
        }
    }

    /// A packet arrives at a machine.
    pub(super) fn arrive(&mut self, id: NodeId, packet: Vec<u8>, origin: Origin) {
        let Ok(view) = ip::parse(&packet) else { return };
        match &self.node(id).agent {
            Agent::Dead => {}
            Agent::None => self.stack_receives(id, &packet, &view),
            Agent::Running(_) if matches!(origin, Origin::Genuine | Origin::Replayed) => {
                self.agent_receives(id, packet, &view, origin == Origin::Genuine);
            }
            Agent::Running(_) => self.agent_receives_forged(id, packet, &view, origin),
        }
    }

    fn agent_receives_forged(
        &mut self,
        id: NodeId,
        packet: Vec<u8>,
        view: &IpView,
        origin: Origin,
    ) {
        let micros = self.now;
        let what = format!("{origin:?} {} from {}", name(class(&packet)), view.source);
        let quoted = packet.clone();
        let look = |sim: &Self| {
            let node = sim.node(id);
            node.engine().map(|engine| fingerprint(engine, node.now(micros)))
        };
        let before = look(self);
        let mut sent = self.agent_receives(id, packet, view, false);
        match self.sabotage {
            Some(Sabotage::Believe) => {
                let pair = HostPair::new(view.destination, view.source);
                let node = self.node_mut(id);
                let now = node.now(micros);
                if let Some(engine) = node.engine_mut() {
                    engine.probe(pair, INTERFACE, now);
                }
            }
            Some(Sabotage::Answer) => {
                let answer =
                    ip_packet(view.destination, view.source, protocol::UDP, 0, &quoted[..8]);
                self.emit(id, answer, LinkUse::Engine);
                sent += 1;
            }
            _ => {}
        }
        if let (Some(before), Some(after)) = (before, look(self)) {
            self.check.unauthenticated(id, &what, (&before, &after), sent);
        }
    }

    /// Gives a packet to the agent as the kernel would. Returns how many packets the agent sent
    /// because of it.
    fn agent_receives(&mut self, id: NodeId, packet: Vec<u8>, view: &IpView, merge: bool) -> usize {
        if is_sealed(&packet, view) {
            return self.open(id, packet, view, merge);
        }
        let micros = self.now;
        let pair = HostPair::new(view.destination, view.source);
        let verdict = self.node(id).offloaded(pair, micros);
        match verdict.filter(|_| !is_negotiation(&packet, view)) {
            Some(Offload::Bypass) => {
                self.deliver_plaintext(id, &packet, view);
                return 0;
            }
            Some(Offload::Discard) => return 0,
            None => {}
        }
        if let Class::Message(Kind::NoMatch, true) = class(&packet) {
            self.check.refused(id, view.source);
        }
        let mut bytes = frame(&packet);
        let captured = Frame { direction: Direction::Incoming(INTERFACE), bytes: &mut bytes };
        let node = self.node_mut(id);
        let now = node.now(micros);
        let Some(engine) = node.engine_mut() else { return 0 };
        let done = engine.incoming(&captured, now);
        if done == Incoming::Deliver || self.sabotage == Some(Sabotage::AcceptPlaintext) {
            self.deliver_plaintext(id, &packet, view);
        }
        self.after(id)
    }

    /// Sealed datagrams: those that arrive together are given together, as the kernel does.
    fn open(&mut self, id: NodeId, packet: Vec<u8>, view: &IpView, merge: bool) -> usize {
        let from = view.source;
        let mut buffer = packet[view.header_len + UDP_LEN..view.total_len].to_vec();
        let segment = buffer.len();
        while merge && buffer.len().is_multiple_of(segment) {
            let Some(next) = self.next_with(id, from, segment) else { break };
            buffer.extend_from_slice(&next);
        }
        let micros = self.now;
        let meta = DatagramMeta {
            from: WireAddr(from),
            from_port: DATA_PORT,
            to: WireAddr(view.destination),
            tos: view.tos,
            interface: INTERFACE,
        };
        let node = self.node_mut(id);
        let now = node.now(micros);
        let Some(engine) = node.engine_mut() else { return 0 };
        let mut opened = Vec::new();
        engine.datagrams(&mut buffer, segment, &meta, now, &mut |gather| {
            let mut packet = gather.header.to_vec();
            for piece in gather.payload {
                packet.extend_from_slice(&gather.buffer[piece.clone()]);
            }
            opened.push(packet);
        });
        for packet in opened {
            self.deliver_opened(id, &packet);
        }
        self.after(id)
    }

    /// Takes the next event if it is one more datagram like those in hand.
    fn next_with(&mut self, id: NodeId, from: IpAddr, segment: usize) -> Option<Vec<u8>> {
        let (at, Event::Arrive { at: to, packet, origin }) = self.queue.peek()? else {
            return None;
        };
        let view = ip::parse(packet).ok()?;
        let payload = packet.get(view.header_len + UDP_LEN..view.total_len)?;
        let fits = at == self.now
            && *to == id
            && *origin == Origin::Genuine
            && view.source == from
            && is_sealed(packet, &view)
            && payload.len() <= segment;
        let payload = fits.then(|| payload.to_vec())?;
        self.queue.pop(at);
        Some(payload)
    }

    fn deliver_plaintext(&mut self, id: NodeId, packet: &[u8], view: &IpView) {
        let node = self.node(id);
        let pair = HostPair::new(view.destination, view.source);
        let row = node.engine().and_then(|engine| engine.flow_snapshot(pair, node.now(self.now)));
        let mode = node.mode();
        self.check.plaintext_accepted(id, view.source, mode, row.map(|row| row.verdict));
        self.stack_receives(id, packet, view);
    }

    /// A packet came out of a session.
    fn deliver_opened(&mut self, id: NodeId, packet: &[u8]) {
        let mut packet = packet.to_vec();
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
        let Some(peer) = self.node_by_addr(view.source) else {
            let detail = format!("{id:?} was handed a packet from {}", view.source);
            return self.check.fail(Invariant::I4SentOnce, detail);
        };
        let times = if self.sabotage == Some(Sabotage::DeliverTwice) { 2 } else { 1 };
        for _ in 0..times {
            if let Some(whole) = self.reassembly.add(id, &packet, &view)
                && let Ok(view) = ip::parse(&whole)
            {
                self.opened_once(id, peer, &whole, &view);
            }
        }
    }

    fn opened_once(&mut self, id: NodeId, peer: NodeId, packet: &[u8], view: &IpView) {
        let upper = &packet[view.header_len..view.total_len];
        if let Some((from, to, offset, bytes)) = read_segment(packet, view) {
            self.check.segment_opened(id, peer, (from, to), offset, bytes);
        } else if is_app(upper, view) {
            match read_parcel(&upper[UDP_LEN..]) {
                Ok(parcel) => self.check.parcel_opened(id, peer, parcel),
                Err(why) => self.check.forged_opened(id, peer, why),
            }
        } else {
            self.stack_receives(id, packet, view);
        }
    }

    /// What a stack does with what arrives: count, answer a ping, learn about a path.
    fn stack_receives(&mut self, id: NodeId, packet: &[u8], view: &IpView) {
        let upper = &packet[view.header_len..view.total_len];
        if is_app(upper, view) {
            if let Ok(parcel) = read_parcel(&upper[UDP_LEN..]) {
                self.check.parcel_in_clear(parcel);
            }
        } else if let Some(echo) = parse_echo(packet, view) {
            if echo.request && view.destination == self.node(id).addr {
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
            known.insert(quoted.destination, mtu.max(floor - 100));
        }
    }

    /// Drains an engine after it was given something, does what it wants, and looks at its tables.
    /// Returns how many packets it sent.
    pub(super) fn after(&mut self, id: NodeId) -> usize {
        let mut outputs = Vec::new();
        let Some(engine) = self.node_mut(id).engine_mut() else { return 0 };
        let until = loop {
            match engine.poll_output() {
                Output::Idle { until, .. } => break until,
                output => outputs.push(output),
            }
        };
        let sent = outputs.into_iter().map(|output| self.carry_out(id, output)).sum();
        if let Some(until) = until {
            self.set_wake(id, until.as_micros());
        }
        self.inspect(id);
        sent
    }

    fn set_wake(&mut self, id: NodeId, until: u64) {
        let at = until.max(self.now);
        let node = self.node_mut(id);
        if node.wake.is_none_or(|wake| at < wake) {
            node.wake = Some(at);
            self.queue.add(at, Event::Wake(id));
        }
    }

    /// Returns how many packets left.
    fn carry_out(&mut self, id: NodeId, output: Output) -> usize {
        match output {
            Output::Transmit(transmit) => {
                let (from, to) = (transmit.from.0, transmit.to.0);
                let protocol = if from.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
                let mut packet = ip_packet(from, to, protocol, 0, &transmit.icmp);
                allow_fragments(&mut packet);
                self.emit(id, packet, LinkUse::Engine);
                1
            }
            Output::Datagrams(run) => {
                self.send_run(id, &run);
                run.count()
            }
            Output::PutBack(held) => {
                self.put_back(id, &held.bytes, LinkUse::Passed);
                1
            }
            Output::DeliverFrame(held) => {
                let packet = held.bytes[PACKET_AT..].to_vec();
                if let Ok(view) = ip::parse(&packet) {
                    self.deliver_plaintext(id, &packet, &view);
                }
                0
            }
            Output::Deliver(packet) => {
                if let Ok(view) = ip::parse(&packet) {
                    self.stack_receives(id, &packet, &view);
                }
                0
            }
            Output::Kernel(verdict) => {
                let now = self.now;
                self.node_mut(id).apply(verdict, now);
                0
            }
            Output::Event(event) => {
                self.told(id, &event);
                0
            }
            Output::Idle { .. } => 0,
        }
    }

    fn told(&mut self, id: NodeId, event: &Told) {
        self.note(|| format!("{id:?} {event:?}"));
        match event {
            Told::Negotiated { pair, result: NegotiationResult::Protected, .. } => {
                self.check.secured(id, pair.remote.0);
            }
            Told::PeerGone { pair, reason: "goodbye" } => {
                self.check.heard_goodbye(id, pair.remote.0);
            }
            _ => {}
        }
    }

    fn inspect(&mut self, id: NodeId) {
        let node = self.node(id);
        let (now, installed) = (node.now(self.now), node.installed);
        let Some(engine) = node.engine() else { return };
        let mut sizes = engine.table_sizes();
        let snapshot = engine.snapshot(now);
        if self.sabotage == Some(Sabotage::Outgrow) {
            sizes[0] += PIT_ROWS_HOST;
        }
        self.check.tables(id, sizes);
        self.check.progress(id, &snapshot);
        let up_to_date = installed.0 == self.mgmt.version()
            && self.now > installed.1 + EPOCH_END_FELT * 1_000_000;
        if !up_to_date {
            return;
        }
        for peer in snapshot.flows.iter().filter_map(|flow| flow.peer.as_ref()) {
            let ended = self
                .mgmt
                .epoch_ends(peer.group, peer.epoch)
                .map_or(0, |ends| now.unix.0.saturating_sub(ends.0));
            if ended > EPOCH_END_FELT {
                self.check.used_ended_epoch(id, peer.epoch, ended);
            }
        }
    }
}

/// A datagram on the data port, which the hook leaves to the socket.
fn is_sealed(packet: &[u8], view: &IpView) -> bool {
    let port = packet.get(view.header_len + 2..view.header_len + 4);
    view.protocol == protocol::UDP
        && port == Some(&DATA_PORT.to_be_bytes()[..])
        && view.total_len > view.header_len + UDP_LEN
}

/// What the hook gives to the agent whatever its sets say: an echo that begins with the magic.
fn is_negotiation(packet: &[u8], view: &IpView) -> bool {
    let payload = packet.get(view.header_len + ECHO_LEN..);
    matches!(view.protocol, protocol::ICMP | protocol::ICMPV6)
        && payload.is_some_and(|payload| payload.starts_with(&MAGIC))
}

fn is_app(upper: &[u8], view: &IpView) -> bool {
    view.protocol == protocol::UDP && upper.get(2..4) == Some(&APP_PORT.to_be_bytes()[..])
}

/// A frame as its machine's network card puts it on the link.
fn wire_packets(bytes: &[u8]) -> Vec<Vec<u8>> {
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

/// Negotiation messages leave through a socket without path MTU discovery: IPv4 routers may cut
/// them.
fn allow_fragments(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        packet[6] &= !0x40;
    }
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
