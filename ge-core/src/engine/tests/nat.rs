//! 10.0.0.1 behind a NAT that is 10.0.0.9 to everybody else. By hand: each test decides what the NAT
//! does.

use crate::addr::WireAddr;
use crate::engine::Engine;
use crate::engine::two_agents::{address, agent, at, carry, outputs, send};
use crate::flow::HostPair;
use crate::io::{DatagramMeta, FlowSnapshot, Output, Received};
use crate::limits::{DATA_PORT, NAT_KEEPALIVE};
use crate::wire::checksum::transport_is_valid;
use crate::wire::ip;
use crate::wire::vnet::{VnetHeader, complete_checksum};
use crate::{DropReason, Interface};
use core::net::IpAddr;

const INSIDE: u8 = 1;
const SERVER: u8 = 2;
const NAT: u8 = 9;

/// What arrives when datagrams among `sent` come from an address and a port: inner packets, whole.
fn arrive(sent: &[Output], (from, port): (u8, u16), to: u8, engine: &mut Engine) -> Vec<Vec<u8>> {
    let meta = DatagramMeta {
        from: WireAddr(address(from)),
        from_port: port,
        to: WireAddr(address(to)),
        tos: 0,
        interface: Interface(2),
    };
    let mut opened = Vec::new();
    for output in sent {
        let Output::Datagrams(run) = output else { continue };
        let mut bytes = run.bytes.clone();
        let received = Received::alone(&bytes, run.segment, meta);
        engine.datagrams(&mut bytes, &[received], at(3), &mut |gather| {
            let mut packet = gather.header.to_vec();
            for part in gather.payload {
                packet.extend_from_slice(&gather.buffer[part.clone()]);
            }
            let vnet = VnetHeader::parse(&gather.vnet).unwrap();
            complete_checksum(&vnet, &mut packet).unwrap();
            opened.push(packet);
        });
    }
    opened
}

/// Where the datagrams among `sent` go.
fn targets(sent: &[Output]) -> Vec<(IpAddr, u16)> {
    let to = |output: &Output| match output {
        Output::Datagrams(run) => run.to.map(|(to, port)| (to.0, port)),
        _ => None,
    };
    sent.iter().filter_map(to).collect()
}

fn ends(packet: &[u8]) -> (IpAddr, IpAddr) {
    let view = ip::parse(packet).unwrap();
    assert!(transport_is_valid(packet, &view), "the receiver sees a wrong checksum");
    (view.source, view.destination)
}

fn row(engine: &Engine, (local, remote): (u8, u8)) -> Option<FlowSnapshot> {
    engine.flow_snapshot(HostPair::new(address(local), address(remote)), at(3))
}

/// Both agents after an MPIT through the NAT, and what the inner one sent behind it.
fn agreed() -> (Engine, Engine, Vec<Output>) {
    let (mut inside, mut server) = (agent(INSIDE), agent(SERVER));
    let dde = send(&mut inside, (INSIDE, SERVER));
    let rgi = carry(&dde, (NAT, SERVER), &mut server);
    let sent = carry(&rgi, (SERVER, INSIDE), &mut inside);
    carry(&sent, (NAT, SERVER), &mut server);
    (inside, server, sent)
}

#[test]
fn each_end_keeps_its_own_view_of_the_pair() {
    let (inside, server, _) = agreed();
    let here = row(&server, (SERVER, NAT)).unwrap().peer.unwrap();
    assert_eq!((here.own_address, here.seen_as), (Some(address(INSIDE)), None));
    assert!(row(&server, (SERVER, INSIDE)).is_none());
    let there = row(&inside, (INSIDE, SERVER)).unwrap().peer.unwrap();
    assert_eq!((there.own_address, there.seen_as), (None, Some(address(NAT))));
}

