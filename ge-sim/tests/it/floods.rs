//! Floods, and honest agents that negotiate meanwhile. Invariants I6, I8 and I12 are checked after
//! every packet of them, as everywhere.

use crate::chains::chain;
use crate::{ms, s};
use ge_core::crypto::Rng;
use ge_core::crypto::x25519::KeyPair;
use ge_core::dprp::{Binding, Initiator, Proposal, Purpose, SessionParameters};
use ge_core::flow::{HostPair, Ports};
use ge_core::keyring::Keyring;
use ge_core::wire::dprp::{Header, Kind};
use ge_core::wire::icmp::emit_echo;
use ge_core::wire::protocol;
use ge_core::{GroupId, Mode, NegotiationId, SessionIndex};
use ge_sim::adversary::Origin;
use ge_sim::mgmt::Admission;
use ge_sim::packet::{Class, ip_packet};
use ge_sim::{Fate, NodeId, Sim, Traffic};
use rand_core::{Rng as _, SeedableRng as _};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

/// Who has the keys of the domain and uses them from addresses of its choice.
struct Thief {
    keyring: Keyring,
    rng: Rng,
}

impl Thief {
    fn new(sim: &mut Sim, groups: &[GroupId]) -> Self {
        let node = NodeId(900);
        let identity = sim.mgmt.add_member(node, Admission::host(Mode::Closed, groups));
        let membership = sim.mgmt.membership(node, sim.unix()).unwrap();
        let keyring = Keyring::new(&identity, &membership).unwrap();
        Self { keyring, rng: Rng::seed_from_u64(900) }
    }

    /// A right DDE in the name of `from`.
    fn dde(&mut self, sim: &Sim, from: IpAddr, to: IpAddr) -> Vec<u8> {
        let (pair, ports) = (HostPair::new(from, to), Ports::default());
        let (mode, purpose) = (Mode::Closed, Purpose::Protect);
        let proposal = Proposal { pair, ports, mode, router: false, purpose };
        let wire = ge_core::addr::WireAddr(from);
        let parameters = SessionParameters { index: SessionIndex(5), data_port: 5865, wire };
        let ephemeral = KeyPair::generate(&mut self.rng);
        let (binding, unix) = (Binding::Fresh, sim.unix());
        let Self { keyring, rng } = self;
        let dde =
            Initiator::create_dde(keyring, &proposal, binding, parameters, ephemeral, rng, unix);
        echo(from, to, &dde.unwrap().1)
    }
}

fn echo(from: IpAddr, to: IpAddr, message: &[u8]) -> Vec<u8> {
    ip_packet(from, to, protocol::ICMP, 0, &emit_echo(true, 7, 1, message, from, to))
}

/// A message with a right header and nothing else that is right.
fn junk(from: IpAddr, to: IpAddr, rng: &mut Rng) -> Vec<u8> {
    let mut body = vec![0; 416 - 24];
    rng.fill_bytes(&mut body);
    let mut sid_i = NegotiationId::default();
    rng.fill_bytes(&mut sid_i.0);
    let sid_r = NegotiationId::default();
    let header = Header { kind: Kind::Dde, records: 0, length: 416, sid_i, sid_r };
    echo(from, to, &[&header.emit()[..], &body].concat())
}

/// The `n`th address that is nobody's.
fn spoofed(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a80_0000 + n).into()
}

/// Counts messages on all links, by kind.
fn count_messages(sim: &mut Sim) -> Rc<RefCell<BTreeMap<u8, u32>>> {
    let counts = Rc::new(RefCell::new(BTreeMap::new()));
    let counted = Rc::clone(&counts);
    sim.tamper(move |passing| {
        if let Class::Message(kind, _) = passing.class {
            *counted.borrow_mut().entry(kind.code()).or_default() += 1;
        }
        Fate::Carry
    });
    counts
}

const HONEST: usize = 20;

/// One agent that is asked, and honest ones that will ask it.
fn server_and_clients(seed: u64) -> (Sim, GroupId, NodeId, Vec<NodeId>) {
    let mut sim = Sim::new(seed);
    let group = sim.group();
    let server = sim.agent(Mode::Closed, &[group]);
    let clients = (0..HONEST).map(|_| sim.agent(Mode::Closed, &[group])).collect();
    sim.start();
    (sim, group, server, clients)
}

/// `per_ms` packets each millisecond for three seconds; an honest client begins every 100 ms.
fn flood(
    sim: &mut Sim,
    (server, clients): (NodeId, &[NodeId]),
    per_ms: u32,
    mut packet: impl FnMut(&Sim, u32) -> (Vec<u8>, Origin),
) {
    for step in 0..3_000 {
        for n in 0..per_ms {
            let (packet, origin) = packet(sim, step * per_ms + n);
            sim.inject(packet, origin);
        }
        if step >= 500
            && step % 100 == 0
            && let Some(client) = clients.get((step as usize - 500) / 100)
        {
            sim.flow(*client, server, Traffic::Datagrams(200), ms(500));
        }
        sim.run_for(ms(1)).unwrap();
    }
}

