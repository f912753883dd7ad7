//! A stranger off the path who sends packets in other machines' names.

use crate::chains::chain;
use crate::{ms, s};
use ge_core::{GroupId, Mode, Transit};
use ge_sim::adversary::Origin;
use ge_sim::chain::{Chain, Plan, Router};
use ge_sim::matrix::oracle::{Agent, Standing};
use ge_sim::matrix::run::world;
use ge_sim::packet::{APP_PORT, MARKER, udp_packet};
use ge_sim::{NodeId, Sim};

/// An ordinary machine behind an open router, and an open host of the same group.
fn open_pair() -> (Sim, Chain) {
    let agent = |standing| Agent {
        standing,
        mode: Mode::Open,
        transit: Transit::Vouched,
        groups: vec![GroupId(1)],
    };
    let plan = Plan {
        source: None,
        routers: vec![Router::new(agent(Standing::Source))],
        destination: Some(agent(Standing::Destination)),
    };
    world(1, true, 1, &plan)
}

/// Sends a packet in the destination's name to the machine behind the router.
fn spoof(sim: &mut Sim, chain: &Chain) {
    let addr = |node: NodeId| (sim.node(node).addr, APP_PORT);
    let packet = udp_packet(addr(chain.destination()), addr(chain.source()), 0, &MARKER);
    sim.inject_at(chain.path[1], chain.path[2], packet, Origin::Forged);
}

#[test]
fn a_packet_in_a_members_name_does_not_put_its_flow_in_clear() {
    let (mut sim, chain) = open_pair();
    sim.run_for(ms(100)).unwrap();
    spoof(&mut sim, &chain);
    sim.run_for(ms(100)).unwrap();
    let parcel = sim.send(chain.source(), chain.destination(), 200);
    sim.run_for(s(1)).unwrap();
    let track = sim.check.track(parcel);
    assert_eq!(track.arrived, 1);
    assert!(!track.readable.contains(&(chain.path[1], chain.path[2])), "{track:?}");
}

#[test]
fn a_packet_in_a_members_name_does_not_end_the_memory_of_protection() {
    let (mut sim, chain) = open_pair();
    sim.send(chain.source(), chain.destination(), 200);
    sim.run_for(s(1)).unwrap();
    assert_eq!(chain.row(&sim, 0).map(|row| row.verdict), Some("protected"));
    sim.run_for(s(700)).unwrap();
    assert_eq!(chain.row(&sim, 0).map(|row| row.verdict), None, "the row is forgotten");
    spoof(&mut sim, &chain);
    sim.run_for(ms(100)).unwrap();
    sim.send(chain.source(), chain.destination(), 200);
    sim.run_for(s(1)).unwrap();
}

/// The router asks inwards what an agent there thinks of the stranger. That agent's answer is about
/// the stranger, and no answer to a question of its own machine's.
#[test]
fn what_an_inner_agent_says_of_a_stranger_does_not_put_its_own_flow_in_clear() {
    let (mut sim, path) = chain(1, "s2o S1o d1o");
    sim.run_for(ms(100)).unwrap();
    spoof(&mut sim, &path);
    sim.run_for(s(1)).unwrap();
    for _ in 0..10 {
        let parcel = sim.send(path.source(), path.destination(), 200);
        sim.run_for(ms(300)).unwrap();
        let track = sim.check.track(parcel);
        assert!(!track.readable.contains(&(path.path[1], path.path[2])), "{track:?}");
    }
}
