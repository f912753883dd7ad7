//! Two agents and the wire between them by hand: which carrier a question and its answer take.

use super::*;
use crate::engine::two_agents::{address, agent, at, carry, meta, outputs, send};
use crate::io::Received;
use crate::limits::{CARRIER_DELAY, RETRY_LADDER};
use crate::wire::udp::UDP_LEN;

const DELAY: u64 = CARRIER_DELAY.as_micros() as u64;

fn pair() -> HostPair {
    HostPair::new(address(1), address(2))
}

/// The messages among outputs that travel in `carrier`.
fn only(outputs: Vec<Output>, carrier: Carrier) -> Vec<Output> {
    let is = |output: &Output| match output {
        Output::Transmit(transmit) => {
            (transmit.protocol == protocol::UDP) == (carrier == Carrier::Udp)
        }
        _ => false,
    };
    outputs.into_iter().filter(is).collect()
}

/// Time passes at an agent. Gives what it wants done.
fn later(engine: &mut Engine, micros: u64) -> Vec<Output> {
    engine.tick(at(micros));
    outputs(engine)
}

/// What `one` asked in UDP arrives on the data port of the other.
fn on_port(sent: &[Output], from: u8, engine: &mut Engine) -> Vec<Output> {
    for output in sent {
        if let Output::Transmit(transmit) = output {
            let mut bytes = transmit.bytes[UDP_LEN..].to_vec();
            let received = Received::alone(&bytes, bytes.len(), meta(from));
            engine.datagrams(&mut bytes, &[received], at(2), &mut |_| ());
        }
    }
    outputs(engine)
}

fn carrier_of(engine: &Engine) -> &'static str {
    let row = engine.flow_snapshot(pair(), at(0)).expect("a row");
    row.peer.expect("a peer").carrier
}

#[test]
fn silence_makes_the_same_question_go_out_in_udp() {
    let mut one = agent(1);
    let dde = send(&mut one, (1, 2));
    assert_eq!(only(dde, Carrier::Echo).len(), 1);
    assert!(only(later(&mut one, DELAY / 2), Carrier::Udp).is_empty(), "too early");
    let udp = only(later(&mut one, DELAY + 2), Carrier::Udp);
    assert_eq!(udp.len(), 1);
    let Some(Output::Transmit(Transmit { bytes, .. })) = udp.first() else { unreachable!() };
    let asked = one.pit.get(pair()).and_then(Row::negotiation).unwrap();
    assert_eq!(bytes[UDP_LEN..], asked.message);
}

#[test]
fn an_answer_in_udp_decides_and_is_remembered() {
    let (mut one, mut other) = (agent(1), agent(2));
    send(&mut one, (1, 2));
    let udp = only(later(&mut one, DELAY + 2), Carrier::Udp);
    let rgi = only(on_port(&udp, 1, &mut other), Carrier::Udp);
    assert_eq!(rgi.len(), 1, "the answer comes by the carrier of the question");
    let mpit = on_port(&rgi, 2, &mut one);
    assert_eq!(only(mpit, Carrier::Udp).len(), 1);
    assert_eq!(carrier_of(&one), "udp");
    assert_eq!(one.clear_via(address(2), at(0)), Via::Udp);
    let after = at(CARRIER_LIFETIME.as_micros() as u64 + DELAY + 3);
    assert_eq!(one.clear_via(address(2), after), Via::Echo);
}

#[test]
fn an_answer_in_echo_leaves_nothing_to_ask_in_udp() {
    let (mut one, mut other) = (agent(1), agent(2));
    let dde = send(&mut one, (1, 2));
    let rgi = carry(&dde, (1, 2), &mut other);
    carry(&rgi, (2, 1), &mut one);
    assert!(only(later(&mut one, DELAY + 3), Carrier::Udp).is_empty());
    assert_eq!(carrier_of(&one), "echo");
    assert_eq!(one.carriers.len(), 0);
}

#[test]
fn a_machine_that_reflects_is_not_asked_in_udp() {
    let mut one = agent(1);
    let dde = send(&mut one, (1, 2));
    let Some(Output::Transmit(sent)) = dde.iter().find(|o| matches!(o, Output::Transmit(_))) else {
        unreachable!()
    };
    let message = sent.bytes[UDP_LEN..].to_vec();
    let id = peek(&message).unwrap().sid_i;
    let mut wrong = message.clone();
    wrong[100] ^= 1;
    one.reflected(id, &wrong);
    assert!(one.pit.get(pair()).and_then(Row::negotiation).unwrap().other_at.is_some());
    one.reflected(id, &message);
    assert!(only(later(&mut one, DELAY + 2), Carrier::Udp).is_empty());
    let again = RETRY_LADDER[0].as_micros() as u64 * 2;
    assert_eq!(only(later(&mut one, again), Carrier::Echo).len(), 1);
    assert!(only(later(&mut one, again + DELAY + 1), Carrier::Udp).is_empty());
}

#[test]
fn the_question_in_the_other_carrier_gets_the_same_answer() {
    let (mut one, mut other) = (agent(1), agent(2));
    let echo = send(&mut one, (1, 2));
    let udp = only(later(&mut one, DELAY + 2), Carrier::Udp);
    let first = only(carry(&echo, (1, 2), &mut other), Carrier::Echo);
    let second = only(on_port(&udp, 1, &mut other), Carrier::Udp);
    let bytes = |outputs: &[Output]| match outputs {
        [Output::Transmit(transmit)] => transmit.bytes[UDP_LEN..].to_vec(),
        _ => panic!("one answer"),
    };
    assert_eq!(bytes(&first), bytes(&second));
}

#[test]
fn strangers_on_the_data_port_change_nothing() {
    let mut one = agent(1);
    let before = one.table_sizes();
    for length in [2, 24, 100, 416] {
        let mut bytes = [MAGIC.as_slice(), &vec![1; length - 2]].concat();
        let received = Received::alone(&bytes, length, meta(2));
        one.datagrams(&mut bytes, &[received], at(3), &mut |_| panic!("opened"));
    }
    assert!(outputs(&mut one).is_empty());
    assert_eq!(one.table_sizes(), before);
    assert_eq!(one.counters.dropped_in.iter().sum::<u64>(), 4);
}

#[test]
fn memory_of_carriers_is_bounded() {
    let mut carriers = Carriers::default();
    let now = at(0).mono;
    for n in 0..CARRIERS as u32 + 10 {
        let remote = core::net::Ipv4Addr::from(0x0a00_0000 + n).into();
        carriers.remember(remote, Carrier::Udp, now + core::time::Duration::from_micros(n.into()));
    }
    let kept = carriers.len();
    assert!((CARRIERS / 2..=CARRIERS).contains(&kept), "{kept} kept");
    let last = core::net::Ipv4Addr::from(0x0a00_0000 + CARRIERS as u32 + 9).into();
    assert_eq!(carriers.first(last, now), Carrier::Udp);
    carriers.remember(last, Carrier::Echo, now);
    assert_eq!(carriers.first(last, now), Carrier::Echo);
    assert_eq!(carriers.len(), kept - 1);
}
