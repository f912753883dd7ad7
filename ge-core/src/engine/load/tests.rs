//! Who is answered, who is asked for proof and who is dropped, and that nobody pays for another.

use super::*;
use crate::crypto::x25519::KeyPair;
use crate::dprp::domain::{Domain, rng};
use crate::dprp::{Binding, Initiator, Proposal, Purpose, SessionParameters};
use crate::engine::two_agents::{address, agent, at, carry, outputs, send};
use crate::flow::{Direction, Ports};
use crate::io::{Frame, Output, PACKET_AT, Transmit};
use crate::limits::{COOKIES_PER_NEGOTIATION, REFUSED_PER_NEGOTIATION, RETRY_LADDER};
use crate::wire::dprp::peek;
use crate::wire::icmp::emit_echo;
use crate::wire::ip::emit_header;
use crate::{Interface, SessionIndex};
use core::net::{IpAddr, Ipv4Addr};

const ETH0: Interface = Interface(2);

/// A member that can say it comes from anywhere.
struct Spoofer {
    keyring: crate::keyring::Keyring,
    rng: Rng,
}

impl Spoofer {
    fn new() -> Self {
        let member = Domain::new(1).member(9, &[1]);
        Self { keyring: member.keyring(), rng: rng(9) }
    }

    /// A DDE to agent 2 in the name of `from`.
    fn dde(&mut self, from: IpAddr) -> Vec<u8> {
        let pair = HostPair::new(from, address(2));
        let (mode, purpose) = (Mode::Closed, Purpose::Protect);
        let proposal = Proposal { pair, ports: Ports::default(), mode, router: false, purpose };
        let wire = crate::addr::WireAddr(from);
        let parameters = SessionParameters { index: SessionIndex(1), data_port: 5865, wire };
        let ephemeral = KeyPair::generate(&mut self.rng);
        let Self { keyring, rng } = self;
        let unix = at(0).unix;
        Initiator::create_dde(keyring, &proposal, Binding::Fresh, parameters, ephemeral, rng, unix)
            .unwrap()
            .1
    }
}

/// Hands a message to agent 2 as an echo from `from`; gives the replies.
fn ask(engine: &mut Engine, from: IpAddr, message: &[u8], micros: u64) -> Vec<Vec<u8>> {
    let to = address(2);
    let icmp = emit_echo(true, 7, 1, message, from, to);
    let mut header = [0; 40];
    let len = emit_header(&mut header, from, to, 1, icmp.len(), 0, 64);
    let mut bytes = vec![0; PACKET_AT];
    bytes.extend_from_slice(&header[..len]);
    bytes.extend_from_slice(&icmp);
    let direction = Direction::Incoming(ETH0);
    engine.incoming(&Frame { direction, bytes: &mut bytes }, at(micros));
    messages(&outputs(engine))
}

/// Negotiation messages among the outputs.
fn messages(outputs: &[Output]) -> Vec<Vec<u8>> {
    let message = |output: &Output| match output {
        Output::Transmit(transmit) => transmit.bytes.get(8..).map(<[u8]>::to_vec),
        _ => None,
    };
    outputs.iter().filter_map(message).collect()
}

fn kinds(messages: &[Vec<u8>]) -> Vec<Kind> {
    messages.iter().filter_map(|message| peek(message)).map(|header| header.kind).collect()
}

fn dropped(engine: &Engine, reason: DropReason) -> u64 {
    engine.counters().dropped_in[reason as usize]
}

fn ip(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a01_0000 + n).into()
}

/// Agent 2 under load, at the start.
fn busy() -> Engine {
    let mut engine = agent(2);
    engine.load.busy.note(at(0).mono);
    engine
}

