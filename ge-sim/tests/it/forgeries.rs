//! Single forgeries that need more than one packet, or a plan.

use crate::chains::plan;
use crate::{ms, pair, s};
use ge_core::Mode::Closed;
use ge_core::addr::WireAddr;
use ge_core::crypto::sha256;
use ge_core::crypto::x25519::KeyPair;
use ge_core::dprp::{Binding, Initiator, Proposal, Purpose, SessionParameters, consume_dde};
use ge_core::flow::{HostPair, Ports};
use ge_core::limits::DATA_PORT;
use ge_core::wire::dprp::mpit::MpitPath;
use ge_core::wire::dprp::{Kind, peek};
use ge_core::wire::icmp::emit_echo;
use ge_core::wire::{ip, protocol};
use ge_core::{GroupId, SessionIndex, Transit};
use ge_sim::Traffic;
use ge_sim::adversary::craft::confirm;
use ge_sim::adversary::insider::Opened;
use ge_sim::adversary::{Origin, carry, readdress};
use ge_sim::chain::Chain;
use ge_sim::fault::Fault;
use ge_sim::matrix::run::world;
use ge_sim::packet::{Class, ip_packet, message};
use ge_sim::{Fate, Invariant, NodeId, Sim};
use rand_core::SeedableRng as _;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

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

/// Whoever repeats a request, from another address, does not make its responder send the answer to
/// who asked once.
#[test]
fn request_repeated_in_a_packet_of_another_flow_is_not_answered() {
    let (mut sim, a, b, _) = pair(1, Closed, Closed);
    let other = sim.host();
    let seen = Rc::new(RefCell::new(None));
    let answers = Rc::new(Cell::new(0));
    let (catch, count) = (Rc::clone(&seen), Rc::clone(&answers));
    sim.tamper(move |passing| match passing.class {
        Class::Message(Kind::Dde, _) => {
            catch.borrow_mut().get_or_insert_with(|| passing.packet.to_vec());
            Fate::Carry
        }
        Class::Message(Kind::Rgi, _) => {
            count.set(count.get() + 1);
            Fate::Lose
        }
        _ => Fate::Carry,
    });
    sim.send(a, b, 100);
    sim.run_for(ms(20)).unwrap();
    let dde = seen.borrow_mut().take().unwrap();
    let view = ip::parse(&dde).unwrap();
    assert_eq!(answers.get(), 1);
    let renamed = readdress(&dde, &view, (sim.node(other).addr, view.destination)).unwrap();
    for (packet, answered) in [(renamed, 1), (dde, 2)] {
        sim.inject(packet, Origin::Replayed);
        sim.run_for(ms(10)).unwrap();
        assert_eq!(answers.get(), answered);
    }
}

/// A router that is closed to everything between MPIT and CDN lets nothing pass that it would have
/// let pass before.
#[test]
fn router_that_closes_between_mpit_and_cdn_commits_nothing() {
    for (after, passes) in [(ms(1), false), (s(5), true)] {
        let mut plan = plan("s1c T1o d1c");
        plan.routers[0].agent.transit = Transit::Strict;
        let (mut sim, chain) = world(1, true, 1, &plan);
        let router = chain.path[1];
        sim.send(chain.source(), chain.destination(), 200);
        sim.run_for(ms(26)).unwrap();
        sim.at(after, Fault::Mode(router, Closed));
        sim.run_for(s(1)).unwrap();
        let transit = chain.row(&sim, 1).is_some_and(|row| row.verdict == "transit");
        assert_eq!(transit, passes, "after {after:?}");
    }
}

/// A router that is closed to everything lets no session pass any longer that it let pass before.
#[test]
fn router_that_closes_ends_what_it_let_pass() {
    let mut plan = plan("s1c T1o d1c");
    plan.routers[0].agent.transit = Transit::Strict;
    let (mut sim, chain) = world(1, true, 1, &plan);
    sim.flow(chain.source(), chain.destination(), Traffic::Datagrams(300), ms(100));
    sim.run_for(s(3)).unwrap();
    assert_eq!(chain.row(&sim, 1).map(|row| row.verdict), Some("transit"));
    sim.at(ms(1), Fault::Mode(chain.path[1], Closed));
    sim.run_for(s(1)).unwrap();
    let since = sim.now();
    sim.run_for(s(20)).unwrap();
    let tally = sim.check.tally(chain.source(), chain.destination(), since, sim.now() - 300_000);
    assert_eq!((tally.sealed, tally.clear), (0, 0), "{tally:?}");
}

