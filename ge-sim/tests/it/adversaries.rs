//! Every position on the path with every craft. What must hold, holds: the invariants after every
//! event, nobody reads what two agents protect, and when the intruder is gone the flow is up.

use crate::chains::plan;
use crate::{ms, s};
use ge_core::Mode::Closed;
use ge_core::wire::dprp::{HEADER_LEN, Header, Kind};
use ge_core::wire::icmp::emit_echo;
use ge_core::wire::protocol;
use ge_core::{GroupId, NegotiationId};
use ge_sim::adversary::{Craft, Intruder, Origin, Position};
use ge_sim::chain::Chain;
use ge_sim::matrix::oracle::{Agent, Standing};
use ge_sim::matrix::run::world;
use ge_sim::packet::ip_packet;
use ge_sim::{NodeId, Parcel, Sim, Traffic};
use rand_core::{Rng as _, SeedableRng as _};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Paths on which two agents protect, closed and open, with and without agents between and beyond.
const PATHS: [&str; 7] = [
    "s1c d1c",
    "s1c T1c d1c",
    "s1c T2o T1c d1c",
    "s1c S1c D1c d1c",
    "S1c T1c D1c",
    "S1o T2o D1o",
    "s1o T1c d1o",
];

/// Everything a craft is tried in.
struct Siege {
    text: &'static str,
    position: Position,
    craft: Craft,
    seed: u64,
}

/// The path with an intruder in its middle. A member that is on no machine of the path has its keys.
fn besieged(siege: &Siege) -> (Sim, Chain, NodeId) {
    let (mut sim, chain) = world(siege.seed, siege.seed.is_multiple_of(2), 3, &plan(siege.text));
    let groups = match siege.position {
        Position::Fellow => vec![GroupId(1)],
        _ => vec![GroupId(3)],
    };
    let member = sim.agent(Closed, &groups);
    (sim, chain, member)
}

/// Both directions of the link behind machine `at` of the path.
fn link(chain: &Chain, at: usize) -> [(NodeId, NodeId); 2] {
    let (one, other) = (chain.path[at], chain.path[at + 1]);
    [(one, other), (other, one)]
}

fn intrude(sim: &mut Sim, chain: &Chain, member: NodeId, siege: &Siege, at: usize) -> usize {
    let keys = match siege.position {
        Position::Outsider => None,
        Position::Member | Position::Fellow => sim.keys_of(member),
        // The machine before the link is the intruder's.
        Position::Transit => sim.keys_of(chain.path[at]),
    };
    let links = link(chain, at);
    sim.intrude(Intruder::new(siege.position, keys, links, &[siege.craft], 1000))
}

/// Links on which the flow may be read: those within a site, behind the outermost router that stands
/// for the machine. Where messages do not come through inside, the router protects in its machine's
/// stead, as it does for machines without an agent.
fn readable(text: &str, chain: &Chain) -> BTreeSet<(NodeId, NodeId)> {
    let agents = plan(text).agents();
    let of = |side| move |agent: &Agent| agent.standing == side;
    let last = agents.iter().rposition(of(Standing::Source)).unwrap();
    let first = agents.iter().position(of(Standing::Destination)).unwrap();
    let place = |at: usize| chain.path.iter().position(|node| *node == chain.agents[at].0).unwrap();
    let sealed = place(last)..place(first);
    let links = (0..chain.path.len() - 1).filter(|at| !sealed.contains(at));
    links.flat_map(|at| link(chain, at)).collect()
}

fn assert_nobody_reads(sim: &Sim, parcels: &[Parcel], siege: &Siege, chain: &Chain) {
    let allowed = readable(siege.text, chain);
    for parcel in parcels {
        let track = sim.check.track(*parcel);
        let Siege { text, position, craft, .. } = siege;
        let what = format!("{text}, {position:?} {craft:?}: {track:?}");
        assert!(track.readable.iter().all(|link| allowed.contains(link)), "{what}");
    }
}