#[test]
fn data_is_right_in_the_view_of_its_receiver() {
    let (mut inside, mut server, sent) = agreed();
    let came = arrive(&sent, (NAT, 40_000), SERVER, &mut server);
    assert_eq!(
        came.iter().map(|packet| ends(packet)).collect::<Vec<_>>(),
        [(address(NAT), address(SERVER))]
    );
    let back = send(&mut server, (SERVER, NAT));
    assert_eq!(targets(&back), [(address(NAT), 40_000)]);
    let came = arrive(&back, (SERVER, DATA_PORT), INSIDE, &mut inside);
    assert_eq!(
        came.iter().map(|packet| ends(packet)).collect::<Vec<_>>(),
        [(address(SERVER), address(INSIDE))]
    );
}

#[test]
fn the_newest_authentic_datagram_says_where_the_nat_is() {
    let (mut inside, mut server, sent) = agreed();
    arrive(&sent, (NAT, 40_000), SERVER, &mut server);
    let old = send(&mut inside, (INSIDE, SERVER));
    let new = send(&mut inside, (INSIDE, SERVER));
    arrive(&new, (NAT, 41_000), SERVER, &mut server);
    arrive(&old, (NAT, 42_000), SERVER, &mut server);
    // Replayed, or altered, by somebody elsewhere.
    arrive(&new, (7, 43_000), SERVER, &mut server);
    let mut forged = send(&mut inside, (INSIDE, SERVER));
    for output in &mut forged {
        if let Output::Datagrams(run) = output {
            run.bytes[12] ^= 1;
        }
    }
    arrive(&forged, (7, 44_000), SERVER, &mut server);
    assert_eq!(targets(&send(&mut server, (SERVER, NAT))), [(address(NAT), 41_000)]);
}

#[test]
fn who_is_not_behind_a_nat_does_not_move() {
    let (mut inside, mut server) = (agent(INSIDE), agent(SERVER));
    let dde = send(&mut inside, (INSIDE, SERVER));
    let rgi = carry(&dde, (INSIDE, SERVER), &mut server);
    let sent = carry(&rgi, (SERVER, INSIDE), &mut inside);
    carry(&sent, (INSIDE, SERVER), &mut server);
    arrive(&sent, (NAT, 40_000), SERVER, &mut server);
    let back = send(&mut server, (SERVER, INSIDE));
    assert_eq!(targets(&back), [(address(INSIDE), DATA_PORT)]);
}

#[test]
fn a_copy_sent_ahead_draws_nothing_to_its_sender() {
    let (mut inside, mut server) = (agent(INSIDE), agent(SERVER));
    let dde = send(&mut inside, (INSIDE, SERVER));
    carry(&dde, (7, SERVER), &mut server);
    let rgi = carry(&dde, (INSIDE, SERVER), &mut server);
    let sent = carry(&rgi, (SERVER, INSIDE), &mut inside);
    carry(&sent, (INSIDE, SERVER), &mut server);
    assert_eq!(row(&server, (SERVER, INSIDE)).unwrap().verdict, "protected");
    assert!(row(&server, (SERVER, 7)).is_none());
}

#[test]
fn nobody_claims_an_address_at_which_it_received_no_rgi() {
    // Whoever is at NAT names the address of somebody else, and forges it from here on.
    for forged_question in [false, true] {
        let (mut inside, mut server) = (agent(INSIDE), agent(SERVER));
        let dde = send(&mut inside, (INSIDE, SERVER));
        let rgi = carry(&dde, (NAT, SERVER), &mut server);
        if forged_question {
            carry(&dde, (INSIDE, SERVER), &mut server);
        }
        let sent = carry(&rgi, (SERVER, INSIDE), &mut inside);
        carry(&sent, (INSIDE, SERVER), &mut server);
        assert!(row(&server, (SERVER, INSIDE)).is_none());
    }
}