#[test]
fn an_agent_at_rest_answers_and_one_under_load_asks_for_proof() {
    let mut spoofer = Spoofer::new();
    let (mut rest, mut busy) = (agent(2), busy());
    assert_eq!(kinds(&ask(&mut rest, ip(1), &spoofer.dde(ip(1)), 1)), [Kind::Rgi]);
    assert!(!rest.snapshot(at(1)).under_load);
    assert_eq!(kinds(&ask(&mut busy, ip(1), &spoofer.dde(ip(1)), 1)), [Kind::Cookie]);
    assert!(busy.snapshot(at(1)).under_load);
    assert_eq!(dropped(&busy, DropReason::UnderLoad), 1);
    assert_eq!(busy.answers.len(), 0, "nothing is kept of who was asked");
    let later = 1_000_001;
    assert_eq!(kinds(&ask(&mut busy, ip(1), &spoofer.dde(ip(1)), later)), [Kind::Rgi]);
}

#[test]
fn a_cookie_brings_the_same_question_again_at_once() {
    let (mut one, mut other) = (agent(1), busy());
    let dde = send(&mut one, (1, 2));
    let cookie = carry(&dde, (1, 2), &mut other);
    assert_eq!(kinds(&messages(&cookie)), [Kind::Cookie]);
    let again = carry(&cookie, (2, 1), &mut one);
    let (first, second) = (&messages(&dde)[0], &messages(&again)[0]);
    let mac2_at = first.len() - MAC_LEN;
    assert_eq!(first[..mac2_at], second[..mac2_at], "the same e_i");
    assert_ne!(second[mac2_at..], [0; MAC_LEN]);
    let rgi = carry(&again, (1, 2), &mut other);
    assert_eq!(kinds(&messages(&rgi)), [Kind::Rgi]);
    assert_eq!(kinds(&messages(&carry(&rgi, (2, 1), &mut one))), [Kind::Mpit]);
}

#[test]
fn a_remembered_cookie_saves_the_round_trip() {
    let (mut one, mut other) = (agent(1), busy());
    let dde = send(&mut one, (1, 2));
    let cookie = carry(&dde, (1, 2), &mut other);
    carry(&cookie, (2, 1), &mut one);
    one.forget_row(HostPair::new(address(1), address(2)));
    let anew = send(&mut one, (1, 2));
    assert_ne!(messages(&anew)[0][24..56], messages(&dde)[0][24..56], "another e_i");
    assert_eq!(kinds(&messages(&carry(&anew, (1, 2), &mut other))), [Kind::Rgi]);
    let lifetime = COOKIE_LIFETIME.as_micros() as u64;
    let (pair, echo) = (HostPair::new(address(1), address(2)), Some(Carrier::Echo));
    assert!(one.load.known_cookie(pair, echo, at(lifetime).mono).is_some());
    assert!(one.load.known_cookie(pair, echo, at(lifetime + 3).mono).is_none());
}

#[test]
fn an_initiator_follows_few_cookies_and_none_twice() {
    let mut one = agent(1);
    let dde = send(&mut one, (1, 2));
    let mut sent = 0;
    for seed in 0..20 {
        // Each time another agent, with a secret of its own.
        let mut other = Engine::new(Domain::new(1).member(2, &[1]).identity, [seed; 32]);
        other.install(Domain::new(1).member(2, &[1]).membership, at(0)).unwrap();
        other.set_interfaces(Vec::new(), &[address(2)]);
        other.load.busy.note(at(0).mono);
        let cookie = carry(&dde, (1, 2), &mut other);
        sent += messages(&carry(&cookie, (2, 1), &mut one)).len();
        sent += messages(&carry(&cookie, (2, 1), &mut one)).len();
    }
    assert_eq!(sent, COOKIES_PER_NEGOTIATION as usize);
}

