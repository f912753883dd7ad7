//! What a router believes of messages that were heard elsewhere and sent again between other hosts.
//!
//! ```text
//! destination   1 ── 3 router ── 2          source   1 ── 3 router ── 2
//!                    stands for 2                         stands for 1
//! ```

use super::*;
use crate::cert::CertRole;
use crate::dprp::domain::{Domain, NOW, rng};
use crate::engine::two_agents::{
    ETH0, address, agent, at, carry, engine, frame, outputs, packet, send,
};
use crate::flow::Direction;
use crate::io::Frame;
use crate::limits::QUESTIONS_PER_FLOW;
use crate::mode::Prefix;
use crate::wire::icmp::{ECHO_LEN, emit_echo};
use crate::wire::vnet::VnetHeader;

/// A closed router of group 2, agent 3, that stands for one host.
fn router(host: u8) -> Engine {
    router_of(2, host)
}

/// The same of this group.
fn router_of(group: u32, host: u8) -> Engine {
    let domain = Domain::new(1);
    let mut member = domain.member(3, &[group]);
    let prefixes = vec![Prefix { address: address(host), length: 32 }];
    domain.issue(&mut member, |certificate| {
        certificate.role = CertRole::Router;
        certificate.prefixes.clone_from(&prefixes);
    });
    member.membership.role = Role::Router { prefixes };
    engine(3, member)
}

/// The first message among the outputs, passing the router in a packet between any two hosts.
fn pass(sent: &[Output], ends: (u8, u8), inwards: bool, router: &mut Engine) {
    pass_at(2, sent, ends, inwards, router);
}

/// The same at a time in microseconds, and what goes out of the router.
fn pass_at(
    micros: u64,
    sent: &[Output],
    ends: (u8, u8),
    inwards: bool,
    router: &mut Engine,
) -> Vec<Output> {
    let now = at(micros);
    let Some(Output::Transmit(message)) = sent.first() else { panic!("no message") };
    let mut bytes = frame(&VnetHeader::default(), &packet(ends, message.protocol, &message.bytes));
    if inwards {
        let direction = Direction::Incoming(ETH0);
        router.incoming(&Frame { direction, bytes: &mut bytes }, now);
    } else {
        let direction = Direction::Outgoing(ETH0);
        let frame = &mut Frame { direction, bytes: &mut bytes };
        router.outgoing(frame, &mut crate::batch::SealedBatch::default(), now);
    }
    outputs(router)
}

/// Bytes of messages that leave.
fn left(sent: &[Output]) -> usize {
    sent.iter()
        .map(|output| if let Output::Transmit(message) = output { message.bytes.len() } else { 0 })
        .sum()
}

#[test]
fn only_an_answer_about_the_flow_ends_the_wait_for_one() {
    let (mut one, mut two, mut router) = (agent(1), agent(2), router(2));
    let dde = send(&mut one, (1, 2));
    pass(&dde, (1, 2), true, &mut router);
    assert_eq!(router.passing.waiting(), 1);
    let rgi = carry(&dde, (1, 2), &mut two);
    pass(&rgi, (4, 1), false, &mut router);
    assert_eq!(router.passing.waiting(), 1, "an answer of another host");
    pass(&rgi, (2, 4), false, &mut router);
    assert_eq!(router.passing.waiting(), 1, "an answer to another host");
    pass(&rgi, (2, 1), false, &mut router);
    assert_eq!(router.passing.waiting(), 0);
}

#[test]
fn only_an_answer_about_the_flow_ends_the_memory_of_a_refusal() {
    let (mut one, mut two, mut router) = (agent(1), agent(2), router(2));
    let (flow, other) =
        (HostPair::new(address(2), address(1)), HostPair::new(address(4), address(1)));
    router.heard_refusal(flow, at(1));
    router.heard_refusal(other, at(1));
    let dde = send(&mut one, (1, 2));
    let rgi = carry(&dde, (1, 2), &mut two);
    pass(&rgi, (4, 1), false, &mut router);
    assert!(router.passing.refusals.has(&other, at(2).mono));
    pass(&rgi, (2, 1), false, &mut router);
    assert!(!router.passing.refusals.has(&flow, at(2).mono));
}

#[test]
fn a_question_is_remembered_for_the_flow_it_is_about() {
    let (mut one, mut router) = (agent(1), router(1));
    let dde = send(&mut one, (1, 2));
    pass(&dde, (1, 4), false, &mut router);
    assert_eq!(router.passing.questions.len(), 0, "sent again to another host");
    pass(&dde, (1, 2), false, &mut router);
    assert_eq!(router.passing.questions.len(), 1);
}