/// A member that is off the path asks in another machine's name. The answer goes to that machine, and
/// nobody has a row for it.
#[test]
fn member_off_the_path_that_asks_in_anothers_name_gets_nothing() {
    for groups in [vec![GroupId(1)], vec![GroupId(2)]] {
        let (mut sim, chain) = world(1, true, 2, &plan("s1c T1c d1c"));
        let member = sim.agent(Closed, &groups);
        let [source, router, destination] = chain.path[..] else { panic!("three machines") };
        let (from, to) = (sim.node(source).addr, sim.node(destination).addr);
        let keyring = sim.keys_of(member).unwrap().keyring().unwrap();
        let proposal = Proposal {
            pair: HostPair::new(from, to),
            ports: Ports::default(),
            mode: Closed,
            router: false,
            purpose: Purpose::Protect,
        };
        let index = SessionIndex(9);
        let parameters = SessionParameters { index, data_port: DATA_PORT, wire: WireAddr(from) };
        let mut rng = ge_core::crypto::Rng::from_seed([6; 32]);
        let ephemeral = KeyPair::generate(&mut rng);
        let unix = sim.unix();
        let fresh = Binding::Fresh;
        let (_, dde) = Initiator::create_dde(
            &keyring, &proposal, fresh, parameters, ephemeral, &mut rng, unix,
        )
        .unwrap();
        let icmp = emit_echo(true, 1, 1, &dde, from, to);
        let packet = ip_packet(from, to, protocol::ICMP, 0, &icmp);
        sim.inject_at(router, source, packet, Origin::Insider);
        sim.run_for(s(5)).unwrap();
        for at in 0..3 {
            assert!(chain.row(&sim, at).is_none(), "{groups:?}, agent {at}");
        }
    }
}

/// A member of the group that is on the path can answer in its own name for a host (spec 1.4), and
/// both see whose name it is; not while the owner of the address is heard.
#[test]
fn member_of_the_group_that_answers_does_so_in_its_own_name() {
    let (mut sim, a, b, group) = pair(1, Closed, Closed);
    let member = sim.agent(Closed, &[group]);
    let insider = sim.keys_of(member).unwrap();
    let keyring = insider.keyring().unwrap();
    let dde = Rc::new(RefCell::new(None));
    let catch = Rc::clone(&dde);
    sim.tamper(move |passing| match passing.class {
        Class::Message(Kind::Dde, _) => {
            catch.borrow_mut().get_or_insert_with(|| passing.packet.to_vec());
            Fate::Lose
        }
        _ => Fate::Carry,
    });
    sim.send(a, b, 100);
    sim.run_for(ms(20)).unwrap();
    let packet = dde.borrow_mut().take().unwrap();
    let view = ip::parse(&packet).unwrap();
    let (_, text) = message(&packet, &view).unwrap();
    let mut rng = ge_core::crypto::Rng::from_seed([7; 32]);
    let wire = WireAddr(view.destination);
    let parameters = SessionParameters { index: SessionIndex(5), data_port: DATA_PORT, wire };
    let unix = sim.unix();
    let ephemeral = KeyPair::generate(&mut rng);
    let (_, rgi) = consume_dde(&keyring, text, Binding::Fresh, unix)
        .and_then(|dde| dde.answer(&keyring, false, parameters, ephemeral, &mut rng, unix))
        .unwrap();
    sim.inject(carry(&packet, &view, &rgi, true).unwrap().packet, Origin::Insider);
    // The simulator looks for the agent at the other end, which said nothing.
    let violation = sim.run_for(ms(10)).unwrap_err();
    assert_eq!(violation.invariant, Invariant::I2BothSigned, "{violation}");
    let peer = sim.row(a, b).and_then(|row| row.peer).unwrap();
    assert_eq!(sim.mgmt.node(peer.agent), Some(member), "never the other's name");
}