#[test]
fn a_cookie_nobody_asked_for_or_that_was_forged_changes_nothing() {
    let (mut one, mut other) = (agent(1), busy());
    let dde = send(&mut one, (1, 2));
    let cookie = carry(&dde, (1, 2), &mut other);
    let mut stranger = agent(1);
    assert!(messages(&carry(&cookie, (2, 1), &mut stranger)).is_empty());
    assert_eq!(dropped(&stranger, DropReason::Stale), 1);
    let Some(Output::Transmit(transmit)) = cookie.first() else { panic!("no COOKIE") };
    let mut forged = messages(&cookie)[0].clone();
    *forged.last_mut().unwrap() ^= 1;
    let icmp = emit_echo(false, 7, 1, &forged, transmit.from.0, transmit.to.0);
    let Transmit { from, to, interface, protocol, .. } = *transmit;
    let forged = [Output::Transmit(Transmit { from, to, interface, protocol, bytes: icmp })];
    assert!(messages(&carry(&forged, (2, 1), &mut one)).is_empty());
    assert_eq!(dropped(&one, DropReason::BadCookie), 1);
    assert_eq!(messages(&carry(&cookie, (2, 1), &mut one)).len(), 1, "the right one still counts");
}

#[test]
fn a_repeat_under_load_without_proof_is_not_answered_with_more_than_it_has() {
    let mut engine = agent(2);
    let dde = Spoofer::new().dde(ip(1));
    assert_eq!(kinds(&ask(&mut engine, ip(1), &dde, 1)), [Kind::Rgi]);
    engine.load.busy.note(at(1).mono);
    assert_eq!(kinds(&ask(&mut engine, ip(1), &dde, 2)), [Kind::Cookie]);
}

#[test]
fn a_flood_from_many_sources_puts_under_load_and_is_kept_out() {
    let (mut engine, mut spoofer) = (agent(2), Spoofer::new());
    // 5,000 a second for a second.
    let mut answered = 0;
    for n in 0..5_000 {
        let dde = spoofer.dde(ip(n));
        let replies = ask(&mut engine, ip(n), &dde, u64::from(n) * 200);
        answered += kinds(&replies).iter().filter(|kind| **kind == Kind::Rgi).count();
        assert!(replies.iter().map(Vec::len).sum::<usize>() <= 3 * dde.len());
    }
    assert!((LOAD_REQUESTS.burst as usize..=LOAD_ANSWERS).contains(&answered), "{answered}");
    assert!(engine.load.is_under_load(at(1_000_000).mono));
    // An honest agent still comes through.
    let mut honest = agent(1);
    let cookie = carry(&send(&mut honest, (1, 2)), (1, 2), &mut engine);
    let rgi = carry(&carry(&cookie, (2, 1), &mut honest), (1, 2), &mut engine);
    assert_eq!(kinds(&messages(&rgi)), [Kind::Rgi]);
}

#[test]
fn a_flood_in_an_honest_sources_name_costs_it_a_round_trip_and_no_more() {
    let (mut engine, mut spoofer) = (agent(2), Spoofer::new());
    // Below what puts under load, above the share of one source.
    for n in 0..4_000 {
        engine.tick(at(n * 2_500));
        ask(&mut engine, address(1), &spoofer.dde(address(1)), n * 2_500);
    }
    let now = 4_000 * 2_500;
    ask(&mut engine, address(1), &spoofer.dde(address(1)), now);
    assert!(!engine.load.is_under_load(at(now).mono));
    let (mut honest, others) = (agent(1), ip(1));
    let replies = ask(&mut engine, others, &spoofer.dde(others), now);
    assert_eq!(kinds(&replies), [Kind::Rgi], "others do not notice");
    let dde = messages(&send(&mut honest, (1, 2)))[0].clone();
    assert_eq!(kinds(&ask(&mut engine, address(1), &dde, now)), [Kind::Cookie]);
    let origin = Origin { address: address(1), number: Number::Echo(7) };
    let Engine { load, rng, .. } = &mut engine;
    let mut signed = dde;
    load.secret.cookie(&origin, rng, at(now).mono).sign(&mut signed);
    assert_eq!(kinds(&ask(&mut engine, address(1), &signed, now)), [Kind::Rgi]);
}

