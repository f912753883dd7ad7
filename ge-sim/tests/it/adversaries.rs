//! Every position on the path with every craft. What must hold, holds: the invariants after every
//! event, nobody reads what two agents protect, and when the intruder is gone the flow is up.

use crate::chains::plan;
use crate::{ms, s};
use ge_core::GroupId;
use ge_core::Mode::Closed;
use ge_core::crypto::sha256;
use ge_core::wire::dprp::mpit::MpitPath;
use ge_core::wire::dprp::{Kind, peek};
use ge_core::wire::ip;
use ge_sim::adversary::craft::confirm;
use ge_sim::adversary::insider::Opened;
use ge_sim::adversary::{Craft, Intruder, Origin, Position, carry, readdress};
use ge_sim::chain::Chain;
use ge_sim::matrix::oracle::{Agent, Standing};
use ge_sim::matrix::run::world;
use ge_sim::packet::{Class, message};
use ge_sim::{Fate, Invariant, NodeId, Parcel, Sim, Traffic};
use rand_core::SeedableRng as _;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

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

/// The router protects the flow of a machine behind it. Two others negotiate through it, and somebody
/// on the path, without a key, puts their CDN into a packet of that flow.
#[test]
fn cdn_in_a_packet_of_another_flow_displaces_no_row() {
    let (mut sim, chain) = world(1, true, 1, &plan("s1o S1o d1o"));
    let [source, router, destination] = chain.path[..] else { panic!("three machines") };
    let inside = sim.host_at("10.64.0.2".parse().unwrap());
    sim.route(inside, destination, router);
    sim.route(router, inside, inside);
    sim.route(destination, inside, router);
    let (inner, outer) = (sim.node(inside).addr, sim.node(destination).addr);
    sim.send(inside, destination, 200);
    sim.run_for(s(1)).unwrap();
    let own = |sim: &Sim| sim.row_between(router, inside, destination).map(|row| row.verdict);
    assert_eq!(own(&sim), Some("protected"));
    let stolen = Rc::new(RefCell::new(None));
    let seen = Rc::clone(&stolen);
    sim.tamper(move |passing| match passing.class {
        Class::Message(Kind::Cdn, _) if passing.to == router => {
            seen.borrow_mut().get_or_insert_with(|| passing.packet.to_vec());
            Fate::Lose
        }
        _ => Fate::Carry,
    });
    sim.send(source, destination, 200);
    sim.run_for(ms(50)).unwrap();
    let cdn = stolen.borrow_mut().take().unwrap();
    let view = ip::parse(&cdn).unwrap();
    let misdirected = readdress(&cdn, &view, (outer, inner)).unwrap();
    sim.inject_at(router, destination, misdirected, Origin::Replayed);
    sim.run_for(ms(50)).unwrap();
    assert_eq!(own(&sim), Some("protected"));
    let parcel = sim.send(inside, destination, 200);
    sim.run_for(s(1)).unwrap();
    let track = sim.check.track(parcel);
    assert_eq!((track.arrived, track.readable.contains(&(router, destination))), (1, false));
}

/// Two members, one on each side of a router, sign in their place what two others negotiate; `lie` is
/// what stands in the MPIT besides.
fn forged_agreement(lie: impl Fn(&mut MpitPath)) -> (Sim, Chain) {
    let (mut sim, chain) = world(1, true, 2, &plan("s1c T1c d1c"));
    let members = [sim.agent(Closed, &[GroupId(1)]), sim.agent(Closed, &[GroupId(1)])];
    let [one, other] = members.map(|member| sim.keys_of(member).unwrap());
    let [source, router, destination] = chain.path[..] else { panic!("three machines") };
    let seen = Rc::new(RefCell::new(None));
    let catch = Rc::clone(&seen);
    sim.tamper(move |passing| match passing.class {
        Class::Message(Kind::Mpit, _) if passing.from == source => {
            catch.borrow_mut().get_or_insert_with(|| passing.packet.to_vec());
            Fate::Lose
        }
        _ => Fate::Carry,
    });
    sim.send(source, destination, 200);
    sim.run_for(ms(30)).unwrap();
    let mut rng = ge_core::crypto::Rng::from_seed([3; 32]);
    let packet = seen.borrow_mut().take().unwrap();
    let view = ip::parse(&packet).unwrap();
    let (_, mpit) = message(&packet, &view).unwrap();
    let header = peek(mpit).unwrap();
    let Some(Opened::Mpit(mut path)) = one.open(mpit) else { panic!("an MPIT") };
    path.responder_certificate_hash = sha256(&[other.certificate()]);
    lie(&mut path);
    let same = path.responder_certificate_hash == sha256(&[one.certificate()]);
    one.sign_mpit(&header, &mut path);
    let mpit = one.close(mpit, &Opened::Mpit(path), &mut rng).unwrap();
    let cdn = confirm(if same { &one } else { &other }, &mpit, &mut rng).unwrap();
    let there = carry(&packet, &view, &mpit, false).unwrap().packet;
    let back = carry(&packet, &view, &cdn, true).unwrap().packet;
    sim.inject_at(router, source, there, Origin::Insider);
    sim.run_for(ms(1)).unwrap();
    sim.inject_at(router, destination, back, Origin::Insider);
    (sim, chain)
}

/// Two members on both sides of a router can have it pass what they seal, as they could in their own
/// addresses' name: a host's address is in no certificate (spec 1.4). The simulator sees it.
#[test]
fn members_on_both_sides_of_a_router_are_seen_to_speak_for_others() {
    let (mut sim, _) = forged_agreement(|_| ());
    let violation = sim.run_for(ms(2)).unwrap_err();
    assert_eq!(violation.invariant, Invariant::I2BothSigned, "{violation}");
}

#[test]
fn one_member_cannot_sign_for_both_ends() {
    // The same seed has the same members: three machines on the path, then the one that asks.
    let (sim, _) = forged_agreement(|_| ());
    let own = sha256(&[sim.keys_of(NodeId(3)).unwrap().certificate()]);
    let (mut sim, chain) = forged_agreement(move |path| path.responder_certificate_hash = own);
    sim.run_for(ms(2)).unwrap();
    assert_eq!(chain.row(&sim, 1).map(|row| row.verdict), None);
}

/// Nor can two have a closed router let pass what they send to a third machine behind it.
#[test]
fn hosts_that_name_a_third_machines_address_open_nothing() {
    for responder in [false, true] {
        let (mut sim, chain) = forged_agreement(move |path| {
            let end = if responder { &mut path.responder } else { &mut path.initiator };
            end.wire.0 = "10.128.0.9".parse().unwrap();
        });
        sim.run_for(ms(2)).unwrap();
        assert_eq!(chain.row(&sim, 1).map(|row| row.verdict), None, "responder {responder}");
    }
}