#[test]
fn an_mpit_from_another_address_than_the_rgi_names_is_refused() {
    let (mut inside, mut server) = (agent(INSIDE), agent(SERVER));
    let dde = send(&mut inside, (INSIDE, SERVER));
    let rgi = carry(&dde, (NAT, SERVER), &mut server);
    let sent = carry(&rgi, (SERVER, INSIDE), &mut inside);
    assert!(carry(&sent, (7, SERVER), &mut server).is_empty());
    assert!(row(&server, (SERVER, 7)).is_none());
    carry(&sent, (NAT, SERVER), &mut server);
    assert_eq!(row(&server, (SERVER, NAT)).unwrap().verdict, "protected");
}

#[test]
fn a_second_agent_behind_the_same_address_is_refused() {
    let (_, mut server, _) = agreed();
    let mut second = agent(3);
    let dde = send(&mut second, (3, SERVER));
    let rgi = carry(&dde, (NAT, SERVER), &mut server);
    let sent = carry(&rgi, (SERVER, 3), &mut second);
    carry(&sent, (NAT, SERVER), &mut server);
    assert_eq!(server.counters.dropped_in[DropReason::AddressTaken as usize], 1);
    let peer = row(&server, (SERVER, NAT)).unwrap().peer.unwrap();
    assert_eq!(peer.own_address, Some(address(INSIDE)));
}

#[test]
fn an_mpit_that_met_an_owner_is_accepted_once_the_owner_has_left() {
    let (mut inside, mut server, sent) = agreed();
    arrive(&sent, (NAT, 40_000), SERVER, &mut server);
    let mut second = agent(3);
    let dde = send(&mut second, (3, SERVER));
    let rgi = carry(&dde, (NAT, SERVER), &mut server);
    let mpit = carry(&rgi, (SERVER, 3), &mut second);
    for _ in 0..2 {
        carry(&mpit, (NAT, SERVER), &mut server);
    }
    assert_eq!(server.counters.dropped_in[DropReason::AddressTaken as usize], 2);
    inside.stop(at(3));
    arrive(&outputs(&mut inside), (NAT, 40_000), SERVER, &mut server);
    assert!(row(&server, (SERVER, NAT)).is_none());
    carry(&mpit, (NAT, SERVER), &mut server);
    let peer = row(&server, (SERVER, NAT)).unwrap().peer.unwrap();
    assert_eq!(peer.own_address, Some(address(3)));
    assert_eq!(server.counters.dropped_in[DropReason::AddressTaken as usize], 2);
}

#[test]
fn only_who_is_behind_a_nat_keeps_it_open() {
    let later = NAT_KEEPALIVE.as_micros() as u64 + 3_000_000;
    let (mut inside, mut server, _) = agreed();
    // Data went out and nothing came back, which would be a question by then.
    let back = send(&mut server, (SERVER, NAT));
    arrive(&back, (SERVER, DATA_PORT), INSIDE, &mut inside);
    let mut sent = Vec::new();
    for half in 1..=later / 500_000 {
        inside.tick(at(half * 500_000));
        sent.extend(outputs(&mut inside));
    }
    // One that data asked for after 0.4 s, and one for the NAT.
    assert_eq!(targets(&sent).len(), 2);
    let mut sent = Vec::new();
    for half in 1..=later / 500_000 {
        server.tick(at(half * 500_000));
        sent.extend(outputs(&mut server));
    }
    // What it sent was not answered: it prompts a few times, and no more.
    assert_eq!(targets(&sent).len(), crate::limits::PROMPTS as usize);
}

#[test]
fn the_end_that_is_not_behind_the_nat_never_asks_and_waits() {
    let (_, mut server, _) = agreed();
    send(&mut server, (SERVER, NAT));
    let mut messages = 0;
    for half in 1..60 {
        server.tick(at(half * 500_000));
        let out = outputs(&mut server);
        messages += out.iter().filter(|output| matches!(output, Output::Transmit(_))).count();
    }
    assert_eq!(messages, 1, "the CDN, and no question");
    assert_eq!(row(&server, (SERVER, NAT)).unwrap().verdict, "protected");
}