#[test]
fn one_address_has_its_share_even_with_proof() {
    let (mut engine, mut spoofer) = (busy(), Spoofer::new());
    let origin = Origin { address: ip(1), number: Number::Echo(7) };
    let mut answered = 0;
    for _ in 0..2_000 {
        let mut dde = spoofer.dde(ip(1));
        let Engine { load, rng, .. } = &mut engine;
        load.secret.cookie(&origin, rng, at(1).mono).sign(&mut dde);
        answered += ask(&mut engine, ip(1), &dde, 1).len();
    }
    assert_eq!(answered, REQUESTS_PROVEN.burst as usize);
    assert_eq!(dropped(&engine, DropReason::TooMany), 2_000 - answered as u64);
}

#[test]
fn wrong_mac1_or_wrong_address_gets_nothing() {
    let (mut engine, mut spoofer) = (busy(), Spoofer::new());
    let mut dde = spoofer.dde(ip(1));
    for from in [Ipv4Addr::new(224, 0, 0, 1), Ipv4Addr::BROADCAST] {
        assert!(ask(&mut engine, from.into(), &dde, 1).is_empty(), "nothing is sent to {from}");
    }
    dde[100] ^= 1;
    assert!(ask(&mut engine, ip(1), &dde, 1).is_empty());
    assert_eq!(dropped(&engine, DropReason::BadMac), 1);
}

#[test]
fn mac2_of_another_is_asked_for_again() {
    let (mut engine, mut spoofer) = (busy(), Spoofer::new());
    let mut dde = spoofer.dde(ip(1));
    let stranger = CookieSecret::new(&mut rng(77), at(0).mono).cookie(
        &Origin { address: ip(1), number: Number::Echo(7) },
        &mut rng(78),
        at(0).mono,
    );
    stranger.sign(&mut dde);
    assert_eq!(kinds(&ask(&mut engine, ip(1), &dde, 1)), [Kind::Cookie]);
    assert_eq!(dropped(&engine, DropReason::BadCookie), 1);
    let mut rest = agent(2);
    assert_eq!(kinds(&ask(&mut rest, ip(1), &dde, 1)), [Kind::Rgi], "at rest nobody looks at it");
}

#[test]
fn what_is_refused_again_and_again_is_not_read_any_more() {
    let (mut one, mut other) = (agent(1), agent(2));
    let rgi = carry(&send(&mut one, (1, 2)), (1, 2), &mut other);
    // A member on the path can make right mac1s.
    let forged: Vec<Output> = (0..40).map(|n| remade(&rgi[0], n)).collect();
    for message in &forged {
        assert!(messages(&carry(std::slice::from_ref(message), (2, 1), &mut one)).is_empty());
    }
    let read = u64::from(REFUSED_PER_NEGOTIATION);
    assert_eq!(dropped(&one, DropReason::TooMany), 40 - read);
    assert!(RETRY_LADDER.len() < REFUSED_PER_NEGOTIATION as usize);
}

/// The same message with another byte in its sealed part, and a right `mac1`.
fn remade(output: &Output, n: u8) -> Output {
    let Output::Transmit(transmit) = output else { panic!("no message") };
    let mut message = transmit.bytes[8..].to_vec();
    message[200] ^= n + 1;
    let member = Domain::new(1).member(9, &[1]);
    let key = member.membership.domain_keys.iter().find(|key| key.epoch.0 == 5).unwrap();
    let prk = crate::crypto::kdf::domain_prk(member.membership.domain, key.epoch, &key.key);
    let at = message.len() - MAC_LEN;
    let mac1: [u8; MAC_LEN] =
        crate::crypto::kdf::short_hmac(&prk.expand("mac1", &[]), &[&message[..at]]);
    message[at..].copy_from_slice(&mac1);
    let icmp = emit_echo(false, 7, 1, &message, transmit.from.0, transmit.to.0);
    let Transmit { from, to, interface, protocol, .. } = *transmit;
    Output::Transmit(Transmit { from, to, interface, protocol, bytes: icmp })
}
