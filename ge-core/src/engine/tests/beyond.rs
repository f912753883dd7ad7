//! A router of the asking agent's own side says that it protects the flow from there on.

use super::ends::{Ends, negotiation};
use super::*;
use crate::cert::CertRole;
use crate::dprp::domain::{Member, rng};
use crate::dprp::{SeenDde, Witness, Word};
use crate::membership::Secret32;
use crate::mode::{Mode, Prefix};
use crate::wire::dprp::Place;
use crate::wire::icmp::{ECHO_LEN, emit_echo};

/// A closed router that may speak for this machine.
fn router(machine: IpAddr) -> Member {
    let domain = Domain::new(1);
    let mut member = domain.member(3, &[2]);
    let prefixes = vec![Prefix { address: machine, length: 32 }];
    domain.issue(&mut member, |certificate| {
        certificate.role = CertRole::Router;
        certificate.prefixes.clone_from(&prefixes);
    });
    member.membership.role = Role::Router { prefixes };
    member.membership.mode = Mode::Closed;
    member
}

/// An agent in this mode that has just asked, and what it sent.
fn asking(mode: Mode) -> (Engine, Vec<u8>) {
    let domain = Domain::new(1);
    let mut own = domain.member(1, &[1]);
    own.membership.mode = mode;
    let mut world = Ends::of(&own, &domain.member(2, &[1]));
    assert_eq!(world.send(0), Outgoing::Consumed);
    let question = outputs(&mut world.a).into_iter().find_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.bytes),
        _ => None,
    });
    (world.a, question.unwrap())
}

/// What `sender` says of the flow, where it says it is, comes back for a question.
fn say(engine: &mut Engine, question: &[u8], sender: &Member, place: Place, word: Word) {
    let (keyring, secret) = (sender.keyring(), Secret32([7; 32]));
    let seen = SeenDde::read(&keyring, &question[ECHO_LEN..], NOW).unwrap();
    let witness = Witness { keyring: &keyring, secret: &secret, place };
    let message = seen.refuse(&witness, word, &mut rng(4), NOW).unwrap();
    let number = |at: usize| u16::from_be_bytes([question[at], question[at + 1]]);
    let (from, to) = (pair(0).remote.0, local());
    let icmp = emit_echo(false, number(4), number(6), &message, from, to);
    arrive(engine, frame(from, to, 1, &icmp), at_millis(20));
}

fn verdict(engine: &Engine) -> &'static str {
    engine.flow_snapshot(pair(0), at_millis(20)).unwrap().verdict
}

#[test]
fn an_open_agent_passes_at_once_and_goes_on_asking() {
    let (mut open, question) = asking(Mode::Open);
    let router = router(local());
    say(&mut open, &question, &router, Place::Source, Word::AsOpen);
    assert_eq!(verdict(&open), "clear");
    assert!(outputs(&mut open).iter().any(|output| matches!(output, Output::PutBack(_))));
    assert_eq!(negotiation(&open, pair(0)).refused, 0);
    // Who refuses is heard all the same.
    say(&mut open, &question, &router, Place::Source, Word::ForGood);
    assert_eq!(verdict(&open), "dropped");
}

#[test]
fn who_passes_nothing_in_clear_waits_and_blames_nobody() {
    let (mut closed, question) = asking(Mode::Closed);
    say(&mut closed, &question, &router(local()), Place::Source, Word::AsOpen);
    assert_eq!(verdict(&closed), "pending");
    assert_eq!(negotiation(&closed, pair(0)).refused, 0);

    let (mut wary, question) = asking(Mode::Open);
    wary.remember(pair(0), at(0));
    say(&mut wary, &question, &router(local()), Place::Source, Word::AsOpen);
    assert_eq!(verdict(&wary), "pending");
    assert_eq!(negotiation(&wary, pair(0)).refused, 0);
}

#[test]
fn nobody_else_may_say_so() {
    let (mut open, question) = asking(Mode::Open);
    say(&mut open, &question, &router(pair(3).remote.0), Place::Source, Word::AsOpen);
    assert_eq!(verdict(&open), "pending", "it stands for another machine");
    let host = Domain::new(1).member(4, &[2]);
    say(&mut open, &question, &host, Place::Source, Word::AsOpen);
    say(&mut open, &question, &router(local()), Place::Between, Word::AsOpen);
    assert_eq!(verdict(&open), "pending");
    assert_eq!(negotiation(&open, pair(0)).refused, 2, "those two broke a rule");
}