fn protected(sim: &Sim, server: NodeId, clients: &[NodeId]) -> usize {
    let both = |client: &&NodeId| {
        sim.row_verdict(**client, server) == "protected"
            && sim.row_verdict(server, **client) == "protected"
    };
    clients.iter().filter(both).count()
}

fn under_load(sim: &Sim, node: NodeId) -> bool {
    let node = sim.node(node);
    node.engine().unwrap().snapshot(node.now(sim.now())).under_load
}

#[test]
fn junk_of_an_outsider_gets_no_answer_and_delays_nobody() {
    let (mut sim, _, server, clients) = server_and_clients(1);
    let counts = count_messages(&mut sim);
    let (mut rng, to) = (Rng::seed_from_u64(7), sim.node(server).addr);
    flood(&mut sim, (server, &clients), 5, |_, n| (junk(spoofed(n), to, &mut rng), Origin::Forged));
    assert_eq!(protected(&sim, server, &clients), HONEST);
    assert!(!under_load(&sim, server), "what has no right mac1 is no load");
    let counts = counts.borrow();
    let sent = |kind: Kind| counts.get(&kind.code()).copied().unwrap_or(0);
    assert_eq!(sent(Kind::Cookie), 0);
    assert_eq!(sent(Kind::Dde), HONEST as u32, "nobody had to ask twice");
}

#[test]
fn right_requests_from_forged_sources_cost_honest_agents_a_round_trip() {
    let (mut sim, group, server, clients) = server_and_clients(2);
    let mut thief = Thief::new(&mut sim, &[group]);
    let to = sim.node(server).addr;
    let mut most = [0; 9];
    flood(&mut sim, (server, &clients), 3, |sim, n| {
        assert!(n < 1_000 || under_load(sim, server));
        for (most, size) in most.iter_mut().zip(sim.table_sizes(server)) {
            *most = size.max(*most);
        }
        (thief.dde(sim, spoofed(n), to), Origin::Replayed)
    });
    assert_eq!(protected(&sim, server, &clients), HONEST);
    assert!(most[3] <= 1_024, "{} answers kept of 9,000 requests", most[3]);
    assert!(most[0] <= HONEST, "{} rows", most[0]);
    sim.run_for(s(2)).unwrap();
    assert!(!under_load(&sim, server), "and it passes");
}

#[test]
fn right_requests_in_the_names_of_the_honest_do_not_silence_them() {
    let (mut sim, group, server, clients) = server_and_clients(3);
    let mut thief = Thief::new(&mut sim, &[group]);
    let to = sim.node(server).addr;
    let victims: Vec<IpAddr> = clients.iter().map(|client| sim.node(*client).addr).collect();
    flood(&mut sim, (server, &clients), 3, |sim, n| {
        (thief.dde(sim, victims[n as usize % HONEST], to), Origin::Replayed)
    });
    assert_eq!(protected(&sim, server, &clients), HONEST);
}

#[test]
fn junk_with_the_honest_ones_numbers_does_not_stop_them() {
    let (mut sim, _, server, clients) = server_and_clients(4);
    let (mut rng, to) = (Rng::seed_from_u64(7), sim.node(server).addr);
    let victims: Vec<IpAddr> = clients.iter().map(|client| sim.node(*client).addr).collect();
    flood(&mut sim, (server, &clients), 5, |_, n| {
        (junk(victims[n as usize % HONEST], to, &mut rng), Origin::Forged)
    });
    assert_eq!(protected(&sim, server, &clients), HONEST);
}

/// A router that answers for an ordinary machine, with and without routers in between, open and
/// closed: the flood comes from outside.
#[test]
fn routers_answer_honest_agents_under_a_flood() {
    for (text, echoes) in
        [("s1c D1c", true), ("s1c D1c", false), ("s1c T1c D1c", true), ("s1o D1o d1o", true)]
    {
        let (mut sim, path) = chain(1, text);
        let mut thief = Thief::new(&mut sim, &[GroupId(1)]);
        let (source, destination) = (path.source(), path.destination());
        sim.answers_ping(destination, echoes);
        let to = sim.node(destination).addr;
        let routers = path.path.len() - 2;
        for n in 0..6_000 {
            let packet = thief.dde(&sim, spoofed(n), to);
            // By the same way as the honest one's.
            sim.inject_at(path.path[1], path.path[0], packet, Origin::Replayed);
            if n == 3_000 {
                sim.flow(source, destination, Traffic::Datagrams(200), ms(100));
            }
            if n % 3 == 0 {
                sim.run_for(ms(1)).unwrap();
            }
        }
        assert_eq!(
            path.row(&sim, 0).map(|row| row.verdict),
            Some("protected"),
            "{text}, {routers} routers, echoes: {echoes}"
        );
    }
}