#[test]
fn everybody_further_in_who_asked_is_told_up_to_the_limit() {
    let (mut one, mut router) = (agent(1), router(1));
    let flow = HostPair::new(address(1), address(2));
    for _ in 0..QUESTIONS_PER_FLOW + 2 {
        let dde = send(&mut one, (1, 2));
        pass(&dde, (1, 2), false, &mut router);
        pass(&dde, (1, 2), false, &mut router); // a repeat is no other question
        one.forget_row(flow);
    }
    router.tell_inner(flow, at(2));
    let told = outputs(&mut router);
    let told = told.iter().filter(|output| matches!(output, Output::Deliver(_))).count();
    assert_eq!(told, QUESTIONS_PER_FLOW);
    router.tell_inner(flow, at(2));
    assert!(outputs(&mut router).is_empty(), "once");
}

#[test]
fn each_question_counts_for_its_own_time() {
    let (mut one, mut router) = (agent(1), router(1));
    let flow = HostPair::new(address(1), address(2));
    let lifetime = TENTATIVE_LIFETIME.as_micros() as u64;
    for micros in [0, lifetime / 2] {
        let dde = send(&mut one, (1, 2));
        pass_at(2 + micros, &dde, (1, 2), false, &mut router);
        one.forget_row(flow);
    }
    router.tell_inner(flow, at(3 + lifetime));
    assert_eq!(outputs(&mut router).len(), 1, "the first is over");
}

#[test]
fn who_asked_gets_no_second_answer_when_one_further_in_is_late() {
    let (mut one, mut two, mut router) = (agent(1), agent(2), router_of(1, 2));
    let dde = send(&mut one, (1, 2));
    pass(&dde, (1, 2), true, &mut router);
    let mut answer = Vec::new();
    let mut micros = 2;
    while left(&answer) == 0 {
        micros += 5_000;
        assert!(micros < 3_000_000, "the router answers in place of a silent machine");
        router.tick(at(micros));
        answer = outputs(&mut router);
    }
    let late = carry(&dde, (1, 2), &mut two);
    assert!(left(&late) > left(&dde));
    let handed_on = pass_at(micros + 1, &late, (2, 1), false, &mut router);
    assert_eq!(left(&handed_on), 0);
    assert!(left(&answer) <= 3 * left(&dde));
    // Asked again, it answers again, and still it is one answer for one question.
    let again = pass_at(micros + 2, &dde, (1, 2), true, &mut router);
    assert_eq!(left(&again), left(&answer));
    assert_eq!(left(&pass_at(micros + 3, &late, (2, 1), false, &mut router)), 0);
}

/// A router of the source's side that protects the flow from 1 to 2 with agent 2, and asked for it
/// itself.
fn protecting() -> Engine {
    let (mut router, mut two) = (router_of(1, 1), agent(2));
    let dde = send(&mut router, (1, 2));
    let rgi = carry(&dde, (1, 2), &mut two);
    let mpit = carry(&rgi, (2, 1), &mut router);
    carry(&mpit, (1, 2), &mut two);
    assert!(router.current_session(HostPair::new(address(1), address(2))).is_some());
    router
}

/// The NOMATCH of a router of the destination's side, by which the flow is refused for good.
fn refused_for_good(question: &[Output]) -> Vec<Output> {
    let Some(Output::Transmit(transmit)) = question.first() else { panic!("no question") };
    let (keyring, secret) = (Domain::new(1).member(7, &[2]).keyring(), Secret32([7; 32]));
    let witness = Witness { keyring: &keyring, secret: &secret, place: Place::Destination };
    let bytes = &transmit.bytes;
    let seen = SeenDde::read(&keyring, &bytes[ECHO_LEN..], NOW).unwrap();
    let message = seen.refuse(&witness, Word::ForGood, &mut rng(1), NOW).unwrap();
    let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let icmp = emit_echo(false, number(4), number(6), &message, address(2), address(1));
    let Transmit { from, to, interface, protocol, .. } = *transmit;
    vec![Output::Transmit(Transmit { from: to, to: from, interface, protocol, bytes: icmp })]
}

#[test]
fn what_a_router_asked_for_ends_when_who_comes_first_is_refused() {
    let flow = HostPair::new(address(1), address(2));
    let mut inner = engine(1, Domain::new(1).member(5, &[2]));
    let dde = send(&mut inner, (1, 2));
    let refusal = refused_for_good(&dde);
    let mut router = protecting();
    pass(&refusal, (2, 1), true, &mut router);
    assert!(router.current_session(flow).is_some(), "nobody asked what it answers");
    pass(&dde, (1, 2), false, &mut router);
    pass(&refusal, (2, 1), true, &mut router);
    assert!(router.current_session(flow).is_none());
}