/// One craft, done to every message, from the start or to a session that is up. True if the
/// intruder found something to do.
fn try_craft(siege: &Siege, at: usize, from_start: bool) -> bool {
    let Siege { text, position, craft, .. } = *siege;
    let what = format!("{text}, {position:?} {craft:?} on link {at}, from the start {from_start}");
    let (mut sim, chain, member) = besieged(siege);
    let (source, destination) = (chain.source(), chain.destination());
    let mut parcels = Vec::new();
    let mut talk = |sim: &mut Sim, count: u32, every| {
        for _ in 0..count {
            parcels.push(sim.send(source, destination, 200));
            parcels.push(sim.send(destination, source, 200));
            sim.run_for(ms(every)).unwrap_or_else(|violation| panic!("{what}: {violation}"));
        }
    };
    if !from_start {
        talk(&mut sim, 20, 100);
    }
    let number = intrude(&mut sim, &chain, member, siege, at);
    // Long enough that new keys are agreed under siege where there was a session before.
    talk(&mut sim, if from_start { 30 } else { 150 }, if from_start { 150 } else { 1000 });
    let did = sim.intruder(number).done().contains(&craft);
    sim.expel();
    talk(&mut sim, 30, 1000);
    assert_nobody_reads(&sim, &parcels, siege, &chain);
    let since = sim.now();
    sim.flow(source, destination, Traffic::Datagrams(300), ms(100));
    sim.run_for(s(3)).unwrap_or_else(|violation| panic!("{what}: {violation}"));
    let tally = sim.check.tally(source, destination, since, sim.now() - 400_000);
    assert!(tally.sealed > 5 && tally.lost + tally.clear == 0, "{what}: afterwards {tally:?}");
    did
}

/// Every craft of a position on every path, closed from the start, open once they know each other:
/// before that, open agents that hear nothing of each other talk in clear, and say so.
fn try_all(position: Position, crafts: &[Craft]) {
    for (seed, craft) in crafts.iter().enumerate() {
        let mut did = false;
        for text in PATHS {
            let siege = Siege { text, position, craft: *craft, seed: seed as u64 };
            let machines = plan(text).routers.len() + 1;
            let first = usize::from(position == Position::Transit);
            for at in first..machines {
                if plan(text).agents().iter().all(|agent| agent.mode == Closed) {
                    did |= try_craft(&siege, at, true);
                }
                did |= try_craft(&siege, at, false);
            }
        }
        assert!(did, "{position:?} never had occasion for {craft:?}");
    }
}

#[test]
fn outsider_on_the_path() {
    try_all(Position::Outsider, &Craft::OUTSIDE);
}

#[test]
fn member_of_the_domain_on_the_path() {
    try_all(Position::Member, &Craft::INSIDE);
}

#[test]
fn member_of_the_group_on_the_path() {
    try_all(Position::Fellow, &Craft::INSIDE);
}

#[test]
fn router_on_the_path_that_is_not_its_owners() {
    try_all(Position::Transit, &Craft::INSIDE);
}

/// Somebody off the path, without a key: every kind of message, in every machine's name, to every
/// machine. That nothing changes and nothing is answered is I7 and I12.
#[test]
fn outsider_off_the_path_changes_nothing() {
    for text in PATHS {
        let (mut sim, chain) = world(1, true, 1, &plan(text));
        sim.flow(chain.source(), chain.destination(), Traffic::Datagrams(200), ms(100));
        sim.run_for(s(1)).unwrap();
        let mut rng = ge_core::crypto::Rng::from_seed([4; 32]);
        let machines: Vec<(NodeId, IpAddr)> =
            chain.path.iter().map(|node| (*node, sim.node(*node).addr)).collect();
        for kind in [Kind::Dde, Kind::Rgi, Kind::Mpit, Kind::Cdn, Kind::NoMatch] {
            for link in
                chain.path.windows(2).flat_map(|link| [(link[0], link[1]), (link[1], link[0])])
            {
                for (_, from) in &machines {
                    for (_, to) in machines.iter().filter(|(_, to)| to != from) {
                        let packet = made_up(kind, (*from, *to), &mut rng);
                        sim.inject_at(link.1, link.0, packet, Origin::Forged);
                    }
                }
                sim.run_for(ms(20)).unwrap_or_else(|violation| panic!("{text}: {violation}"));
            }
        }
        sim.run_for(s(1)).unwrap();
        let tally = sim.check.tally(chain.source(), chain.destination(), 0, sim.now() - 300_000);
        assert_eq!((tally.clear, tally.lost), (0, 0), "{text}");
    }
}

/// A message of the right form around noise.
fn made_up(kind: Kind, (from, to): (IpAddr, IpAddr), rng: &mut ge_core::crypto::Rng) -> Vec<u8> {
    let length: u16 = match kind {
        Kind::Dde => 416,
        Kind::Rgi => 768,
        Kind::Mpit => 750,
        Kind::Cdn => 538,
        Kind::NoMatch | Kind::Cookie => 558,
    };
    let mut message = vec![0; usize::from(length)];
    rng.fill_bytes(&mut message);
    let [sid_i, sid_r] = [8, 16].map(|at| NegotiationId(message[at..at + 8].try_into().unwrap()));
    let header = Header { kind, records: 0, length, sid_i, sid_r };
    message[..HEADER_LEN].copy_from_slice(&header.emit());
    let icmp = emit_echo(kind.is_request(), 7, 7, &message, from, to);
    ip_packet(from, to, protocol::ICMP, 0, &icmp)
}
